"""The exact table: segments merged, changes that are not folded yet put in place of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from snapstore.errors import ConflictError
from snapstore.format.index_current import ALL_GRAPHS, IndexFile, bucket_of
from snapstore.index.arrow import arrow
from snapstore.index.compaction import rows_of
from snapstore.index.filters import RowFilter
from snapstore.index.generations import Generation, Generations
from snapstore.index.merging import merged, newest_of_each_place
from snapstore.index.rows import Row, to_table
from snapstore.index.segments import Segments
from snapstore.index.tail import Tail, every_row
from snapstore.storage.protocol import Storage

__all__ = ["exact_tables"]

TRIES: Final = 20

ROWS_AT_ONCE: Final = 16_384


def exact_tables(storage: Storage, generations: Generations, segments: Segments, graph: str | None) -> Iterator[Any]:
    """The rows of live snapshots as tables, each snapshot once.

    Holds in memory: what was folded lately (up to some hundred thousand rows), a row group of each segment of one bucket, and
    the rows of changes that are not folded yet.

    Raises:
        ConflictError: `index_busy`.
        NotFoundError: a segment was deleted while it was read: the reading took longer than the grace period.
    """
    wanted = RowFilter(graph=graph)
    for _ in range(TRIES):
        generation = generations.read()
        tail = Tail(storage, graph, whole=True)
        changed = _changed(tail, wanted)
        if generations.read().folds == generation.folds:
            break
    else:
        raise ConflictError("the index kept changing while it was read", code="index_busy")
    if generations.is_lost(generation):
        yield from _tables(every_row(storage, wanted))
        return
    yield from _tables(iter(changed))
    for table in _of_segments(segments, generation, graph):
        yield _without(table, tail)


def _changed(tail: Tail, wanted: RowFilter) -> list[Row]:
    """All rows with changes that are not folded."""
    rows: list[Row] = []
    tail.list_more()
    while tail.first(0, wanted) is not None:
        rows.append(tail.take())
    return rows


def _tables(rows: Iterator[Row]) -> Iterator[Any]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= ROWS_AT_ONCE:
            yield to_table(batch)
            batch = []
    if batch:
        yield to_table(batch)


def _of_segments(segments: Segments, generation: Generation, graph: str | None) -> Iterator[Any]:
    files = [file for file in generation.current.files if file.may_hold(graph)]
    if not files:
        return
    pa = arrow()
    fresh = [_of_graph(table, graph) for file in files if file.bucket == ALL_GRAPHS for table in rows_of(segments, file)]
    recent = newest_of_each_place(pa.concat_tables(fresh)) if fresh else None
    for bucket, members in _by_bucket(files, recent).items():
        inputs: list[Iterator[Any]] = [_of_bucket(segments, file, graph) for file in members]
        if recent is not None:
            names = [name for name in pa.compute.unique(recent["graph"]).to_pylist() if bucket_of(name) == bucket]
            inputs.append(iter([recent.filter(pa.compute.is_in(recent["graph"], value_set=pa.array(names, pa.string())))]))
        for table in merged(inputs):
            yield table.filter(pa.compute.invert(table["deleted"]))


def _by_bucket(files: list[IndexFile], recent: Any) -> dict[str, list[IndexFile]]:
    """The sorted segments of each bucket, and an entry for each bucket of which there are only recent rows."""
    buckets: dict[str, list[IndexFile]] = {}
    if recent is not None:
        for graph in arrow().compute.unique(recent["graph"]).to_pylist():
            buckets.setdefault(bucket_of(graph), [])
    for file in files:
        if file.bucket != ALL_GRAPHS:
            buckets.setdefault(file.bucket, []).append(file)
    return buckets


def _of_bucket(segments: Segments, file: IndexFile, graph: str | None) -> Iterator[Any]:
    segment = segments.open(file)
    for group in segment.row_groups:
        if group.may_hold(graph):
            yield _of_graph(segments.read(segment, group, keep=False), graph)


def _of_graph(table: Any, graph: str | None) -> Any:
    return table if graph is None else table.filter(arrow().compute.equal(table["graph"], graph))


def _without(table: Any, tail: Tail) -> Any:
    """The rows of a table whose snapshots have no change that is not folded."""
    ids = tail.seen_ids()
    if not ids.known and not ids.digests:
        return table
    pa = arrow()
    mask = pa.compute.is_in(table["id"], value_set=pa.array(ids.known, pa.string()))
    if ids.digests:
        held = pa.array([tail.has_changed(id) for id in table["id"].to_pylist()], pa.bool_())
        mask = pa.compute.or_(mask, held)
    return table.filter(pa.compute.invert(mask))
