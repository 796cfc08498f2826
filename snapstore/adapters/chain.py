"""Chains: the versions of one thing under one name, for contracts that overwrite in place.

A conversation, a wizard, a flow: its contract knows one current value. Here every write is a snapshot of its own, the
child of the one before, so that the thing has a history, and saves share what they have in common. Version 12 of
`flowkit:user-1` is the snapshot `flowkit:user-1@00000012`; appending is creating the next number, which of any number of
rivals exactly one can do: a compare-and-swap in one round trip that leaves no other trace. Ending a chain appends a
version that says so, then deletes the others: a rival who still stands on an older version meets the end and not a gap.

A chain remembers the newest version it saw of each name. How long it may answer from that without asking is `trust_s`;
a write never relies on it: what was decided on an overtaken version is decided again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError, NotFoundError, StorageError
from snapstore.format import values
from snapstore.history.heads import read_head
from snapstore.snapshot import Snapshot

__all__ = ["Chains", "Draft", "Version"]

KEPT = 1024
"""Names whose newest version is remembered."""

KEPT_STATE_BYTES = 64 * 1024
"""States up to this size stay in memory with the version, so at most 64 MB in all; a conversation of 50 turns is smaller."""

ENDED = "ended"
"""The status of the version that ends a chain; what follows it begins anew."""

STEPS = 4
"""Versions looked up one after the other before the run is listed: rivals are rarely further ahead."""

STEP_WITHIN_S = 600.0
"""What was seen longer ago is not stepped on from: a collector may have cleared away what would show that it is gone."""

CONFLICT_TIMEOUT_S = 60.0
"""How long to go on against rivals; 40 writers on one name need a few seconds."""

_OVERTAKEN = {"already_exists", "snapshot_not_found", "snapshot_deleted"}
"""Another writer took the number, or ended the thing and deleted what this one wanted to continue."""

FIRST_DELAY_S = 0.005
MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Draft:
    """What a version is going to be; fields as in `Archive.save`."""

    state: Any
    node: str | None = None
    status: str = "completed"
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Version:
    """One version of a thing.

    Attributes:
        number: 1 for the first, one more for each later one.
        snapshot: where it lies, with its node, status, metadata and times.
    """

    def __init__(self, number: int, snapshot: Snapshot, encoded: bytes | None = None) -> None:
        self.number = number
        self.snapshot = snapshot
        self._encoded = encoded

    @property
    def live(self) -> bool:
        """Whether the thing exists with this as its newest version."""
        return self.snapshot.status != ENDED

    def state(self) -> Any:
        """The state, the caller's own each time; read from storage once, unless it is large."""
        if self._encoded is not None:
            return values.decode(self._encoded)
        state = self.snapshot.state()
        if self.snapshot.size_bytes <= KEPT_STATE_BYTES:
            self._encoded = values.encode(state)
        return state


class Chains:
    """The chains of one system in one archive. Safe to use from several threads.

    Args:
        archive: where the versions lie.
        graph: their graph.
        trust_s: for how many seconds a version that was written or seen here may be taken for the newest when reading;
            0 asks each time, None never asks again, which is right when one process serves the names.
    """

    def __init__(self, archive: Archive, graph: str, *, trust_s: float | None = 0.0) -> None:
        self.archive = archive
        self.graph = graph
        self._trust_s = trust_s
        self._kept: OrderedDict[str, tuple[Version | None, float]] = OrderedDict()
        self._lock = threading.Lock()

    def newest(self, name: str) -> Version | None:
        """The newest version of a thing; None when there is no such thing, or none any more."""
        found = self._kept.get(name)
        if found is not None and (self._trust_s is None or clock.monotonic_s() - found[1] < self._trust_s):
            version = found[0]
        else:
            version = self._look(name)
        return version if version is not None and version.live else None

    def append(self, name: str, decide: Callable[[Version | None], Draft | None]) -> Version | None:
        """Write the next version, atomically.

        Args:
            name: of the thing; the run of its snapshots.
            decide: gets the newest version (None when there is none) and returns the next, or None to leave it. It may
                run again when another writer was faster. What it raises passes through, and nothing is written.

        Returns:
            The version written; None when `decide` left it.

        Raises:
            ConflictError: others kept being faster for a minute.
        """
        end_s = clock.monotonic_s() + CONFLICT_TIMEOUT_S
        kept = self._kept.get(name)
        fresh = kept is None
        last = kept[0] if kept is not None else self._look(name)
        tries = 0
        while True:
            try:
                draft = decide(last if last is not None and last.live else None)
                if draft is None and fresh:
                    return None
                if draft is not None:
                    return self._create(name, last, draft)
            except (ConflictError, NotFoundError) as error:
                overtaken = error.code in _OVERTAKEN
                if (fresh and not overtaken) or clock.monotonic_s() > end_s:
                    raise
                if isinstance(error, NotFoundError):
                    self._forget(name)
                clock.sleep(clock.jitter(0, FIRST_DELAY_S * 2 ** min(tries, MAX_DOUBLINGS)) if overtaken else 0)
                tries += 1
            except StorageError:
                raise  # what was written may be there: trying again could apply one change twice
            except Exception:
                if fresh:
                    raise
            last, fresh = self._look(name), True

    def end(self, name: str) -> bool:
        """Let a thing be no more, and delete its versions; says whether there was one."""
        ended = self.append(name, lambda version: Draft(None, status=ENDED) if version is not None else None)
        if ended is None:
            return False
        for snapshot in self.archive.log(name):
            if snapshot.id != ended.snapshot.id:
                self.archive.delete(snapshot.id)
        return True

    def history(self, name: str, limit: int | None = None) -> list[Snapshot]:
        """The versions since the thing last came to be, newest first."""
        versions: list[Snapshot] = []
        for snapshot in self.archive.log(name):
            if snapshot.status == ENDED or len(versions) == limit:
                break
            versions.append(snapshot)
        return versions

    def _create(self, name: str, last: Version | None, draft: Draft) -> Version:
        number = last.number + 1 if last is not None else 1
        snapshot = self.archive.save(
            draft.state,
            run=name,
            graph=self.graph,
            node=draft.node,
            parent=last.snapshot if last is not None else None,  # also of an end: a child is newer at any clock
            id=f"{name}@{number:08}",
            status=draft.status,
            metadata=dict(draft.metadata),
            overwrite=False,
        )
        small = snapshot.size_bytes <= KEPT_STATE_BYTES
        version = Version(number, snapshot, values.encode(draft.state) if small else None)
        self._keep(name, version)
        return version

    def _look(self, name: str) -> Version | None:
        """Read which version is the newest now."""
        kept = self._kept.get(name)
        known = kept[0] if kept is not None and clock.monotonic_s() - kept[1] < STEP_WITHIN_S else None
        steps = 0
        while known is not None and steps < STEPS:
            following = f"{name}@{known.number + 1:08}"
            head = read_head(self.archive.storage, following)
            if head is not None and head.register.deleted:
                break  # the thing was ended: what came then is not next in number
            snapshot = self.archive.get(following) if head is not None else None
            if snapshot is None:
                return self._keep(name, known)
            known, steps = Version(known.number + 1, snapshot), steps + 1
        latest = self.archive.latest(name)
        return self._keep(name, Version(int(latest.id.rpartition("@")[2]), latest) if latest is not None else None)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._kept.pop(name, None)

    def _keep(self, name: str, version: Version | None) -> Version | None:
        with self._lock:
            known = self._kept.get(name)
            # Threads overtake each other: what is known must not become older.
            if known is None or known[0] is None or (version is not None and version.number >= known[0].number):
                self._kept[name] = (version, clock.monotonic_s())
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return version
