"""A rebuild that does not come to its end leaves everything as it was.

Goal: Ctrl-C, a full disk or a storage that fails during a rebuild keep nobody from merging afterwards, and leave no files; a
segment that the root names is never deleted. Two rebuilds that meet at a damaged root do not take each other's root away.
Method: a rebuild is stopped by what `progress` raises, and by each write that it makes, whether or not that took effect. Another
rebuild runs right before each call of one that has found a damaged root.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import pytest

from snapstore.errors import ConflictError, StorageError
from snapstore.format.index_current import IndexCurrent
from snapstore.index import Index, RowFilter
from snapstore.index.generations import CURRENT_KEY
from snapstore.testing.faults import Call, FaultyStorage, at
from tests.fault.test_index_rebuild_beside import HeldRebuild, Interrupted
from tests.unit.archives import World
from tests.unit.index.histories import listed, make_everything_small, timeless, truth

T = TypeVar("T")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


class Full(FaultyStorage):
    """A storage that fails at the picked call.

    Attributes:
        after: whether the call takes effect all the same.
    """

    after = False

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Fail if picked."""
        if picked and self.after:
            perform()
        if picked:
            raise StorageError("the disk is full", code="storage_full", retryable=self.after, key=call.key)
        return perform()


def archive_of(folds: int) -> World:
    world = World()
    for fold in range(folds):
        for number in range(7):
            world.archive.save({"n": number}, run="r", graph=f"g{number}", id=f"{fold}-{number}")
        Index(world.memory, grace_s=0).refresh()
    return world


def as_it_was(world: World) -> None:
    """No mark, no file that nobody knows, right lists without a warning, and merges go on."""
    index = Index(world.memory, grace_s=0)
    status = index.status()
    assert (status.rebuilding_since, status.missing, status.lost) == (None, 0, False)
    assert len(world.keys("index/snapshots/")) == status.files + status.retired
    assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))
    compacted = index.compact()
    assert compacted.held_back == 0
    assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))


@pytest.mark.parametrize("reads", [1, 3, 6])
def test_ctrl_c_takes_the_mark_back(reads: int) -> None:
    """Segments from before were not merged for a week, and what had been written stayed."""
    world = archive_of(4)
    left = reads

    def stop(_: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(world.memory).rebuild(stop)
    as_it_was(world)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["lost", "landed"])
def test_a_storage_that_fails_at_any_write_leaves_no_mark(after: bool) -> None:
    counting = FaultyStorage(archive_of(4).memory)
    Index(counting).rebuild()
    writes = [number for number, call in enumerate(counting.calls) if call.verb in {"put", "put_if", "delete_many"}]
    assert len(writes) > 8
    for number in writes:
        world = archive_of(4)
        storage = Full(world.memory, at(number))
        storage.after = after
        try:
            Index(storage).rebuild()
        except StorageError:
            named = {file.key for file in IndexCurrent.decode(world.memory.get(CURRENT_KEY).data).files}
            assert named <= set(world.keys("index/snapshots/"))
        index = Index(world.memory, grace_s=0)
        assert index.status().rebuilding_since is None, number
        assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter())), number
        assert index.compact().held_back == 0


def test_an_aborted_rebuild_of_a_lost_index_leaves_nothing() -> None:
    world = archive_of(4)
    world.memory.delete_many(world.keys("index/"))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index(world.memory).rebuild(stop)
    assert world.keys("index/") == []
    Index(world.memory).rebuild()
    as_it_was(world)


def test_a_compaction_says_that_a_rebuild_holds_it_back() -> None:
    world = archive_of(3)
    before = len(Index(world.memory).files())
    rebuild = HeldRebuild(world.memory)
    try:
        assert Index(world.memory).compact().held_back == before
    finally:
        rebuild.end()
    as_it_was(world)


@pytest.mark.slow
def test_rebuilds_that_meet_at_a_damaged_root_leave_one() -> None:
    """One deleted the root that the other had just published."""

    def damaged() -> World:
        world = archive_of(2)
        world.memory.put(CURRENT_KEY, b"{}")
        return world

    counting = FaultyStorage(damaged().memory)
    Index(counting).rebuild()
    for number in range(len(counting.calls)):
        world = damaged()
        storage = Interrupted(world.memory, at(number))
        storage.meanwhile = Index(world.memory).rebuild
        Index(storage).rebuild()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            index = Index(world.memory)
            assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter())), number
            assert index.status().missing == 0


def test_a_rebuild_that_another_has_replaced_says_so_and_leaves_the_other_alone() -> None:
    world = archive_of(3)
    rivals = 0

    def another(_: int) -> None:
        nonlocal rivals
        rivals += 1
        if rivals == 1:
            Index(world.memory).rebuild()

    with pytest.raises(ConflictError):
        Index(world.memory).rebuild(another)
    as_it_was(world)
