"""`snapstore stats`: what the archive takes, and what full copies would have taken."""

from __future__ import annotations

from typing import Any

import click

from snapstore.cli import output, overview
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of

_SHOWN_RUNS = 20


@click.command("stats", cls=CommandWithCommonOptions, short_help="Show what the archive takes, and what it saves.")
@click.option("--graph", metavar="NAME", help="Of this graph only.")
@click.option("--run", metavar="NAME", help="Of this run only.")
@click.option("--by", type=click.Choice(["graph", "run"]), default="graph", show_default=True)
@click.pass_context
def command(ctx: click.Context, *, graph: str | None, run: str | None, by: str) -> None:
    """Show the sizes of the archive: its states as full copies, what its saves stored, and the objects that hold it.

    Full copies are counted encoded and not compressed.
    """
    session = session_of(ctx)
    archive = session.open(read_only=True)
    runs = overview.runs(archive, graph=graph, run=run)
    objects = overview.objects(archive) if graph is None and run is None else {}
    groups: dict[str, overview.RunFacts] = {}
    for one in runs:
        key = one.run if by == "run" else one.graph
        total = groups.setdefault(key, overview.RunFacts(one.graph, one.run, one.updated_at))
        total.updated_at = max(total.updated_at, one.updated_at)
        total.snapshots += one.snapshots
        total.leaves += one.leaves
        total.size_bytes += one.size_bytes
        total.stored_bytes += one.stored_bytes
    sums: dict[str, int] = {
        "graphs": len({one.graph for one in runs}),
        "runs": len(runs),
        "snapshots": sum(one.snapshots for one in runs),
        "full_copies_bytes": sum(one.size_bytes for one in runs),
        "stored_bytes": sum(one.stored_bytes for one in runs),
    }
    if session.json:
        rows = [
            {
                by: key,
                "snapshots": one.snapshots,
                "leaves": one.leaves,
                "full_copies_bytes": one.size_bytes,
                "stored_bytes": one.stored_bytes,
            }
            for key, one in groups.items()
        ]
        documents = {kind: {"objects": n, "bytes": taken} for kind, (n, taken) in objects.items()}
        output.say(session, output.to_json("stats", {**sums, "objects": documents, f"by_{by}": rows}))
        return
    _print(session, sums, objects, groups, by)


def _print(
    session: Session,
    sums: dict[str, int],
    objects: dict[str, tuple[int, int]],
    groups: dict[str, overview.RunFacts],
    by: str,
) -> None:
    full, stored = sums["full_copies_bytes"], sums["stored_bytes"]
    pairs = [
        ("snapshots", f"{sums['snapshots']:,} in {sums['runs']:,} runs of {sums['graphs']:,} graphs"),
        ("full copies", output.size(full)),
        ("stored", f"{output.size(stored)} by saves; full copies take {output.ratio(full, stored)} that"),
    ]
    if objects:
        number = sum(n for n, _ in objects.values())
        taken = sum(size for _, size in objects.values())
        pairs.append(("on storage", f"{output.size(taken)} in {number:,} objects"))
        pairs += [(f"  {kind}", f"{output.size(size)} in {n:,}") for kind, (n, size) in objects.items()]
    output.facts(session, pairs)
    rows: list[list[Any]] = [
        [
            key,
            f"{one.snapshots:,}",
            f"{one.leaves:,}",
            output.size(one.size_bytes),
            output.size(one.stored_bytes),
            output.ratio(one.size_bytes, one.stored_bytes),
        ]
        for key, one in sorted(groups.items(), key=lambda item: -item[1].stored_bytes)
    ]
    if len(rows) > 1:
        output.say(session, "")
        headings = [by.upper(), "SNAPSHOTS", "LEAVES", "FULL COPIES", "STORED", "FACTOR"]
        output.hidden(session, output.table(session, headings, rows[:_SHOWN_RUNS], right={1, 2, 3, 4, 5}))
    if len(rows) > _SHOWN_RUNS:
        click.echo(f"the {_SHOWN_RUNS} largest of {len(rows):,}; all: --json", err=True)
