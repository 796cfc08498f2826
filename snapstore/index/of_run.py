"""The snapshots of one run: a listing of its packs says which there are, the index what they look like.

The listing is the truth of what exists and in which order; names in it do not say status, node or metadata, nor whether a
snapshot was deleted. A few snapshots are looked up one by one, pack and register. Behind them their rows are taken from the
segments of the graphs that the first ones are of, as long as no change of them waits to be folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from snapstore.errors import ConflictError, CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.index_current import GRAPHS_LIMIT, IndexFile, graph_mark
from snapstore.format.names import ChangeName
from snapstore.history.heads import Head
from snapstore.history.walks import RunEntry, live_heads, run_entries
from snapstore.index.arrow import has_arrow
from snapstore.index.filters import RowFilter
from snapstore.index.generations import Generation, Generations
from snapstore.index.rows import Row
from snapstore.index.segments import Segments
from snapstore.index.stream import SegmentRows
from snapstore.index.times import RunTimes
from snapstore.storage.protocol import PAGE_KEYS, Storage

__all__ = ["PAGE", "Found", "RunRows", "row_of"]

Found = Head | Row
"""A snapshot that was looked up, or as the index knows it."""

PAGE: Final = 64
"""Snapshots looked up at the same time."""

AT_ONCE: Final = 4096
"""Snapshots joined with the index at a time."""

GRAPHS_MOST: Final = 8
"""Graphs of one run whose segments are looked into."""

MARKERS_MOST: Final = 5 * PAGE_KEYS
"""With more changes waiting in a graph, looking up one by one asks less."""

ROWS_PER_ENTRY: Final = 1_000
"""A run may lie so thinly in its graph: 80 KB of segments are read at most in place of pack and register."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the index knew of a graph at one moment.

    Attributes:
        files: segments that may hold its rows; none when there is no use in looking.
        changed: first 12 hex digits of the digests of ids with changes that are not in the segments.
    """

    files: tuple[IndexFile, ...] = ()
    changed: frozenset[str] = frozenset()


class RunRows:
    """Walks through one run, once.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        segments: its segments.
        run: the run.
    """

    def __init__(self, storage: Storage, generations: Generations, segments: Segments, run: str) -> None:
        self._storage = storage
        self._generations = generations
        self._segments = segments
        self._run = run
        self._graphs: list[str] = []
        self._looks: dict[str, _Look] = {}

    def walk(
        self, limit: int | None = None, *, created_to: int | None = None, at_once: int = PAGE, by_id: bool = False
    ) -> Iterator[Found]:
        """The live snapshots, newest first.

        Args:
            limit: at most so many.
            created_to: only those created at this time or earlier, milliseconds since 1970; newer ones are not even read.
            at_once: how many are looked up at the same time to begin with.
            by_id: whether those created at the same time come in the order of their ids, and not of the listing.
        """
        listed = run_entries(self._storage, self._run)
        entries = (entry for entry in listed if created_to is None or entry.created_ms <= created_to)
        left, size = limit, at_once
        first = next(entries, None)
        while first is not None and left != 0:
            size = min(size, self._at_once()) if left is None else min(size, left)
            batch = [first, *islice(entries, size - 1)]
            while (first := next(entries, None)) is not None and first.created_ms == batch[-1].created_ms:
                batch.append(first)
            live = [found for found in self._look_up(batch) if found is not None]
            for found in (sorted(live, key=_order) if by_id else live)[:left]:
                yield found
                left = None if left is None else left - 1
            size = max(size * 4, PAGE)

    def leaves(self) -> list[Found]:
        """Every snapshot that nothing live in the run continues, newest first.

        A history goes on through deleted snapshots: what lies before one is no leaf while something live lies behind it.
        An id may stand in the listing more than once: deleted and made again, or left by a create that was refused. A child
        is always newer than its parent, so it never counts against an incarnation that came after it.
        """
        entries = [*run_entries(self._storage, self._run)]
        known: dict[int, Found | None] = {}
        wanted = [number for number, entry in enumerate(entries) if entry.unsure]
        ahead = 0
        while True:
            known.update(zip(wanted, self._look_up([entries[number] for number in wanted]), strict=True))
            leaves = _leaves(entries, known)
            wanted = [number for number in leaves if number not in known]
            if not wanted:
                found = (one for one in map(known.get, leaves) if one is not None)
                return sorted(found, key=lambda one: _order(one)[0])
            # Where the end of a history was deleted, each look shows one that is dead, and then the one before it.
            unknown = (number for number in range(wanted[0] + 1, len(entries)) if number not in known)
            wanted = sorted({*wanted, *islice(unknown, ahead)})
            ahead = ahead * 2 or 1

    def _look_up(self, entries: Sequence[RunEntry]) -> list[Found | None]:
        """What is behind entries, newest first; None for what is not there any more."""
        found: list[Found | None] = []
        while len(found) < len(entries):
            at_once = self._at_once() if len(entries) - len(found) > PAGE else PAGE
            batch = entries[len(found) : len(found) + at_once]
            rows: list[Found | None] = [*self._of_index(batch)] if len(batch) > PAGE else [None] * len(batch)
            missing = [number for number, row in enumerate(rows) if row is None]
            for number, head in zip(missing, self._heads([batch[number] for number in missing]), strict=True):
                rows[number] = head
            found += rows
        return found

    def _heads(self, entries: Sequence[RunEntry]) -> list[Head | None]:
        heads = live_heads(self._storage, self._run, entries)
        for graph in {head.register.graph: None for head in heads if head is not None}:
            if graph not in self._graphs and len(self._graphs) < GRAPHS_MOST:
                self._graphs.append(graph)
        return heads

    def _at_once(self) -> int:
        """How many snapshots are looked up together: more when the index knows a graph that the run is in."""
        return AT_ONCE if any(self._look(graph).files for graph in self._graphs) else PAGE

    def _of_index(self, entries: Sequence[RunEntry]) -> list[Row | None]:
        """The rows of entries as far as segments hold them and nothing has changed since."""
        known: dict[tuple[str, int], Row] = {}
        for graph in self._graphs:
            try:
                known.update(self._rows(graph, entries))
            except (NotFoundError, CorruptionError):
                # Replaced, and its grace period is over: the next look knows better. Damaged: registers do.
                del self._looks[graph]
        # What has no pack is a create that was cut off, or one whose packs are elsewhere: its register decides.
        return [known.get((entry.id12, entry.created_ms)) if entry.packs else None for entry in entries]

    def _rows(self, graph: str, entries: Sequence[RunEntry]) -> Iterator[tuple[tuple[str, int], Row]]:
        """Rows of the run in a graph, with the digest and the time by which they are listed."""
        look = self._look(graph)
        times = sorted({entry.created_ms for entry in entries})
        since, to = times[0], times[-1]
        if _expected(look.files, graph, since, to) > len(entries) * ROWS_PER_ENTRY:
            return
        wanted = RowFilter(graph=graph, run=self._run, since=since, until=to + 1)
        rows = SegmentRows(self._segments, look.files, wanted, None, RunTimes(tuple(times), -1))
        while (row := rows.first()) is not None:
            rows.take()
            id12 = names.short_digest(row.id)
            if id12 not in look.changed:
                yield (id12, row.created_at), row

    def _look(self, graph: str) -> _Look:
        look = self._looks.get(graph)
        if look is None:
            look = self._looks[graph] = self._new_look(graph)
        return look

    def _new_look(self, graph: str) -> _Look:
        """See which segments there are, and what has changed since they were written."""
        if not has_arrow():
            return _Look()
        try:
            return self._generations.beside(partial(self._look_beside, graph))[1]
        except ConflictError:
            return _Look()  # others keep folding: registers do

    def _look_beside(self, graph: str, generation: Generation) -> _Look:
        files = tuple(file for file in generation.current.files if file.may_hold(graph))
        listing = islice(self._storage.list(names.graph_prefix(graph)), MARKERS_MOST if files else 0)
        changes = [names.parse_change_key(info.key) for info in listing]
        if len(changes) == MARKERS_MOST:
            return _Look()
        return _Look(files, frozenset(_id12(change) for change in changes if change is not None))


def row_of(found: Found) -> Row:
    """What lists show of it."""
    return found if isinstance(found, Row) else Row.of(found.register)


def _order(found: Found) -> tuple[int, str]:
    known = found if isinstance(found, Row) else found.register
    return -known.created_at, known.id


def _id12(change: ChangeName) -> str:
    return names.short_digest(change.snapshot_id) if change.snapshot_id is not None else change.encoded_id[1:13]


def _leaves(entries: Sequence[RunEntry], known: Mapping[int, Found | None]) -> list[int]:
    """Numbers of the entries, newest first, that none behind them continues, as far as is known."""
    continued: dict[str, int] = {}
    for number, entry in enumerate(entries):  # children first
        found = known.get(number)
        if number in known and found is None and continued.get(entry.id12, -1) <= entry.created_ms:
            continue
        parents = entry.parents if found is None else map(names.short_digest, row_of(found).parents)
        for parent in parents:
            continued[parent] = max(continued.get(parent, -1), entry.created_ms)
    return [number for number, entry in enumerate(entries) if continued.get(entry.id12, -1) <= entry.created_ms]


def _expected(files: Iterable[IndexFile], graph: str, since: int, to: int) -> int:
    """About how many rows of a graph, created between two times, lie in segments."""
    rows = 0
    for file in files:
        span = file.created_to - file.created_from + 1
        shared = min(to, file.created_to) - max(since, file.created_from) + 1
        if shared > 0:
            counted = file.graphs.get(graph_mark(graph), 0) if file.graphs is not None else file.rows // GRAPHS_LIMIT
            rows += counted * shared // span
    return rows
