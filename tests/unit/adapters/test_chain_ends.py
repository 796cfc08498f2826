"""The ends of chains: what is ended stays ended for everybody, however old the version is that he still remembers.

Goal: deleted ids are free again, so a rival can create a number of the past; nobody may ever see it, and the rival learns
better. A crash at any call leaves what was there or what was to be, and upkeep and people may delete what they like.
Method: an archive in memory, with handles that know nothing of one another as other processes; crashes and rivals between
two storage calls through storages that fail on purpose; a clock that shows what a test says.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from itertools import count

import pytest

from snapstore.adapters.chain import KNOWN_MS, Chains, Draft, Version
from snapstore.format import names
from snapstore.format.register import Register
from snapstore.history import heads
from snapstore.testing.faults import CrashAt, at, on
from tests.fault.witness import copied
from tests.unit.adapters.chain_handles import NAME, cold, live_ids, on_storage, plus_one, put, value
from tests.unit.adapters.rivals import Asleep, Meanwhile, Now
from tests.unit.archives import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def chains(world: World) -> Chains:
    return cold(world)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    return Now(monkeypatch)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Asleep:
    return Asleep(monkeypatch)


def test_what_is_ended_is_gone_and_its_versions_are_deleted(world: World, chains: Chains) -> None:
    assert chains.end(NAME) is False
    for _ in range(3):
        chains.append(NAME, plus_one)
    assert chains.end(NAME) is True
    assert live_ids(world) == [f"{NAME}@00000004"]
    for reader in (chains, cold(world)):
        assert reader.newest(NAME) is None
        assert reader.history(NAME) == []
        assert reader.end(NAME) is False


def test_what_begins_anew_has_a_history_of_its_own(world: World, chains: Chains) -> None:
    for life in range(3):
        assert chains.append(NAME, plus_one)
        chains.append(NAME, plus_one)
        assert [snapshot.state()["n"] for snapshot in cold(world).history(NAME)] == [2, 1]
        if life < 2:
            chains.end(NAME)
    assert live_ids(world) == [f"{NAME}@{number:08}" for number in (8, 7, 6)]  # the second end stays as what 7 continues


@pytest.mark.parametrize("later", range(1, 6))
@pytest.mark.parametrize("anew", [False, True])
def test_who_remembers_a_version_of_the_past_neither_reads_nor_continues_it(world: World, later: int, anew: bool) -> None:
    """The numbers behind his version are free again: deleted ids may be created."""
    old, reader, other = cold(world), cold(world), cold(world)
    old.append(NAME, plus_one)
    assert value(reader) == {"n": 1}
    for _ in range(later):
        other.append(NAME, plus_one)
    other.end(NAME)
    if anew:
        put(other, {"n": 100})
    assert value(reader) == ({"n": 100} if anew else None)
    seen: list[int | None] = []

    def record(version: Version | None) -> Draft:
        seen.append(version.state()["n"] if version is not None else None)
        return plus_one(version)

    for _ in range(8):  # beyond the number of the end
        old.append(NAME, record)
    first = 100 if anew else 0
    assert seen[1] == (100 if anew else None)
    for handle in (old, other, reader, cold(world)):
        assert value(handle) == {"n": first + 8}
    states = [snapshot.state()["n"] for snapshot in cold(world).history(NAME)]
    assert states == [*range(first + 8, first - (1 if anew else 0), -1)]


@pytest.mark.parametrize("trailing", [-3_600_000, 0, 3_600_000])
def test_the_order_is_that_of_the_writes_at_any_clock(world: World, now: Now, trailing: int) -> None:
    one, other = cold(world), cold(world)
    start = now.ms
    put(one, {"life": 1})
    now.ms = start + trailing
    assert other.end(NAME)
    now.ms = start - trailing
    put(one, {"life": 2})
    now.ms = start
    for reader in (one, other, cold(world)):
        assert value(reader) == {"life": 2}
        assert [snapshot.state() for snapshot in reader.history(NAME)] == [{"life": 2}]


def test_an_end_may_depend_on_what_is_newest(world: World, chains: Chains) -> None:
    put(chains, {"n": 1})
    put(cold(world), {"n": 2})
    assert chains.end(NAME, only_if=lambda version: version.state()["n"] == 1) is False
    assert value(cold(world)) == {"n": 2}
    assert chains.end(NAME, only_if=lambda version: version.state()["n"] == 2) is True
    assert value(cold(world)) is None


def test_an_end_does_not_delete_what_began_anew_meanwhile(world: World) -> None:
    storage = Meanwhile(world.memory, lambda: put(cold(world), {"life": 2}))
    chains = on_storage(storage)
    put(chains, {"life": 1})
    storage.arm(on("list", "runs/*"))  # the end is written, and looks for what to delete
    assert chains.end(NAME)
    assert value(cold(world)) == {"life": 2}
    assert value(chains) == {"life": 2}


@pytest.mark.usefixtures("asleep")
def test_a_crash_while_ending_leaves_all_or_nothing_and_can_be_finished(world: World) -> None:
    for _ in range(3):
        cold(world).append(NAME, plus_one)
    for number in count():
        copy = World(copied(world.memory))
        storage = CrashAt(copy.memory)
        chains = on_storage(storage)
        storage.arm(at(number))
        with suppress(RuntimeError):
            chains.end(NAME)
        found = value(cold(copy))
        assert found in (None, {"n": 3})
        assert cold(copy).end(NAME) is (found is not None)
        assert live_ids(copy) == [f"{NAME}@00000004"]
        if not storage.died:
            break
    assert number > 20


def test_a_crash_before_a_past_number_is_taken_back_changes_nothing(world: World) -> None:
    """The number that a writer took belongs to the past, and he could not even say so."""
    storage = CrashAt(world.memory)
    old = on_storage(storage)
    old.append(NAME, plus_one)
    bystander, other = cold(world), cold(world)
    assert value(bystander) == {"n": 1}
    for _ in range(3):
        other.append(NAME, plus_one)
    other.end(NAME)
    # He knows that he took a number that existed before, and dies when he asks whether it is the last one.
    storage.arm(on("get", f"*{names.encode_name(f'{NAME}@00000003')}"))
    with pytest.raises(RuntimeError):
        old.append(NAME, plus_one)
    assert f"{NAME}@00000002" in live_ids(world)
    for reader in (cold(world), bystander, other):
        assert value(reader) is None
        assert reader.history(NAME, limit=1) == []
    put(bystander, {"n": 7})
    for reader in (cold(world), bystander, other):
        assert value(reader) == {"n": 7}
    assert other.end(NAME)
    assert value(cold(world)) is None


# What upkeep, crashes and people leave --------------------------------------------------------------------------------


@pytest.mark.parametrize("reads_first", [False, True])
def test_an_old_memory_is_checked_before_a_write_begins(world: World, now: Now, reads_first: bool) -> None:
    """Upkeep removes old tombstones: then nothing says any more that a number existed."""
    old = cold(world)
    old.append(NAME, plus_one)
    other = cold(world)
    for _ in range(3):
        other.append(NAME, plus_one)
    other.end(NAME)
    gone = [key for key in world.keys("snapshots/") if Register.decode(world.memory.get(key).data).deleted]
    assert len(gone) == 4
    world.memory.delete_many(gone)
    now.ms += KNOWN_MS + 1
    if reads_first:
        assert value(old) is None
    version = old.append(NAME, plus_one)
    assert version is not None
    assert (version.number, value(cold(world))) == (6, {"n": 1})


@pytest.mark.usefixtures("asleep")
def test_a_create_that_never_finished_is_passed_over_and_replaced(world: World) -> None:
    for _ in range(2):
        cold(world).append(NAME, plus_one)
    storage = CrashAt(world.memory)
    dying = on_storage(storage)
    dying.newest(NAME)
    storage.arm(on("put", "runs/*"))
    with pytest.raises(RuntimeError):
        dying.append(NAME, plus_one)
    assert names.register_key(f"{NAME}@00000003") in world.keys("snapshots/")  # its pack never came
    chains = cold(world)
    assert value(chains) == {"n": 2}
    version = chains.append(NAME, plus_one)
    assert version is not None
    assert (version.number, value(cold(world))) == (3, {"n": 3})


@pytest.mark.usefixtures("asleep")
def test_a_crash_at_any_call_of_a_write_leaves_the_old_value_or_the_new() -> None:
    for after in (False, True):
        for number in range(3):
            world = World()
            storage = CrashAt(world.memory)
            chains = on_storage(storage)
            chains.append(NAME, plus_one)
            storage.arm(at(number), after=after)
            with pytest.raises(RuntimeError):
                chains.append(NAME, plus_one)
            found = value(cold(world))["n"]
            assert found in (1, 2)
            cold(world).append(NAME, plus_one)
            assert value(cold(world)) == {"n": found + 1}


def test_a_newest_version_that_was_deleted_by_hand_is_not_missed(world: World) -> None:
    chains, other = cold(world), cold(world)
    for number in range(1, 4):
        put(chains, {"n": number})
    world.cold().delete(f"{NAME}@00000003")
    assert value(other) == {"n": 2}
    other.append(NAME, plus_one)  # under the number that is free again
    assert value(cold(world)) == {"n": 3}
    chains.append(NAME, plus_one)
    assert value(other) == {"n": 4}


def test_a_thing_whose_versions_were_all_deleted_by_hand_begins_anew(world: World, now: Now) -> None:
    remembers = cold(world)
    for _ in range(3):
        remembers.append(NAME, plus_one)
    for id in live_ids(world):
        world.cold().delete(id)
    now.ms += KNOWN_MS + 1
    assert value(remembers) is None
    other = cold(world)
    for number in range(1, 9, 2):
        for chains in (remembers, other):
            chains.append(NAME, plus_one)
        assert [value(chains) for chains in (remembers, other, cold(world))] == [{"n": number + 1}] * 3


def test_a_version_that_cannot_be_continued_is_not_held_on_to(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was deleted by hand, and the archive's handle does not remember it either."""
    monkeypatch.setattr(heads, "HEADS_KEPT", 1)
    chains = cold(world)
    put(chains, {"n": 1})
    put(chains, {"n": 2})
    put(chains, {}, "test:other")
    world.cold().delete(f"{NAME}@00000002")
    chains.append(NAME, plus_one)
    assert value(cold(world)) == {"n": 2}


@pytest.mark.parametrize("wait_ms", [0, KNOWN_MS + 1], ids=["remembered", "forgotten"])
def test_what_others_put_beside_a_chain_is_no_version_of_it(world: World, now: Now, wait_ms: int) -> None:
    """Anybody may fork an old version: into a run of its own, which lies in the same graph, or into the run of the chain."""
    chains = cold(world)
    for _ in range(3):
        chains.append(NAME, plus_one)
    beside = [world.archive.fork(f"{NAME}@00000002", run=run) for run in ("own", NAME, NAME)]
    now.ms += wait_ms
    for handle in (chains, cold(world)):
        assert value(handle) == {"n": 3}
        assert [one.state()["n"] for one in handle.history(NAME)] == [3, 2, 1]
        assert [one.state()["n"] for one in handle.history(NAME, limit=2)] == [3, 2]
        assert {name: len(rows) for name, rows in handle.rows().items()} == {NAME: 3}
    cold(world).append(NAME, plus_one)
    chains.append(NAME, plus_one)
    assert value(cold(world)) == {"n": 5}
    assert cold(world).end(NAME) is True
    assert [value(handle) for handle in (chains, cold(world))] == [None, None]
    assert [world.cold()[one.id].state() for one in beside] == [{"n": 2}] * 3


def test_a_version_whose_pack_is_late_is_waited_for() -> None:
    """A rival writes register and pack at the same time; under load the register may be seen a moment earlier."""
    world = World()
    world.archive.save({"n": "x" * 500}, run="r", id="x@1")
    [listed] = world.cold().log("r")
    [key] = world.keys("runs/r/")
    body = world.memory.get(key).data
    world.memory.delete_many([key])
    late = threading.Timer(0.05, lambda: world.memory.put(key, body))
    late.start()
    assert Version(1, listed).state() == {"n": "x" * 500}
    late.join()
