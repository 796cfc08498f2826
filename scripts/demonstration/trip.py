"""The run that the demonstration makes by itself: an agent that books a trip, and a second try with another budget."""

from __future__ import annotations

import datetime
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snapstore import Archive, Snapshot, SnapshotDraft

GRAPH = "travel-agent"

# As incompressible as the picture in a real ticket: nobody shall think that a small archive is zstd's doing here.
TICKET = b"%PDF-1.7\n" + random.Random(1).randbytes(40 * 1024)

STEPS: tuple[tuple[str, str, str], ...] = (
    ("plan", "user", "Book me a trip from Hamburg to Lisbon, 12 to 16 May, at most 600 euros in all."),
    ("search", "tool", "14 flights found; the cheapest fitting one leaves at 06:55 and costs 214 euros with a bag."),
    ("choose", "assistant", "The 06:55 flight and four nights in Alfama at 79 euros make 530 euros. Shall I book?"),
    ("confirm", "user", "Yes, please."),
    ("book", "tool", "Booked: flight TP567, confirmation X4J9QZ; room for four nights, confirmation 88-1207."),
    ("report", "assistant", "Done. 530 euros, 70 below your limit. The ticket is attached."),
)

BY_TRAIN: tuple[tuple[str, str, str], ...] = (
    ("search", "tool", "3 connections found; Hamburg, Paris, Irun, Lisbon: two nights on the way, 268 euros."),
    ("choose", "assistant", "By train it is 268 euros there, and three nights in Alfama: 505 euros. Shall I book?"),
)


def free_name(archive: Archive) -> str:
    """Return a name for a run that the archive does not have yet: each demonstration makes one trip more."""
    number = 1
    while archive.latest(f"trip-{number}") is not None:
        number += 1
    return f"trip-{number}"


def first_state() -> dict[str, Any]:
    """Return the agent's state before anything happened."""
    return {
        "goal": "a trip to Lisbon",
        "leaves_on": datetime.date(2026, 5, 12),
        "limit_eur": 600,
        "by": {"plane"},
        "messages": [],
        "spent_eur": 0.0,
    }


def make(archive: Archive, name: str) -> tuple[list[Snapshot], dict[str, Any]]:
    """Save one snapshot for each step.

    Returns:
        The snapshots, oldest first, and the last state.
    """
    state = first_state()
    run = archive.run(name, graph=GRAPH)
    saved = []
    for node, role, text in STEPS:
        state["messages"].append({"role": role, "content": text})
        if node == "book":
            state["spent_eur"] = 530.0
            state["ticket.pdf"] = TICKET
        last = node == STEPS[-1][0]
        saved.append(run.save(state, id=f"{name}.{node}", node=node, status="completed" if last else "running"))
    return saved, state


def fork(archive: Archive, source: Snapshot, name: str) -> Snapshot:
    """Begin another run at an older snapshot and go on differently; return the first snapshot of the new run."""
    first = archive.fork(source.id, run=name, new_id=f"{name}.plan", patch={"by": {"train"}})
    state = first.state()
    run = archive.run(name, graph=GRAPH)
    for node, role, text in BY_TRAIN:
        state["messages"].append({"role": role, "content": text})
        run.save(state, id=f"{name}.{node}", node=node, status="waiting" if node == "choose" else "running")
    return first


def rate(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    """Note what the traveller thought of it: the state is not touched, so no pack is written."""
    if draft is not None:
        draft.metadata["stars"] = 5
    return draft
