"""Reading: segments and unfolded changes as one list.

A reader sees the root, lists the markers, and looks at the root again after that: markers are deleted only after a root with
a greater count of folds is in place. If the count has not moved, every change is among the markers or in the segments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

from snapstore.errors import ConflictError, NotFoundError
from snapstore.history.rows import RowCache
from snapstore.index.filters import RowFilter
from snapstore.index.folding import CLOCK_MARGIN_MS
from snapstore.index.generations import Generation, Generations
from snapstore.index.rows import Row, order_of
from snapstore.index.segments import Segments
from snapstore.index.stream import SegmentRows
from snapstore.index.tail import Tail, TailWatch, every_row
from snapstore.index.times import RunTimes
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["Reader"]

TRIES: Final = 100
"""A reader starts over when a fold came between; each time somebody else got something done."""


class _MovedError(Exception):
    """The root has moved on: what was listed may lack markers, or a segment is gone."""

    def __init__(self, generation: Generation | None = None, *, missing_in: Generation | None = None) -> None:
        super().__init__()
        self.generation = generation
        self.missing_in = missing_in


class _LostError(Exception):
    """Markers have been deleted, and there is no root."""


class Reader:
    """Lists rows of one archive.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        segments: its segments.
        kept: registers that need not be read again.
        watch: what this handle knows of long tails.
    """

    def __init__(self, storage: Storage, generations: Generations, segments: Segments, kept: RowCache, watch: TailWatch) -> None:
        self._storage = storage
        self._generations = generations
        self._segments = segments
        self._kept = kept
        self._watch = watch

    def rows(self, wanted: RowFilter, limit: int | None, max_staleness_s: float | None) -> Iterator[Row]:
        """The wanted rows, newest first by creation, ties by id; see `Index.rows`."""
        generation: Generation | None = None
        incomplete: Generation | None = None  # one whose segments were not all there: it may have been replaced, or is damaged
        left = limit
        tries = 0
        last: Row | None = None
        while left is None or left > 0:
            try:
                for row in self._rows_of(generation, wanted, left, max_staleness_s):
                    yield row
                    tries = 0
                    last = row
                    left = None if left is None else left - 1
                    if left == 0:
                        return
            except _MovedError as moved:
                if last is not None:
                    wanted = replace(wanted, after=order_of(last))
                if moved.missing_in is not None and moved.missing_in == incomplete:
                    yield from islice(every_row(self._storage, wanted), left)
                    return
                generation, incomplete = moved.generation, moved.missing_in
            else:
                return
            tries += 1
            if tries >= TRIES:
                raise ConflictError("the index kept changing while it was read", code="index_busy")

    def _rows_of(
        self, generation: Generation | None, wanted: RowFilter, limit: int | None, max_staleness_s: float | None
    ) -> Iterator[Row]:
        if max_staleness_s is not None:
            generation = generation or self._generations.read()
            if generation.is_there and self._is_fresh(generation, max_staleness_s):
                yield from self._of_segments(generation, wanted, limit)
                return
        tail = Tail(self._storage, wanted.graph, self._kept, limit=limit, watch=self._watch)
        # At the same time: the root may well be older than the listing, which the second look at it shows.
        found: list[Generation] = []
        times: list[RunTimes] = []
        firsts: list[Callable[[], None]] = [lambda: found.append(generation or self._generations.read()), tail.list_more]
        if wanted.run is not None:
            run = wanted.run
            firsts.append(lambda: times.append(RunTimes.of(self._storage, run)))
        parallel(firsts)
        root = found[0]
        segments = SegmentRows(self._segments, root.current.files, wanted, limit, next(iter(times), None))
        tail.kept_since = root.current.listed_until + CLOCK_MARGIN_MS if root.current.listed_until else -1
        calls: list[Callable[[], None]] = [partial(self._verify, root, tail), tail.read_more]
        if root.is_there:
            calls.append(lambda: self._prepare(root, segments))
        try:
            parallel(calls)
            yield from self._merged(root, segments, tail, wanted)
        except _LostError:
            yield from every_row(self._storage, wanted)

    def _of_segments(self, generation: Generation, wanted: RowFilter, limit: int | None) -> Iterator[Row]:
        times = RunTimes.of(self._storage, wanted.run) if wanted.run is not None else None
        segments = SegmentRows(self._segments, generation.current.files, wanted, limit, times)
        self._prepare(generation, segments)
        while self._next_of(generation, segments) is not None:
            yield segments.take()

    def _merged(self, generation: Generation, segments: SegmentRows, tail: Tail, wanted: RowFilter) -> Iterator[Row]:
        while True:
            row = self._next_of(generation, segments)
            newer = tail.first(max(row.created_at if row is not None else 0, wanted.created_from), wanted)
            if tail.unverified:
                self._verify(generation, tail)
            if newer is not None and (row is None or order_of(newer) <= order_of(row)):
                yield tail.take()
            elif row is None:
                return
            else:
                segments.take()
                if not tail.holds(row.id, row.created_at):
                    yield row

    def _prepare(self, generation: Generation, segments: SegmentRows) -> None:
        try:
            segments.prepare()
        except NotFoundError as error:
            raise _MovedError(missing_in=generation) from error

    def _next_of(self, generation: Generation, segments: SegmentRows) -> Row | None:
        try:
            return segments.first()
        except NotFoundError as error:
            raise _MovedError(missing_in=generation) from error

    def _verify(self, generation: Generation, tail: Tail) -> None:
        """Make sure that no marker was deleted before it was listed."""
        if generation.is_there or self._generations.lost():
            now = self._generations.read()
            if now.folds != generation.folds:
                raise _MovedError(now)
            if not now.is_there:
                raise _LostError
        tail.unverified = False

    def _is_fresh(self, generation: Generation, max_staleness_s: float) -> bool:
        return self._storage.now_ms() - generation.current.folded_at <= max_staleness_s * 1000
