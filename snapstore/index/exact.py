"""The exact table: segments merged, changes that are not folded yet put in place of their rows.

Rows come bucket after bucket, in the order of their places. So a reading that outlasts the grace period of a segment goes on
behind the last place it gave, with the segments that there are then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from snapstore.errors import ConflictError, NotFoundError
from snapstore.format.index_current import ALL_GRAPHS, IndexFile, bucket_of
from snapstore.index.arrow import arrow
from snapstore.index.compaction import rows_of
from snapstore.index.filters import RowFilter
from snapstore.index.generations import Generation, Generations
from snapstore.index.merging import merged, newest_of_each_place
from snapstore.index.rows import Place, Row, to_table
from snapstore.index.segments import RowGroup, Segments
from snapstore.index.tail import Tail, every_row
from snapstore.storage.protocol import Storage

__all__ = ["exact_tables"]

TRIES: Final = 20
"""Times in a row that others may replace the index before a single row is read."""

ROWS_AT_ONCE: Final = 16_384


@dataclass(slots=True)
class _Reading:
    """How far a reading has come.

    Attributes:
        graph: only rows of this graph; None for all.
        bucket: the bucket being read; "" before the first.
        place: the last place that was given, or found to be empty, in that bucket; None before the first.
        given: ids of the rows that were given ahead of their places, since they had changes that were not folded.
        steps: times that rows of segments were given.
    """

    graph: str | None
    bucket: str = ""
    place: Place | None = None
    given: set[str] = field(default_factory=set)
    steps: int = 0

    def is_done(self, row: Row) -> bool:
        """Whether a row has been given, or its place has been passed."""
        return row.id in self.given or not self.is_ahead(bucket_of(row.graph), row.place)

    def is_ahead(self, bucket: str, place: Place) -> bool:
        """Whether a place is still to come."""
        if bucket != self.bucket or self.place is None:
            return bucket >= self.bucket
        return _key(place) > _key(self.place)

    def gives(self, bucket: str, place: Place) -> None:
        """All rows up to this place are about to be given."""
        self.bucket, self.place = bucket, place
        self.steps += 1


def exact_tables(storage: Storage, generations: Generations, segments: Segments, graph: str | None) -> Iterator[Any]:
    """The rows of live snapshots as tables.

    A snapshot that stays as it is while this is read is there exactly once. So is one that changes in place, as it was at
    some moment of the reading. One that is made or deleted meanwhile may be there or not, and one that moves to another graph,
    or is deleted and made again, may be there at either place, at both or at none.

    Holds in memory: what was folded lately (up to some hundred thousand rows), some thousand rows of each segment of one
    bucket, and the rows of changes that are not folded yet.

    Raises:
        ConflictError: `index_busy`.
    """
    reading = _Reading(graph)
    tries = 0
    missing_in: Generation | None = None
    while tries < TRIES:
        generation, (tail, changed) = generations.beside(lambda _: _changed(storage, graph))
        if generations.is_lost(generation) or generation == missing_in:
            rows = every_row(storage, RowFilter(graph=graph))
            yield from _tables(row for row in rows if not reading.is_done(row))
            return
        ahead = [row for row in changed if not reading.is_done(row)]
        tables = _unchanged(_of_segments(segments, generation, reading), tail, reading.given)
        steps = reading.steps
        try:
            # Before anything is given away: whoever takes it may replace the segments, and each look has to get further.
            first = next(tables, None)
            reading.given.update(row.id for row in ahead)
            yield from _tables(ahead)
            if first is not None:
                yield first
                yield from tables
        except NotFoundError:
            missing_in = generation  # replaced, and its grace period is over; or it is really missing
            tries = tries + 1 if reading.steps == steps else 0
        else:
            return
    raise ConflictError("the index kept changing while it was read", code="index_busy")


def _changed(storage: Storage, graph: str | None) -> tuple[Tail, list[Row]]:
    """The changes that are not folded, and the rows of these."""
    tail = Tail(storage, graph, whole=True)
    rows: list[Row] = []
    tail.list_more()
    while tail.first(0, RowFilter(graph=graph)) is not None:
        rows.append(tail.take())
    return tail, rows


def _tables(rows: Iterable[Row]) -> Iterator[Any]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= ROWS_AT_ONCE:
            yield to_table(batch)
            batch = []
    if batch:
        yield to_table(batch)


def _of_segments(segments: Segments, generation: Generation, reading: _Reading) -> Iterator[Any]:
    """The rows of the segments behind what has been given."""
    graph = reading.graph
    files = [file for file in generation.current.files if file.may_hold(graph)]
    if not files:
        return
    pa = arrow()
    fresh = [_of_graph(table, graph) for file in files if file.bucket == ALL_GRAPHS for table in rows_of(segments, file)]
    recent = newest_of_each_place(pa.concat_tables(fresh)) if fresh else None
    for bucket, members in sorted(_by_bucket(files, recent).items()):
        if bucket < reading.bucket:
            continue
        inputs: list[Iterator[Any]] = [_of_bucket(segments, file, reading) for file in members]
        if recent is not None:
            names = [name for name in pa.compute.unique(recent["graph"]).to_pylist() if bucket_of(name) == bucket]
            inputs.append(iter([recent.filter(pa.compute.is_in(recent["graph"], value_set=pa.array(names, pa.string())))]))
        for table in merged(inputs):
            first = _rows_behind(table, bucket, reading)
            if first < table.num_rows:
                reading.gives(bucket, _place(table, table.num_rows - 1))
                left = table.slice(first)
                yield left.filter(pa.compute.invert(left["deleted"]))


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


def _of_bucket(segments: Segments, file: IndexFile, reading: _Reading) -> Iterator[Any]:
    segment = segments.open(file)
    for group in segment.row_groups:
        if group.may_hold(reading.graph) and not _is_passed(group, file.bucket, reading):
            for table in segments.read_through(segment, group):
                yield _of_graph(table, reading.graph)


def _is_passed(group: RowGroup, bucket: str, reading: _Reading) -> bool:
    """Whether all places of a row group lie before the last one that was given."""
    if group.graph_to is None or bucket != reading.bucket or reading.place is None:
        return False
    graph, created_at, _ = reading.place
    return (group.graph_to, -group.created_from) < (graph, -created_at)


def _of_graph(table: Any, graph: str | None) -> Any:
    return table if graph is None else table.filter(arrow().compute.equal(table["graph"], graph))


def _rows_behind(table: Any, bucket: str, reading: _Reading) -> int:
    """How many rows at the beginning of a sorted table lie at places that have been given."""
    low, high = 0, table.num_rows
    while low < high:
        middle = (low + high) // 2
        if reading.is_ahead(bucket, _place(table, middle)):
            high = middle
        else:
            low = middle + 1
    return low


def _place(table: Any, number: int) -> Place:
    return table["graph"][number].as_py(), table["created_at"][number].value, table["id"][number].as_py()


def _key(place: Place) -> tuple[str, int, str]:
    """What places are sorted by."""
    graph, created_at, id = place
    return graph, -created_at, id


def _unchanged(tables: Iterator[Any], tail: Tail, given: Iterable[str]) -> Iterator[Any]:
    """The rows of tables whose snapshots have no change that is not folded, and were not given for such a change before."""
    ids = tail.seen_ids()
    pa = arrow()
    known = pa.array({*ids.known, *given}, pa.string())
    for table in tables:
        mask = pa.compute.is_in(table["id"], value_set=known)
        if ids.digests:
            mask = pa.compute.or_(mask, pa.array([tail.has_changed(id) for id in table["id"].to_pylist()], pa.bool_()))
        yield table.filter(pa.compute.invert(mask))
