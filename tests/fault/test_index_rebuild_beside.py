"""A rebuild ends at any moment of a compaction, and no snapshot that was deleted meanwhile comes back.

Goal: a compaction keeps tombstones as long as a rebuild, which it sees or has seen, may bring rows that they hide.
Method: a rebuild has read the registers and waits; snapshots are deleted and moved, and folded. Then everything is merged, and
the rebuild goes on right before one of the calls that this makes: once for each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import pytest

from snapstore.archive import Archive
from snapstore.index import Index, RowFilter
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage
from snapstore.testing.faults import Call, FaultyStorage, at
from tests.unit.archives import World
from tests.unit.index.histories import listed, make_everything_small, timeless, truth

T = TypeVar("T")

IDS = [f"s{number}" for number in range(8)]


class Interrupted(FaultyStorage):
    """Something else happens right before a picked call.

    Attributes:
        meanwhile: what.
    """

    meanwhile: Callable[[], object]

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Let it happen, then perform the call."""
        if picked:
            self.meanwhile()
        return perform()


class HeldRebuild:
    """A rebuild that has read every register and does not go on before it is told to."""

    def __init__(self, storage: Storage) -> None:
        self._has_read = threading.Event()
        self._goes_on = threading.Event()
        self._thread = threading.Thread(target=Index(storage, grace_s=0).rebuild, args=(self._wait,))
        self._thread.start()
        assert self._has_read.wait(60)

    def _wait(self, _: int) -> None:
        self._has_read.set()
        self._goes_on.wait(60)

    def end(self) -> None:
        """Let it go on, and wait until it has published what it read."""
        self._goes_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def save(archive: Archive, id: str, graph: str) -> None:
    archive.save({"id": id}, run="r", graph=graph, id=id)


@cache
def folded() -> MemoryStorage:
    """An archive before the rebuild."""
    world = World()
    for id in IDS:
        save(world.archive, id, "g")
        Index(world.memory, grace_s=0).refresh()
    return world.memory


def changed_during_a_rebuild() -> tuple[World, HeldRebuild]:
    memory = MemoryStorage()
    for info in folded().list(""):
        memory.put(info.key, folded().get(info.key).data)
    world = World(memory)
    rebuild = HeldRebuild(memory)
    for number, id in enumerate(IDS[:6]):
        if number % 2:
            world.archive.delete(id)
        else:
            save(world.archive, id, "elsewhere")
        Index(memory, grace_s=0).refresh()
    return world, rebuild


def compacted(world: World, rebuild: HeldRebuild, number: int | None) -> int:
    """Merge everything, let the rebuild end before the call with a number; returns how many calls it took."""
    storage = Interrupted(world.memory, None if number is None else at(number))
    storage.meanwhile = rebuild.end
    Index(storage, grace_s=0).compact()
    return len(storage.calls)


def test_what_was_deleted_during_a_rebuild_stays_deleted_whenever_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge was planned while the rebuild ran and made when it had ended: it took the last tombstones for useless."""
    make_everything_small(monkeypatch)
    world, rebuild = changed_during_a_rebuild()
    count = compacted(world, rebuild, None)
    rebuild.end()
    assert count > 10
    for number in range(count):
        world, rebuild = changed_during_a_rebuild()
        compacted(world, rebuild, number)
        rebuild.end()
        for _ in range(2):
            index = Index(world.memory, grace_s=0)
            assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter())), number
            index.compact()
