"""Pending writes: none is lost, whatever their size and number, and in whatever order they and their checkpoint arrive.

Goal: LangGraph saves writes from many threads, and neither before nor after the checkpoint in any fixed order. Method: the
orders one after the other, forty threads on one checkpoint, several checkpointers on one archive, a crash at every call.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import PendingWrite

from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.adapters.langgraph.writes import PRESET
from snapstore.digest import digest_hex
from snapstore.errors import CorruptionError, StorageError
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import BytesLike
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.adapters.langgraph.checkpoints import SaverWorld, config, ids, put
from tests.unit.archives import filled, noise

LARGE = noise(random.Random(1), 12_000)
"""Text that compresses to more than a register takes."""

C1 = config(checkpoint_id="1")


def pending(saver: SnapstoreSaver, id: str = "1") -> list[PendingWrite]:
    """The pending writes of a checkpoint."""
    read = saver.get_tuple(config(checkpoint_id=id))
    assert read is not None
    return read.pending_writes or []


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
def test_writes_may_come_before_their_checkpoint(value: str) -> None:
    """LangGraph submits both to a pool. Until the checkpoint is there nothing of it may show."""
    world = SaverWorld()
    put(world.saver, "0", {"x": 0})
    world.saver.put_writes(C1, [("x", value)], "task", "path")
    for saver in (world.saver, world.another()):
        assert saver.get_tuple(C1) is None
        assert ids(saver.list(config())) == ["0"]
        latest = saver.get_tuple(config())
        assert latest is not None
        assert latest.checkpoint["id"] == "0"
    put(world.saver, "1", {"x": 1}, parent="0")
    for saver in (world.saver, world.another()):
        assert pending(saver) == [("task", "x", value)]
        assert ids(saver.list(config())) == ["1", "0"]
        latest = saver.get_tuple(config())
        assert latest is not None
        assert (latest.checkpoint["channel_values"], latest.parent_config) == ({"x": 1}, config(checkpoint_id="0"))


def test_writes_may_come_from_another_process_than_their_checkpoint() -> None:
    """Nothing that one process remembers may be needed to find them."""
    world = SaverWorld()
    world.another().put_writes(C1, [("x", 1)], "early")
    put(world.another(), "1", {"x": 1})
    put(world.another(), "2", {"x": 2}, parent="1")
    world.another().put_writes(C1, [("x", 2)], "late")
    assert pending(world.another()) == [("early", "x", 1), ("late", "x", 2)]


def test_a_checkpoint_that_fills_a_placeholder_is_stored_as_a_change() -> None:
    """Writes often come first when storage is slow: the state must not be stored anew each time that happens."""
    world = SaverWorld()
    document = noise(random.Random(2), 120_000)
    put(world.saver, "1", {"document": document, "x": 0})
    before = world.stored_bytes("runs/")
    for number in range(2, 6):
        world.saver.put_writes(config(checkpoint_id=str(number)), [("x", number)], "task")
        put(world.saver, str(number), {"document": document, "x": number}, parent=str(number - 1))
    assert world.stored_bytes("runs/") - before < before / 4


def test_the_first_write_counts_and_the_last_special_one() -> None:
    """A retried task must not apply twice, while a new interrupt or resume value replaces the old one."""
    for small, large in (("a", "b"), (LARGE + "a", LARGE + "b"), ("a", LARGE), (LARGE, "a")):
        world = SaverWorld()
        put(world.saver, "1")
        for value in (small, large):
            world.saver.put_writes(C1, [("x", value), ("__error__", value)], "mixed")
            world.saver.put_writes(C1, [("__interrupt__", value)], "special")
            world.saver.put_writes(C1, [("y", value)], "grows")
        world.saver.put_writes(C1, [("y", "ignored"), ("z", "new")], "grows")
        assert sorted(pending(world.another())) == sorted(
            [
                ("grows", "y", small),
                ("grows", "z", "new"),
                ("mixed", "__error__", small),
                ("mixed", "x", small),
                ("special", "__interrupt__", large),
            ]
        )


def test_writes_come_in_the_order_of_their_paths() -> None:
    """DeltaChannels replay them in this order; task ids are hashes and say nothing."""
    world = SaverWorld()
    put(world.saver, "1")
    for task, path, value in (("c", "2", "small"), ("a", "3", LARGE), ("b", "1", "late")):
        world.saver.put_writes(C1, [("x", value), ("y", value)], task, path)
    assert [(task, channel) for task, channel, _ in pending(world.saver)] == [(t, c) for t in "bca" for c in "xy"]


def test_the_same_writes_again_cost_no_write() -> None:
    """LangGraph saves the accumulated writes of the null task again and again."""
    world = SaverWorld()
    put(world.saver, "1")
    world.saver.put_writes(C1, [("x", 1)], "task")
    usage = world.cost(lambda: world.saver.put_writes(C1, [("x", 1)], "task"))
    assert usage.writes == 0
    assert world.cost(lambda: world.saver.put_writes(C1, [], "task")).total == 0


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
def test_forty_threads_on_one_checkpoint_lose_nothing(value: str) -> None:
    """Parallel branches finish at the same time; two checkpointers stand for two processes."""
    world = SaverWorld()
    put(world.saver, "1")
    savers = [world.saver, world.another()]
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            savers[number % 2].put_writes(C1, [("x", f"{value}{number}")], f"task{number:02}")
        except BaseException as error:  # noqa: BLE001 - a thread's error would vanish
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert pending(world.another()) == [(f"task{number:02}", "x", f"{value}{number}") for number in range(40)]


def test_any_number_of_parallel_tasks_fits() -> None:
    """A fan-out must not run into the size of a register."""
    world = SaverWorld()
    put(world.saver, "1")
    for number in range(120):
        world.saver.put_writes(C1, [("x", f"{number} " + LARGE[: number * 10])], f"task{number:04}")
    assert [task for task, _, _ in pending(world.another())] == [f"task{number:04}" for number in range(120)]


class Crashing(WrappedStorage):
    """Fails at the n-th write, and at each one after it: the process is gone."""

    def __init__(self, inner: MemoryStorage) -> None:
        super().__init__(inner)
        self.left = 10**9
        self._lock = threading.Lock()

    def _write(self, call: Callable[[], str]) -> str:
        with self._lock:
            self.left -= 1
            alive = self.left >= 0
        if not alive:
            raise StorageError("the process is gone", code="crashed")
        return call()

    def put(self, key: str, data: BytesLike) -> str:
        """Write, or crash."""
        return self._write(lambda: self.inner.put(key, data))

    def put_create(self, key: str, data: BytesLike) -> str:
        """Write, or crash."""
        return self._write(lambda: self.inner.put_create(key, data))

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """Write, or crash."""
        return self._write(lambda: self.inner.put_if(key, data, version))


STEPS: list[tuple[str, Callable[[SnapstoreSaver], Any], list[PendingWrite]]] = [
    ("writes", lambda saver: saver.put_writes(C1, [("x", "one")], "a"), [("a", "x", "one")]),
    ("put", lambda saver: put(saver, "1", {"x": 1}), []),
    ("large", lambda saver: saver.put_writes(C1, [("x", LARGE)], "b"), [("b", "x", LARGE)]),
    ("more", lambda saver: saver.put_writes(C1, [("x", "two")], "c"), [("c", "x", "two")]),
    ("again", lambda saver: put(saver, "1", {"x": 2}), []),
]


@pytest.mark.parametrize("step", range(len(STEPS)), ids=[name for name, _, _ in STEPS])
def test_a_crash_between_any_two_writes_loses_nothing_acknowledged(step: int) -> None:
    """What returned is there, what did not may be, and doing it again in a new process completes it."""
    for writes in range(12):
        storage = Crashing(filled(MemoryStorage()))
        saver = SnapstoreSaver(open_on(storage))
        for _, call, _ in STEPS[:step]:
            call(saver)
        storage.left = writes
        try:
            STEPS[step][1](saver)
        except StorageError:
            crashed = True
        else:
            crashed = False
        storage.left = 10**9
        later = SnapstoreSaver(open_on(storage))
        expected = [write for _, _, added in STEPS[:step] for write in added]
        read = later.get_tuple(C1)
        if step > 1:
            assert read is not None
        if read is not None:
            assert [write for write in read.pending_writes or [] if write in expected] == expected
        STEPS[step][1](later)
        put(later, "1", {"x": 3})
        assert pending(later) == expected + STEPS[step][2]
        if not crashed:
            return
    pytest.fail("the operation never came to its end")


def test_damaged_writes_are_reported() -> None:
    """Text in a register that is no pending write must not pass for none."""
    world = SaverWorld()
    put(world.saver, "1")
    for text in ("zz", "00", "78f9"):
        world.archive.save({}, run="langgraph:t/", graph="langgraph:t", id="langgraph:t//1", metadata={"writes": text})
        with pytest.raises(CorruptionError):
            _ = [one.pending_writes for one in world.saver.list(config())]


def test_the_preset_never_changes() -> None:
    """Writes that are stored somewhere cannot be read with another one."""
    assert digest_hex(PRESET) == "0f4408553ef5524c1028009020af4ac9dd6b45f9187f87ae1234d601447bb9c7"
