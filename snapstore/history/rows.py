"""Rows: registers as lists show them, and those of them that this process keeps.

A change marker names the transaction that wrote it, and a register remembers its last ones. So a list whose markers name
nothing new needs no register: a page that was read, or written, by this process costs one listing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from snapstore.format.register import Register

__all__ = ["RowCache"]

ROWS_KEPT = 8192
"""Rows that a process keeps: 2 KB each, 20 MB at most."""


class RowCache:
    """The registers that were written or listed last, without what only reading a state needs. Safe to share."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Register] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, id: str, txid: str) -> Register | None:
        """The row of a snapshot if it includes the newest change.

        Args:
            id: of the snapshot.
            txid: the transaction that the newest change marker of the snapshot names. Only a heartbeat can be newer,
                so only `updated_at` and `version` can be behind.
        """
        with self._lock:
            row = self._rows.get(id)
            if row is None or not row.landed(txid):
                return None
            self._rows.move_to_end(id)
            return row

    def keep(self, register: Register) -> None:
        """Remember a register, unless a newer version is kept."""
        with self._lock:
            known = self._rows.get(register.id)
            if known is None or known.version <= register.version:
                self._rows[register.id] = replace(register, closure={}, prevs=())
            self._rows.move_to_end(register.id)
            while len(self._rows) > ROWS_KEPT:
                self._rows.popitem(last=False)
