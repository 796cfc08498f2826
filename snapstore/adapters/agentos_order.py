"""The order of AgentOS checkpoints, (timestamp, time of saving), found without reading a whole run or graph.

The archive lists snapshots newest first by their creation. A caller's timestamp is nearly always a little earlier than
that, so a checkpoint with a timestamp above the creation time of all that is still unread is newest, and reading can
stop. What breaks this rule, a timestamp from a clock that is ahead or a checkpoint saved again long after it was created,
is announced before it is saved: a note per run and per graph says how far timestamps run ahead of creation at most. No
note means not at all, and most runs and graphs have none.
"""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from snapstore import clock
from snapstore.adapters.naming import joined, parts_of
from snapstore.archive import Archive
from snapstore.listing import milliseconds
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["SYSTEM", "Leads", "Row", "Tips", "created_ms", "newest_first", "ours"]

T = TypeVar("T")

SYSTEM = "agentos"
"""The word that all ids, runs and graphs of this adapter begin with."""

Row = Snapshot | SnapshotInfo

KEPT = 1024
"""Runs, and notes, that a store remembers: a server works on fewer at the same time, and this is some hundred kilobytes."""

NOTES = joined(SYSTEM, "order", "notes")
"""The graph of all notes; no checkpoint's graph has two parts."""


def created_ms(row: Row) -> int:
    """When a snapshot was created, in milliseconds since 1970."""
    return milliseconds(row.created_at) or 0


def changed_ms(row: Row) -> int:
    """When a snapshot was changed last."""
    return milliseconds(row.updated_at) or 0


def ours(row: Row) -> bool:
    """Whether this adapter wrote a snapshot: `archive.fork` leaves others in its runs and graphs."""
    return parts_of(row.id, SYSTEM) is not None


def newest_first(rows: Iterable[Row], lead_ms: int) -> Iterator[Row]:
    """Checkpoints by timestamp, those with equal ones by when they were saved; newest first.

    Args:
        rows: newest first by creation; read only as far as needed.
        lead_ms: no timestamp is further ahead of its snapshot's creation.
    """
    waiting: list[tuple[float, int, int, Row]] = []
    for position, row in enumerate(rows):
        created = created_ms(row)
        while waiting and -waiting[0][0] > created + lead_ms:
            yield heapq.heappop(waiting)[-1]
        timestamp, saved_ms = row.metadata["timestamp"], row.metadata.get("savedAt", created)
        heapq.heappush(waiting, (-timestamp, -saved_ms, position, row))
    while waiting:
        yield heapq.heappop(waiting)[-1]


class Leads:
    """How far timestamps run ahead of creation at most, in milliseconds, per run and graph.

    Args:
        archive: where the notes lie.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._known: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    def of_run(self, run_id: str) -> int:
        """The lead in a run: one request, and one more when there is a note."""
        return self._read(joined(SYSTEM, "run", run_id))

    def of_graph(self, graph_id: str) -> int:
        """The lead in a graph; costs as for a run."""
        return self._read(joined(SYSTEM, "graph", graph_id))

    def allow(self, lead_ms: float, *, run_id: str, graph_id: str) -> None:
        """Make sure that the notes allow a lead, before a checkpoint with it is saved; free of requests in order."""
        if lead_ms <= 0:
            return
        # Powers of two: a clock that runs away from ours by and by changes a note only a few times.
        rounded = 1 << int(lead_ms).bit_length()
        notes = [joined(SYSTEM, "run", run_id), joined(SYSTEM, "graph", graph_id)]
        parallel([partial(self._raise, note, rounded) for note in notes if self._known.get(note, 0) < rounded])

    def _read(self, note: str) -> int:
        snapshot = self._archive.get(note)
        return int(snapshot.state()) if snapshot is not None else 0

    def _raise(self, note: str, lead_ms: int) -> None:
        def mutator(draft: SnapshotDraft | None) -> SnapshotDraft | None:
            # In the state and not in the metadata, so that a note whose save never finished does not count.
            return SnapshotDraft(lead_ms) if draft is None or draft.state < lead_ms else None

        self._archive.update(note, mutator, run=note, graph=NOTES)
        with self._lock:
            _keep(self._known, note, max(lead_ms, self._known.get(note, 0)))


@dataclass(slots=True)
class _Tip:
    """Where a run stands: the snapshot created last, once somebody has looked."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: bool = False
    id: str | None = None
    created_ms: int = -1


class Tips:
    """Which snapshot the next save of each run continues: looked up once, then remembered and written through.

    Args:
        archive: where the runs lie.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._tips: OrderedDict[str, _Tip] = OrderedDict()
        self._lock = threading.Lock()
        self._last_ms = -1

    def of(self, run: str) -> str | None:
        """The snapshot to continue; None at the beginning of a run. Three round trips the first time, none later."""
        tip = self._tip(run)
        with tip.lock:
            if not tip.looked:
                newest = self._archive.log(run, limit=1)
                self._put(tip, next(filter(ours, newest if all(map(ours, newest)) else self._archive.log(run)), None))
            return tip.id

    def seen(self, run: str, newest: Row | None) -> None:
        """Learn from a read which snapshot of a run was created last."""
        tip = self._tip(run)
        with tip.lock:
            self._put(tip, newest)

    def advance(self, run: str, saved: Snapshot) -> None:
        """Learn of a save of this process."""
        self.seen(run, saved)

    def forget(self, id: str) -> None:
        """Do not continue this snapshot: it was deleted or moved to another run."""
        with self._lock:
            tips = [*self._tips.values()]
        for tip in tips:
            with tip.lock:
                if tip.id == id:
                    tip.looked, tip.id, tip.created_ms = False, None, -1

    def next_ms(self, after: Row) -> int:
        """A time after `after` and all saves known here: quick saves use up milliseconds faster than they pass."""
        with self._lock:
            self._last_ms = max(clock.now_ms(), self._last_ms + 1, changed_ms(after) + 1)
            return self._last_ms

    def _tip(self, run: str) -> _Tip:
        with self._lock:
            return _keep(self._tips, run, self._tips.get(run) or _Tip())

    def _put(self, tip: _Tip, newest: Row | None) -> None:
        tip.looked = True
        if newest is None:
            return
        with self._lock:
            self._last_ms = max(self._last_ms, changed_ms(newest))
        if created_ms(newest) > tip.created_ms:
            tip.id, tip.created_ms = newest.id, created_ms(newest)


def _keep(kept: OrderedDict[str, T], name: str, value: T) -> T:
    """Remember a value as the one used last, and forget those that have not been used for long."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return value
