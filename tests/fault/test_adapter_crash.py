"""A process dies at any call that an adapter makes to its storage, and the contract holds for the next one.

Goal: whatever was acknowledged through a contract is there; an interrupted operation took effect or did not; what comes next
works, also the interrupted operation made again; no lost answer lets a change be applied twice.
Method: every operation of every adapter, as its driver offers it, is run once to learn its calls, and again for each of them to
die there, before or after the call takes effect, and for every set of writes that can be lost together. Afterwards a new
archive and a new adapter look at what survived. The same with answers that get lost. Waiting takes no time here.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from snapstore import clock
from snapstore.adapters.flowkit import StorageAdapter
from snapstore.errors import ConflictError
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage
from snapstore.storage.retry import Retry
from snapstore.testing import AdapterDriver
from snapstore.testing.faults import WRITES, Call, CrashAt, LoseResponse, Picks
from tests.contract.adapter_drivers import (
    SYSTEMS,
    CheckpointDriver,
    FlowkitDriver,
    ThreadDriver,
    WorkflowDriver,
    wait,
)
from tests.contract.plain_driver import PlainDriver
from tests.fault.simulated import simulate_waiting
from tests.fault.witness import copied, empty, messages

OLD = {"n": 1, "messages": messages(8)}
NEW = {"n": 2, "messages": [*messages(8), *messages(1, seed=1)]}
OTHER = {"n": 3}
GROUP = "group"


@pytest.fixture(autouse=True)
def waiting_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_waiting(monkeypatch)


@dataclass(frozen=True, eq=False)
class Operation:
    """Something an adapter does.

    Attributes:
        name: for the test's id.
        needs: the driver's methods that it uses besides `write` and `read`.
        prepare: what is acknowledged before.
        act: the operation.
        look: what a reader sees of it.
        before: what `look` may give when it did not take effect.
        after: what it gives when it did.
        again: what it may give besides when another process made the operation again, not knowing that it took effect.
    """

    name: str
    needs: tuple[str, ...]
    prepare: Callable[[Any], object]
    act: Callable[[Any], object]
    look: Callable[[Any], object]
    before: Any
    after: Any
    again: Any = None

    def __str__(self) -> str:
        return self.name


def _write(value: dict[str, Any], key: str = "x") -> Callable[[Any], object]:
    return lambda driver: driver.write(key, value)


def _nothing(driver: Any) -> None:
    pass


def _read(driver: Any) -> Any:
    return driver.read("x")


def _all(*steps: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda driver: [step(driver) for step in steps]


def _lives_again(driver: Any) -> None:
    driver.write("x", OTHER)
    driver.delete("x")


def _fork_values(driver: Any) -> list[Any]:
    """What is there besides the source; a fork that never finished may be listed and not be readable."""
    found = [driver.read(key) for key in set(driver.keys()) - {"x", "beside"}]
    assert driver.read("x") == OLD
    return [value for value in found if value is not None]


OPERATIONS = [
    Operation("write-new", (), _nothing, _write(NEW), _read, None, NEW),
    Operation("write-over", (), _write(OLD), _write(NEW), _read, OLD, NEW),
    Operation("write-third", (), _all(_write(OTHER), _write(OLD)), _write(NEW), _read, OLD, NEW),
    Operation("delete", ("delete",), _write(OLD), lambda driver: driver.delete("x"), _read, OLD, None),
    Operation("write-again", ("delete",), _lives_again, _write(NEW), _read, None, NEW),
    Operation("fork", ("fork", "keys"), _write(OLD), lambda driver: driver.fork("x"), _fork_values, [], [OLD], [OLD, OLD]),
    Operation(
        "set-field",
        ("set_field",),
        _all(_write(OLD), lambda driver: driver.set_field("x", "a", 1)),
        lambda driver: driver.set_field("x", "b", [2]),
        lambda driver: (driver.fields("x"), driver.read("x")),
        ({"a": 1}, OLD),
        ({"a": 1, "b": [2]}, OLD),
    ),
    Operation(
        "increment",
        ("increment",),
        _write(OLD),
        lambda driver: driver.increment("x"),
        lambda driver: driver.read("x")["n"],
        1,
        2,
        3,
    ),
    Operation(
        "append",
        ("append",),
        _all(lambda driver: driver.append(GROUP, OTHER), lambda driver: driver.append(GROUP, OLD)),
        lambda driver: driver.append(GROUP, NEW),
        lambda driver: driver.latest(GROUP),
        OLD,
        NEW,
    ),
    Operation("heartbeat", ("heartbeat",), _write(OLD), lambda driver: driver.heartbeat("x"), _read, OLD, OLD),
]


def _session_made(driver: Any) -> None:
    with contextlib.suppress(ConflictError):  # it was made before the crash, and is made again
        driver.store.create_session("flow", "y", label="l")


def _expired(driver: Any) -> None:
    """A conversation that nobody came back to in time."""
    wait(StorageAdapter(driver.store.archive, ttl=10).save(driver.record("x", OLD)))
    clock.sleep(11)


def _late_writes(driver: Any) -> None:
    """Writes of a checkpoint that is not there yet, and then the checkpoint."""
    config = driver.saver.get_tuple({"configurable": {"thread_id": "x", "checkpoint_ns": ""}}).config
    made = {**empty_checkpoint(), "channel_values": {"value": NEW}, "channel_versions": {"value": "2"}}
    named = {"configurable": {**config["configurable"], "checkpoint_id": made["id"]}}
    driver.saver.put_writes(named, [("a", 1)], task_id="t")
    driver.saver.put(config, made, {"source": "loop", "step": 2}, {"value": "2"})


OWN_OPERATIONS: list[tuple[type[AdapterDriver], Operation]] = [
    (
        WorkflowDriver,
        Operation(
            "undo", (), _all(_write(OLD), _write(NEW)), lambda driver: driver.store.undo("flow", "x"), _read, NEW, OLD, None
        ),
    ),
    (
        WorkflowDriver,
        Operation(
            "step",
            (),
            lambda driver: driver.store.set_current_step("flow", "x", "one"),
            lambda driver: driver.store.set_current_step("flow", "x", "two"),
            lambda driver: driver.store.get_current_step("flow", "x"),
            "one",
            "two",
        ),
    ),
    (
        WorkflowDriver,
        Operation(
            "session",
            (),
            _nothing,
            _session_made,
            lambda driver: driver.store.get_session_summary("flow", "y") is not None,
            False,
            True,
        ),
    ),
    (FlowkitDriver, Operation("sweep", (), _expired, lambda driver: wait(driver.store.sweep()), _read, None, None)),
    (
        CheckpointDriver,
        Operation(
            "patched-fork",
            (),
            _write(OLD),
            lambda driver: wait(driver.store.fork("x", {"scratch": OTHER})),
            _fork_values,
            [],
            [OLD | OTHER],
            [OLD | OTHER] * 2,
        ),
    ),
    (
        CheckpointDriver,
        Operation(
            "move", (), _write(OLD), lambda driver: wait(driver.store.save(driver.record("x", "moved", NEW))), _read, OLD, NEW
        ),
    ),
    (
        ThreadDriver,
        Operation(
            "large-field",
            (),
            _write(OLD),
            lambda driver: driver.set_field("x", "b", messages(40)),
            lambda driver: (driver.fields("x"), driver.read("x")),
            ({}, OLD),
            ({"b": messages(40)}, OLD),
        ),
    ),
    (ThreadDriver, Operation("late", (), _write(OLD), _late_writes, _read, OLD, NEW)),
    (
        ThreadDriver,
        Operation(
            "prune",
            (),
            _all(_write(OTHER), _write(OLD), _write(NEW)),
            lambda driver: driver.saver.prune(["x"]),
            lambda driver: (driver.read("x"), driver.history("x") == [NEW]),  # what is half pruned is not pruned yet
            (NEW, False),
            (NEW, True),
        ),
    ),
]

_DRIVERS: list[type[AdapterDriver]] = [PlainDriver, *SYSTEMS]

CASES = [
    pytest.param(driver, operation, id=f"{driver.__name__.removesuffix('Driver')}-{operation}")
    for driver, operation in [
        *((driver, one) for driver in _DRIVERS for one in OPERATIONS if all(map(driver.can, one.needs))),
        *OWN_OPERATIONS,
    ]
]


@dataclass
class World:
    """One adapter that is about to do something.

    Attributes:
        operation: what.
        storage: where, with faults.
        adapter: it did what comes before itself (warm), or belongs to another process (cold).
    """

    operation: Operation
    storage: Any
    adapter: Any

    @classmethod
    def of(cls, driver: type[AdapterDriver], operation: Operation, faults: Callable[[Storage], Any], *, warm: bool) -> World:
        """Prepare; `faults` makes the storage around the one that survives."""
        storage = faults(empty() if warm else _copy_of_prepared(driver, operation))
        return cls(operation, storage, _first(driver, storage, operation) if warm else driver(open_on(storage)))

    def act(self) -> None:
        """Do it."""
        self.operation.act(self.adapter)


def _first(driver: type[AdapterDriver], storage: Storage, operation: Operation) -> Any:
    """An adapter that did what comes before, and another thing beside it."""
    adapter = driver(open_on(storage))
    adapter.write("beside", OTHER)
    operation.prepare(adapter)
    return adapter


_prepared: dict[tuple[type[AdapterDriver], Operation], MemoryStorage] = {}


def _copy_of_prepared(driver: type[AdapterDriver], operation: Operation) -> MemoryStorage:
    """A storage on which another process did what comes before, once for all tests."""
    if (driver, operation) not in _prepared:
        storage = _prepared[driver, operation] = empty()
        _first(driver, storage, operation)
    return copied(_prepared[driver, operation])


def _check(driver: type[AdapterDriver], operation: Operation, survivors: MemoryStorage) -> None:
    """Check what a new process finds, and that it can go on in both ways."""
    adapter = driver(open_on(survivors))
    assert operation.look(adapter) in [operation.before, operation.after]
    assert adapter.read("beside") == OTHER
    if driver.can("history"):
        assert all(value in (OLD, NEW, OTHER, {}) for value in adapter.history("x"))
    further = copied(survivors)
    driver(open_on(further)).write("x", OTHER)
    assert driver(open_on(further)).read("x") == OTHER
    again = copied(survivors)
    operation.act(driver(open_on(again)))
    assert operation.look(driver(open_on(again))) in [operation.after, operation.again]


def _deaths(calls: list[Call]) -> Iterator[tuple[str, Picks, bool]]:
    """Every way to die in an operation that makes these calls: a name, what is lost, and whether it still takes effect."""
    for call in calls:
        for after in (False, True):
            yield f"{'after' if after else 'before'} {call.number} {call.verb} {call.key}", _from(call.number), after
    # The writes of one wave arrive in any order, so any of them can be missing beside the others.
    folders = sorted({_folder(call) for call in calls if call.writes})
    for count in range(1, len(folders)):
        for lost in itertools.combinations(folders, count):
            yield f"without {', '.join(lost)}", _lost(lost), False


def _from(number: int) -> Picks:
    return lambda call: call.number >= number


def _lost(folders: tuple[str, ...]) -> Picks:
    return lambda call: call.writes and _folder(call) in folders


def _folder(call: Call) -> str:
    return call.key.partition("/")[0]


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize(("driver", "operation"), CASES)
def test_a_crash_leaves_what_the_contract_allows(driver: type[AdapterDriver], operation: Operation, warm: bool) -> None:
    world = World.of(driver, operation, CrashAt, warm=warm)
    world.storage.arm(None)
    world.act()
    calls = [*world.storage.calls]
    assert any(call.writes for call in calls)
    assert operation.look(world.adapter) == operation.after
    for name, picks, after in _deaths(calls):
        world = World.of(driver, operation, CrashAt, warm=warm)
        world.storage.arm(picks, after=after)
        with pytest.raises(Exception, match="process"):  # an adapter may wrap what it meets in its system's own error
            world.act()
        assert world.storage.died
        try:
            _check(driver, operation, copied(world.storage.inner))
        except BaseException as error:
            error.add_note(f"the process died {name}")
            raise


def nth(verb: str, number: int) -> Picks:
    """Pick one call of a verb; the calls of one wave come in any order, so their own numbers say little."""
    left = [number]

    def picks(call: Call) -> bool:
        left[0] -= call.verb == verb
        return call.verb == verb and left[0] == -1

    return picks


@pytest.mark.parametrize("conflict", [False, True], ids=["timeout", "conflict"])
@pytest.mark.parametrize(("driver", "operation"), CASES)
def test_a_lost_answer_is_found_out(driver: type[AdapterDriver], operation: Operation, conflict: bool) -> None:
    """What landed is acknowledged and counts once, whether the client gave up or met its own write."""
    world = World.of(driver, operation, LoseResponse, warm=True)
    world.storage.arm(None)
    world.act()
    made = [call.verb for call in world.storage.calls]
    # Of a write that bears no condition nobody hears that it conflicts.
    verbs = ["put_create", "put_if"] if conflict else sorted(WRITES)
    for verb, number in ((one, number) for one in verbs for number in range(made.count(one))):
        world = World.of(driver, operation, lambda inner: Retry(LoseResponse(inner, conflict=conflict)), warm=True)
        lossy = world.storage.inner
        lossy.arm(nth(verb, number))
        try:
            world.act()
            fresh = driver(open_on(lossy.inner))
            assert [operation.look(adapter) for adapter in (world.adapter, fresh)] == [operation.after] * 2
            world.adapter.write("x", OTHER)
            assert fresh.read("x") == OTHER
        except BaseException as error:
            error.add_note(f"the answer was lost to {verb} number {number} of {made}")
            raise
