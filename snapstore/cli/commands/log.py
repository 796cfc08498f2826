"""`snapstore log`: the history of a run, with lanes when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from snapstore.cli import lanes, output, preview
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of
from snapstore.errors import NotFoundError

if TYPE_CHECKING:
    from snapstore.snapshot import Snapshot, SnapshotInfo

_DEFAULT_ROWS = 50
"""Rows of the whole archive when no run is named; a run is shown whole."""

_METADATA_COLUMNS = 48


@click.command("log", cls=CommandWithCommonOptions, short_help="Show the history of a run, newest first.")
@click.argument("run", required=False)
@click.option("--graph", "as_graph", is_flag=True, help="Draw branches and joins as lanes.")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N snapshots.")
@click.pass_context
def command(ctx: click.Context, *, run: str | None, as_graph: bool, limit: int | None) -> None:
    """Show the history of RUN, newest first; without RUN, the newest snapshots of all runs."""
    session = session_of(ctx)
    archive = session.open(read_only=True)
    rows: Sequence[Snapshot | SnapshotInfo]
    if run is None:
        limit = limit or _DEFAULT_ROWS
        rows = list(archive.list(limit=limit))
    else:
        rows = list(archive.log(run, limit=limit))
        if not rows:
            raise NotFoundError("this run has no snapshots", code="run_not_found", hint="snapstore ls", run=run)
    if session.json:
        for row in rows:
            output.say(session, output.to_json("snapshot", output.snapshot_fields(row)))
        return
    _print(session, rows, as_graph, partial=limit is not None and len(rows) >= limit, with_run=run is None)


def _print(session: Session, rows: Sequence[Snapshot | SnapshotInfo], as_graph: bool, *, partial: bool, with_run: bool) -> None:
    """Print one line per snapshot, and the lines between them.

    A parent that is not among the rows is further down when the history is shown in part, otherwise in another run.
    """
    shown = {row.id for row in rows}
    texts = dict(zip([row.id for row in rows], _texts(session, rows, shown, partial, with_run), strict=True))
    if not as_graph:
        for row in rows:
            say_cut(session, "", texts[row.id])
        return
    drawing = [lanes.Row(row.id, [p for p in row.parents if partial or p in shown]) for row in rows]
    for drawn in lanes.draw(lanes.sort(drawing)):
        for line in drawn.before:
            say_cut(session, line, "")
        say_cut(session, drawn.lane + "  ", texts[drawn.id])
        for line in drawn.after:
            say_cut(session, line, "")


def say_cut(session: Session, lane: str, text: str) -> None:
    """Print lanes and text, cut at the terminal's width."""
    limit = output.terminal_columns(session)
    line = lane + text
    if limit is not None:
        line = output.cut(line, limit)
    drawn, rest = line[: len(lane)], line[len(lane) :]
    id, gap, facts = rest.partition("  ")
    output.say(session, output.paint_lanes(session, drawn) + output.paint(session, id, "yellow") + gap + facts)


def _texts(
    session: Session, rows: Sequence[Snapshot | SnapshotInfo], shown: set[str], partial: bool, with_run: bool
) -> list[str]:
    """Return the text of each row, its columns aligned."""
    cells = [
        [
            output.short_id(row.id, session),
            output.when_in(session, row.created_at),
            *([output.cut(output.printable(row.run), 32)] if with_run else []),
            output.cut(output.printable(row.node or "-"), 28),
            output.cut(output.printable(row.status), 16),
            f"+{output.size(row.stored_bytes)}",
        ]
        for row in rows
    ]
    widths = [max((output.columns_of(line[i]) for line in cells), default=0) for i in range(len(cells[0]))]
    texts = []
    for row, line in zip(rows, cells, strict=True):
        padded = [cell + " " * (width - output.columns_of(cell)) for cell, width in zip(line, widths, strict=True)]
        elsewhere = [] if partial else [p for p in row.parents if p not in shown]
        extra = [f"from {output.short_id(p, session)}" for p in elsewhere]
        extra += [
            f"{key}={value if isinstance(value, str) else preview.preview(value, 24)}" for key, value in row.metadata.items()
        ]
        texts.append("  ".join([*padded, output.cut(output.printable(" ".join(extra)), _METADATA_COLUMNS)]).rstrip())
    return texts
