"""`snapstore list`: snapshots, newest first, with filters."""

from __future__ import annotations

import datetime
import re

import click

from snapstore import clock
from snapstore.cli import output
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of

_DEFAULT_ROWS = 50
_AGE = re.compile(r"(\d{1,6})\s*([smhdwy])")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_557_600}


class Moment(click.ParamType[datetime.datetime]):
    """A time: ISO 8601 (UTC when it names no zone), or an age like 30m, 12h, 3d, 2w."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Return the time that a text names."""
        if isinstance(value, datetime.datetime):
            return value
        text = str(value).strip()
        age = _AGE.fullmatch(text)
        if age:
            seconds = clock.now_ms() / 1000 - int(age[1]) * _AGE_SECONDS[age[2]]
            return datetime.datetime.fromtimestamp(max(0.0, seconds), datetime.UTC)
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no time: write 2026-11-20, 2026-11-20T12:30Z or an age like 12h", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


@click.command("list", cls=CommandWithCommonOptions, short_help="List snapshots, newest first, with filters.")
@click.option("--graph", metavar="NAME", help="Of this graph only.")
@click.option("--run", metavar="NAME", help="Of this run only.")
@click.option("--status", metavar="TEXT", help="With this status only.")
@click.option("--since", type=Moment(), help="Changed at or after: a time, or an age like 12h, 3d.")
@click.option("--until", type=Moment(), help="Changed before: a time or an age.")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", default=_DEFAULT_ROWS, show_default=True)
@click.option("--before", metavar="ID", help="Continue after this row of an earlier page.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    graph: str | None,
    run: str | None,
    status: str | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    limit: int,
    before: str | None,
) -> None:
    """List snapshots of all runs, newest first."""
    session = session_of(ctx)
    archive = session.open(read_only=True)
    rows = list(archive.list(graph=graph, run=run, status=status, since=since, until=until, limit=limit, before=before))
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
