"""Views: one consistent look at segments and the changes that are not folded yet, for whoever reads everything."""

from __future__ import annotations

from dataclasses import dataclass

from snapstore.format import names
from snapstore.format.index_current import IndexFile
from snapstore.format.names import ChangeName
from snapstore.index.filters import RowFilter
from snapstore.index.generations import Generations
from snapstore.index.rows import Row
from snapstore.index.tail import TailWatch, every_row, read_registers, warn_of_long_tail
from snapstore.storage.protocol import Storage

__all__ = ["View", "look", "look_at_registers"]


@dataclass(frozen=True, slots=True)
class View:
    """What there is at one moment.

    Attributes:
        files: the live segments.
        changed: rows that count instead of those in the segments.
        seen: the same and tombstones: rows of the segments with their ids do not count.
        moved: ids of those of which segments may hold rows at other places, in the graph that they were moved from or at the
            time when they were made before.
    """

    files: tuple[IndexFile, ...]
    changed: list[Row]
    seen: list[Row]
    moved: list[str]


def look(storage: Storage, generations: Generations, watch: TailWatch | None = None) -> View:
    """See which segments there are and read every register that has changed since they were written.

    Args:
        storage: the archive's storage.
        generations: its index's root.
        watch: who was told of long tails before.

    Raises:
        ConflictError: `index_busy`: others kept folding.
    """
    generation, (seen, moved) = generations.beside(lambda _: _changes(storage))
    if generations.is_lost(generation):
        return look_at_registers(storage)
    warn_of_long_tail(len(seen), None, watch)
    live = [row for row in seen if not row.deleted]
    return View(generation.current.files, live, seen, moved)


def look_at_registers(storage: Storage) -> View:
    """See everything without the index."""
    return View((), [*every_row(storage, RowFilter())], [], [])


def _changes(storage: Storage) -> tuple[list[Row], list[str]]:
    """The rows of all snapshots with a change marker, tombstones included, and the ids of those that have moved."""
    changes: dict[str, list[ChangeName]] = {}
    for change in (names.parse_change_key(info.key) for info in storage.list(names.CHANGES_PREFIX)):
        if change is not None:
            changes.setdefault(change.register_key, []).append(change)
    rows: list[Row] = []
    moved: list[str] = []
    for key, register in zip(changes, read_registers(storage, [*changes]), strict=True):
        if register is not None:
            rows.append(Row.of(register))
            graph = names.encode_name(register.graph)
            if any(change.encoded_graph != graph or change.changed_ms < register.created_at for change in changes[key]):
                moved.append(register.id)
    return rows, moved
