"""A create whose pack is late, while others decide about the same id.

Goal: a new snapshot's register may be visible before its pack. Whoever must know whether the snapshot exists (a create
that must not overwrite, an atomic update) waits for the pack; after that the slow writer is not told that it succeeded.
So nothing that was acknowledged is decided away.
Method: a storage that lets time pass and a rival act at the moment the pack is about to be written; the clock is simulated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError
from snapstore.history.commit import TAKEOVER_S
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage
from snapstore.testing.faults import Call, FaultyStorage
from tests.fault.witness import empty

T = TypeVar("T")


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.now_s)
        monkeypatch.setattr(clock, "sleep", self.sleep)

    def sleep(self, duration_s: float) -> None:
        self.now_s += max(duration_s, 0)


class LatePack(FaultyStorage):
    """Holds the first pack back until the register is there and `meanwhile` has run."""

    def __init__(self, inner: Storage, meanwhile: Callable[[], object]) -> None:
        super().__init__(inner)
        self._meanwhile = meanwhile
        self.held = False

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        if call.verb == "put" and call.key.startswith("runs/") and not self.held:
            self.held = True
            while not [*self.inner.list("snapshots/")]:
                pass
            self._meanwhile()
        return perform()


def plus_one(draft: SnapshotDraft | None) -> SnapshotDraft:
    if draft is None:
        return SnapshotDraft(state={"n": 1})
    draft.state = {"n": draft.state["n"] + 1}
    return draft


def create_only(archive: Archive) -> None:
    archive.save({"n": 1}, run="r", id="x", overwrite=False)


def increment(archive: Archive) -> None:
    archive.update("x", plus_one, run="r")


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def storage() -> MemoryStorage:
    return empty()


def test_both_increments_count_when_the_first_one_is_slower_than_anybody_waits(storage: MemoryStorage, time: Clock) -> None:
    slow = LatePack(storage, lambda: increment(open_on(storage)))
    increment(open_on(slow))
    assert slow.held
    assert time.now_s > 1000 + TAKEOVER_S
    assert open_on(storage)["x"].state() == {"n": 2}


def test_a_slow_creator_is_told_that_another_one_has_the_id(storage: MemoryStorage, time: Clock) -> None:
    slow = LatePack(storage, lambda: open_on(storage).save({"by": "rival"}, run="r", id="x", overwrite=False))
    with pytest.raises(ConflictError) as caught:
        create_only(open_on(slow))
    assert caught.value.code == "already_exists"
    assert open_on(storage)["x"].state() == {"by": "rival"}


def test_a_rival_waits_for_a_pack_that_is_on_its_way(storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rival looks before the pack is there, sleeps, and finds it when it wakes up."""
    time = Clock(monkeypatch)
    open_on(storage).save({"n": 1}, run="r", id="x")
    pack = next(iter(storage.list("runs/")))
    late = storage.get(pack.key).data

    def sleep(duration_s: float) -> None:
        time.sleep(duration_s)
        storage.put(pack.key, late)

    monkeypatch.setattr(clock, "sleep", sleep)
    storage.delete_many([pack.key])
    with pytest.raises(ConflictError) as caught:
        create_only(open_on(storage))
    assert caught.value.code == "already_exists"
    storage.delete_many([pack.key])
    increment(open_on(storage))
    assert open_on(storage)["x"].state() == {"n": 2}


def test_an_abandoned_create_gives_its_id_away(storage: MemoryStorage, time: Clock) -> None:
    open_on(storage).save({"n": 5}, run="r", id="x")
    storage.delete_many([info.key for info in storage.list("runs/")])
    create_only(open_on(storage))
    assert open_on(storage)["x"].state() == {"n": 1}
