"""`snapstore show`: the facts about one snapshot."""

from __future__ import annotations

import json

import click

from snapstore.cli import output, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of


@click.command("show", cls=CommandWithCommonOptions, short_help="Show the facts about one snapshot.")
@click.argument("snapshot", metavar="SNAP")
@click.option("--run", metavar="NAME", help="What 'latest' refers to.")
@click.pass_context
def command(ctx: click.Context, *, snapshot: str, run: str | None) -> None:
    """Show where SNAP belongs, what it weighs and what it needs; reads no state."""
    session = session_of(ctx)
    archive = session.open(read_only=True)
    found = resolve.snapshot(archive, snapshot, run=run)
    if session.json:
        output.say(session, output.to_json("snapshot", output.snapshot_fields(found)))
        return
    pairs = [
        ("id", found.id),
        ("run", found.run),
        ("graph", found.graph),
        ("node", found.node or "-"),
        ("status", found.status),
        *[("parent", parent) for parent in found.parents],
        ("created", output.when(found.created_at)),
        ("updated", f"{output.when(found.updated_at)}, version {found.version}"),
        ("size", f"{output.size(found.size_bytes)} ({found.size_bytes:,} bytes)"),
        ("stored", f"{output.size(found.stored_bytes)} by this save ({found.stored_bytes:,} bytes)"),
        ("digest", found.digest),
    ]
    pairs += [(f"metadata.{key}", json.dumps(value, ensure_ascii=False)) for key, value in found.metadata.items()]
    output.facts(session, pairs)
