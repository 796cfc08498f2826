"""Adding pending writes to a checkpoint: into its register, beside it, or into a placeholder when it is not there yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Any

from snapstore.adapters.langgraph.places import Place, writes_graph
from snapstore.adapters.langgraph.record import PENDING, WRITES_LIMIT_BYTES, Record
from snapstore.adapters.langgraph.store import Store
from snapstore.adapters.langgraph.writes import Write, dropped, from_rows, from_text, merged, replaces, rows_of, text_of
from snapstore.errors import ConflictError
from snapstore.snapshot import SnapshotDraft

__all__ = ["add_writes"]


class _Outcome(Enum):
    DONE = auto()
    APART = auto()  # they do not fit into the register
    ABSENT = auto()  # there is no checkpoint to add them to


def add_writes(store: Store, place: Place, checkpoint_id: str, writes: Sequence[Write]) -> None:
    """Add the writes of one call; calling again with the same ones changes nothing."""
    if not writes:
        return
    id = place.snapshot(checkpoint_id)
    with store.checkpoints.holding(id):
        if _Addition(store, place, checkpoint_id, writes).run():
            return
    # A checkpoint of this run that is being put right now goes first: this one may be the next, and needs no placeholder then.
    with store.runs.holding(place.run), store.checkpoints.holding(id):
        addition = _Addition(store, place, checkpoint_id, writes)
        while not addition.run():
            addition.hold_place()


class _Addition:
    """One call of `put_writes`, under the lock of its checkpoint."""

    def __init__(self, store: Store, place: Place, checkpoint_id: str, writes: Sequence[Write]) -> None:
        self.store = store
        self.place = place
        self.checkpoint_id = checkpoint_id
        self.id = place.snapshot(checkpoint_id)
        self.writes = writes
        self.outcome = _Outcome.DONE
        self.record = Record({})

    def run(self) -> bool:
        """Add the writes; False when the checkpoint is not there."""
        self.store.archive.update(self.id, self._into_register)
        if self.outcome is _Outcome.APART:
            self._beside()
        return self.outcome is not _Outcome.ABSENT

    def _into_register(self, draft: SnapshotDraft | None) -> SnapshotDraft | None:
        if draft is None:
            self.outcome = _Outcome.ABSENT
            return None
        self.record = Record.of(draft.metadata)
        old = from_text(self.record.writes)
        every = merged(old, self.writes)
        text = text_of(every)
        if self.record.apart or len(text) > WRITES_LIMIT_BYTES:
            self.outcome = _Outcome.APART
            return None
        self.outcome = _Outcome.DONE
        if every == old:
            return None
        draft.metadata = replace(self.record, writes=text).stored()
        return draft

    def _beside(self) -> None:
        """Put the writes into a snapshot of their task, then say so in the register.

        In this order a crash leaves a snapshot that nobody looks for, and no register that promises too much. From the first
        large write on all others of the checkpoint lie beside it too: a thousand parallel tasks do not fight for one register.
        """
        present = {write.key for write in from_text(self.record.writes)}
        fresh = [write for write in self.writes if replaces(self.writes) or write.key not in present]
        if fresh:
            self._save_beside(fresh)
        keys = {write.key for write in fresh}
        if self.record.apart and present.isdisjoint(keys):
            return

        def mark(draft: SnapshotDraft | None) -> SnapshotDraft:
            draft = draft if draft is not None else SnapshotDraft({}, status=PENDING)
            record = Record.of(draft.metadata)
            left = text_of(dropped(from_text(record.writes), keys))
            draft.metadata = replace(record, writes=left, apart=True).stored()
            return draft

        self.store.archive.update(self.id, mark, run=self.place.run, graph=self.place.graph)

    def _save_beside(self, fresh: list[Write]) -> None:
        id = self.place.writes(self.checkpoint_id, fresh[0].task)
        run, graph = self.place.writes_run(self.checkpoint_id), writes_graph(self.place.thread)
        try:
            self.store.archive.save(rows_of(fresh), run=run, graph=graph, id=id, overwrite=False)
        except ConflictError as error:
            if error.code != "already_exists":
                raise
        else:
            return

        def add(draft: SnapshotDraft | None) -> SnapshotDraft | None:
            if draft is None:
                return SnapshotDraft(rows_of(fresh))
            old = from_rows(draft.state)
            every = merged(old, fresh)
            if every == old:
                return None
            draft.state = rows_of(every)
            return draft

        self.store.archive.update(id, add, run=run, graph=graph)

    def hold_place(self) -> None:
        """Make a placeholder where the checkpoint will be; nothing when somebody has put it meanwhile.

        It has the state of the highest checkpoint: what fills the place will be much the same, and is stored as a change of it.
        """
        state, parent = self._likely_parent()
        self.store.highest.raise_to(self.place.run, self.checkpoint_id)
        try:
            self.store.archive.save(
                state,
                run=self.place.run,
                graph=self.place.graph,
                parent=parent,
                id=self.id,
                status=PENDING,
                overwrite=False,
            )
        except ConflictError as error:
            if error.code != "already_exists":
                raise

    def _likely_parent(self) -> tuple[Any, str | None]:
        highest = self.store.highest.get(self.place.run)
        found = self.store.get(self.place, highest) if highest and highest != self.checkpoint_id else None
        return ({}, None) if found is None else (found.state(), found.id)
