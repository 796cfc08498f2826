"""`snapstore query`: SQL over the index."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from snapstore.cli import filters, results
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of
from snapstore.errors import InvalidInputError

_NAMED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@click.command("query", cls=CommandWithCommonOptions, short_help="Ask the index in SQL.")
@click.argument("sql", required=False, metavar="[SQL|-]")
@click.option("--file", "file", metavar="FILE", help="Read the SQL from a file; - for SQL reads it from standard input.")
@click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="[NAME=]VALUE",
    help="For $NAME in the SQL, or for the next ?; the value is JSON or text. May be repeated.",
)
@click.option(
    "--format", "format", type=click.Choice(results.FORMATS), help="[default: table on a terminal, csv elsewhere; json is a list]"
)
@click.pass_context
def command(ctx: click.Context, *, sql: str | None, file: str | None, parameters: tuple[str, ...], format: str | None) -> None:
    """Run SQL, in DuckDB's dialect, over the tables snapshots and edges (snapshot, parent, ordinal).

    Columns of snapshots: id run graph node status parents created_at updated_at size_bytes stored_bytes digest metadata
    version, where metadata['model'] is a fact as text. Nothing is written; SET may stand before the query. Times are
    printed in ISO 8601, bytes as hex.
    """
    session = session_of(ctx)
    text = _sql(sql, file)
    wanted = results.chosen_format(session, format)
    values = _parameters(parameters)
    archive = session.open(read_only=True)
    try:
        with archive.query(text, values) as found:
            results.show(session, found, wanted)
    except InvalidInputError as error:
        if "statements" in error.context:  # there was something else than one SELECT
            error.hint = "before it, SET may stand; to keep a result: --format csv > FILE"
        raise


def _sql(sql: str | None, file: str | None) -> str:
    if (sql is None) == (file is None):
        raise click.UsageError("give the SQL, or a file with --file, or - to read it from standard input")
    if sql == "-":
        if sys.stdin.isatty():
            raise click.UsageError("pipe the SQL into standard input")
        sql = sys.stdin.read()
    elif file is not None:
        path = Path(file)
        if not path.is_file():
            raise InvalidInputError("no such file", code="input_not_found", file=file)
        sql = path.read_text(encoding="utf-8")
    assert sql is not None
    if not sql.strip():
        raise InvalidInputError("there is no SQL", code="query_failed")
    return sql


def _parameters(texts: Sequence[str]) -> dict[str, Any] | list[Any] | None:
    """Return the values for `$name`, or those for `?`; None without any."""
    found = [_NAMED.fullmatch(text) for text in texts]
    named = {match[1]: filters.json_or_text(match[2]) for match in found if match is not None}
    if not named:
        return [filters.json_or_text(text) for text in texts] or None
    if None in found:
        raise click.UsageError("--param: either all with names or none")
    return named
