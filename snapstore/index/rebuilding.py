"""Rebuilding: the whole index again, from the registers alone.

No marker is deleted, and what is folded meanwhile stays beside the new segments: rows read here and rows folded there meet at
their places, where the newer one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError
from snapstore.format import names
from snapstore.format.index_current import IndexFile, Rebuilding, RetiredFile
from snapstore.index.compaction import written
from snapstore.index.generations import CURRENT_KEY, Generation, Generations
from snapstore.index.levels import next_merge
from snapstore.index.lookup import left_places
from snapstore.index.merging import newest_of_each_place
from snapstore.index.reports import Rebuilt
from snapstore.index.rows import Row, to_table
from snapstore.index.segments import Segments
from snapstore.index.tail import read_registers
from snapstore.index.writing import SegmentOutput
from snapstore.storage.protocol import Storage

__all__ = ["Rebuilder"]

BATCH_ROWS: Final = 50_000
"""Rows sorted in memory at a time, about 100 MB."""

REGISTERS_AT_ONCE: Final = 1024

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
        self._snapshots = 0
        self._bytes_written = 0

    def rebuild(self) -> Rebuilt:
        """Read every register and publish new segments.

        Raises:
            ConflictError: `index_busy`: another rebuild began, or others kept replacing the root.
        """
        for _ in range(RUNS):
            self._storage.delete_many([file.key for file in self._files])  # of a run that could not be published
            self._files, self._snapshots = [], 0
            generation = self._announced()
            self._read_all(generation)
            if self._publish(generation):
                rows_written = sum(file.rows for file in self._files)
                return Rebuilt(self._snapshots, rows_written, len(self._files), self._bytes_written)
        raise _busy()

    def _announced(self) -> Generation:
        """The root, after it says that tombstones have to stay. Without one nobody merges anything either.

        A root without segments would make what was lost look as if it had never been, so none is made for this.
        """
        for _ in range(TRIES):
            generation = self._generations.read()
            if generation.damaged:
                self._storage.delete_many([CURRENT_KEY])
                continue
            if generation.token is None:
                return generation
            mark = Rebuilding(self._storage.now_ms(), self._name, generation.current.generation + 1)
            new = replace(generation.current, rebuilding=mark)
            published = self._generations.publish(generation, new)
            if published is not None:
                return published
        raise _busy()

    def _read_all(self, generation: Generation) -> None:
        found = self._rows()
        while rows := [*islice(found, BATCH_ROWS)]:
            if any(not row.deleted for row in rows):
                # As old as anything can be: what is folded from here on is read later than the root above.
                output = SegmentOutput(self._storage, 0, generation.current.generation, by_bucket=False)
                output.write(to_table([row for row in rows if not row.deleted]))
                self._add(output)
            self._merge_due()

    def _rows(self) -> Iterator[Row]:
        # Rows, not registers: those hold closures, which take ten times as much memory.
        keys = (info.key for info in self._storage.list(names.SNAPSHOTS_PREFIX) if names.parse_register_key(info.key) is not None)
        while batch := [*islice(keys, REGISTERS_AT_ONCE)]:
            for register in read_registers(self._storage, batch):
                if register is not None:
                    self._snapshots += 1
                    yield replace(Row.of(register), revises=False)
            if self._progress is not None:
                self._progress(self._snapshots)

    def _add(self, output: SegmentOutput) -> None:
        files = output.close()
        self._files += files
        self._bytes_written += sum(file.size for file in files)

    def _merge_due(self) -> None:
        """Merge the new segments among themselves; nobody knows them yet, so the inputs can go at once."""
        while (merge := next_merge(self._files)) is not None:
            output = SegmentOutput(self._storage, merge.first, merge.last, by_bucket=merge.split)
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
            if old.token is not None and (current.rebuilding is None or current.rebuilding.by != self._name):
                raise _busy()
            if old.token is None and generation.token is not None:
                return False
            since = tuple(file for file in current.files if file.key not in known)
            # A fold could not see the rows that were being written here, so it left no tombstones at their places.
            gone = SegmentOutput(self._storage, current.generation + 1, current.generation + 1, by_bucket=False)
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
                listed_until=now_ms + SAVE_MS,
            )
            if self._generations.publish(generation, new) is not None:
                self._files += gone.files
                return True
        raise _busy()


def _busy() -> ConflictError:
    return ConflictError(
        "the index kept changing while it was rebuilt", code="index_busy", hint="another rebuild may be running; try again later"
    )
