"""Tables of Arrow as results: aligned for people, CSV in a pipe, JSON or Arrow for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import click

from snapstore.cli import output

if TYPE_CHECKING:
    from snapstore.cli.session import Session

FORMATS = ("table", "csv", "json", "jsonl", "arrow")
"""What standard output can get; all but the table are formats of `snapstore.export`, a test holds the two together."""

MAX_TABLE_ROWS = 1000
"""Columns are as wide as their widest cell, so a table is held in memory; nobody reads so many rows on a screen."""

_DOCUMENTS = "documents"


def chosen_format(session: Session, format: str | None) -> str:
    """Return the format of a result, after the choices that make no sense were refused.

    Raises:
        click.UsageError: `--json` and `--format` together, or Arrow for a terminal.
    """
    if session.json:
        if format is not None:
            raise click.UsageError("--json and --format exclude each other")
        return _DOCUMENTS
    if format == "arrow" and sys.stdout.isatty():
        raise click.UsageError("Arrow is binary and this is a terminal: pipe it on, or redirect it into a file")
    return format or ("table" if session.on_terminal else "csv")


def show(session: Session, stream: Any, format: str) -> None:
    """Print a table that engines can read.

    Args:
        session: Where to print.
        stream: Anything with `__arrow_c_stream__`.
        format: What `chosen_format` returned.
    """
    from snapstore.export import FORMATS, Format, read_rows, write

    if format in FORMATS:
        sys.stdout.flush()
        write(stream, sys.stdout.buffer, cast("Format", format))
        sys.stdout.buffer.flush()
        return
    if format == "table":
        print_table(session, *head(stream))
        return
    names, rows = read_rows(stream, distinct=True)
    for row in rows:
        output.say(session, output.to_json("row", {"values": dict(zip(names, row, strict=True))}))


def head(stream: Any) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the names of a table's columns, and as many of its rows as `print_table` needs."""
    from snapstore.export import read_rows

    names, rows = read_rows(stream)
    return names, list(islice(rows, MAX_TABLE_ROWS + 1))


def print_table(session: Session, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print what `head` returned; on stderr, whether that is all."""
    shown = rows[:MAX_TABLE_ROWS]
    right = {
        column
        for column in range(len(names))
        if all(row[column] is None or (isinstance(row[column], int | float) and row[column] is not True) for row in shown)
    }
    output.table(session, [output.printable(name) for name in names], [[*map(_cell, row)] for row in shown], right=right)
    if len(rows) > MAX_TABLE_ROWS:
        click.echo(f"the first {MAX_TABLE_ROWS:,} rows; all: --format csv", err=True)
    elif not rows:
        click.echo("no rows", err=True)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
