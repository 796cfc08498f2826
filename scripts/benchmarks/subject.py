"""The archive under measurement: opened with a meter between it and its storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import snapstore
from snapstore.archive import Archive
from snapstore.storage.meter import Meter, Usage
from snapstore.storage.protocol import Storage, Stored
from snapstore.storage.wrapper import WrappedStorage

# Folders of the key layout that hold packs.
PACK_FOLDERS = ("runs/", "packs/")


class Keys(WrappedStorage):
    """Remembers which objects were read."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.read: set[str] = set()

    def get(self, key: str) -> Stored:
        """Remember the key."""
        self.read.add(key)
        return self.inner.get(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Remember the key."""
        self.read.add(key)
        return self.inner.get_ranges(key, ranges)


@dataclass(frozen=True)
class Counted:
    """What passed between an archive and its storage.

    Attributes:
        requests: Number by kind of call.
        writes: Requests that write bodies.
        round_trips: Requests that followed one another.
        bytes_read: Bytes of bodies received.
        bytes_written: Bytes of bodies sent.
        keys_read: Objects of which bytes were read.
    """

    requests: Mapping[str, int]
    writes: int
    round_trips: int
    bytes_read: int
    bytes_written: int
    keys_read: frozenset[str]


class Counter:
    """The meter of an opened archive."""

    def __init__(self, meter: Meter, keys: Keys) -> None:
        self._meter = meter
        self._keys = keys

    def reset(self) -> Counted:
        """Start anew and return what was counted so far."""
        usage: Usage = self._meter.reset()
        read, self._keys.read = frozenset(self._keys.read), set()
        return Counted(usage.requests, usage.writes, usage.round_trips, usage.bytes_read, usage.bytes_written, read)


def open_metered(url: str, *, create: bool = False) -> tuple[Archive, Counter]:
    """Open an archive as a user does, then again through a meter on its storage; opening itself is not counted."""
    opened = snapstore.open(url, create=create)
    keys = Keys(opened.storage)
    meter = Meter(keys)
    return Archive(meter, opened.config), Counter(meter, keys)


def pack_count(counted: Counted) -> int:
    """Return how many packs were read from."""
    return sum(key.startswith(PACK_FOLDERS) for key in counted.keys_read)


def costs(counted: Counted, cpu_s: float, operations: int) -> dict[str, float]:
    """Return the costs of one operation, from what several of them took together; `cpu_s` is of all of them."""
    return {
        "requests": round(sum(counted.requests.values()) / operations, 2),
        "round_trips": round(counted.round_trips / operations, 2),
        "bytes_read": counted.bytes_read / operations,
        "bytes_written": counted.bytes_written / operations,
        "cpu_s": cpu_s / operations,
    }
