"""Upload the further packs of a large save while it is being built, two at a time."""

from __future__ import annotations

from functools import partial

from snapstore import clock
from snapstore.format import names
from snapstore.format.register import PackRef
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["Uploads"]

IN_FLIGHT = 2
"""Packs held in memory before they are sent together; more would double the memory of a large save."""


class Uploads:
    """Sends full packs; `packs` lists what was sent, by ordinal."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: list[tuple[str, bytearray]] = []
        self.packs: dict[int, PackRef] = {}

    def add(self, ordinal: int, body: bytearray) -> None:
        """Take one pack."""
        key = names.extra_pack_key(clock.random_hex())
        folder, _, name = key.rpartition("/")
        self.packs[ordinal] = PackRef(ordinal, folder, name, len(body), 0, len(body))
        self._waiting.append((key, body))
        if len(self._waiting) == IN_FLIGHT:
            self.finish()

    def finish(self) -> None:
        """Send what waits; returns when everything is stored."""
        waiting, self._waiting = self._waiting, []
        parallel([partial(self._storage.put, key, body) for key, body in waiting])
