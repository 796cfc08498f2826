"""What happens to whole threads: deleting, copying, pruning. Registers are read for it, states only where pruning needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from snapstore.adapters.langgraph.deltas import HISTORY, histories, kept_by, walked_channels
from snapstore.adapters.langgraph.places import WRITES, Place, writes_graph
from snapstore.adapters.langgraph.record import Row
from snapstore.adapters.langgraph.store import Store
from snapstore.adapters.naming import joined, parts_of
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["copy_thread", "delete_rows", "delete_thread", "keep_latest"]

WAVE = 16
"""Checkpoints copied at the same time; only the last of a wave is known to have a higher id than all before it."""


def delete_thread(store: Store, thread: str) -> None:
    """Delete all checkpoints and writes of a thread, in all namespaces."""
    rows = list(store.rows(thread))
    _remove(store, rows, [info.id for info in _writes_of(store, thread)])


def delete_rows(store: Store, rows: Iterable[Row]) -> None:
    """Delete checkpoints with their writes."""
    gone = list(rows)
    apart = [row for row in gone if row.record.apart]
    tasks = parallel([partial(store.archive.log, row.place.writes_run(row.checkpoint_id)) for row in apart])
    _remove(store, gone, [task.id for several in tasks for task in several])


def _remove(store: Store, rows: list[Row], writes: list[str]) -> None:
    """Delete checkpoints, newest first, then writes: what an interruption leaves is a shorter thread, and whole."""
    store.remove([row.info.id for row in rows])
    store.remove(writes)
    for run in {row.place.run for row in rows}:
        store.highest.forget(run)


def _writes_of(store: Store, thread: str) -> list[SnapshotInfo]:
    """The snapshots of large writes of a thread."""
    return [info for info in store.archive.list(writes_graph(thread)) if parts_of(info.id, WRITES) is not None]


def copy_thread(store: Store, source: str, target: str) -> None:
    """Copy all checkpoints and writes of a thread: the copies share everything that the originals store.

    The writes come first, so that no copied register promises what is not there.
    """
    if source == target:
        return
    parallel([partial(_copy_writes, store, info.id, target) for info in _writes_of(store, source)])
    rows = sorted((row for row in store.rows(source) if not row.pending), key=lambda row: row.checkpoint_id)
    for namespace in dict.fromkeys(row.place.namespace for row in rows):
        own = [row for row in rows if row.place.namespace == namespace]
        _copy_namespace(store, own, Place(target, namespace))


def _copy_namespace(store: Store, rows: list[Row], place: Place) -> None:
    """Copy the checkpoints of one namespace, lowest id first; within a wave all but the highest may come late."""
    with store.runs.holding(place.run):
        for start in range(0, len(rows), WAVE):
            wave = rows[start : start + WAVE]
            before = store.highest_of(place)
            last = wave[-1].checkpoint_id
            store.highest.raise_to(place.run, last)
            late = max(before, last)
            calls = [partial(_copy_row, store, row, place, late if late > row.checkpoint_id else None) for row in wave]
            parallel(calls)


def _copy_row(store: Store, row: Row, place: Place, newest: str | None) -> Snapshot:
    return store.archive.fork(
        row.info.id,
        run=place.run,
        graph=place.graph,
        new_id=place.snapshot(row.checkpoint_id),
        status=row.info.status,
        metadata=replace(row.record, newest=newest).stored(),
    )


def _copy_writes(store: Store, id: str, target: str) -> Snapshot:
    _, *rest = parts_of(id, WRITES) or ("",)
    return store.archive.fork(
        id, run=joined(WRITES, target, *rest[:-1]), graph=writes_graph(target), new_id=joined(WRITES, target, *rest)
    )


def keep_latest(store: Store, thread: str) -> None:
    """Delete all but the newest checkpoint of each namespace; what it needs of its ancestors it is given before."""
    rows = list(store.rows(thread))
    latest: dict[str, Row] = {}
    for row in rows:
        known = latest.get(row.place.namespace)
        if not row.pending and (known is None or known.checkpoint_id < row.checkpoint_id):
            latest[row.place.namespace] = row
    for row in latest.values():
        _gather(store, row)
    delete_rows(store, [row for row in rows if _is_older(row, latest)])


def _is_older(row: Row, latest: dict[str, Row]) -> bool:
    """Whether a checkpoint goes. A placeholder above the newest one belongs to a step that is under way."""
    kept = latest.get(row.place.namespace)
    return kept is not None and row.checkpoint_id < kept.checkpoint_id


def _gather(store: Store, row: Row) -> None:
    """Let a checkpoint keep what its ancestors hold of the DeltaChannels that have no value in it."""
    snapshot = store.get(row.place, row.checkpoint_id)
    if snapshot is None or row.record.parent is None:
        return
    state = snapshot.state()
    names = walked_channels(row.record.metadata, state.get("channel_versions", {}), state.get("channel_values", {}))
    if not names:
        return
    kept = kept_by(histories(store, row.place, row.checkpoint_id, names))
    if not kept:
        return

    def keep(draft: SnapshotDraft | None) -> SnapshotDraft | None:
        if draft is None:
            return None
        draft.state = {**draft.state, HISTORY: kept}
        draft.metadata = {**draft.metadata, "history": 1}
        return draft

    store.archive.update(row.info.id, keep)
