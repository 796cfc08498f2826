"""`snapstore init`: create an archive."""

from __future__ import annotations

import click

from snapstore.cli import output
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of
from snapstore.errors import NotFoundError


@click.command("init", cls=CommandWithCommonOptions, short_help="Create an archive.")
@click.argument("url", required=False)
@click.pass_context
def command(ctx: click.Context, *, url: str | None) -> None:
    """Create an archive at URL: a folder, s3://bucket/prefix, gs://, az:// or an fsspec URL.

    An archive that is there already is left as it is.
    """
    session = session_of(ctx)
    session.repo = url or session.repo
    if session.repository().startswith("memory:"):
        raise click.UsageError("an archive in memory ends with this command; name a folder or a bucket")
    try:
        archive, created = session.open(), False
    except NotFoundError:
        archive, created = session.open(create=True), True
    if session.json:
        output.say(session, output.to_json("init", {"url": archive.url, "id": archive.id, "created": created}))
        return
    output.say(session, f"{'created' if created else 'there is already'} an archive at {archive.url}")
    if created:
        click.echo(f"next: export SNAPSTORE_REPOSITORY={archive.url}", err=True)
