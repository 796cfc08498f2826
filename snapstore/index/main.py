"""The handle of an archive's index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from snapstore.format import names
from snapstore.history.rows import RowCache
from snapstore.index.compaction import GRACE_MS, SEGMENTS_PREFIX, Compactor
from snapstore.index.exact import exact_tables
from snapstore.index.filters import RowFilter
from snapstore.index.folding import Folder
from snapstore.index.generations import Generations
from snapstore.index.of_run import RunRows
from snapstore.index.query import QueryResult, run_query
from snapstore.index.reading import Reader
from snapstore.index.rebuilding import Rebuilder
from snapstore.index.reports import Compacted, Folded, IndexStatus, Rebuilt
from snapstore.index.rows import Row
from snapstore.index.segments import Segments
from snapstore.index.table import ArrowTable
from snapstore.index.tail import TailWatch
from snapstore.index.view import look
from snapstore.storage.protocol import Storage

__all__ = ["Index"]


class Index:
    """The index of one archive. Safe to share between threads; any number of processes may use it at the same time.

    Args:
        storage: the archive's storage.
        kept: registers that need not be read again.
        grace_s: how long segments that a compaction has replaced stay readable, in seconds.

    Attributes:
        problem: why folding in the background failed last, None when it did not.
    """

    def __init__(self, storage: Storage, kept: RowCache | None = None, *, grace_s: float = GRACE_MS / 1000) -> None:
        self._storage = storage
        self._kept = kept if kept is not None else RowCache()
        self._generations = Generations(storage)
        self._segments = Segments(storage)
        self._watch = TailWatch()
        self._grace_ms = int(grace_s * 1000)
        self.problem: str | None = None

    def rows(
        self, wanted: RowFilter | None = None, *, limit: int | None = None, max_staleness_s: float | None = None
    ) -> Iterator[Row]:
        """Rows of live snapshots, newest first by creation, ties by id.

        Args:
            wanted: which ones; all when None.
            limit: at most so many.
            max_staleness_s: leave out changes since the last fold if it was at most so many seconds ago: one listing
                less. None shows every change that was acknowledged before the call.

        Raises:
            MissingExtraError: there is an index, and pyarrow is not installed.
        """
        reader = Reader(self._storage, self._generations, self._segments, self._kept, self._watch)
        return reader.rows(wanted or RowFilter(), limit, max_staleness_s)

    def of_run(self, run: str) -> RunRows:
        """The snapshots of one run, whatever graphs it lies in: to walk through, or its leaves."""
        return RunRows(self._storage, self._generations, self._segments, run)

    def table(self, graph: str | None = None) -> ArrowTable:
        """All rows of live snapshots, or those of a graph, as a table that engines of others read."""
        wanted = RowFilter(graph=graph)
        return ArrowTable(lambda: exact_tables(self._storage, self._generations, self._segments, wanted.graph))

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> QueryResult:
        """Run SQL over `snapshots` and `edges`; see `Archive.query`."""
        return run_query(self._segments, partial(look, self._storage, self._generations, self._watch), sql, parameters)

    def files(self) -> list[str]:
        """Keys of the live segments: what to read for a view without the changes since the last fold.

        Rows of several files meet at (graph, created_at, id); the one with the greatest `updated_at` counts, and nothing
        is there when it is `deleted`.
        """
        return [file.key for file in self._generations.read().current.files]

    def refresh(self, at_least: int = 1) -> Folded:
        """Fold the changes since the last fold, then merge what is due.

        Args:
            at_least: do nothing when there are fewer markers.
        """
        if at_least > 1:
            listing = self._storage.list(names.CHANGES_PREFIX, limit=at_least + 1)  # one key there is no marker
            if sum(names.parse_change_key(info.key) is not None for info in listing) < at_least:
                return Folded()
        # A first fold would make what was lost look as if it had never been.
        rebuilt = self.rebuild() if self._generations.is_lost(self._generations.read()) else None
        markers = rows = size = waiting = 0
        for done in Folder(self._storage, self._generations, self._segments).fold():
            markers += len(done.absorbed)
            rows += len(done.rows)
            size += done.bytes_written
            waiting += done.waiting
        return Folded(markers, rows, size, waiting, self._compactor().merge_due(), rebuilt)

    def compact(self) -> Compacted:
        """Fold, then merge everything as far as it goes, and delete segments that nobody needs."""
        folded = self.refresh()
        return replace(self._compactor().merge_all(), folded=folded)

    def rebuild(self, progress: Callable[[int], object] | None = None) -> Rebuilt:
        """Make the index again from the registers; the old one answers until the new one is complete.

        Args:
            progress: called now and then with the number of registers read so far.

        Raises:
            ConflictError: `index_busy`: others kept replacing the index.
        """
        return Rebuilder(self._storage, self._generations, self._segments, progress).rebuild()

    def status(self) -> IndexStatus:
        """The state of the index; lists every marker, and the segments."""
        generation = self._generations.read()
        current = generation.current
        listing = self._storage.list(names.CHANGES_PREFIX)
        there = {info.key for info in self._storage.list(SEGMENTS_PREFIX)}
        return IndexStatus(
            generation=current.generation,
            folds=current.folds,
            rows=sum(file.rows for file in current.files),
            files=len(current.files),
            bytes=sum(file.size for file in current.files),
            tail=sum(names.parse_change_key(info.key) is not None for info in listing),
            retired=len(current.retired),
            folded_at=current.folded_at,
            lost=self._generations.is_lost(generation),
            problem=self.problem,
            rebuilding_since=current.rebuilding.at if current.rebuilding is not None else None,
            revised=sum(file.revised for file in current.files),
            missing=sum(file.key not in there for file in current.files),
        )

    def _compactor(self) -> Compactor:
        return Compactor(self._storage, self._generations, self._segments, self._grace_ms)
