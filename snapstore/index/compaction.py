"""Compaction: merges segments, publishes the result, and deletes what no reader needs any more.

Only segments are read, so a merge stays right when the root moves on meanwhile, as long as its inputs are still live. Replaced
segments stay for a grace period, since readers may be in the middle of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from snapstore.errors import NotFoundError
from snapstore.format.index_current import ALL_GRAPHS, IndexFile, Rebuilding
from snapstore.index.arrow import arrow, schema
from snapstore.index.generations import CURRENT_KEY, Generation, Generations
from snapstore.index.levels import Merge, next_merge, whole_merges
from snapstore.index.merging import merged
from snapstore.index.reports import Compacted
from snapstore.index.segments import Segments
from snapstore.index.writing import SegmentOutput, replaced
from snapstore.storage.protocol import Storage

__all__ = ["GRACE_MS", "SEGMENTS_PREFIX", "Compactor", "rows_of", "written"]

GRACE_MS: Final = 24 * 3_600_000
"""How long a replaced segment stays: longer than any query runs that was given its name."""

REBUILDING_MS: Final = 7 * 24 * 3_600_000
"""A rebuild that has not ended after so long has died."""

TRIES: Final = 50

SEGMENTS_PREFIX: Final = "index/snapshots/"


class Compactor:
    """Merges the segments of one archive.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        segments: its segments.
        grace_ms: how long replaced segments stay.
    """

    def __init__(self, storage: Storage, generations: Generations, segments: Segments, grace_ms: int = GRACE_MS) -> None:
        self._storage = storage
        self._generations = generations
        self._segments = segments
        self._grace_ms = grace_ms

    def merge_due(self) -> Compacted:
        """Merge what the levels call for, and delete replaced segments after their grace period."""
        done = Compacted()
        while True:
            generation = self._generations.read()
            files = self._mergeable(generation)
            # Beside a rebuild tombstones stay: to free full segments would be due again at once.
            merge = next_merge(files, frees=self._rebuilding(generation) is None)
            if merge is None:
                break
            step = self._merge(generation, self._planned(generation, merge))
            if step is None:
                break  # somebody else is merging: one of us is enough
            done = _sum(done, step)
        return replace(done, deleted=self._release(), held_back=len(generation.current.files) - len(files))

    def merge_all(self) -> Compacted:
        """Merge each bucket as far as it goes, and delete what crashes left behind."""
        done = self.merge_due()
        for is_shared in (True, False):  # first the segments of all graphs: what is split off them belongs to the buckets
            generation = self._generations.read()
            for merge in whole_merges(self._mergeable(generation)):
                if (merge.bucket == ALL_GRAPHS) is is_shared:
                    step = self._merge(self._generations.read(), self._planned(generation, merge))
                    done = _sum(done, step) if step is not None else done
        done = _sum(done, self.merge_due())
        return replace(done, deleted=done.deleted + self._sweep())

    def _planned(self, generation: Generation, merge: Merge) -> Merge:
        """A merge as it is right when the root moves on.

        A rebuild that was under way then may bring rows that tombstones have to hide, also if it ends before the merge is made.

        Args:
            generation: the root on which the merge was planned.
            merge: the plan.
        """
        return merge if self._rebuilding(generation) is None else replace(merge, complete=False)

    def _merge(self, generation: Generation, merge: Merge) -> Compacted | None:
        """Make and publish a merge; None when its inputs have been replaced since it was planned.

        Args:
            generation: the root as it was when the merge was planned, or later.
            merge: from `_planned`.
        """
        output = SegmentOutput(self._storage, merge.first, merge.last, by_bucket=merge.split)
        try:
            written(self._segments, merge, output)
        except NotFoundError:
            output.take_back(self._generations.read())
            return None
        inputs = {file.key for file in merge.inputs}
        for _ in range(TRIES):
            if not inputs <= {file.key for file in self._mergeable(generation)}:
                break
            if merge.complete and self._rebuilding(generation) is not None:
                break
            # Only newer segments can have come meanwhile, so a merge that was complete still is.
            new = replaced(generation.current, merge.inputs, output.files, self._storage.now_ms())
            published = self._generations.publish(generation, new)
            if published is not None or self._landed(output):
                return Compacted(1, sum(file.rows for file in output.files), sum(file.size for file in output.files))
            generation = self._generations.read()
        output.take_back(self._generations.read())
        return None

    def _mergeable(self, generation: Generation) -> list[IndexFile]:
        """The live segments, without those that a rebuild is going to replace: merged with others, they would survive it."""
        mark = self._rebuilding(generation)
        return [file for file in generation.current.files if mark is None or file.first > mark.generation]

    def _rebuilding(self, generation: Generation) -> Rebuilding | None:
        """The rebuild that is under way; None when there is none, or it has died."""
        mark = generation.current.rebuilding
        return mark if mark is not None and self._storage.now_ms() - mark.at < REBUILDING_MS else None

    def _landed(self, output: SegmentOutput) -> bool:
        current = self._generations.read().current
        named = {file.key for file in current.files} | {file.key for file in current.retired}
        return any(file.key in named for file in output.files)

    def _release(self) -> int:
        """Delete segments whose grace period is over: first no root names them, then they go."""
        generation = self._generations.read()
        end = self._storage.now_ms() - self._grace_ms
        due = [file.key for file in generation.current.retired if file.at <= end]
        if not due:
            return 0
        left = tuple(file for file in generation.current.retired if file.key not in set(due))
        if self._generations.publish(generation, replace(generation.current, retired=left)) is None:
            return 0
        self._storage.delete_many(due)
        return len(due)

    def _sweep(self) -> int:
        """Delete segments that no root names and that are too old to be on their way into one."""
        end = self._storage.now_ms() - max(self._grace_ms, GRACE_MS)
        old = [info.key for info in self._storage.list(SEGMENTS_PREFIX) if info.modified_ms < end]
        current = self._generations.read().current
        named = {file.key for file in current.files} | {file.key for file in current.retired} | {CURRENT_KEY}
        lost = [key for key in old if key not in named]
        self._storage.delete_many(lost)
        return len(lost)


def written(segments: Segments, merge: Merge, output: SegmentOutput) -> None:
    """Write the merged rows of segments; a row group of each input is in memory, and one output per bucket."""
    for table in merged([rows_of(segments, file) for file in merge.inputs]):
        output.write(_alone(table) if merge.complete else table, None if merge.bucket == ALL_GRAPHS else merge.bucket)
    output.close()


def _alone(table: Any) -> Any:
    """Rows that no other segment holds versions of: tombstones have nothing left to hide, and nothing is revised."""
    pa = arrow()
    kept = table.filter(pa.compute.invert(table["deleted"]))
    return kept.set_column(kept.schema.get_field_index("revises"), schema().field("revises"), pa.repeat(False, kept.num_rows))


def rows_of(segments: Segments, file: IndexFile) -> Iterator[Any]:
    """The rows of a segment, some thousands at a time."""
    segment = segments.open(file, keep=False)
    for group in segment.row_groups:
        yield from segments.read_through(segment, group)


def _sum(done: Compacted, step: Compacted) -> Compacted:
    return Compacted(
        done.merges + step.merges,
        done.rows + step.rows,
        done.bytes_written + step.bytes_written,
        done.deleted + step.deleted,
        held_back=max(done.held_back, step.held_back),
    )
