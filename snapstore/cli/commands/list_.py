"""`snapstore list`: snapshots, newest first, with filters."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from snapstore.cli import filters, output, results
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of

if TYPE_CHECKING:
    from snapstore.snapshot import SnapshotInfo

_DEFAULT_ROWS = 50

_PAGE_ROWS = 1000
"""Rows that are held at a time: a table is aligned by so many, a batch of Arrow has so many."""

_ASKED_COLUMNS = 2  # id and time: shortened names follow where there is room

_FIELDS = (
    "id",
    "run",
    "graph",
    "node",
    "status",
    "parents",
    "created_at",
    "updated_at",
    "size_bytes",
    "stored_bytes",
    "digest",
    "metadata",
    "version",
)
"""Columns of csv, json and jsonl in the order of SPEC.md (Index); their values are those of --json."""

_ARROW_COLUMNS = (*_FIELDS[:-1], "metadata_json", "version")
"""Those of the table `snapshots` of queries: what is listed is neither deleted nor replaced, so nothing needs to say so."""

_QUOTED = re.compile(r'[",\r\n]|^$|^\s|\s$')
"""What CSV holds in quotes; empty text too, because nothing at all is null."""


@click.command("list", cls=CommandWithCommonOptions, short_help="List snapshots, newest first, with filters.")
@filters.filter_options
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), metavar="N", default=_DEFAULT_ROWS, show_default=True, help="So many; 0 is all."
)
@click.option("--before", metavar="ID", help="Continue after this row of an earlier page.")
@click.option(
    "--max-staleness",
    type=filters.Age(),
    help="Leave out what was saved since the index was written, if that is at most so long ago: 30s, 5m.",
)
@click.option(
    "--format", "format", type=click.Choice(results.FORMATS), help="[default: table on a terminal, csv elsewhere; json is a list]"
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    limit: int,
    before: str | None,
    max_staleness: float | None,
    format: str | None,
    **chosen: Any,
) -> None:
    """List snapshots of all runs, newest first.

    csv, json and jsonl hold what --json holds, times in ISO 8601 and what is nested as JSON; arrow has the columns of the
    table snapshots of 'snapstore query'. Rows are written while they are read, so -n 0 may be any number.
    """
    session = session_of(ctx)
    shown = results.chosen_format(session, format)
    wanted = filters.where(chosen)
    archive = session.open(read_only=True)
    rows = _Counted(archive.list(**wanted, limit=limit or None, before=before, max_staleness=max_staleness))
    if shown == "table":
        _print_table(session, rows)
    else:
        sys.stdout.flush()
        if shown == "arrow":
            _write_arrow(rows, sys.stdout.buffer)
        else:
            sys.stdout.buffer.writelines(text.encode() for text in _texts(rows, shown))
        sys.stdout.buffer.flush()
    if limit and rows.count == limit:
        click.echo(f"the newest {limit}; more: -n {limit * 10}, or --before {rows.last}", err=True)
    elif not rows.count:
        click.echo("no snapshots", err=True)


class _Counted:
    """Rows that are counted as they go by.

    Attributes:
        count: How many there were.
        last: Id of the last one, as a shell would take it.
    """

    def __init__(self, rows: Iterable[SnapshotInfo]) -> None:
        self._rows = iter(rows)
        self.count = 0
        self.last = ""

    def __iter__(self) -> Iterator[SnapshotInfo]:
        for row in self._rows:
            self.count += 1
            self.last = output.printable(row.id)
            yield row

    def pages(self) -> Iterator[list[SnapshotInfo]]:
        """The rows, as many at a time as are held."""
        rest = iter(self)
        while page := list(islice(rest, _PAGE_ROWS)):
            yield page


def _print_table(session: Session, rows: _Counted) -> None:
    hidden: list[str] = []
    for page in rows.pages():
        hidden = output.table(
            session,
            ["ID", "CREATED", "STATUS", "NODE", "RUN", "GRAPH", "SIZE", "STORED"],
            [
                [
                    output.short_id(row.id, session),
                    output.when_in(session, row.created_at),
                    row.status,
                    row.node or "-",
                    row.run,
                    row.graph,
                    output.size(row.size_bytes),
                    output.size(row.stored_bytes),
                ]
                for row in page
            ],
            right={6, 7},
            status_column=2,
            asked=_ASKED_COLUMNS,
        )
    output.hidden(session, hidden)


def _texts(rows: Iterable[SnapshotInfo], format: str) -> Iterator[str]:
    """The pieces of a format that is text; none needs more than the standard library, because scripts list everywhere."""
    if format == results.DOCUMENTS:
        yield from (output.to_json("snapshot", output.snapshot_fields(row)) + "\n" for row in rows)
    elif format == "jsonl":
        yield from (_object(row) + "\n" for row in rows)
    elif format == "csv":
        yield ",".join(_FIELDS) + "\n"
        yield from (",".join(_cell(fields[name]) for name in _FIELDS) + "\n" for fields in map(output.snapshot_fields, rows))
    else:
        before = "[\n"
        for row in rows:
            yield before + _object(row)
            before = ",\n"
        yield "[\n]\n" if before == "[\n" else "\n]\n"


def _object(row: SnapshotInfo) -> str:
    fields = output.snapshot_fields(row)
    return json.dumps({name: fields[name] for name in _FIELDS}, ensure_ascii=False, separators=(",", ":"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, list | dict) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _write_arrow(rows: _Counted, file: BinaryIO) -> None:
    """Write a stream of Arrow IPC, a batch per page."""
    from snapstore.export.streams import arrow
    from snapstore.format.metadata import metadata_to_text
    from snapstore.index.arrow import schema
    from snapstore.index.rows import Row, to_table
    from snapstore.listing import milliseconds

    pa = arrow()

    def row_of(one: SnapshotInfo) -> Row:
        fields = {name: getattr(one, name) for name in _FIELDS}
        times = {name: milliseconds(fields[name]) for name in ("created_at", "updated_at")}
        return Row(**{**fields, **times, "metadata": metadata_to_text(fields["metadata"]), "deleted": False})

    with pa.ipc.new_stream(file, pa.schema([schema().field(name) for name in _ARROW_COLUMNS])) as writer:
        for page in rows.pages():
            table = to_table(map(row_of, page)).sort_by([("created_at", "descending"), ("id", "ascending")])
            writer.write_table(table.select(list(_ARROW_COLUMNS)))
