"""`snapstore diff`: what differs between two snapshots."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from snapstore.cli import output, paths, preview, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of

if TYPE_CHECKING:
    from snapstore.history.diff import Change

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_EXIT_DIFFERS = 1
_VALUE_COLUMNS = 100


@click.command("diff", cls=CommandWithCommonOptions, short_help="Show what differs between two snapshots.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--run", metavar="NAME", help="What 'latest' refers to.")
@click.option("--stat", is_flag=True, help="Count the changes only.")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 1 when they differ.")
@click.pass_context
def command(ctx: click.Context, *, a: str, b: str, run: str | None, stat: bool, exit_code: bool) -> int:
    """Show how the state of A becomes that of B; reads only what differs.

    The order is that of time: 'diff latest~1 latest' shows what the last step did.
    """
    session = session_of(ctx)
    archive = session.open(read_only=True)
    old, new = resolve.snapshot(archive, a, run=run), resolve.snapshot(archive, b, run=run)
    counts: Counter[str] = Counter()
    for change in archive.diff(old, new):
        counts[change.kind] += 1
        if not stat:
            _print(session, change)
    if stat:
        _print_counts(session, counts, old.id, new.id)
    return _EXIT_DIFFERS if exit_code and counts else 0


def _print(session: Session, change: Change) -> None:
    where = paths.format(change.path) or "$"
    if session.json:
        fields = {"path": where, "kind": change.kind}
        values = {"old": change.old, "new": change.new}
        if change.kind == "added":
            del values["old"]
        elif change.kind == "removed":
            del values["new"]
        output.say(session, output.to_json("change", {**fields, **values}))
        return
    sign, color = _SIGNS[change.kind]
    columns = output.terminal_columns(session)
    room = _VALUE_COLUMNS if columns is None else max(12, columns - output.columns_of(where) - 4)
    if change.kind == "changed":
        half = max(8, (room - 4) // 2)
        text = f"{preview.preview(change.old, half)} -> {preview.preview(change.new, half)}"
    else:
        text = preview.preview(change.new if change.kind == "added" else change.old, room)
    line = f"{sign} {output.printable(where)}  {text}"
    output.say(session, output.paint(session, line if columns is None else output.cut(line, columns), color))


def _print_counts(session: Session, counts: Counter[str], a: str, b: str) -> None:
    numbers = {kind: counts[kind] for kind in _SIGNS}
    if session.json:
        output.say(session, output.to_json("diff", {"a": a, "b": b, **numbers}))
    else:
        output.say(session, ", ".join(f"{number:,} {kind}" for kind, number in numbers.items()))
