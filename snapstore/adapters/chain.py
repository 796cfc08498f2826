"""Chains: the versions of one thing under one name, for contracts that overwrite in place.

A conversation, a wizard, a flow: its contract knows one current value. Here every write is a snapshot of its own, the
child of the one before, so that the thing has a history, and saves share what they have in common. Version 12 of
`flowkit:user-1` is the snapshot `flowkit:user-1@00000012`; appending is creating the next number, which of any number of
rivals exactly one can do: a compare-and-swap in one round trip that leaves no other trace.

Ending a chain appends a version that says so, then deletes the others; what follows continues the numbers. A deleted
snapshot leaves its id free, so a rival who still stands on a deleted version can create a number that is long past. The
version with the highest number is therefore the newest, whatever the times say; who creates a number that existed before
looks whether it is the last one, and takes it back if it is not.

A chain remembers the newest version it saw of each name. How long it may answer from that without asking is `trust_s`;
a write never relies on it: what was decided on an overtaken version is decided again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError, NotFoundError, StorageError
from snapstore.format import values
from snapstore.history.heads import read_head
from snapstore.snapshot import Snapshot, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["ENDED", "Chains", "Draft", "Version", "number_of"]

Row = TypeVar("Row", Snapshot, SnapshotInfo)

KEPT = 1024
"""Names whose newest version is remembered."""

KEPT_STATE_BYTES = 64 * 1024
"""States up to this size stay in memory with the version, so at most 64 MB in all; a conversation of 50 turns is smaller."""

KNOWN_MS = 600_000
"""How long a remembered version is good enough to begin from. Between it and the newest there may be deleted versions, whose
tombstones say that they existed; upkeep removes those, but none that is younger than this."""

ENDED = "ended"
"""The status of the version that ends a chain; what follows it begins anew. No other version may have it."""

STEPS = 4
"""Versions looked up one after the other before the run is listed: rivals are rarely further ahead."""

CONFLICT_TIMEOUT_S = 60.0
"""How long to go on against rivals; 40 writers on one name need a few seconds."""

_OVERTAKEN = {"already_exists", "snapshot_not_found", "snapshot_deleted"}
"""Another writer took the number, or ended the thing and deleted what this one wanted to continue."""

LATE_PACK_S = 1.0
"""How long the pack of a version that a rival is writing is waited for."""

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
        number: 1 for the first, a higher one for each later one.
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
        state = self._read()
        if self.snapshot.size_bytes <= KEPT_STATE_BYTES:
            self._encoded = values.encode(state)
        return state

    def _read(self) -> Any:
        """The state, also when its pack arrives a moment after its register: a rival may just be writing both."""
        end = clock.monotonic_s() + LATE_PACK_S
        while True:
            try:
                return self.snapshot.state()
            except NotFoundError as error:
                if error.code != "snapshot_incomplete" or clock.monotonic_s() > end:
                    raise
            clock.sleep(FIRST_DELAY_S)


class _Kept(NamedTuple):
    """What was the newest version of a name at a moment, in milliseconds since 1970; None when there was none."""

    version: Version | None
    seen_ms: int

    def age_ms(self) -> int:
        # The wall clock, because it goes on while a machine sleeps; set back, it must not make a memory young for long.
        return abs(clock.now_ms() - self.seen_ms)


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
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def newest(self, name: str) -> Version | None:
        """The newest version of a thing; None when there is no such thing, or none any more."""
        kept = self._kept.get(name)
        trusted = kept is not None and (self._trust_s is None or kept.age_ms() < self._trust_s * 1000)
        version = kept.version if kept is not None and trusted else self._look(name)
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
            ConflictError: `overtaken`: others kept being faster for a minute.
            StorageError: whether the version was written is not known.
        """
        end_s = clock.monotonic_s() + CONFLICT_TIMEOUT_S
        kept = self._kept.get(name)
        fresh = kept is None or kept.age_ms() > KNOWN_MS
        last = self._look(name) if kept is None or fresh else kept.version
        tries = 0
        while True:
            forget = False
            try:
                draft = decide(last if last is not None and last.live else None)
                if draft is not None:
                    return self._create(name, last, draft)
                if fresh:
                    return None
            except StorageError:
                raise  # what was written may be there: trying again could apply one change twice
            except Exception as error:
                forget = isinstance(error, NotFoundError)
                if not isinstance(error, ConflictError | NotFoundError) or error.code not in _OVERTAKEN:
                    if fresh:
                        raise
                elif clock.monotonic_s() > end_s:
                    raise ConflictError(
                        "other writers kept being faster", code="overtaken", hint="try again", name=name
                    ) from error
                else:
                    clock.sleep(clock.jitter(0, FIRST_DELAY_S * 2 ** min(tries, MAX_DOUBLINGS)))
                    tries += 1
            last, fresh = self._look(name, forget=forget), True

    def end(self, name: str, only_if: Callable[[Version], bool] | None = None) -> bool:
        """Let a thing be no more, and delete its versions. Ending it again finishes what a crash left undone.

        Args:
            name: of the thing.
            only_if: asked about the newest version, which it may leave by saying False; it may be asked again.

        Returns:
            Whether there was one, and it has been ended by this call.
        """

        def decide(version: Version | None) -> Draft | None:
            wanted = version is not None and (only_if is None or only_if(version))
            return Draft(None, status=ENDED) if wanted else None

        ended = self.append(name, decide)
        kept = self._kept.get(name)
        last = ended if ended is not None else kept.version if kept is not None else None
        if last is None or last.live:
            return False
        predecessor = last.snapshot.parents[0]
        if ended is not None or predecessor in self.archive:
            past = [one.id for one in _own(self.archive.log(name)) if number_of(one) < last.number and one.id != predecessor]
            parallel([partial(self.archive.delete, id) for id in past])
            self.archive.delete(predecessor)  # the last one to go: as long as it is there, some may be left
        return ended is not None

    def history(self, name: str, limit: int | None = None) -> list[Snapshot]:
        """The versions since the thing last came to be, newest first."""
        versions: list[Snapshot] = []
        # One more than wanted: a crash may have left a number of the past, which is newest by its time alone.
        log = self.archive.log(name, None if limit is None else limit + 1)
        if limit is not None and not all(map(number_of, log)):
            log = self.archive.log(name)
        for snapshot in _own(log):
            if snapshot.status == ENDED:
                break
            versions.append(snapshot)
        return versions[:limit]

    def rows(self) -> dict[str, list[SnapshotInfo]]:
        """What lists show of all versions of all things, newest first, by name: ended ones too. Reads no state."""
        found: dict[str, list[SnapshotInfo]] = {}
        for row in self.archive.list(graph=self.graph):
            found.setdefault(row.run, []).append(row)
        return {name: own for name, rows in found.items() if (own := _own(rows))}

    # Inside -------------------------------------------------------------------------------------------------

    def _create(self, name: str, last: Version | None, draft: Draft) -> Version:
        """Write the number that follows `last`.

        Raises:
            ConflictError: `already_exists`: another writer took the number, or it is past.
        """
        number = last.number + 1 if last is not None else 1
        snapshot = self.archive.save(
            draft.state,
            run=name,
            graph=self.graph,
            node=draft.node,
            parent=last.snapshot if last is not None else None,  # also of an end: a child is newer at any clock
            id=_id(name, number),
            status=draft.status,
            metadata=dict(draft.metadata),
            overwrite=False,
        )
        # A number that existed before is that of a deleted version, or of a create that never finished.
        if snapshot.version > 1 and self._is_past(name, number):
            self.archive.delete(snapshot.id)
            raise ConflictError("the version is past", code="already_exists", id=snapshot.id)
        small = snapshot.size_bytes <= KEPT_STATE_BYTES
        version = Version(number, snapshot, values.encode(draft.state) if small else None)
        self._keep(name, version)
        return version

    def _is_past(self, name: str, number: int) -> bool:
        """Whether there is a version with a higher number."""
        if read_head(self.archive.storage, _id(name, number + 1)) is None:
            return False
        highest = self._highest(name)
        return highest is not None and highest.number > number

    def _look(self, name: str, *, forget: bool = False) -> Version | None:
        """Read which version is the newest now; `forget` begins from nothing."""
        kept = self._kept.get(name)
        known = kept.version if kept is not None and kept.age_ms() <= KNOWN_MS and not forget else None
        version = self._look_from(name, known)
        self._keep(name, version)
        return version

    def _look_from(self, name: str, known: Version | None) -> Version | None:
        """Go on from a version that was seen before, or from the one that the run's listing shows."""
        listed = known is None
        steps = 0
        while True:
            if known is None or (steps == STEPS and not listed):
                latest = self.archive.latest(name)
                if latest is None:
                    return None
                if not number_of(latest):
                    return self._highest(name)
                known, listed, steps = Version(number_of(latest), latest), True, 0
            head = read_head(self.archive.storage, _id(name, known.number + 1))
            if head is not None and head.register.deleted:
                if listed:
                    return self._highest(name)
                known = None  # it has been ended
                continue
            following = self.archive.get(head.register.id) if head is not None else None
            if following is None:  # or a create that is under way, or never finished
                return known
            known, steps = Version(known.number + 1, following), steps + 1

    def _highest(self, name: str) -> Version | None:
        """The version with the highest number, from all that there are."""
        newest = next(iter(_own(self.archive.log(name))), None)
        return Version(number_of(newest), newest) if newest is not None else None

    def _keep(self, name: str, version: Version | None) -> None:
        """Remember what was found, unless more is known: threads overtake each other."""
        with self._lock:
            kept = self._kept.get(name)
            known = kept.version if kept is not None else None
            if known is None or (version is not None and version.number >= known.number):
                self._kept[name] = _Kept(version, clock.now_ms())
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)


def _id(name: str, number: int) -> str:
    return f"{name}@{number:08}"


def number_of(row: Snapshot | SnapshotInfo) -> int:
    """The number of a version; 0 for a snapshot that is none: anybody may fork into the run or the graph of a chain."""
    name, _, number = row.id.rpartition("@")
    return int(number) if name == row.run and number.isdecimal() else 0


def _own(rows: Iterable[Row]) -> list[Row]:
    """The versions among snapshots of a run, the highest number first."""
    return sorted(filter(number_of, rows), key=number_of, reverse=True)
