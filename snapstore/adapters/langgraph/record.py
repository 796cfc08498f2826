"""What the register says of a checkpoint: enough to list and to filter without reading any state.

The snapshot's metadata, as `snapstore list` shows it:

    {"metadata": {"source": "loop", "step": 3, ...},    LangGraph's, as far as JSON holds it and there is room
     "more": 1,                                          the rest of it is in the state, below `$metadata`
     "parent": "1f0...",                                 the checkpoint it continues, whether or not that one exists
     "writes": "78f9...",                                 pending writes, see `writes`
     "apart": 1,                                         there are large pending writes in snapshots of their own
     "newest": "1f1...",                                 a checkpoint with a higher id was saved before this one
     "history": 1}                                       the state carries what pruned ancestors held, see `deltas`

A placeholder has the status `pending`: it holds pending writes that arrived before their checkpoint did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from snapstore.adapters.langgraph.places import Place
from snapstore.errors import InvalidInputError
from snapstore.format.limits import METADATA_LIMIT_BYTES
from snapstore.format.metadata import metadata_to_text
from snapstore.snapshot import SnapshotInfo

__all__ = ["PENDING", "WRITES_LIMIT_BYTES", "Record", "Row", "matches"]

PENDING = "pending"
"""The status of a placeholder."""

WRITES_LIMIT_BYTES = 5632
"""Pending writes of one checkpoint beyond this lie apart: the register is read by every list."""

MARKS_BYTES = 100
"""Room for the marks: `more`, `apart`, `history`, and the keys."""


@dataclass(frozen=True, slots=True)
class Record:
    """The register's part of one checkpoint; the attributes are those of the page above."""

    metadata: dict[str, Any]
    parent: str | None = None
    newest: str | None = None
    writes: str = ""
    more: bool = False
    apart: bool = False
    history: bool = False

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Record:
        """The record in a snapshot's metadata."""
        return cls(
            stored.get("metadata", {}),
            stored.get("parent"),
            stored.get("newest"),
            stored.get("writes", ""),
            "more" in stored,
            "apart" in stored,
            "history" in stored,
        )

    def stored(self) -> dict[str, Any]:
        """The metadata of the snapshot."""
        found: dict[str, Any] = {"metadata": self.metadata} if self.metadata else {}
        for name in ("parent", "newest", "writes"):
            value = getattr(self, name)
            if value:
                found[name] = value
        for name in ("more", "apart", "history"):
            if getattr(self, name):
                found[name] = 1
        return found

    def split(self) -> tuple[Record, dict[str, Any]]:
        """The record with what fits into the register, and the metadata that has to go into the state."""
        ids = {"parent": self.parent, "newest": self.newest}
        room = METADATA_LIMIT_BYTES - WRITES_LIMIT_BYTES - MARKS_BYTES - _size_bytes(ids)
        kept = {key: _lists(value, 1) for key, value in self.metadata.items()}
        if not _fits(kept, room):
            kept = {key: value for key, value in kept.items() if _fits({key: value}, room)}
            while kept and not _fits(kept, room):
                del kept[max(kept, key=lambda key: _size_bytes({key: kept[key]}))]
        rest = {key: value for key, value in self.metadata.items() if key not in kept}
        return replace(self, metadata=kept, more=bool(rest)), rest


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a listing: a checkpoint's register.

    Attributes:
        info: the snapshot's row.
        place: its thread and namespace.
        checkpoint_id: the checkpoint's id within its namespace.
        record: what the register says.
    """

    info: SnapshotInfo
    place: Place
    checkpoint_id: str
    record: Record

    @property
    def pending(self) -> bool:
        """Whether this is only a placeholder."""
        return self.info.status == PENDING


def matches(metadata: Mapping[str, Any], more: Callable[[], Mapping[str, Any]] | None, wanted: Mapping[str, Any] | None) -> bool:
    """Whether metadata has all wanted values.

    Args:
        metadata: the part in the register.
        more: reads the part in the state; None when there is none. It is called only if a wanted key is not in the first.
        wanted: the filter.
    """
    if not wanted:
        return True
    if any(key in metadata and metadata[key] != _lists(value, 1) for key, value in wanted.items()):
        return False
    missing = [key for key in wanted if key not in metadata]
    rest = more() if missing and more is not None else {}
    return all(rest.get(key) == wanted[key] for key in missing)


def _fits(value: dict[str, Any], room_bytes: int) -> bool:
    """Whether the register can hold this: JSON, and not too much of it."""
    try:
        return _size_bytes(value) <= room_bytes
    except InvalidInputError:
        return False


def _size_bytes(value: dict[str, Any]) -> int:
    return len(metadata_to_text(value).encode())


def _lists(value: Any, depth: int) -> Any:
    """The value with lists for tuples, as JSON has it; too deep a value is returned as it is, and refused later."""
    kind = type(value)
    if depth > 32:
        return value
    if kind is tuple or kind is list:
        return [_lists(item, depth + 1) for item in value]
    return {key: _lists(item, depth + 1) for key, item in value.items()} if kind is dict else value
