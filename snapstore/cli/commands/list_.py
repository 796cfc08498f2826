"""`snapstore list`: snapshots, newest first, with filters."""

from __future__ import annotations

from typing import Any

import click

from snapstore.cli import filters, output
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of

_DEFAULT_ROWS = 50


@click.command("list", cls=CommandWithCommonOptions, short_help="List snapshots, newest first, with filters.")
@filters.filter_options
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", default=_DEFAULT_ROWS, show_default=True)
@click.option("--before", metavar="ID", help="Continue after this row of an earlier page.")
@click.option(
    "--max-staleness",
    type=filters.Age(),
    help="Leave out what was saved since the index was written, if that is at most so long ago: 30s, 5m.",
)
@click.pass_context
def command(ctx: click.Context, /, *, limit: int, before: str | None, max_staleness: float | None, **chosen: Any) -> None:
    """List snapshots of all runs, newest first."""
    session = session_of(ctx)
    wanted = filters.where(chosen)
    archive = session.open(read_only=True)
    rows = list(archive.list(**wanted, limit=limit, before=before, max_staleness=max_staleness))
    if session.json:
        for row in rows:
            output.say(session, output.to_json("snapshot", output.snapshot_fields(row)))
        return
    if rows:
        output.table(
            session,
            ["ID", "CREATED", "STATUS", "NODE", "RUN", "GRAPH", "SIZE", "STORED"],
            [
                [
                    output.short_id(row.id, session),
                    output.when_in(session, row.created_at),
                    row.status,
                    row.node or "-",
                    row.run,
                    row.graph,
                    output.size(row.size_bytes),
                    output.size(row.stored_bytes),
                ]
                for row in rows
            ],
            right={6, 7},
            status_column=2,
        )
    if len(rows) == limit:
        click.echo(f"the newest {limit}; more: -n {limit * 10}, or --before {rows[-1].id}", err=True)
    elif not rows:
        click.echo("no snapshots", err=True)
