"""Align two sequences: which stretches they do not have in common.

Common ends are cut off; between them, elements that occur once on each side and in the same order are anchors, and
what lies between two anchors is aligned in the same way (the idea of Bram Cohen's patience diff). It takes time in
proportion to the lengths, and finds what a reader would call the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Gap", "gaps"]


class Gap(NamedTuple):
    """A stretch that differs: old[old_start:old_end] became new[new_start:new_end]; one of them may be empty."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def gaps(old: Sequence[Hashable], new: Sequence[Hashable]) -> Iterator[Gap]:
    """The stretches that two sequences do not have in common, in order."""
    waiting = [Gap(0, len(old), 0, len(new))]
    while waiting:
        gap = _trimmed(waiting.pop(), old, new)
        if gap.old_start == gap.old_end and gap.new_start == gap.new_end:
            continue
        anchors = _anchors(gap, old, new)
        if not anchors:
            yield gap
            continue
        between = []
        start_old, start_new = gap.old_start, gap.new_start
        for at_old, at_new in anchors:
            between.append(Gap(start_old, at_old, start_new, at_new))
            start_old, start_new = at_old + 1, at_new + 1
        between.append(Gap(start_old, gap.old_end, start_new, gap.new_end))
        waiting += reversed(between)


def _trimmed(gap: Gap, old: Sequence[Hashable], new: Sequence[Hashable]) -> Gap:
    """The gap without what it has in common at its ends."""
    old_start, old_end, new_start, new_end = gap
    while old_start < old_end and new_start < new_end and old[old_start] == new[new_start]:
        old_start, new_start = old_start + 1, new_start + 1
    while old_start < old_end and new_start < new_end and old[old_end - 1] == new[new_end - 1]:
        old_end, new_end = old_end - 1, new_end - 1
    return Gap(old_start, old_end, new_start, new_end)


def _anchors(gap: Gap, old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest run of elements, unique on both sides, that come in the same order in both."""
    in_old = Counter(old[gap.old_start : gap.old_end])
    in_new = Counter(new[gap.new_start : gap.new_end])
    places = {new[at]: at for at in range(gap.new_start, gap.new_end) if in_new[new[at]] == 1}
    pairs = [(at, places[old[at]]) for at in range(gap.old_start, gap.old_end) if in_old[old[at]] == 1 and old[at] in places]
    # The longest increasing subsequence of the places in `new`: `ends[n]` is the smallest end of one of length n + 1.
    ends: list[int] = []
    chosen: list[int] = []
    before: list[int] = []
    for index, (_, at_new) in enumerate(pairs):
        length = bisect_left(ends, at_new)
        before.append(chosen[length - 1] if length else -1)
        if length == len(ends):
            ends.append(at_new)
            chosen.append(index)
        else:
            ends[length] = at_new
            chosen[length] = index
    found: list[tuple[int, int]] = []
    index = chosen[-1] if chosen else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]
