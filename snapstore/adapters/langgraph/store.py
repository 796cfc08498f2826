"""Checkpoints in an archive: putting, finding and listing them, without a look into their values.

Order: LangGraph's latest checkpoint is the one with the highest id, an archive's latest snapshot is the one created last. They
are the same unless checkpoints are put out of order, as when a thread is copied over newest first. So each put compares
its id with the highest one before it, and a checkpoint that comes late says so (`newest` in its record). A record without that
mark has a higher id than everything created before it in its run: that is what makes the latest one, and the first page of a
list, findable without reading the rest.

Placeholders hold pending writes of a checkpoint that has not been put yet. They are filled in their place, and are never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from snapstore.adapters.langgraph.locks import Highest, Known, Locks
from snapstore.adapters.langgraph.places import Place, spot_of
from snapstore.adapters.langgraph.record import PENDING, Record, Row
from snapstore.adapters.langgraph.writes import Write, from_rows, from_text
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.format.names import short_digest
from snapstore.history.walks import written_ids
from snapstore.snapshot import Snapshot, SnapshotDraft
from snapstore.storage.parallel import parallel

__all__ = ["Store", "newest_first"]

AHEAD = 8
"""Rows read beyond what a list asks for: placeholders, and rows of other namespaces, are not shown."""

StateMaker = Callable[[dict[str, Any], bool], dict[str, Any]]
"""Makes a checkpoint's state from the metadata that does not fit into the register, and whether to be careful with text."""

TEXT_TROUBLE = {"lone_surrogate", "key_too_large"}
"""Refusals of the archive that a careful encoding avoids."""


class Store:
    """The checkpoints of one archive. Safe to share between threads.

    Attributes:
        archive: where they lie.
        runs, checkpoints: locks by run and by snapshot id; whoever holds both took that of the run first.
        highest: the highest checkpoint of each run.
        whole: ids of snapshots that are known to have their packs.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.runs = Locks()
        self.checkpoints = Locks()
        self.highest = Highest()
        self.whole = Known()

    # Writing ------------------------------------------------------------------------------------------------

    def put(self, place: Place, checkpoint_id: str, record: Record, make_state: StateMaker) -> None:
        """Store a checkpoint; over an existing one, or a placeholder, its pending writes stay."""
        id = place.snapshot(checkpoint_id)
        with self.runs.holding(place.run), self.checkpoints.holding(id):
            highest = self.highest_of(place)
            self.highest.raise_to(place.run, checkpoint_id)
            record, rest = replace(record, newest=highest if highest > checkpoint_id else None).split()
            try:
                self._write(place, id, record, make_state(rest, False))
            except InvalidInputError as error:
                if error.code not in TEXT_TROUBLE:
                    raise
                self._write(place, id, record, make_state(rest, True))
            self.whole.add(id)

    def _write(self, place: Place, id: str, record: Record, state: dict[str, Any]) -> None:
        parent = place.snapshot(record.parent) if record.parent else None
        if parent == id:
            parent = None
        try:
            self._create(place, id, record, state, parent)
        except NotFoundError:
            if parent is None:
                raise
            # The parent was never put, or is deleted: the record remembers it all the same.
            self._create(place, id, record, state, None)

    def _create(self, place: Place, id: str, record: Record, state: dict[str, Any], parent: str | None) -> None:
        metadata = record.stored()
        try:
            self.archive.save(state, run=place.run, graph=place.graph, parent=parent, id=id, metadata=metadata, overwrite=False)
        except ConflictError as error:
            if error.code != "already_exists":
                raise
        else:
            return

        def fill(draft: SnapshotDraft | None) -> SnapshotDraft:
            if draft is None:
                return SnapshotDraft(state, metadata=metadata)
            old = Record.of(draft.metadata)
            draft.state = state
            draft.status = "completed"
            draft.metadata = replace(record, writes=old.writes, apart=old.apart).stored()
            return draft

        self.archive.update(id, fill, run=place.run, graph=place.graph, parent=parent)

    def highest_of(self, place: Place) -> str:
        """The highest checkpoint id of a run, looked up if this process does not know it; empty without one."""
        known = self.highest.get(place.run)
        if known is None:
            self.latest(place)
            known = self.highest.get(place.run)
        return known or ""

    def remove(self, ids: Iterable[str]) -> None:
        """Delete snapshots, several at a time."""
        parallel([partial(self.archive.delete, id) for id in ids])

    # Finding ------------------------------------------------------------------------------------------------

    def get(self, place: Place, checkpoint_id: str) -> Snapshot | None:
        """A checkpoint's snapshot, or None."""
        found = self.archive.get(place.snapshot(checkpoint_id))
        if found is None or found.status == PENDING:
            return None
        self.whole.add(found.id)
        return found

    def latest(self, place: Place) -> Snapshot | None:
        """The checkpoint with the highest id, or None."""
        found = self.archive.latest(place.run)
        if found is None:
            self.highest.raise_to(place.run, "")
            return None
        snapshot = self._highest_behind(place, found)
        if snapshot is None:
            row = next(self.listed(place.thread, place.namespace, None), None)
            snapshot = self.get(place, row.checkpoint_id) if row is not None else None
        for one in (found, snapshot):
            spot = spot_of(one.id) if one is not None else None
            self.highest.raise_to(place.run, spot[1] if spot is not None else "")
        return snapshot

    def _highest_behind(self, place: Place, newest: Snapshot) -> Snapshot | None:
        """The highest checkpoint, as the one created last knows it; None when it does not know."""
        if newest.status == PENDING:
            return None
        higher = Record.of(newest.metadata).newest
        return newest if higher is None else self.get(place, higher)

    def rows(self, thread: str | None, limit: int | None = None) -> Iterator[Row]:
        """The registers of a thread, or of all, created last first; placeholders are among them."""
        written: dict[str, set[str]] = {}
        for info in self.archive.list(None if thread is None else Place(thread).graph, limit=limit):
            spot = spot_of(info.id)
            if spot is None or (thread is not None and spot[0].thread != thread):
                continue
            # A put that died may have left its register without its pack: names tell, one listing for a namespace.
            if not self.whole.holds(info.id):
                if info.run not in written:
                    written[info.run] = written_ids(self.archive.storage, info.run)
                if short_digest(info.id) not in written[info.run]:
                    continue
                self.whole.add(info.id)
            yield Row(info, *spot, Record.of(info.metadata))

    def listed(self, thread: str | None, namespace: str | None, wanted: int | None) -> Iterator[Row]:
        """The checkpoints of a thread or namespace, highest id first.

        Args:
            thread: None for all threads.
            namespace: None for all namespaces.
            wanted: how many the caller is likely to take: a namespace is then not read to its end at first.
        """
        if namespace is None or thread is None or wanted is None:
            every = [row for row in self.rows(thread) if not row.pending and namespace in (None, row.place.namespace)]
            yield from sorted(every, key=lambda row: (row.checkpoint_id, row.place.namespace), reverse=True)
            return
        shown: set[str] = set()
        for limit in (wanted + AHEAD, None):
            read = list(self.rows(thread, limit))
            complete = limit is None or len(read) < limit
            own = (row for row in read if not row.pending and row.place.namespace == namespace)
            for row in newest_first(own, complete=complete):
                if row.checkpoint_id not in shown:
                    shown.add(row.checkpoint_id)
                    yield row
            if complete:
                return

    def pending_writes(self, place: Place, checkpoint_id: str, record: Record) -> list[Write]:
        """All pending writes of a checkpoint, in no order; reads packs only if there are large ones."""
        found = from_text(record.writes)
        if not record.apart:
            return found
        known = {write.key for write in found}
        tasks = self.archive.log(place.writes_run(checkpoint_id))
        apart = chain.from_iterable(from_rows(rows) for rows in parallel([task.state for task in tasks]))
        return found + [write for write in apart if write.key not in known]


def newest_first(rows: Iterable[Row], *, complete: bool) -> Iterator[Row]:
    """Rows of one namespace in the order of their ids, from the order of their creation, both newest first.

    Args:
        rows: created last first; those that came late are marked.
        complete: whether these are all; if not, the rest of what comes late may belong behind rows that are not here.
    """
    waiting: list[Row] = []
    for row in rows:
        waiting.append(row)
        if row.record.newest is None:
            # Nothing created before this one has a higher id.
            waiting.sort(key=lambda one: one.checkpoint_id)
            while waiting and waiting[-1].checkpoint_id >= row.checkpoint_id:
                yield waiting.pop()
    if complete:
        yield from sorted(waiting, key=lambda one: one.checkpoint_id, reverse=True)
