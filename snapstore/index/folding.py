"""Folding: change markers become rows of a new segment, then the markers are deleted.

The order that loses nothing: read the root, list markers, read their registers, write the segment, replace the root if it is
still the one that was read, say that markers get deleted, delete those markers whose register is at least as new as they are.
Since the registers are read after the root, no row of a segment is older than what earlier generations held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from snapstore.errors import NotFoundError
from snapstore.format import names
from snapstore.format.names import ChangeName
from snapstore.format.register import Register
from snapstore.index.generations import FOLDED_KEY, Generation, Generations
from snapstore.index.lookup import places_of
from snapstore.index.rows import Row, to_table
from snapstore.index.segments import Segments
from snapstore.index.tail import read_registers
from snapstore.index.writing import SegmentOutput, publish
from snapstore.storage.protocol import ObjectInfo, Storage

__all__ = ["ABANDONED_MS", "Folder", "Round"]

ROUND_MARKERS: Final = 50_000
"""Markers folded at a time: their registers and rows are in memory, about 100 MB."""

REGISTERS_AT_ONCE: Final = 1024

ABANDONED_MS: Final = 24 * 3_600_000
"""A marker this old whose register does not know of it belongs to a save that never finished, by the storage's own clock. A
machine may sleep between writing marker and register, for a night but hardly for a day."""

CLOCK_MARGIN_MS: Final = 5_000
"""What the times of a storage may be off: many give whole seconds, and asking takes a moment."""

TRIES: Final = 20
"""Rounds lost to rivals: each time a rival folded, so there is less to do."""


@dataclass(slots=True)
class Round:
    """What one round found and did.

    Attributes:
        generation: the root that it is based on, and then the one that it published.
        absorbed: keys of markers that the rows stand for.
        waiting: markers that stay.
        rows: the new rows.
        bytes_written: bytes of the segment.
    """

    generation: Generation
    absorbed: list[str] = field(default_factory=list)
    waiting: int = 0
    rows: list[Row] = field(default_factory=list)
    bytes_written: int = 0


class Folder:
    """Folds the markers of one archive.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        segments: its segments.
    """

    def __init__(self, storage: Storage, generations: Generations, segments: Segments) -> None:
        self._storage = storage
        self._generations = generations
        self._segments = segments

    def fold(self) -> Iterator[Round]:
        """Fold everything there is, a round after the other. Ends early when rivals keep being faster: they fold as well."""
        after = ""
        tries = 0
        while tries < TRIES:
            started_ms = self._storage.now_ms()
            generation = self._generations.read()
            listed = [*islice(self._storage.list(names.CHANGES_PREFIX, start_after=after), ROUND_MARKERS)]
            is_last = len(listed) < ROUND_MARKERS
            done = self._round(generation, listed, started_ms, is_first=not after, is_last=is_last)
            if done is None:
                tries += 1
                continue
            yield done
            if is_last:
                return
            after = listed[-1].key

    def _round(
        self, generation: Generation, listed: list[ObjectInfo], started_ms: int, *, is_first: bool, is_last: bool
    ) -> Round | None:
        if generation.damaged:
            return None  # a root with new rows alone would make what it named look as if it had never been
        done = Round(generation)
        listed_ms = self._storage.now_ms()
        try:
            self._collect(done, listed, listed_ms)
        except NotFoundError:
            return None  # a segment that was looked into has been replaced, and its grace period is over
        if done.rows:
            current = generation.current
            number = current.generation + 1
            output = SegmentOutput(self._storage, number, number, by_bucket=False)
            output.write(to_table(done.rows))
            files = output.close()
            done.bytes_written = sum(file.size for file in files)
            folded_at = max(current.folded_at, started_ms) if is_first and is_last else current.folded_at
            new = replace(
                current,
                files=(*current.files, *files),
                folds=current.folds + 1,
                folded_at=folded_at,
                listed_until=max(current.listed_until, listed_ms),
            )
            published = publish(self._generations, generation, new, output)
            if published is None:
                return None
            done.generation = published
        if done.absorbed:
            if done.rows:
                self._storage.put(FOLDED_KEY, b"")
            self._storage.delete_many(done.absorbed)
        return done

    def _collect(self, done: Round, listed: list[ObjectInfo], now_ms: int) -> None:
        """Find the rows for markers, and which of these may be deleted."""
        changes: dict[str, list[tuple[ChangeName, int]]] = {}
        for info in listed:
            change = names.parse_change_key(info.key)
            if change is not None:
                changes.setdefault(change.register_key, []).append((change, now_ms - info.modified_ms))
        keys = [*changes]
        strays: dict[str, dict[str, Row | None]] = {}
        for start in range(0, len(keys), REGISTERS_AT_ONCE):
            batch = keys[start : start + REGISTERS_AT_ONCE]
            for key, register in zip(batch, read_registers(self._storage, batch), strict=True):
                self._absorb(done, register, changes[key], strays, now_ms)
        for graph, ids in strays.items():
            self._clear_places(done, graph, ids)

    def _absorb(
        self,
        done: Round,
        register: Register | None,
        changes: list[tuple[ChangeName, int]],
        strays: dict[str, dict[str, Row | None]],
        now_ms: int,
    ) -> None:
        row = Row.of(register) if register is not None else None
        absorbed = len(done.absorbed)
        for change, age_ms in changes:
            # What this marker announces was written by an attempt on a version before it. If the register is as new as the
            # marker, the attempt has landed or cannot land any more.
            if not (row is not None and row.updated_at >= change.changed_ms) and age_ms <= ABANDONED_MS:
                done.waiting += 1
                continue
            done.absorbed.append(change.key)
            # The index may hold the snapshot at another place: in the graph it was moved from, at the time it was made
            # before it was deleted and made again, or at all, though its register was collected.
            moved = row is None or names.encode_name(row.graph) != change.encoded_graph
            if moved or (row is not None and change.changed_ms < row.created_at):
                strays.setdefault(change.encoded_graph, {})[change.encoded_id] = row
        if row is not None and len(done.absorbed) > absorbed:
            # A fold that died before it deleted its markers, or a rebuild, has written rows for old markers before.
            current = done.generation.current
            oldest_ms = now_ms - max(age_ms for _, age_ms in changes)
            repeated = current.rebuilding is not None or oldest_ms <= current.listed_until + CLOCK_MARGIN_MS
            done.rows.append(replace(row, revises=row.revises or repeated))

    def _clear_places(self, done: Round, encoded_graph: str, ids: dict[str, Row | None]) -> None:
        """Add a tombstone for each place of a graph where an id stands no more."""
        for old in places_of(self._segments, done.generation.current.files, encoded_graph, ids.keys()):
            row = ids[names.encode_name(old.id)]
            if row is None:
                gone = replace(old, updated_at=old.updated_at + 1, version=old.version + 1)
                done.rows.append(gone.gone_from(old.place))
            elif row.place != old.place:
                done.rows.append(row.gone_from(old.place))
