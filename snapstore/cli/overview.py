"""What an archive holds, by run: the sums behind `ls` and `stats`.

Costs one register read per snapshot: there is no index of runs yet.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snapstore.format import names

if TYPE_CHECKING:
    from snapstore.archive import Archive


@dataclass(slots=True)
class RunFacts:
    """Sums over the snapshots of one run.

    Attributes:
        graph: Graph of its newest snapshot.
        run: Its name.
        updated_at: When it last changed.
        snapshots: Number of snapshots.
        leaves: Snapshots of it that no snapshot of it follows.
        size_bytes: What full copies of all its states would take, encoded and not compressed.
        stored_bytes: What its saves added to the archive.
    """

    graph: str
    run: str
    updated_at: datetime.datetime
    snapshots: int = 0
    leaves: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0


def runs(archive: Archive, *, graph: str | None = None, run: str | None = None) -> list[RunFacts]:
    """Return the runs of the archive (of one graph, or one run only), the last changed first."""
    found: dict[str, RunFacts] = {}
    members: dict[str, set[str]] = {}
    followed: dict[str, set[str]] = {}
    for row in archive.list(graph=graph, run=run):
        facts = found.setdefault(row.run, RunFacts(row.graph, row.run, row.updated_at))
        facts.updated_at = max(facts.updated_at, row.updated_at)
        facts.snapshots += 1
        facts.size_bytes += row.size_bytes
        facts.stored_bytes += row.stored_bytes
        members.setdefault(row.run, set()).add(row.id)
        followed.setdefault(row.run, set()).update(row.parents)
    for name, facts in found.items():
        facts.leaves = len(members[name] - followed[name])
    return sorted(found.values(), key=lambda facts: facts.updated_at, reverse=True)


_KINDS = {
    names.SNAPSHOTS_PREFIX: "registers",
    names.RUNS_PREFIX: "packs",
    names.PACKS_PREFIX: "packs",
    names.CHANGES_PREFIX: "change markers",
    names.NAMESPACES_PREFIX: "namespaces",
}


def objects(archive: Archive) -> dict[str, tuple[int, int]]:
    """Return {kind: (objects, bytes)} of everything in the archive; one listing, a request per thousand objects."""
    found: dict[str, tuple[int, int]] = {}
    for info in archive.storage.list(""):
        kind = _KINDS.get(info.key.partition("/")[0] + "/", "config and others")
        number, taken = found.get(kind, (0, 0))
        found[kind] = (number + 1, taken + info.size)
    return found
