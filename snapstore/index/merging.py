"""Merging: sorted tables into one, the newest version of each place first; a row group of each input in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from snapstore.index.arrow import arrow

__all__ = ["PLACE_ORDER", "merged", "newest_of_each_place"]

PLACE_ORDER = [
    ("graph", "ascending"),
    ("created_at", "descending"),
    ("id", "ascending"),
    ("updated_at", "descending"),
    ("revises", "descending"),
]
"""The order of segments, and of versions at one place."""


def newest_of_each_place(table: Any, *, is_sorted: bool = False) -> Any:
    """The newest version of each place, in the order of segments; tombstones count as versions."""
    if table.num_rows < 2:
        return table
    pa = arrow()
    if not is_sorted:
        table = table.sort_by(PLACE_ORDER)
    table = table.combine_chunks()
    older = None
    for name in ("id", "created_at", "graph"):
        column = table[name].combine_chunks()
        same = pa.compute.equal(column.slice(1), column.slice(0, len(column) - 1))
        older = same if older is None else pa.compute.and_(older, same)
    if not pa.compute.any(older).as_py():
        return table
    keep = pa.concat_arrays([pa.array([True]), pa.compute.invert(older)])
    return table.filter(keep)


def merged(inputs: Sequence[Iterable[Any]]) -> Iterator[Any]:
    """Merge streams of tables, each sorted as a segment is; yields tables sorted alike, one version per place.

    Each step takes from every input the rows up to the smallest of the places that the loaded tables end with: all versions
    of a place are then at hand, whichever inputs they come from.
    """
    sources = [source for source in map(_Source, map(iter, inputs)) if source.table is not None]
    while sources:
        end = min(source.end for source in sources)
        parts = [part for part in (source.take(end) for source in sources) if part.num_rows]
        sources = [source for source in sources if source.table is not None]
        if len(parts) == 1:
            yield newest_of_each_place(parts[0], is_sorted=True)
        else:
            yield newest_of_each_place(arrow().concat_tables(parts))


class _Source:
    """One input: its loaded table without the rows that were taken; None at the end."""

    def __init__(self, tables: Iterator[Any]) -> None:
        self._tables = tables
        self.table: Any = None
        self.end: tuple[str, int, str] = ("", 0, "")
        self._load()

    def take(self, end: tuple[str, int, str]) -> Any:
        """Remove and return the rows up to a place, which lies in the loaded table or before its end."""
        if self.end <= end:
            taken = self.table
            self._load()
            return taken
        low, high = 0, self.table.num_rows
        while low < high:
            middle = (low + high) // 2
            if self._place(middle) <= end:
                low = middle + 1
            else:
                high = middle
        taken, self.table = self.table.slice(0, low), self.table.slice(low)
        return taken

    def _load(self) -> None:
        self.table = next((table for table in self._tables if table.num_rows), None)
        if self.table is not None:
            self.end = self._place(self.table.num_rows - 1)

    def _place(self, index: int) -> tuple[str, int, str]:
        created = self.table["created_at"][index]
        return self.table["graph"][index].as_py(), -created.value, self.table["id"][index].as_py()
