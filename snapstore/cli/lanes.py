r"""Lanes for `log --graph`: a history drawn with `*`, `|`, `/`, `\` and `_`, like git's.

Pure: `draw` takes rows, newest first, and gives for each row the text left of it and the lines that lead to the next.
A lane is a column that waits for one snapshot; lanes that wait for the same snapshot are joined at once, so the number
of columns is the number of different snapshots awaited. Cost: the number of lanes per row, whatever the history.

```text
*    merge          a row with two parents opens a lane
|\
| *  side
* |  main
|/                  lanes that wait for the same row join
*    base
```

A lane that joins one further to the left goes there in two lines, `| |_|/` and `|/| |`. A row without parents ends its
lane; when the next row would stand right below it, a blank line keeps them apart, so that signs that touch mean a
parent, always.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Row(Generic[Key]):
    """One row of a history.

    Attributes:
        id: What children name as their parent.
        parents: In order; the first one continues the lane.
    """

    id: Key
    parents: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Key]):
    """One row with its drawing; no line has blanks at its end.

    Attributes:
        id: The row's id.
        before: Lines that stand between the previous row and this one; rarely any.
        lane: The line of the row itself, up to its lanes: `| * |`.
        after: Lines that lead to the next row: `|/ /`.
        column: Number of the lane that holds the `*`, from 0: its colour follows it.
    """

    id: Key
    before: tuple[str, ...]
    lane: str
    after: tuple[str, ...]
    column: int


def draw(rows: Iterable[Row[Key]], *, mark: str = "*") -> Iterator[Drawn[Key]]:
    """Yield the drawing of each row.

    Args:
        rows: Newest first, every row before its parents; `sort` makes it so. A parent that never comes keeps its lane
            to the end, which is right for a history that is shown in part.
        mark: The sign of a row, one character.
    """
    waiting: list[Key] = []
    # The column where a row without parents ended: a new lane must not start right below it.
    ended: int | None = None
    for row in rows:
        before: tuple[str, ...] = ()
        if row.id in waiting:
            column = waiting.index(row.id)
        else:
            column = len(waiting)
            waiting.append(row.id)
            if column == ended:
                before = (_line(["|"] * column),)
        lane = _line([mark if i == column else "|" for i in range(len(waiting))])
        parents = list(dict.fromkeys(row.parents))
        ended = None
        if parents:
            after = _follow(waiting, column, parents)
        else:
            after = _end(waiting, column)
            ended = column if not after else None
        yield Drawn(row.id, before, lane, tuple(after), column)


def sort(rows: Sequence[Row[Key]]) -> list[Row[Key]]:
    """Return the rows in their order, except that a row waits until all its children are given.

    For histories whose clocks disagree. Rows with the same id count once; a circle is given in the order of the rows.
    """
    place = {row.id: i for i, row in reversed(list(enumerate(rows)))}
    unique = [rows[i] for i in sorted(place.values())]
    place = {row.id: i for i, row in enumerate(unique)}
    children = [0] * len(unique)
    for row in unique:
        for parent in dict.fromkeys(row.parents):
            if parent in place:
                children[place[parent]] += 1
    ready = [i for i, count in enumerate(children) if count == 0]
    given = [False] * len(unique)
    result: list[Row[Key]] = []
    oldest_left = 0
    while len(result) < len(unique):
        if not ready:  # only circles are left
            while given[oldest_left]:
                oldest_left += 1
            ready.append(oldest_left)
        i = heapq.heappop(ready)
        if given[i]:
            continue
        given[i] = True
        result.append(unique[i])
        for parent in dict.fromkeys(unique[i].parents):
            at = place.get(parent)
            if at is not None:
                children[at] -= 1
                if children[at] == 0 and not given[at]:
                    heapq.heappush(ready, at)
    return result


def _follow(waiting: list[Key], column: int, parents: list[Key]) -> list[str]:
    """Let the lane of a row wait for its parents; return the lines that open and join lanes."""
    lines = []
    waiting[column] = parents[0]
    for parent in reversed(parents[1:]):
        # The new lane leaves the row's own; every lane right of it moves one to the right.
        waiting.insert(column + 1, parent)
        moved = len(waiting) - column - 1
        lines.append(_woven(["|"] * (column + 1) + [" "] * moved, [" "] * column + ["\\"] * moved))
    return lines + _join(waiting)


def _join(waiting: list[Key]) -> list[str]:
    """Join lanes that wait for the same row into the leftmost of them; return the lines that lead there."""
    lines = []
    first: dict[Key, int] = {}
    i = 0
    while i < len(waiting):
        to = first.setdefault(waiting[i], i)
        if to == i:
            i += 1
            continue
        del waiting[i]
        lines += _leftwards(i, to, len(waiting))
    return lines


def _leftwards(start: int, to: int, lanes: int) -> list[str]:
    """Return the lines that lead lane `start` into lane `to`, and the lanes right of it one to the left.

    Args:
        start: Column where the lane stood.
        to: Column that it joins, below `start`.
        lanes: Lanes that are left afterwards.
    """
    cells = ["|"] * start + [" "] * (lanes + 1 - start)
    gaps = [" "] * (start - 1) + ["/"] * (lanes + 1 - start)
    if to == start - 1:
        return [_woven(cells, gaps)]
    gaps[to + 1 : start - 1] = ["_"] * (start - to - 2)
    arriving = [" "] * (lanes - 1)
    arriving[to] = "/"
    return [_woven(cells, gaps), _woven(["|"] * lanes, arriving)]


def _end(waiting: list[Key], column: int) -> list[str]:
    """End the lane of a row without parents; return the line that moves the lanes right of it to the left."""
    del waiting[column]
    if column == len(waiting):
        return []
    cells = ["|"] * column + [" "] * (len(waiting) + 1 - column)
    gaps = [" "] * column + ["/"] * (len(waiting) - column)
    return [_woven(cells, gaps)]


def _line(cells: list[str]) -> str:
    return " ".join(cells)


def _woven(cells: list[str], gaps: list[str]) -> str:
    """Return cells with the gaps between them: c0 g0 c1 g1 c2, without blanks at the end."""
    parts = [sign for pair in zip(cells, [*gaps, ""], strict=False) for sign in pair]
    return "".join(parts).rstrip()
