"""Tables of Arrow as results: aligned for people, CSV in a pipe, JSON or Arrow for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
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

_CHARS_PER_COLUMN = 4
"""Of a cell, so many characters are kept for each column of the terminal: some take no column, and states hold long texts."""

DOCUMENTS = "documents"
"""What `--json` chooses."""


def chosen_format(session: Session, format: str | None) -> str:
    """Return the format of a result, after the choices that make no sense were refused.

    Raises:
        click.UsageError: `--json` and `--format` together, or Arrow for a terminal.
    """
    if session.json:
        if format is not None:
            raise click.UsageError("--json and --format exclude each other")
        return DOCUMENTS
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
        print_table(session, head(session, stream))
        return
    names, rows = read_rows(stream, distinct=True)
    for row in rows:
        output.say(session, output.to_json("row", {"values": dict(zip(names, row, strict=True))}))


@dataclass(frozen=True, slots=True)
class Head:
    """The first rows of a table, as text.

    Attributes:
        names: Of the columns.
        rows: One text per column, on a terminal not much longer than its lines.
        numbers: Places of the columns that hold nothing but numbers.
        partial: Whether there are more rows.
    """

    names: list[str]
    rows: list[list[str]]
    numbers: frozenset[int]
    partial: bool


def head(session: Session, stream: Any, *, first: Sequence[str] = ()) -> Head:
    """Return as many rows of a table as `print_table` prints.

    Args:
        session: Where it is going to print.
        stream: Anything with `__arrow_c_stream__`.
        first: Names of columns that come before the others; the first holds ids.
    """
    from snapstore.export import read_rows

    names, found = read_rows(stream)
    order = sorted(range(len(names)), key=lambda place: first.index(names[place]) if names[place] in first else len(first))
    width = output.terminal_columns(session)
    rows: list[list[str]] = []
    numbers, others = set[int](), set[int]()
    for row in islice(found, MAX_TABLE_ROWS):
        values = [row[place] for place in order]
        for place, value in enumerate(values):
            if value is not None:
                (numbers if _is_number(value) else others).add(place)
        cells = [_cell(value)[: None if width is None else _CHARS_PER_COLUMN * width] for value in values]
        rows.append([output.short_id(cells[0], session), *cells[1:]] if first else cells)
    return Head([names[place] for place in order], rows, frozenset(numbers - others), next(found, None) is not None)


def print_table(session: Session, shown: Head, *, asked: int | None = None) -> None:
    """Print what `head` returned; on stderr, what is missing.

    Args:
        session: Where to print.
        shown: The table.
        asked: How many of the first columns the others make room for; all are alike when None.
    """
    number = len(shown.names) if asked is None else asked
    output.hidden(session, output.table(session, shown.names, shown.rows, right=shown.numbers, asked=number))
    if shown.partial:
        click.echo(f"the first {MAX_TABLE_ROWS:,} rows; all: --format csv", err=True)
    elif not shown.rows:
        click.echo("no rows", err=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
