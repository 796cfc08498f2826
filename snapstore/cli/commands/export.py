"""`snapstore export`: the index, or a scan, as a file or a Delta table."""

from __future__ import annotations

from typing import Any

import click

from snapstore.cli import filters, output, scanning
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import session_of

# Those of `snapstore.export`, which is not loaded for --help; a test holds the two together.
FORMATS = ("parquet", "arrow", "csv", "json", "jsonl", "delta")


@click.command("export", cls=CommandWithCommonOptions, short_help="Write the index, or a scan, to a file or a Delta table.")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--to", "target", required=True, metavar="FILE|URL", help="A new file, an object on a storage, or a Delta table.")
@click.option("--what", type=click.Choice(["snapshots", "edges", "scan"]), help="[default: scan with PATHs, snapshots without]")
@click.option("--format", "format", type=click.Choice(FORMATS), help="[default: by the name's ending]")
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option("--append", is_flag=True, help="Add to a Delta table that is there.")
@filters.filter_options
@scanning.scan_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[str, ...],
    target: str,
    what: str | None,
    format: Any,
    force: bool,
    append: bool,
    types: tuple[str, ...],
    on_error: str,
    limit: int | None,
    **chosen: Any,
) -> None:
    """Write all snapshots (--what snapshots), the edges between them and their parents, or the fields at PATH... of states.

    What is there is kept, unless --force or --append is given. A file appears under its name when all of it is written.
    Objects at s3:// and gs:// and Delta tables there take their credentials from the environment.
    """
    from snapstore.export import edges, export

    what = what or ("scan" if paths else "snapshots")
    if force and append:
        raise click.UsageError("--force and --append exclude each other")
    if (what == "scan") != bool(paths):
        raise click.UsageError("--what scan needs PATHs" if what == "scan" else f"--what {what} takes no PATHs")
    existing: Any = "replace" if force else "append" if append else "error"
    session = session_of(ctx)
    given = filters.where(chosen)
    if what != "scan" and (limit or types or set(given) - {"graph"}):
        raise click.UsageError(f"--what {what} is chosen by --graph alone; `snapstore list -n 0 --format csv` takes filters")
    scanning.check_target(target, format, existing)
    archive = session.open(read_only=True)
    if what == "scan":
        watch = scanning.Watch()
        plan = scanning.plan(archive, paths, types=types, on_error=on_error, limit=limit, chosen=chosen, watch=watch)
        with scanning.running(session, plan, watch):
            done = export(plan, target, format, existing=existing)
    else:
        table = archive.table(given.get("graph"))
        with scanning.typed_hints(), session.progress("exporting", None) as update:
            progress = lambda rows: update(rows, output.count(rows, "row"))  # noqa: E731
            done = export(table if what == "snapshots" else edges(table), target, format, existing=existing, progress=progress)
    output.exported(session, done)
