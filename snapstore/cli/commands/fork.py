"""`snapstore fork`: a new run that starts at any snapshot."""

from __future__ import annotations

import click

from snapstore.cli import output, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of


@click.command("fork", cls=CommandWithCommonOptions, short_help="Start a new run at any snapshot; copies nothing.")
@click.argument("snapshot", metavar="SNAP")
@click.option("--run", metavar="NAME", help="Name of the new run.  [default: a new one]")
@click.option("--of-run", metavar="NAME", help="What 'latest' refers to.")
@click.pass_context
def command(ctx: click.Context, *, snapshot: str, run: str | None, of_run: str | None) -> None:
    """Start a run whose first snapshot has the state of SNAP, and print that snapshot's id. SNAP stays as it is."""
    session = session_of(ctx)
    archive = session.open()
    source = resolve.snapshot(archive, snapshot, run=of_run)
    first = archive.fork(source.id, run=run)
    if session.json:
        output.say(session, output.to_json("snapshot", output.snapshot_fields(first)))
        return
    output.say(session, first.id)
    click.echo(f"run {output.printable(first.run)} starts at {source.id}", err=True)
