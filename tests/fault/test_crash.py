"""A process dies at any call it makes to its storage, and nothing acknowledged is lost.

Goal: whatever was acknowledged restores bit for bit; what was not is absent or whole; lists and walks neither fail nor
show what cannot be read; the interrupted operation can be repeated under the same id.
Method: every operation is run once to learn its calls. Then it is run again for each of them and dies there, before the
call takes effect or after it; and again for every set of its writes that can be lost together, since the writes of one
wave arrive in any order. Afterwards a new archive is opened on the surviving objects.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Call, CrashAt, Picks, at
from tests.fault.witness import check_walks, copied, empty, messages, same, whole_or_absent

SMALL = {"step": 1, "note": "small"}
OTHER = {"step": 2, "note": "other"}
LARGE = {"messages": messages(60), "step": 1}
LARGER = {"messages": [*messages(60), *messages(3, seed=1)], "step": 2}

DEATH = "the process (dies|is dead)"

ABSENT = object()
"""In place of a state: no snapshot."""


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers wait a moment for a pack that may be on its way. Here nothing is, and the clock is the door to that."""
    monkeypatch.setattr(clock, "sleep", lambda _: None)


def _exists(storage: MemoryStorage, key: str) -> bool:
    return any(row.key == key for row in storage.list(""))


@dataclass
class Operation:
    """Something an archive does, and what it is for.

    Attributes:
        name: for the test's id.
        prepare: what is acknowledged before.
        act: the operation; made again after the crash, by another process.
        before: by id, the states that are acknowledged before.
        after: by id, the states that the operation is to bring about.
        run: the run to look at.
    """

    name: str
    prepare: Callable[[Archive], object]
    act: Callable[[Archive], object]
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    run: str = "r"

    def __str__(self) -> str:
        return self.name


def _nothing(archive: Archive) -> None:
    pass


def _save(id: str, state: Any, **more: Any) -> Callable[[Archive], object]:
    return lambda archive: archive.save(state, run="r", id=id, **more)


def _all(*steps: Callable[[Archive], object]) -> Callable[[Archive], object]:
    return lambda archive: [step(archive) for step in steps]


def _chain(count: int) -> Callable[[Archive], object]:
    def steps(archive: Archive) -> None:
        run = archive.run("r")
        for number in range(count):
            run.save(_link(number), id=f"c{number}")

    return steps


def _link(number: int) -> dict[str, Any]:
    return {"messages": messages(20 + number), "n": number}


def _append(archive: Archive) -> object:
    return archive.save(_link(11), run="r", id="c11", parent="c10")


def _update_content(draft: SnapshotDraft | None) -> SnapshotDraft:
    assert draft is not None
    draft.state["step"] = 7
    return draft


def _update_status(draft: SnapshotDraft | None) -> SnapshotDraft:
    assert draft is not None
    draft.status, draft.metadata = "running", {"by": "w1"}
    return draft


def _heartbeat(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    return draft


def _create_or_replace(draft: SnapshotDraft | None) -> SnapshotDraft:
    draft = SnapshotDraft() if draft is None else draft
    draft.state = SMALL
    return draft


OPERATIONS = [
    Operation("save-new", _nothing, _save("x", SMALL), {}, {"x": SMALL}),
    Operation("save-new-large", _nothing, _save("x", LARGE), {}, {"x": LARGE}),
    Operation("save-child", _save("a", LARGE), _save("x", LARGER, parent="a"), {"a": LARGE}, {"x": LARGER}),
    Operation("save-same-as-parent", _save("a", LARGE), _save("x", LARGE, parent="a"), {"a": LARGE}, {"x": LARGE}),
    Operation(
        "save-two-parents",
        _all(_save("a", SMALL), _save("b", OTHER)),
        _save("x", LARGE, parent=["a", "b"]),
        {"a": SMALL, "b": OTHER},
        {"x": LARGE},
    ),
    Operation("save-over", _save("x", LARGE), _save("x", LARGER), {"x": LARGE}, {"x": LARGER}),
    Operation("save-over-small", _save("x", SMALL), _save("x", OTHER), {"x": SMALL}, {"x": OTHER}),
    Operation(
        "save-over-deleted",
        _all(_save("x", SMALL), lambda archive: archive.delete("x")),
        _save("x", LARGE),
        {"x": ABSENT},
        {"x": LARGE},
    ),
    Operation("append-with-merge", _chain(11), _append, {f"c{n}": _link(n) for n in range(11)}, {"c11": _link(11)}),
    Operation(
        "update-content",
        _save("x", LARGE),
        lambda archive: archive.update("x", _update_content),
        {"x": LARGE},
        {"x": {**LARGE, "step": 7}},
    ),
    Operation("update-creates", _nothing, lambda archive: archive.update("x", _create_or_replace, run="r"), {}, {"x": SMALL}),
    Operation(
        "update-status", _save("x", LARGE), lambda archive: archive.update("x", _update_status), {"x": LARGE}, {"x": LARGE}
    ),
    Operation("heartbeat", _save("x", SMALL), lambda archive: archive.update("x", _heartbeat), {"x": SMALL}, {"x": SMALL}),
    Operation("fork", _save("a", LARGE), lambda archive: archive.fork("a", run="f", new_id="x"), {"a": LARGE}, {"x": LARGE}, "f"),
    Operation(
        "fork-patched",
        _save("a", LARGE),
        lambda archive: archive.fork("a", run="f", new_id="x", patch={"step": 9}),
        {"a": LARGE},
        {"x": {**LARGE, "step": 9}},
        "f",
    ),
    Operation("delete", _save("x", LARGE), lambda archive: archive.delete("x"), {"x": LARGE}, {"x": ABSENT}),
]


@dataclass
class World:
    """One storage with an archive on it, about to do something."""

    storage: CrashAt
    archive: Archive

    @classmethod
    def of(cls, operation: Operation, *, warm: bool) -> World:
        """Prepare; a warm archive still knows what it wrote, a cold one was opened anew."""
        if not warm:
            storage = CrashAt(copied(_prepared(operation.name)))
            return cls(storage, open_on(storage))
        storage = CrashAt(empty())
        archive = open_on(storage)
        operation.prepare(archive)
        return cls(storage, archive)

    def calls(self, operation: Operation) -> list[Call]:
        """The calls that the operation makes."""
        self.storage.arm(None)
        operation.act(self.archive)
        return self.storage.calls

    def die(self, operation: Operation, picks: Picks, *, after: bool) -> None:
        """Let the process die in the operation."""
        self.storage.arm(picks, after=after)
        with pytest.raises(RuntimeError, match=DEATH):
            operation.act(self.archive)


@functools.cache
def _prepared(name: str) -> MemoryStorage:
    storage = empty()
    next(operation for operation in OPERATIONS if operation.name == name).prepare(open_on(storage))
    return storage


def _later(number: int) -> Picks:
    return lambda call: call.number >= number


def _lost(writes: frozenset[str]) -> Picks:
    return lambda call: call.writes and _kind(call) in writes


def _kind(call: Call) -> str:
    """What a write is for: names hold random digits, which differ from one run of an operation to the next."""
    folder = call.key.partition("/")[0]
    # The pack of a save and the edges to its further parents lie in one folder: the parent tells them apart.
    return f"{folder} {call.key.split('-')[-2]}" if folder == "runs" else folder


def deaths(calls: list[Call]) -> Iterator[tuple[str, Picks, bool]]:
    """Every way to die in an operation that makes these calls: a name, what is lost, and whether it still takes effect."""
    for call in calls:
        for after in (False, True):
            yield f"{'after' if after else 'before'} {call.number} {call.verb} {call.key}", _later(call.number), after
    kinds = sorted({_kind(call) for call in calls if call.writes})
    for count in range(1, len(kinds) + 1):
        for lost in itertools.combinations(kinds, count):
            yield f"without {', '.join(lost)}", _lost(frozenset(lost)), False


def check_survivors(operation: Operation, survivors: MemoryStorage) -> None:
    """Check everything that is promised of a storage whose only process died in the operation."""
    archive = open_on(survivors)
    known = {id: [state] for id, state in operation.before.items()}
    for id, state in operation.after.items():
        known.setdefault(id, [ABSENT]).append(state)
    allowed = {id: [state for state in states if state is not ABSENT] for id, states in known.items()}
    needed = {id for id, states in known.items() if len(allowed[id]) == len(states)}
    found = {id: whole_or_absent(archive, id, states) for id, states in allowed.items()}
    absent = {id for id, snapshot in found.items() if snapshot is None}
    assert not needed & absent, "acknowledged and lost"
    for run in {"r", operation.run}:
        check_walks(archive, run, allowed, {id for id in needed if found[id].run == run})  # type: ignore[union-attr]
    for rows in (archive.list(), archive.list(graph="default")):
        listed = {row.id for row in rows}
        assert needed <= listed <= set(known)
        # What a list shows and nobody can read is at most the one create that was interrupted.
        assert listed & absent <= set(operation.after)


def check_again(operation: Operation, survivors: MemoryStorage) -> None:
    """Check that another process can make the interrupted operation again, and that it holds."""
    operation.act(open_on(survivors))
    archive = open_on(survivors)
    for id, state in {**operation.before, **operation.after}.items():
        found = archive.get(id)
        if state is ABSENT:
            assert found is None
        else:
            assert found is not None
            assert same(found.state(), state)
            assert found.id in {snapshot.id for snapshot in archive.log(found.run)}
            assert found.id in {row.id for row in archive.list(graph="default")}
    latest = archive.latest(operation.run)
    assert latest is None or same(latest.state(), {**operation.before, **operation.after}[latest.id])


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_a_crash_loses_nothing(operation: Operation, warm: bool) -> None:
    calls = World.of(operation, warm=warm).calls(operation)
    assert any(call.writes for call in calls)
    for name, picks, after in deaths(calls):
        world = World.of(operation, warm=warm)
        world.die(operation, picks, after=after)
        try:
            check_survivors(operation, copied(world.storage.inner))
            check_again(operation, copied(world.storage.inner))
        except BaseException as error:
            error.add_note(f"the process died {name}")
            raise


def test_the_chain_ends_in_a_save_that_merges() -> None:
    archive = World.of(next(one for one in OPERATIONS if one.name == "append-with-merge"), warm=True).archive
    before = archive["c10"].register.closure
    assert len(before) > 10
    _append(archive)
    assert len(archive["c11"].register.closure) < 4


# Several packs --------------------------------------------------------------------------------------------------------

HUGE = {"blob": random.Random(1).randbytes(17 * 1024 * 1024), "step": 1}
"""More than one pack holds: incompressible, so that the first of two is full."""


def test_a_crash_in_a_save_of_several_packs_loses_nothing() -> None:
    operation = Operation("huge", _nothing, _save("x", HUGE), {}, {"x": HUGE})
    calls = World.of(operation, warm=True).calls(operation)
    assert sorted(_kind(call).split()[0] for call in calls) == ["changes", "packs", "runs", "snapshots"]
    for name, picks, after in deaths(calls):
        # Each takes a second: the calls one by one are enough, and of the sets those without the pack that comes first.
        if "packs" in name and "," in name:
            continue
        world = World.of(operation, warm=True)
        world.die(operation, picks, after=after)
        check_survivors(operation, copied(world.storage.inner))
    check_again(operation, copied(world.storage.inner))


# Making and opening an archive ------------------------------------------------------------------------------------------


def _in_turn(call: Call) -> bool:
    """Whether nothing else happens at the same time: the races of the probe run in threads that must not see a crash."""
    return "/race-" not in call.key


def test_a_crash_while_an_archive_is_made_leaves_none_or_a_good_one() -> None:
    storage = CrashAt(MemoryStorage())
    open_on(storage, create=True)
    numbers = [call.number for call in storage.calls if _in_turn(call)]
    assert len(numbers) > 30
    # Making it again takes a tenth of a second, and what the checks of the probe leave behind differs little.
    again = {*numbers[::8], *numbers[-4:]}
    for number, after in itertools.product(numbers, (False, True)):
        storage = CrashAt(MemoryStorage())
        storage.arm(lambda call: call.number >= number and _in_turn(call), after=after)  # noqa: B023
        with pytest.raises(RuntimeError, match=DEATH):
            open_on(storage, create=True)
        survivors = copied(storage.inner)
        if _exists(survivors, "snapstore.json"):
            assert list(open_on(survivors).list()) == []
        else:
            with pytest.raises(NotFoundError, match="there is no archive") as caught:
                open_on(survivors)
            assert caught.value.code == "archive_not_found"
        if number not in again:
            continue
        archive = open_on(survivors, create=True)
        archive.save(SMALL, run="r", id="x")
        assert open_on(survivors)["x"].state() == SMALL


def test_a_crash_while_a_namespace_is_made_leaves_none_or_a_good_one() -> None:
    storage = CrashAt(empty())
    open_on(storage, create=True, namespace="tenant")
    for number, after in itertools.product(range(len(storage.calls)), (False, True)):
        storage = CrashAt(empty(), at(number), after=after)
        with pytest.raises(RuntimeError, match=DEATH):
            open_on(storage, create=True, namespace="tenant")
        survivors = copied(storage.inner)
        open_on(survivors, create=True, namespace="tenant").save(SMALL, run="r", id="x")
        assert open_on(survivors, namespace="tenant")["x"].state() == SMALL
        assert open_on(survivors).get("x") is None


# What others do with a create that never finished -----------------------------------------------------------------------


def _unfinished(state: Any, lost: tuple[str, ...]) -> MemoryStorage:
    """A storage on which the save of "x" died without some of its writes."""
    storage = CrashAt(empty())
    archive = open_on(storage)
    storage.arm(lambda call: call.key.partition("/")[0] in lost)
    with pytest.raises(RuntimeError, match=DEATH):
        archive.save(state, run="r", id="x")
    return copied(storage.inner)


FOLLOWERS: dict[str, Callable[[Archive], Any]] = {
    "child": lambda archive: archive.save(OTHER, run="r", id="y", parent="x"),
    "same-child": lambda archive: archive.save(SMALL, run="r", id="y", parent="x"),
    "same-large-child": lambda archive: archive.save(LARGE, run="r", id="y", parent="x"),
    "fork-patched": lambda archive: archive.fork("x", run="f", new_id="y", patch=lambda _: OTHER),
    "update": lambda archive: archive.update("x", _create_or_extend, run="r"),
    "status": lambda archive: archive.update("x", _status_if_there),
    "heartbeat": lambda archive: archive.update("x", _heartbeat),
    "save-over": lambda archive: archive.save(OTHER, run="r", id="x"),
    "save-over-same": lambda archive: archive.save(SMALL, run="r", id="x"),
    "save-over-with-younger-parent": lambda archive: archive.save(
        OTHER, run="r", id="x", parent=archive.save(SMALL, run="r", id="z")
    ),
    "delete": lambda archive: archive.delete("x"),
    "run": lambda archive: archive.run("r").save(OTHER, id="y"),
    "diff": lambda archive: list(archive.diff("x", archive.save(OTHER, run="r", id="z"))),
}


def _create_or_extend(draft: SnapshotDraft | None) -> SnapshotDraft:
    draft = SnapshotDraft(state={}) if draft is None else draft
    draft.state["more"] = 1
    return draft


def _status_if_there(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    if draft is not None:
        draft.status = "running"
    return draft


@pytest.mark.parametrize("follower", FOLLOWERS)
@pytest.mark.parametrize("lost", [("runs",), ("changes",), ("snapshots",)], ids=",".join)
@pytest.mark.parametrize("state", [SMALL, LARGE], ids=["small", "large"])
def test_an_unfinished_create_misleads_nobody(state: Any, lost: tuple[str, ...], follower: str) -> None:
    survivors = _unfinished(state, lost)
    # Where every part that counts arrived, the snapshot is there, and keeps its place in the history.
    whole = "runs" not in lost and "snapshots" not in lost
    try:
        result = FOLLOWERS[follower](open_on(survivors))
    except NotFoundError:
        result = None
    except InvalidInputError:
        result = None
        assert whole
        assert follower == "save-over-with-younger-parent"
    archive = open_on(survivors)
    extended = [{"more": 1}, {**state, "more": 1}]
    known = {"x": [state, OTHER, SMALL, *extended], "y": [OTHER, SMALL, LARGE], "z": [OTHER, SMALL]}
    for id, states in known.items():
        whole_or_absent(archive, id, states)
    for run in ("r", "f"):
        check_walks(archive, run, known, set())
    if getattr(result, "id", None) is not None and follower not in {"status", "heartbeat"}:
        # What was acknowledged just now is there, whatever it stands on. A status is only as good as the snapshot.
        assert same(archive[result.id].state(), result.state())
