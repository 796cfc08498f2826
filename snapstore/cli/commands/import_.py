"""`snapstore import`: histories that other programs wrote."""

from __future__ import annotations

import click

from snapstore.cli import output
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of
from snapstore.errors import EXIT_CODES, InvalidInputError

# The keys of `snapstore.importers.FORMATS`, which is not loaded for --help; a test holds the two together.
FORMATS = ("tau-bench", "swe-agent", "claude-jsonl", "jsonl")
_EXIT_PARTIAL = 3


@click.command("import", cls=CommandWithCommonOptions, short_help="Import histories that other programs wrote.")
@click.option("--format", "format", type=click.Choice(FORMATS), required=True)
@click.option("--run", metavar="NAME", help="Name for the run.  [default: from the data, or the file's name]")
@click.option("--graph", metavar="NAME", help="Name for the graph.  [default: from the format]")
@click.argument("path")
@click.pass_context
def command(ctx: click.Context, *, format: str, run: str | None, graph: str | None, path: str) -> int:
    """Import PATH: a file, a folder of them, or - for standard input.

    Each message or step becomes one snapshot; branches in the data become branches. What is in the archive already is
    skipped, so an interrupted import is resumed by running it again. Exit code 3: some input could not be read.
    """
    from snapstore.importers import ImportProgress, ImportReport, import_path

    session = session_of(ctx)
    archive = session.open()
    with session.progress("importing", 1.0) as update:
        last = [0, 0]

        def progress(state: ImportProgress) -> None:
            last[:] = [state.added, state.skipped]
            done = (state.sources_done + state.fraction) / state.sources_total
            update(done, f"{state.added:,} added, {state.skipped:,} there already")

        try:
            report: ImportReport = import_path(archive, format, path, run=run, graph=graph, progress=progress)
        except KeyboardInterrupt:
            click.echo(f"stopped after {last[0]:,} snapshots; run it again to continue", err=True)
            raise
    _print(session, report)
    if not report.failures:
        return 0
    return _EXIT_PARTIAL if report.added or report.skipped else EXIT_CODES[InvalidInputError]


def _print(session: Session, report: object) -> None:
    from snapstore.importers import ImportReport

    assert isinstance(report, ImportReport)
    if session.json:
        failures = [{"file": f.file, "line": f.line, "code": f.error.code, "message": f.error.message} for f in report.failures]
        fields = {
            "added": report.added,
            "skipped": report.skipped,
            "runs": report.runs,
            "stored_bytes": report.bytes,
            "logical_bytes": report.logical_bytes,
            "sources": report.sources,
            "failures": failures,
        }
        output.say(session, output.to_json("import", fields))
    elif report.added or report.skipped or not report.failures:
        runs = output.count(len(report.runs), "run")
        output.say(session, f"{output.count(report.added, 'snapshot')} added, {report.skipped:,} there already, in {runs}")
        if report.added:
            factor = output.ratio(report.logical_bytes, report.bytes)
            output.say(
                session,
                f"stored {output.size(report.bytes)}; full copies: {output.size(report.logical_bytes)} ({factor})",
            )
    for failure in report.failures:
        click.echo(output.error_text(str(failure.error), failure.error.hint), err=True)
