"""`snapstore index`: the state and the upkeep of the index."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from snapstore.cli import output
from snapstore.cli.options import CommandWithCommonOptions, GroupWithCommonOptions
from snapstore.cli.session import Session, session_of

if TYPE_CHECKING:
    from snapstore.index import IndexStatus, Rebuilt


@click.group("index", cls=GroupWithCommonOptions, short_help="Show the index, fold changes into it, or make it again.")
def command() -> None:
    """Look after the index: Parquet that makes lists and queries quick, and can be made again at any time.

    Writers keep it up by themselves when pyarrow is installed; 'index compact' is for cron where they cannot.
    """


@command.command("status", cls=CommandWithCommonOptions, short_help="Show the index, and what to do about it.")
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show the size of the index, how many changes wait to be folded into it, and the command that would help.

    Why a writer does not fold is in its own log, and in its archive.index.problem.
    """
    session = session_of(ctx)
    found = session.open(read_only=True).index.status()
    advice = _advice(found)
    if session.json:
        fields = asdict(found)
        del fields["problem"]  # of the process that asks, and this one does not fold
        times = {name: _iso(fields[name]) for name in ("folded_at", "rebuilding_since")}
        output.say(session, output.to_json("index", {**fields, **times, "advice": advice}))
        return
    replaced = f"; at most {found.revised:,} of them replaced" if found.revised else ""
    pairs = [
        ("state", "lost or damaged: lists read every register" if found.lost else "in use" if found.generation else "none yet"),
        ("rows", f"{found.rows:,} in {output.count(found.files, 'segment')}, {output.size(found.bytes)}{replaced}"),
        ("not folded", output.count(found.tail, "change")),
    ]
    if found.folded_at:
        pairs.append(("last fold", output.when(output.moment(found.folded_at))))
    if found.rebuilding_since is not None:
        pairs.append(("rebuilding", f"since {output.when(output.moment(found.rebuilding_since))}; if it has died, rebuild again"))
    if found.missing:
        pairs.append(("missing", f"{output.count(found.missing, 'segment')}: lists read every register"))
    if found.retired:
        pairs.append(("kept", f"{output.count(found.retired, 'replaced segment')}, for readers, until a later compaction"))
    output.facts(session, pairs)
    if advice is not None:
        click.echo(f"run: {advice}", err=True)


def _iso(since_1970_ms: int | None) -> str | None:
    return output.iso(output.moment(since_1970_ms)) if since_1970_ms else None


def _advice(found: IndexStatus) -> str | None:
    """Return the command that would make lists faster, None when none would."""
    from snapstore.index.tail import LONG_TAIL

    if found.lost or found.missing:
        return "snapstore index rebuild"
    return "snapstore index compact" if found.tail > LONG_TAIL else None


@command.command("refresh", cls=CommandWithCommonOptions, short_help="Fold changes into the index.")
@click.pass_context
def refresh(ctx: click.Context) -> None:
    """Fold the changes since the last fold, and merge the segments that are due."""
    session = session_of(ctx)
    archive = session.open()
    with session.progress("folding", None):
        done = archive.index.refresh()
    if session.json:
        output.say(session, output.to_json("refresh", asdict(done)))
        return
    _say_rebuilt(session, done.rebuilt)
    waiting = f", {done.waiting:,} wait for their saves" if done.waiting else ""
    output.say(session, f"folded {output.count(done.markers, 'change')} into {output.count(done.rows, 'row')}{waiting}")


@command.command("compact", cls=CommandWithCommonOptions, short_help="Fold changes, merge segments, delete replaced ones.")
@click.pass_context
def compact(ctx: click.Context) -> None:
    """Fold the changes since the last fold, merge segments as far as it goes, delete those that nobody needs any more."""
    session = session_of(ctx)
    archive = session.open()
    with session.progress("compacting", None):
        done = archive.index.compact()
    folded = done.folded
    assert folded is not None
    merges = folded.compacted.merges + done.merges
    written = folded.bytes_written + folded.compacted.bytes_written + done.bytes_written
    deleted = folded.compacted.deleted + done.deleted
    held_back = max(folded.compacted.held_back, done.held_back)
    if session.json:
        fields = {"markers": folded.markers, "waiting": folded.waiting, "merges": merges}
        sums = {"bytes_written": written, "deleted": deleted, "held_back": held_back}
        output.say(session, output.to_json("compact", {**fields, **sums}))
        return
    _say_rebuilt(session, folded.rebuilt)
    output.say(
        session,
        f"folded {output.count(folded.markers, 'change')}, merged {output.count(merges, 'time')}, "
        f"wrote {output.size(written)}, deleted {output.count(deleted, 'object')}",
    )
    if held_back:
        held = output.count(held_back, "segment")
        click.echo(f"left {held} to the rebuild under way; if it has died, run: snapstore index rebuild", err=True)


@command.command("rebuild", cls=CommandWithCommonOptions, short_help="Make the index again from the snapshots.")
@click.pass_context
def rebuild(ctx: click.Context) -> None:
    """Make the whole index again from the snapshots; the old one answers until the new one is complete."""
    session = session_of(ctx)
    archive = session.open()
    with session.progress("rebuilding", None) as update:
        done = archive.index.rebuild(lambda read: update(read, f"{read:,} snapshots"))
    if session.json:
        output.say(session, output.to_json("rebuild", asdict(done)))
        return
    output.say(session, _rebuilt_text(done))


def _rebuilt_text(done: Rebuilt) -> str:
    return (
        f"read {output.count(done.snapshots, 'snapshot')}, wrote {output.count(done.rows, 'row')} "
        f"in {output.count(done.files, 'segment')}, {output.size(done.bytes_written)} written in all"
    )


def _say_rebuilt(session: Session, done: Rebuilt | None) -> None:
    if done is not None:
        output.say(session, f"made the lost index again: {_rebuilt_text(done)}")
