"""Views: one consistent look at segments and the changes that are not folded yet, for whoever reads everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from snapstore.errors import ConflictError
from snapstore.format import names
from snapstore.format.index_current import IndexFile
from snapstore.index.filters import RowFilter
from snapstore.index.generations import Generations
from snapstore.index.rows import Row
from snapstore.index.tail import every_row, read_registers
from snapstore.storage.protocol import Storage

__all__ = ["View", "look"]

TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class View:
    """What there is at one moment.

    Attributes:
        files: the live segments.
        changed: rows that count instead of those in the segments.
        seen: ids of the snapshots that have changed; rows of the segments with these ids do not count.
    """

    files: tuple[IndexFile, ...]
    changed: list[Row]
    seen: list[str]


def look(storage: Storage, generations: Generations) -> View:
    """See which segments there are and read every register that has changed since they were written.

    Raises:
        ConflictError: `index_busy`: others kept folding.
    """
    for _ in range(TRIES):
        generation = generations.read()
        changed = _changed(storage)
        if generations.read().folds == generation.folds:
            break
    else:
        raise ConflictError("the index kept changing while it was read", code="index_busy")
    if generation.token is None and generations.lost():
        return View((), [*every_row(storage, RowFilter())], [])
    live = [row for row in changed if not row.deleted]
    return View(generation.current.files, live, [row.id for row in changed])


def _changed(storage: Storage) -> list[Row]:
    """The rows of all snapshots with a change marker, tombstones included."""
    changes = (names.parse_change_key(info.key) for info in storage.list(names.CHANGES_PREFIX))
    keys = dict.fromkeys(change.register_key for change in changes if change is not None)
    return [Row.of(register) for register in read_registers(storage, [*keys]) if register is not None]
