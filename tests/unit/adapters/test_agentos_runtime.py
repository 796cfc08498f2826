"""A graph runtime over a CheckpointStore: resumed runs repeat nothing, forked runs do what their source had not done.

Goal: what AgentOS's GraphRuntime makes of its store (`latest(x)`, else `get(x)`; effects replayed from `nodeResults`) is
right also where its own store is not: nodes that end in the same millisecond, forks from early checkpoints.
Method: a Python re-enactment of that runtime, with other processes resuming and forking; crashes at every storage call.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from snapstore.adapters.agentos import CheckpointStore
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import CrashAt, FaultyStorage, LoseResponse, at, on
from tests.unit.adapters.agentos_runs import Json, Runtime, Time, checkpoint, ids, wait
from tests.unit.archives import World, filled


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def runtime(world: World, time: Time) -> Runtime:
    """A runtime in a process of its own."""
    return Runtime(CheckpointStore(world.cold()), lambda: time.ms)


def test_a_finished_run_executes_nothing_when_it_is_resumed(world: World, time: Time) -> None:
    """On a clock that stands still: all checkpoints have the same timestamp."""
    for number in range(10):
        run_id = f"run-{number}"
        first = runtime(world, time)
        wait(first.invoke(run_id))
        assert first.executed == list("abcd")
        again = runtime(world, time)
        wait(again.resume(run_id))
        assert again.executed == []


@pytest.mark.parametrize("done", range(5))
def test_an_interrupted_run_executes_the_rest(world: World, time: Time, done: int) -> None:
    wait(Runtime(CheckpointStore(world.cold()), lambda: time.ms, "abcd"[:done]).invoke("run-1"))
    if done == 0:
        with pytest.raises(LookupError):
            wait(runtime(world, time).resume("run-1"))
        return
    again = runtime(world, time)
    wait(again.resume("run-1"))
    assert again.executed == list("abcd")[done:]
    rows = wait(CheckpointStore(world.cold()).history("run-1"))
    assert [row["nodeId"] for row in rows] == ["d", "c", "b", "a"]
    assert [row["parentId"] for row in rows] == [*ids(rows)[1:], None]


def test_a_fork_from_the_first_checkpoint_executes_the_others(world: World, time: Time) -> None:
    """With a store that keeps references, the first checkpoint knows the results of b, c and d, and nothing is executed."""
    wait(runtime(world, time).invoke("run-1"))
    store = CheckpointStore(world.cold())
    first = wait(store.load("run-1", "a"))
    assert first is not None
    assert list(first["nodeResults"]) == ["a"]
    run_id = wait(store.fork(first["id"], {"input": {"q": 2}}))
    again = runtime(world, time)
    wait(again.resume(run_id))
    assert again.executed == ["b", "c", "d"]
    newest = wait(store.latest(run_id))
    assert newest is not None
    assert (newest["state"]["input"], newest["visitedNodes"]) == ({"q": 2}, ["a", "b", "c", "d"])
    assert newest["nodeResults"]["a"]["output"] == "a of run-1"
    assert newest["nodeResults"]["d"]["output"] == f"d of {run_id}"
    assert [row["nodeId"] for row in wait(store.lineage(newest["id"]))] == ["d", "c", "b", "a", "a"]
    untouched = wait(store.latest("run-1"))
    assert untouched is not None
    assert untouched["nodeResults"]["d"]["output"] == "d of run-1"


def test_an_exact_checkpoint_can_be_resumed(world: World, time: Time) -> None:
    wait(runtime(world, time).invoke("run-1"))
    store = CheckpointStore(world.cold())
    second = wait(store.load("run-1", "b"))
    assert second is not None
    again = runtime(world, time)
    time.ms += 1
    wait(again.resume(second["id"]))
    assert again.executed == ["c", "d"]


# Faults ---------------------------------------------------------------------------------------------------------------


def prepared() -> tuple[MemoryStorage, list[Json]]:
    """An archive with a run of two checkpoints."""
    memory = filled(MemoryStorage())
    saved = [checkpoint("a", timestamp=1000), checkpoint("b", timestamp=2000)]
    store = CheckpointStore(open_on(memory))
    for one in saved:
        wait(store.save(one))
    return memory, saved


async def save(store: CheckpointStore) -> None:
    await store.save(checkpoint("c", timestamp=3000))


async def save_ahead(store: CheckpointStore) -> None:
    await store.save(checkpoint("c", timestamp=10**14))


async def save_again(store: CheckpointStore) -> None:
    await store.save(checkpoint("a", timestamp=3000))


async def fork(store: CheckpointStore) -> None:
    await store.fork("a", {"scratch": {"x": 1}})


async def delete(store: CheckpointStore) -> None:
    await store.delete("b")


OPERATIONS = [save, save_ahead, save_again, fork, delete]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.usefixtures("time")
def test_a_crash_leaves_the_old_or_the_new(operation: type, after: bool) -> None:
    """At every storage call: what was acknowledged stays, the newest is never anything else, and trying again succeeds."""
    memory, _ = prepared()
    counting = FaultyStorage(memory)
    store = CheckpointStore(open_on(counting))
    counting.arm(None)
    wait(operation(store))
    calls = len(counting.calls)
    done = wait(CheckpointStore(open_on(memory)).latest("run-1"))
    assert calls > 0
    for number in range(calls):
        memory, saved = prepared()
        crashing = CrashAt(memory)
        store = CheckpointStore(open_on(crashing))
        crashing.arm(at(number), after=after)
        with contextlib.suppress(RuntimeError):
            wait(operation(store))
        assert crashing.died
        survivor = CheckpointStore(open_on(memory))
        newest = wait(survivor.latest("run-1"))
        assert newest in (saved[1], done), f"crash at call {number}"
        # A list reads registers only, so it may also show a checkpoint whose save has not finished.
        assert set(ids(wait(survivor.list("graph-1")))) >= ({"a"} if operation is delete else {"a", "b"})
        assert wait(survivor.get("a")) in (saved[0], checkpoint("a", timestamp=3000))
        wait(operation(survivor))
        assert wait(CheckpointStore(open_on(memory)).latest("run-1")) == done


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("conflict", [False, True], ids=["timeout", "conflict"])
@pytest.mark.usefixtures("time")
def test_a_lost_answer_is_not_a_lost_save(operation: type, conflict: bool) -> None:
    memory, _ = prepared()
    wait(operation(CheckpointStore(open_on(memory))))
    done = wait(CheckpointStore(open_on(memory)).latest("run-1"))
    for verb in ("put_create", "put_if"):
        memory, _ = prepared()
        losing = LoseResponse(memory, conflict=conflict)
        store = CheckpointStore(open_on(losing))
        losing.arm(on(verb, "snapshots/*", times=10))
        wait(operation(store))
        assert wait(CheckpointStore(open_on(memory)).latest("run-1")) == done


def test_a_cancelled_save_is_whole_or_absent(world: World) -> None:
    async def cancelled() -> None:
        saving = asyncio.create_task(CheckpointStore(world.archive).save(checkpoint("a")))
        await asyncio.sleep(0)
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    wait(cancelled())  # the loop waits for its threads before it closes
    assert wait(CheckpointStore(world.cold()).get("a")) in (None, checkpoint("a"))
