"""Rebuilding: the whole index again, from the registers alone.

No marker is deleted, and what is folded meanwhile stays beside the new segments: rows read here and rows folded there meet at
their places, where the newer one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError, SnapstoreError
from snapstore.format import names
from snapstore.format.index_current import IndexFile, Rebuilding, RetiredFile
from snapstore.index.arrow import arrow
from snapstore.index.compaction import written
from snapstore.index.generations import Generation, Generations
from snapstore.index.levels import Merge, next_merge, whole_merges
from snapstore.index.lookup import left_places
from snapstore.index.merging import PLACE_ORDER, newest_of_each_place
from snapstore.index.reports import Rebuilt
from snapstore.index.rows import Row, to_table
from snapstore.index.segments import Segments
from snapstore.index.tail import read_registers
from snapstore.index.writing import SegmentOutput
from snapstore.storage.protocol import Storage

__all__ = ["Rebuilder"]

BATCH_ROWS: Final = 30_000
"""Rows sorted in memory at a time, 7 MB each time they are copied. An archive with fewer has one segment of all graphs."""

REGISTERS_AT_ONCE: Final = 1024
"""Registers in memory at a time; as Python objects they and their rows take ten times as much as the rows do as columns."""

TRIES: Final = 100

RUNS: Final = 3
"""Runs in vain: only when the very first fold of an archive, or another rebuild, falls into this one."""

SAVE_MS: Final = 120_000
"""A change marker may be written so much later than the register that was read: twice what a call may take."""


class Rebuilder:
    """Makes the index of one archive again.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        segments: its segments.
        progress: called now and then with the number of registers read so far.
    """

    def __init__(
        self, storage: Storage, generations: Generations, segments: Segments, progress: Callable[[int], object] | None = None
    ) -> None:
        self._storage = storage
        self._generations = generations
        self._segments = segments
        self._progress = progress
        self._name = clock.random_hex()
        self._files: list[IndexFile] = []
        self._outputs: list[SegmentOutput] = []
        self._may_be_named = False
        self._started_ms = 0
        self._snapshots = 0
        self._bytes_written = 0

    def rebuild(self) -> Rebuilt:
        """Read every register and publish new segments; when that fails, all is as it was.

        Raises:
            ConflictError: `index_busy`: another rebuild began, or others kept replacing the root.
        """
        try:
            for _ in range(RUNS):
                self._storage.delete_many([file.key for file in self._files])  # of a run that could not be published
                self._files, self._snapshots = [], 0
                generation = self._announced()
                self._read_all(generation)
                if self._publish(generation):
                    rows_written = sum(file.rows for file in self._files)
                    return Rebuilt(self._snapshots, rows_written, len(self._files), self._bytes_written)
            raise _busy()
        except BaseException:
            with suppress(SnapstoreError):  # then the mark goes after a week, or with the next rebuild
                self._withdraw()
            raise

    def _announced(self) -> Generation:
        """The root, after it says that tombstones have to stay. Without one nobody merges anything either.

        A root without segments would make what was lost look as if it had never been, so none is made for this.
        """
        self._started_ms = self._storage.now_ms()
        for _ in range(TRIES):
            generation = self._generations.read()
            if not generation.is_there:
                return generation
            mark = Rebuilding(self._storage.now_ms(), self._name, generation.current.generation + 1)
            new = replace(generation.current, rebuilding=mark)
            published = self._generations.publish(generation, new)
            if published is not None:
                return published
        raise _busy()

    def _read_all(self, generation: Generation) -> None:
        batches = self._batches()
        # As old as anything can be: what is folded from here on is read later than the root above.
        while self._write(batches, 0, generation.current.generation):
            while (merge := next_merge(self._files)) is not None:
                self._merge(merge)
        for merge in [*whole_merges(self._files)]:
            self._merge(merge)

    def _write(self, batches: Iterator[Any], first: int, last: int) -> bool:
        """Write the next batch; False when there is none. Nothing here holds its rows afterwards."""
        table = next(batches, None)
        if table is None:
            return False
        output = self._output(first, last, by_bucket=self._snapshots >= BATCH_ROWS)
        output.write(table)
        files = output.close()
        self._files += files
        self._bytes_written += sum(file.size for file in files)
        return True

    def _batches(self) -> Iterator[Any]:
        """The rows of live snapshots as tables in the order of segments, of about `BATCH_ROWS` rows but for the last."""
        tables: list[Any] = []
        for rows in self._rows():
            tables.append(to_table(rows))
            if sum(table.num_rows for table in tables) >= BATCH_ROWS:
                yield _sorted(tables)
        if any(table.num_rows for table in tables):
            yield _sorted(tables)

    def _rows(self) -> Iterator[list[Row]]:
        keys = (info.key for info in self._storage.list(names.SNAPSHOTS_PREFIX) if names.parse_register_key(info.key) is not None)
        while batch := [*islice(keys, REGISTERS_AT_ONCE)]:
            rows = [replace(Row.of(found), revises=False) for found in read_registers(self._storage, batch) if found is not None]
            self._snapshots += len(rows)
            yield [row for row in rows if not row.deleted]
            if self._progress is not None:
                self._progress(self._snapshots)

    def _merge(self, merge: Merge) -> None:
        """Merge some of the new segments; nobody knows them yet, so the inputs can go at once."""
        output = self._output(merge.first, merge.last, by_bucket=merge.split)
        written(self._segments, merge, output)
        self._bytes_written += sum(file.size for file in output.files)
        gone = {file.key for file in merge.inputs}
        self._files = [file for file in self._files if file.key not in gone] + output.files
        self._storage.delete_many(gone)

    def _publish(self, old: Generation) -> bool:
        """Publish the new segments in place of those of the old root; False when there was none, and somebody made one."""
        known = {file.key for file in old.current.files}
        mine = {file.key for file in self._files}
        for _ in range(TRIES):
            generation = self._generations.read()
            current = generation.current
            if mine & ({file.key for file in current.files} | {file.key for file in current.retired}):
                return True  # it landed, and only the answer got lost
            if old.is_there and (current.rebuilding is None or current.rebuilding.by != self._name):
                raise _busy()
            if not old.is_there and generation.is_there:
                return False
            since = tuple(file for file in current.files if file.key not in known)
            # A fold could not see the rows that were being written here, so it left no tombstones at their places.
            gone = self._output(current.generation + 1, current.generation + 1, by_bucket=False)
            try:
                rows = left_places(self._segments, self._files, since)
            except NotFoundError:
                continue  # one of those that came since has been replaced already
            if rows:
                gone.write(newest_of_each_place(to_table(rows)))
            gone.close()
            now_ms = self._storage.now_ms()
            retired = (*current.retired, *(RetiredFile(file.key, now_ms) for file in current.files if file.key in known))
            new = replace(
                current,
                files=(*self._files, *since, *gone.files),
                retired=retired,
                rebuilding=None,
                folded_at=max(current.folded_at, self._started_ms),  # what was acknowledged before has been read
                listed_until=now_ms + SAVE_MS,
            )
            self._may_be_named = True
            if self._generations.publish(generation, new) is not None:
                self._files += gone.files
                return True
        raise _busy()

    def _withdraw(self) -> None:
        """Take the mark back, and delete what was written.

        Replacing the root first keeps a write of it that is still on its way from arriving later. Where none can be replaced,
        files that it may name stay for a compaction to sweep.
        """
        for _ in range(TRIES):
            generation = self._generations.read()
            current = generation.current
            if current.rebuilding is None or current.rebuilding.by != self._name:
                break
            if self._generations.publish(generation, replace(current, rebuilding=None)) is not None:
                break
        else:
            return
        if generation.is_there or not self._may_be_named:
            named = {file.key for file in current.files} | {file.key for file in current.retired}
            written = {file.key for output in self._outputs for file in output.files}
            self._storage.delete_many(written - named)

    def _output(self, first: int, last: int, *, by_bucket: bool) -> SegmentOutput:
        output = SegmentOutput(self._storage, first, last, by_bucket=by_bucket)
        self._outputs.append(output)
        return output


def _sorted(tables: list[Any]) -> Any:
    """The rows of tables in the order of segments; the list is emptied, so that they are not held twice."""
    table = arrow().concat_tables(tables)
    tables.clear()
    return table.sort_by(PLACE_ORDER)


def _busy() -> ConflictError:
    return ConflictError(
        "the index kept changing while it was rebuilt", code="index_busy", hint="another rebuild may be running; try again later"
    )
