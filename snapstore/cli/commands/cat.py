"""`snapstore cat`: a state, or one value of it, raw."""

from __future__ import annotations

import sys
from typing import Any

import click

from snapstore.cli import output, paths, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of


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
def command(ctx: click.Context, *, snapshot: str, path_text: str | None, run: str | None, format: str) -> None:
    """Print the value at PATH of SNAP, for example latest:messages[-1].content; without PATH the whole state."""
    session = session_of(ctx)
    archive = session.open()
    if path_text is None:
        found, path = resolve.snapshot_and_path(archive, snapshot, run=run)
    else:
        found, path = resolve.snapshot(archive, snapshot, run=run), paths.parse(path_text)
    value = paths.load(found, path)
    if session.json:
        fields = {"id": found.id, "path": paths.format(path), "value": value}
        output.say(session, output.to_json("value", fields))
        return
    _write(value, format)


def _write(value: Any, format: str) -> None:
    """Write a value to stdout as bytes; text on a terminal gets an end of line."""
    stream = sys.stdout.buffer
    sys.stdout.flush()
    for piece in paths.encoded(value, format):
        stream.write(piece)
    stream.flush()
    if sys.stdout.isatty() and isinstance(value, str) and not value.endswith("\n"):
        click.echo()
