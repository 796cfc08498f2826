"""The rows of the segments in the order of lists, reading row groups from the newest on and no more than it takes."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from snapstore.format.index_current import IndexFile, graph_mark
from snapstore.index.arrow import arrow
from snapstore.index.filters import RowFilter
from snapstore.index.merging import newest_of_each_place
from snapstore.index.rows import Row, from_table
from snapstore.index.segments import RowGroup, Segment, Segments
from snapstore.index.times import RunTimes
from snapstore.storage.parallel import parallel

__all__ = ["SegmentRows"]

STEP_ROWS: Final = 256
MAX_STEP_ROWS: Final = 16_384
"""Rows prepared at a time: they double, so that whoever stops early reads little and whoever goes on goes fast."""

SPARE: Final = 1.5
"""So many times the wanted rows are looked for: some are superseded, deleted or filtered out, and where segments overlap in
time it is a guess how many of their rows are the newest."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """A segment whose footer has not been read, or a row group that has not.

    Attributes:
        to: no wanted row in it was created later, milliseconds since 1970 UTC.
        since: none was created earlier.
        end: the latest creation time in it; later than `to` when a list begins in the middle of it.
        rows: how many rows of the wanted graph it is expected to have.
        load: reads it.
    """

    to: int
    since: int
    end: int
    rows: int
    load: Callable[[], Any]

    def expected_since(self, time: int) -> float:
        """How many wanted rows it is expected to have that were created at a time or later."""
        return self.rows * max(self.to - max(time, self.since) + 1, 0) / (self.end - self.since + 1)


class SegmentRows:
    """The wanted rows of the live segments, newest version of each place, without tombstones.

    Args:
        segments: reads them.
        files: the live ones.
        wanted: the filter.
        limit: how many rows the caller is going to take, None for all.
        times: when snapshots of the wanted run were created, None without one.
    """

    def __init__(
        self,
        segments: Segments,
        files: Sequence[IndexFile],
        wanted: RowFilter,
        limit: int | None,
        times: RunTimes | None = None,
    ) -> None:
        self._segments = segments
        self._wanted = wanted
        self._times = times
        self._end = wanted.created_to + 1
        is_plain = wanted.graph is not None and wanted == RowFilter(graph=wanted.graph, after=wanted.after)
        self._spare = 1.0 if is_plain and not any(file.revised for file in files) else SPARE
        self._units = [self._unit_of_file(file) for file in files if self._may_hold(file)]
        self._tables: list[Any] = []
        self._chunks: deque[Any] = deque()
        self._rows: deque[Row] = deque()
        self._step = min(max(limit, 16), STEP_ROWS) if limit is not None else STEP_ROWS

    def first(self) -> Row | None:
        """The next row, without removing it; None at the end."""
        while not self._rows:
            if not self._chunks and not self.prepare():
                return None
            while self._chunks and not self._rows:
                self._rows.extend(row for row in from_table(self._chunks.popleft()) if self._wanted.wants(row))
        return self._rows[0]

    def take(self) -> Row:
        """Remove the row that `first` has returned."""
        return self._rows.popleft()

    def prepare(self) -> bool:
        """Read the next rows; False when there are none left."""
        while not self._chunks:
            if not self._units and not self._tables:
                return False
            table = self._next_table(int(self._step * self._spare))
            step, self._step = self._step, min(self._step * 2, MAX_STEP_ROWS)
            if table.num_rows:
                self._chunks.extend(table.slice(start, step) for start in range(0, table.num_rows, step))
        return True

    def _next_table(self, count: int) -> Any:
        """The next rows in order: so many, if there are, before superseded and unwanted ones are left out."""
        while True:
            floor = self._floor(count)
            load = [unit for unit in self._units if unit.to >= floor]
            if not load:
                break
            self._units = [unit for unit in self._units if unit.to < floor]
            for found in parallel([unit.load for unit in load]):
                if isinstance(found, list):
                    self._units += found
                elif found.num_rows:
                    self._tables.append(found)
        self._end = floor
        taken, left = [], []
        for table in self._tables:
            rows = _rows_since(table, floor)
            taken.append(table.slice(0, rows))
            if rows < table.num_rows:
                left.append(table.slice(rows))
        self._tables = left
        if not taken:
            return _EMPTY
        newest = newest_of_each_place(arrow().concat_tables(taken))
        found = self._wanted.of_versions(newest)
        return found.sort_by([("created_at", "descending"), ("id", "ascending")])

    def _floor(self, count: int) -> int:
        """A creation time from which on there are about `count` rows; exact once so many are loaded."""
        if self._times is not None and (floor := self._times.newest_before(self._end, count)) >= 0:
            return floor
        loaded: list[int] = []
        for table in self._tables:
            loaded += table["created_at"].slice(0, count).cast(arrow().int64()).to_pylist()
        if len(loaded) >= count:
            return sorted(loaded, reverse=True)[count - 1]
        loaded.sort()
        low, high = -1, max((unit.to for unit in self._units), default=-1)
        while low < high:  # the latest time from which on there are enough
            middle = (low + high + 1) // 2
            rows = len(loaded) - bisect_left(loaded, middle) + sum(unit.expected_since(middle) for unit in self._units)
            if rows >= count:
                low = middle
            else:
                high = middle - 1
        return low

    def _may_hold(self, file: IndexFile) -> bool:
        return file.may_hold(self._wanted.graph) and self._covers(file.created_from, file.created_to)

    def _covers(self, since: int, to: int) -> bool:
        """Whether a wanted row may have been created between two times, inclusive."""
        since, to = max(since, self._wanted.created_from), min(to, self._wanted.created_to)
        return since <= to and (self._times is None or self._times.may_be_between(since, to))

    def _unit_of_file(self, file: IndexFile) -> _Unit:
        rows = file.rows
        if self._wanted.graph is not None:
            rows = file.graphs.get(graph_mark(self._wanted.graph), 0) if file.graphs is not None else 0
        to = min(file.created_to, self._wanted.created_to)
        return _Unit(to, file.created_from, file.created_to, rows, partial(self._open, file))

    def _open(self, file: IndexFile) -> list[_Unit]:
        segment = self._segments.open(file)
        groups = [group for group in segment.row_groups if group.may_hold(self._wanted.graph)]
        return [
            _Unit(
                min(group.created_to, self._wanted.created_to),
                group.created_from,
                group.created_to,
                self._expected(file, group, len(groups)),
                partial(self._load, segment, group),
            )
            for group in groups
            if self._covers(group.created_from, group.created_to)
        ]

    def _expected(self, file: IndexFile, group: RowGroup, groups: int) -> int:
        """How many rows of the wanted graph there are in one of the row groups of a segment that may hold it."""
        if self._wanted.graph in (None, group.graph):
            return group.rows
        if file.graphs is None:
            return 0
        return min(group.rows, file.graphs.get(graph_mark(self._wanted.graph or ""), 0) // groups)

    def _load(self, segment: Segment, group: RowGroup) -> Any:
        table = self._segments.read(segment, group)
        if self._times is not None:
            table = table.filter(self._times.mask(table["created_at"]))
        table = self._wanted.at_places(table)
        if self._wanted.graph is None and group.graph is None:
            table = table.sort_by([("created_at", "descending"), ("id", "ascending")])
        return table.combine_chunks()


class _Empty:
    num_rows = 0


_EMPTY: Final = _Empty()


def _rows_since(table: Any, floor: int) -> int:
    """How many rows of a table that is sorted newest first were created at `floor` or later."""
    created = table["created_at"]
    low, high = 0, table.num_rows
    while low < high:
        middle = (low + high) // 2
        if created[middle].value >= floor:
            low = middle + 1
        else:
            high = middle
    return low
