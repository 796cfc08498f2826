"""Levels: which segments a compaction merges, from their entries alone.

Segments of about the same number of rows are of one level, and there is one of each: two are merged, together with those of all
levels that the result reaches, so nothing is written that is merged at once. A row is written 8.2 times until 10 million rows,
when 1,000 are folded at a time. Small levels hold rows of all graphs; where they become larger than what a reader should look
through, they are split into 16 buckets of graphs.

Full segments stay as they are until a quarter of the rows of their bucket say that they may supersede others; then everything in
it is merged, which writes at most four rows for each of these, and nothing where rows are only added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from snapstore.format.index_current import ALL_GRAPHS, IndexFile
from snapstore.index.writing import FULL_ROWS

__all__ = ["Merge", "level_of", "next_merge", "whole_merges"]

GROWTH: Final = 2
"""How much larger the segments of the next level are. With 10 million rows, a graph then lies in 3.5 segments of all graphs on
average, 7 at most, and in as many of its bucket. With 3 a row is written 9.8 times, and a graph lies in 6 and 10; merging three
of a level at a time, each step on its own, a row is written 8.5 times, and a graph lies in 8.7 and 16."""

LEVEL_0_ROWS: Final = 112
"""A segment of level n has fewer than 112 * 2^n rows: 1,000 folded rows are of level 4, between 896 and 1,792."""

SPLIT_LEVEL: Final = 11
"""Segments of all graphs are split into buckets from this level on: 114,688 rows, 9 MB."""

FULL_LEVEL: Final = 100
"""The level of segments that are not merged because of their size."""

REVISED_PART: Final = 4
"""A bucket with full segments is merged when one of so many of its rows revises others."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Segments to be merged.

    Attributes:
        inputs: the segments, of one bucket.
        split: whether the result is split into buckets.
        complete: whether every segment that may hold older rows of the same graphs is among the inputs, so that tombstones
            have nothing left to hide.
    """

    inputs: tuple[IndexFile, ...]
    split: bool
    complete: bool

    @property
    def bucket(self) -> str:
        """The bucket of the inputs."""
        return self.inputs[0].bucket

    @property
    def first(self) -> int:
        """The lowest generation that rows of the inputs were folded in."""
        return min(file.first for file in self.inputs)

    @property
    def last(self) -> int:
        """The highest generation that rows of the inputs were folded in."""
        return max(file.last for file in self.inputs)


def level_of(file: IndexFile) -> int:
    """The level of a segment."""
    return _level(file.rows)


def next_merge(files: Sequence[IndexFile], *, frees: bool = True) -> Merge | None:
    """The next merge that is due, smallest level first; None when none is.

    Args:
        files: the live segments.
        frees: whether full segments may be merged, after all others.
    """
    for (bucket, level), group in sorted(_groups(files).items(), key=lambda item: (item[0][1], item[0][0])):
        if level != FULL_LEVEL and (len(group) > 1 or (bucket == ALL_GRAPHS and level >= SPLIT_LEVEL)):
            others = [file for file in files if file.bucket == bucket and level_of(file) != FULL_LEVEL]
            return _merge(files, _reached(others, level))
    return _freeing_merge(files) if frees else None


def _freeing_merge(files: Sequence[IndexFile]) -> Merge | None:
    """A merge of a bucket whose full segments hold many rows that do not count any more.

    Only a complete one: it ends with no row that revises others, so it is not due again before as many have been changed.
    """
    by_bucket: dict[str, list[IndexFile]] = {}
    for file in files:
        by_bucket.setdefault(file.bucket, []).append(file)
    for bucket, group in sorted(by_bucket.items()):
        is_full = bucket != ALL_GRAPHS and any(level_of(file) == FULL_LEVEL for file in group)
        if is_full and sum(file.revised for file in group) * REVISED_PART >= sum(file.rows for file in group):
            merge = _merge(files, group)
            if merge.complete:
                return merge
    return None


def whole_merges(files: Sequence[IndexFile]) -> Iterator[Merge]:
    """A merge per bucket of all its segments that are not full: what makes an index as small and quick as it gets."""
    by_bucket: dict[str, list[IndexFile]] = {}
    for file in files:
        if level_of(file) != FULL_LEVEL:
            by_bucket.setdefault(file.bucket, []).append(file)
    for _, group in sorted(by_bucket.items()):
        if len(group) > 1:
            yield _merge(files, group)


def _reached(files: Sequence[IndexFile], level: int) -> list[IndexFile]:
    """The segments up to a level, and those of every level that they reach when they are merged."""
    while True:
        found = [file for file in files if level_of(file) <= level]
        reached = _level(sum(file.rows for file in found))
        if reached <= level:
            return found
        level = reached


def _level(rows: int) -> int:
    if rows >= FULL_ROWS:
        return FULL_LEVEL
    level, limit = 0, LEVEL_0_ROWS
    while rows >= limit:
        level, limit = level + 1, limit * GROWTH
    return level


def _groups(files: Iterable[IndexFile]) -> dict[tuple[str, int], list[IndexFile]]:
    groups: dict[tuple[str, int], list[IndexFile]] = {}
    for file in files:
        groups.setdefault((file.bucket, level_of(file)), []).append(file)
    return groups


def _merge(files: Sequence[IndexFile], inputs: Sequence[IndexFile]) -> Merge:
    rows = sum(file.rows for file in inputs)
    split = inputs[0].bucket == ALL_GRAPHS and rows >= LEVEL_0_ROWS * GROWTH ** (SPLIT_LEVEL - 1)
    chosen = {file.key for file in inputs}
    last = max(file.last for file in inputs)
    bucket = inputs[0].bucket
    others = [
        file
        for file in files
        if file.key not in chosen and (bucket == ALL_GRAPHS or file.bucket in (bucket, ALL_GRAPHS)) and file.first <= last
    ]
    return Merge(tuple(inputs), split, complete=not others)
