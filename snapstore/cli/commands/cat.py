"""`snapstore cat`: a state, or one value of it, raw."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from snapstore.cli import inside, output, paths, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of
from snapstore.errors import InvalidInputError

if TYPE_CHECKING:
    from snapstore.snapshot import Snapshot

_MAX_INDENTED_BYTES = 4 * 1024 * 1024
"""Larger states are streamed in one line even on a terminal: nobody reads them there, and indenting doubles them."""


@click.command("cat", cls=CommandWithCommonOptions, short_help="Print a state, or one value of it.")
@click.argument("snapshot", metavar="SNAP[:PATH]")
@click.option("--path", "path_text", metavar="PATH", help="The path, when the id itself holds a colon.")
@click.option("--run", metavar="NAME", help="What 'latest' refers to.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["auto", "json", "msgpack", "raw"]),
    default="auto",
    show_default=True,
    help="auto: text and bytes as they are, everything else as JSON.",
)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    snapshot: str,
    path_text: str | None,
    run: str | None,
    format: Literal["auto", "json", "msgpack", "raw"],
) -> None:
    """Print the value at PATH of SNAP, for example latest:messages[-1].content; without PATH the whole state."""
    session = session_of(ctx)
    archive = session.open(read_only=True)
    if path_text is None:
        found, path = resolve.snapshot_and_path(archive, snapshot, run=run)
    else:
        found, path = resolve.snapshot(archive, snapshot, run=run), paths.parse(path_text)
    if session.json:
        fields = {"id": found.id, "path": paths.format(path), "value": _value(found, path)}
        output.say(session, output.to_json("value", fields))
        return
    if any(isinstance(step, slice) for step in path):
        _write_part(_value(found, path), format)
        return
    sys.stdout.flush()
    if format == "auto":
        _write_auto(found, path)
    else:
        inside.write(found, sys.stdout.buffer, path, format)
    sys.stdout.buffer.flush()


def _value(found: Snapshot, path: paths.Path) -> Any:
    """Return the value at a path, whole."""
    value = paths.follow(found, path) if path else found.state()
    return value.load() if hasattr(value, "load") else value


def _write_auto(found: Snapshot, path: paths.Path) -> None:
    """Write text and bytes as they are, everything else as JSON, indented on a terminal."""
    terminal = sys.stdout.isatty()
    try:
        inside.write(found, sys.stdout.buffer, path, "raw")
    except InvalidInputError as error:
        if error.code != "not_raw":
            raise
        if terminal and found.size_bytes <= _MAX_INDENTED_BYTES:
            _write_part(_value(found, path), "auto")
        else:
            inside.write(found, sys.stdout.buffer, path, "json")
    else:
        if terminal:
            sys.stdout.buffer.write(b"\n")


def _write_part(value: Any, format: str) -> None:
    """Write a value that is in memory: indented JSON, or MessagePack."""
    if format == "raw":
        raise InvalidInputError("a part of a list cannot be written raw", code="not_raw", hint="use --format json")
    if format == "msgpack":
        from snapstore.format import values

        sys.stdout.buffer.write(values.encode(value))
        return
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the value does not fit into JSON: {error}", code="not_json", hint="use --format msgpack, or --json"
        ) from error
    click.echo(text)
