"""`snapstore rm`: delete snapshots."""

from __future__ import annotations

import click

from snapstore.cli import output, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of
from snapstore.errors import NotFoundError

_EXIT_PARTIAL = 3


@click.command("rm", cls=CommandWithCommonOptions, short_help="Delete snapshots.")
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAP...")
@click.option("--run", metavar="NAME", help="What 'latest' refers to.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.pass_context
def command(ctx: click.Context, *, snapshots: tuple[str, ...], run: str | None, dry_run: bool) -> int:
    """Delete snapshots, each by itself: what follows them stays. Space is freed by a later collection.

    All names are looked up before anything is deleted; one that is ambiguous stops the command. Names that are not
    there are reported, the others are deleted, and the exit code is 3.
    """
    session = session_of(ctx)
    archive = session.open(read_only=dry_run)
    found, missing = {}, []
    for text in snapshots:
        try:
            snapshot = resolve.snapshot(archive, text, run=run)
        except NotFoundError as error:
            missing.append(error)
        else:
            found[snapshot.id] = snapshot
    for snapshot in found.values():
        if not dry_run:
            archive.delete(snapshot.id)
        if session.json:
            fields = {"id": snapshot.id, "run": snapshot.run, "deleted": not dry_run}
            output.say(session, output.to_json("deleted", fields))
        else:
            verb = "would delete" if dry_run else "deleted"
            output.say(session, f"{verb} {snapshot.id}  {output.when(snapshot.created_at)}  {snapshot.run}")
    if not missing:
        return 0
    if not found:
        raise missing[0]
    for absent in missing:
        click.echo(output.error_text(str(absent), absent.hint), err=True)
    return _EXIT_PARTIAL
