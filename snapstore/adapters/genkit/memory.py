"""What a store remembers of the snapshots that it wrote or read last, to ask the storage for less.

Nothing is decided on it alone: a save that goes by it is refused by the storage when it is wrong, and made again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from snapstore.adapters.genkit.documents import Json

__all__ = ["Known", "Memory"]

KEPT: Final = 1024
"""Snapshots known to exist: a save of another one tries to create it first."""

KEPT_STATES: Final = 32
KEPT_STATE_CHARS: Final = 64 * 1024 * 1024
"""States kept, of turns that run in the background: their heartbeats then read nothing. 64 MB in all, at least one."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a snapshot.

    Attributes:
        version: the one written here last; 0 when it is only known that there is one.
        heartbeat: `heartbeatAt` of that version.
        note: what the metadata of that version say of heartbeats.
        content: the mark of the state's content.
        state: the archive's state as JSON text, of a snapshot that is likely to be saved again.
    """

    version: int = 0
    heartbeat: str | None = None
    note: Json | None = None
    content: str | None = None
    state: str | None = None


class Memory:
    """The snapshots seen last, by id. Safe to share between threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._with_state: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, snapshot_id: str) -> Known | None:
        """What is remembered of a snapshot; None when it is unknown whether there is one."""
        with self._lock:
            return self._known.get(snapshot_id)

    def seen(self, snapshot_id: str) -> None:
        """Remember that there is such a snapshot."""
        if self.recall(snapshot_id) is None:
            self.remember(snapshot_id, Known())

    def remember(self, snapshot_id: str, known: Known) -> None:
        """Remember a version that was written, unless a later one is remembered."""
        with self._lock:
            last = self._known.get(snapshot_id)
            if last is not None and last.version > known.version:
                return  # threads overtake each other
            self._known[snapshot_id] = known
            self._known.move_to_end(snapshot_id)
            self._with_state.pop(snapshot_id, None)
            if known.state is not None:
                self._with_state[snapshot_id] = None
            while len(self._with_state) > KEPT_STATES or (len(self._with_state) > 1 and self._chars() > KEPT_STATE_CHARS):
                oldest, _ = self._with_state.popitem(last=False)
                self._known[oldest] = replace(self._known[oldest], state=None)
            if len(self._known) > KEPT:
                oldest, _ = self._known.popitem(last=False)
                self._with_state.pop(oldest, None)

    def _chars(self) -> int:
        return sum(len(self._known[snapshot_id].state or "") for snapshot_id in self._with_state)

    def forget(self, snapshot_id: str) -> None:
        """It turned out that there is no such snapshot."""
        with self._lock:
            self._known.pop(snapshot_id, None)
            self._with_state.pop(snapshot_id, None)
