"""`snapstore save`: one snapshot from a file or standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snapstore.cli import filters, output, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of
from snapstore.errors import CorruptionError, InvalidInputError

if TYPE_CHECKING:
    from snapstore.archive import Archive

_MSGPACK_SUFFIXES = {".msgpack", ".mpk", ".mp"}


@click.command("save", cls=CommandWithCommonOptions, short_help="Save one snapshot from a file or standard input.")
@click.argument("file", required=False, default="-")
@click.option("--run", required=True, metavar="NAME", help="The run that it belongs to.")
@click.option("--graph", metavar="NAME", help="The graph that the run executes.  [default: that of the parent]")
@click.option("--node", metavar="NAME", help="The step that produced it.")
@click.option("--parent", metavar="SNAP", help="What it follows.  [default: the latest of the run]")
@click.option("--no-parent", is_flag=True, help="It follows nothing: a history of its own.")
@click.option("--id", "id", metavar="ID", help="Its id; an existing snapshot gets a new version.  [default: a new one]")
@click.option("--status", metavar="TEXT", default="completed", show_default=True)
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="A small fact; the value is JSON or text.")
@click.option("--format", "format", type=click.Choice(["auto", "json", "msgpack"]), default="auto", show_default=True)
@click.pass_context
def command(
    ctx: click.Context,
    *,
    file: str,
    run: str,
    graph: str | None,
    node: str | None,
    parent: str | None,
    no_parent: bool,
    id: str | None,
    status: str,
    metadata: tuple[str, ...],
    format: str,
) -> None:
    """Save the state in FILE (JSON or MessagePack; - or nothing: standard input) and print the snapshot's id."""
    session = session_of(ctx)
    if parent and no_parent:
        raise click.UsageError("--parent and --no-parent exclude each other")
    facts = filters.pairs("--metadata", metadata)
    state = _read(file, format)
    archive = session.open()
    above = None if no_parent else _parent(archive, run, parent)
    snapshot = archive.save(
        state,
        run=run,
        graph=graph or (above.graph if above is not None else "default"),
        node=node,
        parent=above,
        id=id,
        status=status,
        metadata=facts,
    )
    if session.json:
        output.say(session, output.to_json("snapshot", output.snapshot_fields(snapshot)))
        return
    output.say(session, snapshot.id)
    click.echo(f"saved {output.size(snapshot.size_bytes)}, stored {output.size(snapshot.stored_bytes)}", err=True)


def _parent(archive: Archive, run: str, parent: str | None) -> Any:
    return archive.latest(run) if parent is None else resolve.snapshot(archive, parent, run=run)


def _read(file: str, format: str) -> Any:
    """Return the state that a file holds."""
    if file == "-":
        if sys.stdin.isatty():
            raise click.UsageError("name a FILE, or pipe the state into standard input")
        data = sys.stdin.buffer.read()
    else:
        path = Path(file)
        if not path.is_file():
            raise InvalidInputError("no such file", code="input_not_found", file=file)
        data = path.read_bytes()
        if format == "auto" and path.suffix in _MSGPACK_SUFFIXES:
            format = "msgpack"
    if format == "auto":
        # No MessagePack of more than one byte begins with a sign that begins JSON: those are small numbers.
        format = "json" if data.lstrip()[:1] in {bytes([c]) for c in b'{["-0123456789tfnNI'} else "msgpack"
    return _decoded(data, format, file)


def _decoded(data: bytes, format: str, file: str) -> Any:
    try:
        if format == "msgpack":
            from snapstore.format import values

            return values.decode(data)
        return json.loads(data)
    except (ValueError, RecursionError, CorruptionError) as error:
        raise InvalidInputError(
            f"the input is not {'MessagePack' if format == 'msgpack' else 'JSON'}: {error}",
            code="malformed_input",
            hint="name the format with --format",
            file=file,
        ) from error
