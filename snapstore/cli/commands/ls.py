"""`snapstore ls`: graphs and runs, or the elements of a snapshot with their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from snapstore.cli import inside, output, overview, paths, preview, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of

_DEFAULT_ELEMENTS = 200
_PREVIEW_COLUMNS = 60


@click.command("ls", cls=CommandWithCommonOptions, short_help="List graphs and runs, or what a snapshot holds.")
@click.argument("snapshot", required=False, metavar="[SNAP[:PATH]]")
@click.option("--run", metavar="NAME", help="What 'latest' refers to, or the run to list.")
@click.option("--graph", metavar="NAME", help="List the runs of this graph only.")
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="N", help="At most N elements; 0 is all.")
@click.pass_context
def command(ctx: click.Context, *, snapshot: str | None, run: str | None, graph: str | None, limit: int | None) -> None:
    """List the graphs and runs of the archive; with SNAP, the elements of its state with their sizes."""
    session = session_of(ctx)
    archive = session.open(read_only=True)
    if snapshot is None:
        _print_runs(session, overview.runs(archive, graph=graph, run=run), limit)
        return
    found, path = resolve.snapshot_and_path(archive, snapshot, run=run)
    wanted = _DEFAULT_ELEMENTS if limit is None else limit
    _print_elements(session, paths.follow(found, path) if path else found.view(), path, wanted)


def _print_runs(session: Session, runs: list[overview.RunFacts], limit: int | None) -> None:
    shown = runs[: limit or None]
    if session.json:
        for run in shown:
            fields = {
                "graph": run.graph,
                "run": run.run,
                "snapshots": run.snapshots,
                "leaves": run.leaves,
                "size_bytes": run.size_bytes,
                "stored_bytes": run.stored_bytes,
                "updated_at": output.iso(run.updated_at),
            }
            output.say(session, output.to_json("run", fields))
        return
    if not runs:
        click.echo("no snapshots yet: snapstore save or snapstore import", err=True)
        return
    rows = [
        [
            run.graph,
            run.run,
            f"{run.snapshots:,}",
            f"{run.leaves:,}",
            output.size(run.stored_bytes),
            output.when_in(session, run.updated_at),
        ]
        for run in shown
    ]
    headings = ["GRAPH", "RUN", "SNAPSHOTS", "LEAVES", "STORED", "CHANGED"]
    output.hidden(session, output.table(session, headings, rows, right={2, 3, 4}))


def _print_elements(session: Session, value: Any, path: paths.Path, limit: int) -> None:
    total = len(value) if preview.is_map(value) or preview.is_list(value) else 1
    for key, element in islice(_elements(value), limit or None):
        where = paths.format(path) if key is None else paths.format((*path, key))
        taken = inside.size_of(element)
        if session.json:
            fields = {"path": where, "kind": preview.kind(element), "size_bytes": taken}
            output.say(session, output.to_json("element", {**fields, "preview": preview.preview(element)}))
            continue
        line = f"{output.size(taken):>10}  {preview.kind(element):<16}  {output.printable(where or '$')}"
        columns = output.terminal_columns(session)
        room = _PREVIEW_COLUMNS if columns is None else max(0, min(100, columns - output.columns_of(line) - 2))
        shown = f"{line}  {preview.preview(element, room)}" if room > 8 else line
        output.say(session, shown if columns is None else output.cut(shown, columns))
    if limit and total > limit:
        click.echo(f"{limit:,} of {total:,}; all: -n 0", err=True)


def _elements(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (key, element) of a map or list; a plain value is its own only element, without a key."""
    if preview.is_map(value):
        yield from value.items()
    elif preview.is_list(value):
        yield from enumerate(value)
    else:
        yield None, value
