"""Levels: which segments a compaction merges, from their entries alone.

Segments of about the same number of rows are of one level, and three of a level are merged into one of the next. A row is so
written about once per factor of three: 8.5 times until 10 million rows, when 1,000 are folded at a time. Small levels hold rows
of all graphs; where they become larger than what a reader should look through, they are split into 16 buckets of graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from snapstore.format.index_current import ALL_GRAPHS, IndexFile
from snapstore.index.writing import FULL_ROWS

__all__ = ["Merge", "level_of", "next_merge", "whole_merges"]

FAN_IN: Final = 3
"""Segments of one level that are merged. With 10 million rows, a graph then lies in 8 segments on average, 16 at most; with 4
a row is written 6.8 times instead of 8.5, and a graph lies in 9.5 and 19."""

LEVEL_0_ROWS: Final = 128
"""A segment of level n has fewer than 128 * 3^n rows: 1,000 folded rows are of level 2."""

SPLIT_LEVEL: Final = 7
"""Segments of all graphs are split into buckets from this level on: 93,312 rows, 7 MB."""

FULL_LEVEL: Final = 100
"""The level of segments that are never merged again."""


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
    if file.rows >= FULL_ROWS:
        return FULL_LEVEL
    level, limit = 0, LEVEL_0_ROWS
    while file.rows >= limit:
        level, limit = level + 1, limit * FAN_IN
    return level


def next_merge(files: Sequence[IndexFile]) -> Merge | None:
    """The next merge that is due, smallest level first; None when none is."""
    for (_, level), group in sorted(_groups(files).items(), key=lambda item: (item[0][1], item[0][0])):
        if level != FULL_LEVEL and (len(group) >= FAN_IN or (group[0].bucket == ALL_GRAPHS and level >= SPLIT_LEVEL)):
            return _merge(files, group)
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


def _groups(files: Iterable[IndexFile]) -> dict[tuple[str, int], list[IndexFile]]:
    groups: dict[tuple[str, int], list[IndexFile]] = {}
    for file in files:
        groups.setdefault((file.bucket, level_of(file)), []).append(file)
    return groups


def _merge(files: Sequence[IndexFile], inputs: Sequence[IndexFile]) -> Merge:
    rows = sum(file.rows for file in inputs)
    split = inputs[0].bucket == ALL_GRAPHS and rows >= LEVEL_0_ROWS * FAN_IN ** (SPLIT_LEVEL - 1)
    chosen = {file.key for file in inputs}
    last = max(file.last for file in inputs)
    bucket = inputs[0].bucket
    others = [
        file
        for file in files
        if file.key not in chosen and (bucket == ALL_GRAPHS or file.bucket in (bucket, ALL_GRAPHS)) and file.first <= last
    ]
    return Merge(tuple(inputs), split, complete=not others)
