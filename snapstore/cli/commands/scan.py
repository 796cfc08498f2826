"""`snapstore scan`: fields of many states as a table."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from snapstore.cli import filters, output, results, scanning
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of

if TYPE_CHECKING:
    from snapstore.scan.planning import Scan

_FILE_FORMATS = ("parquet", "delta")


@click.command("scan", cls=CommandWithCommonOptions, short_help="Pull fields out of many states, as a table.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@filters.filter_options
@scanning.scan_options
@click.option("--estimate", is_flag=True, help="Only show what it would cost.")
@click.option(
    "--format",
    "format",
    type=click.Choice([*results.FORMATS, *_FILE_FORMATS]),
    help="[default: table on a terminal, csv elsewhere; with --to by the name's ending]",
)
@click.option("--to", "target", metavar="FILE|URL", help="Write a new file, or a Delta table with --format delta.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[str, ...],
    types: tuple[str, ...],
    on_error: str,
    limit: int | None,
    estimate: bool,
    format: str | None,
    target: str | None,
    force: bool,
    **chosen: Any,
) -> None:
    r"""Read the fields at PATH... of many snapshots: cost, messages[-1].content, messages[*].role.

    One row per snapshot, by graph and run, oldest first; * and [a:b] give lists. Reads only the parts of the states that
    hold these fields; what that will cost at least and at most is said before it starts.
    """
    session = session_of(ctx)
    wanted = _format(session, format, target)
    existing: Any = "replace" if force else "error"
    if target is not None and not estimate:
        scanning.check_target(target, wanted, existing)
    archive = session.open(read_only=True)
    watch = scanning.Watch()
    plan = scanning.plan(archive, paths, types=types, on_error=on_error, limit=limit, chosen=chosen, watch=watch)
    if estimate:
        _print_estimate(session, plan)
    elif target is not None:
        from snapstore.export import export

        with scanning.running(session, plan, watch):
            done = export(plan, target, wanted, existing=existing)
        output.exported(session, done)
    elif wanted == "table":
        with scanning.running(session, plan, watch):
            asked = ["id", *(column.name for column in plan.columns)]
            found = results.head(session, plan, first=asked)
        results.print_table(session, found, asked=len(asked))
    else:
        # Rows on a terminal would run into the bar.
        with scanning.running(session, plan, watch, bar=not sys.stdout.isatty()):
            results.show(session, plan, wanted)


def _format(session: Session, format: str | None, target: str | None) -> Any:
    if target is None:
        if format in _FILE_FORMATS:
            raise click.UsageError(f"{format} needs a place: --to")
        return results.chosen_format(session, format)
    if format == "table":
        raise click.UsageError("a table is for the screen: choose another --format for --to")
    return format


def _print_estimate(session: Session, plan: Scan) -> None:
    estimate = plan.estimate
    if session.json:
        output.say(session, output.to_json("estimate", asdict(estimate)))
        return
    requests, read = scanning.estimate_ranges(estimate)
    output.facts(
        session,
        [
            ("snapshots", f"{estimate.snapshots:,}"),
            ("packs", f"{estimate.packs:,}"),
            ("requests", requests.partition(" request")[0]),
            ("reads", read),
        ],
    )
