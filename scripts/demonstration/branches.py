"""A history in a few lines: where it began, where it branched, where it ended, and how much lies between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from snapstore.cli import lanes

if TYPE_CHECKING:
    from snapstore import Snapshot


def condensed(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    """Yield the lines of a drawing with lanes; straight stretches are one line each.

    Args:
        snapshots: A whole run, newest first, as `Archive.log` gives it.
    """
    known = {snapshot.id: snapshot for snapshot in snapshots}
    children = Counter(parent for snapshot in snapshots for parent in snapshot.parents if parent in known)
    rows: list[lanes.Row[str]] = []
    texts: dict[str, str] = {}
    for snapshot in snapshots:
        if _is_straight(snapshot, known, children):
            continue
        parents = []
        for parent in (p for p in snapshot.parents if p in known):
            end, skipped = _down(parent, known, children)
            if skipped:
                # A row of its own for the stretch; its name cannot be that of a snapshot in the same drawing.
                stretch = f"{snapshot.id}\0{parent}"
                texts[stretch] = f"{skipped} more"
                parents.append(stretch)
            else:
                parents.append(end)
        rows.append(lanes.Row(snapshot.id, parents))
        texts[snapshot.id] = _text(snapshot)
        rows += [lanes.Row(name, [_down(name.partition("\0")[2], known, children)[0]]) for name in parents if "\0" in name]
    for drawn in lanes.draw(lanes.sort(rows)):
        yield from drawn.before
        lane = drawn.lane.replace("*", ":") if "\0" in drawn.id else drawn.lane
        yield f"{lane}  {texts[drawn.id]}"
        yield from drawn.after


def _is_straight(snapshot: Snapshot, known: dict[str, Snapshot], children: Counter[str]) -> bool:
    """Whether a snapshot has one parent and one child, so that a drawing loses nothing without it."""
    return children[snapshot.id] == 1 and sum(parent in known for parent in snapshot.parents) == 1


def _down(id: str, known: dict[str, Snapshot], children: Counter[str]) -> tuple[str, int]:
    """Return the first snapshot from `id` downwards that is drawn, and how many are left out before it."""
    skipped = 0
    while _is_straight(known[id], known, children):
        id = next(parent for parent in known[id].parents if parent in known)
        skipped += 1
    return id, skipped


def _text(snapshot: Snapshot) -> str:
    facts = "  ".join(f"{key}={snapshot.metadata[key]}" for key in ("trials", "rewards") if key in snapshot.metadata)
    id = snapshot.id if len(snapshot.id) < 32 else snapshot.id[:12]
    return f"{id}  {snapshot.node or '-'}  {snapshot.status}  {facts}".rstrip()
