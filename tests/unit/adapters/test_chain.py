"""Chains: one current value under a name, whoever writes it.

Goal: of rivals exactly one takes the next number, and the others decide again; what a chain remembers saves requests and
never decides a write.
Method: an archive in memory, with handles that know nothing of one another as other processes; lost answers through a
storage that loses them; the clock replaced where time matters. How things end and begin again is in `test_chain_ends`.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from snapstore.adapters import chain
from snapstore.adapters.chain import ENDED, KNOWN_MS, Chains, Draft, Version
from snapstore.errors import ConflictError, NotFoundError, StorageError
from snapstore.testing.faults import LoseResponse, on
from tests.unit.adapters.chain_handles import NAME, cold, on_storage, plus_one, put, value
from tests.unit.adapters.rivals import Now
from tests.unit.archives import World, conversation

NEW = {"put": 2, "put_create": 1}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def chains(world: World) -> Chains:
    return cold(world)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    return Now(monkeypatch)


# Writing and reading --------------------------------------------------------------------------------------------------


def test_versions_follow_one_another(world: World, chains: Chains) -> None:
    assert chains.newest(NAME) is None
    for number in range(1, 4):
        version = chains.append(NAME, lambda _, n=number: Draft({"n": n}, node=f"step {n}", status="open", metadata={"m": n}))  # type: ignore[misc]
        assert version is not None
        assert (version.number, version.snapshot.id) == (number, f"{NAME}@{number:08}")
    snapshot = world.cold()[f"{NAME}@00000003"]
    assert (snapshot.run, snapshot.graph, snapshot.parents) == (NAME, "test:graph", (f"{NAME}@00000002",))
    assert (snapshot.node, snapshot.status, snapshot.metadata) == ("step 3", "open", {"m": 3})
    assert value(cold(world)) == {"n": 3}


@pytest.mark.parametrize("state", [{"n": 1}, conversation(300)], ids=["tiny", "90 KB"])
def test_what_is_read_is_the_readers_own(chains: Chains, state: dict[str, Any]) -> None:
    put(chains, state)
    first = value(chains)
    first["mine"] = True
    assert value(chains) == state
    state["later"] = True
    assert "later" not in value(chains)


def test_a_write_with_a_kept_version_is_three_puts_at_once(world: World) -> None:
    chains = cold(world)
    first = world.cost(lambda: put(chains, conversation(20)))
    assert (dict(first.requests), first.round_trips) == ({"list": 1, **NEW}, 2)
    for length in range(21, 30):
        usage = world.cost(lambda: put(chains, conversation(length)))  # noqa: B023
        assert (dict(usage.requests), usage.round_trips) == (NEW, 1)


def test_a_read_with_a_kept_version_asks_once_whether_there_is_a_next(world: World) -> None:
    chains = cold(world)
    put(chains, conversation(20))
    usage = world.cost(lambda: value(chains))
    assert (dict(usage.requests), usage.round_trips) == ({"get": 1}, 1)


def test_a_cold_read_takes_four_round_trips(world: World, chains: Chains) -> None:
    for length in range(20):
        put(chains, conversation(length))
    reader = cold(world)
    usage = world.cost(lambda: value(reader))
    assert usage.round_trips == 4  # listing, newest pack, register beside the other packs, whether there is a next
    assert (usage.requests["list"], usage.writes) == (1, 0)


def test_readers_follow_what_others_write(world: World) -> None:
    one, other = cold(world), cold(world)
    put(one, {"n": 0})
    for ahead in (1, 2, 3, 4, 5, 9):  # up to four are looked up one by one, then the run is listed
        assert value(other) == value(one)
        for _ in range(ahead):
            one.append(NAME, plus_one)
    assert value(other) == {"n": 24}


def test_names_do_not_meet(chains: Chains) -> None:
    put(chains, {"a": 1}, "test:a")
    put(chains, {"b": 1}, "test:b")
    assert value(chains, "test:a") == {"a": 1}
    assert chains.newest("test:") is None
    assert [snapshot.id for snapshot in chains.history("test:b")] == ["test:b@00000001"]


# What it may answer from memory ---------------------------------------------------------------------------------------


def test_trust_decides_how_long_a_reader_does_not_ask(world: World, now: Now) -> None:
    asks, trusts, never_asks = cold(world), cold(world, trust_s=2.0), cold(world, trust_s=None)
    for chains in (asks, trusts, never_asks):
        put(chains, {"by": "first"})
        assert value(chains) == {"by": "first"}
    put(cold(world), {"by": "rival"})
    now.ms += 1999
    assert [value(chains)["by"] for chains in (asks, trusts, never_asks)] == ["rival", "first", "first"]
    assert world.cost(lambda: value(trusts)).total == 0
    now.ms += 1
    assert [value(chains)["by"] for chains in (trusts, never_asks)] == ["rival", "first"]
    now.ms += 10 * KNOWN_MS
    assert world.cost(lambda: value(never_asks)).total == 0


@pytest.mark.parametrize("trust_s", [0.0, 3600.0, None])
def test_no_trust_makes_a_write_overlook_a_rival(world: World, trust_s: float | None) -> None:
    chains = cold(world, trust_s=trust_s)
    assert chains.append(NAME, plus_one)
    for _ in range(3):
        cold(world).append(NAME, plus_one)
        assert chains.append(NAME, plus_one)
    assert value(chains) == {"n": 7}


def test_what_is_forgotten_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "KEPT", 2)
    chains = cold(world, trust_s=None)
    for number in range(5):
        put(chains, {"n": number}, f"test:{number}")
    assert [value(chains, f"test:{number}") for number in range(5)] == [{"n": number} for number in range(5)]


# Deciding -------------------------------------------------------------------------------------------------------------


def test_a_decision_to_leave_it_writes_nothing(world: World, chains: Chains) -> None:
    before = world.keys()
    assert chains.append(NAME, lambda _: None) is None
    assert world.keys() == before
    put(chains, {"n": 1})
    before = world.keys()
    assert chains.append(NAME, lambda _: None) is None
    assert world.keys() == before


def test_an_error_of_the_decision_passes_through_and_writes_nothing(world: World, chains: Chains) -> None:
    put(chains, {"n": 1})
    before = world.keys()
    with pytest.raises(ZeroDivisionError):
        chains.append(NAME, lambda _: Draft(1 // 0))
    assert world.keys() == before


def test_what_was_decided_on_an_overtaken_version_is_decided_again(world: World, chains: Chains) -> None:
    """Also when the decision was an error or to write nothing: it may be wrong by now."""
    put(chains, {"n": 1})
    put(cold(world), {"n": 2})

    def unless_one(version: Version | None) -> Draft | None:
        assert version is not None
        return None if version.state()["n"] == 1 else Draft({"n": 10})

    assert chains.append(NAME, unless_one) is not None
    put(cold(world), {"n": 20})

    def not_ten(version: Version | None) -> Draft:
        assert version is not None
        if version.state()["n"] == 10:
            raise NotFoundError("no such thing any more")
        return Draft({"n": 30})

    assert chains.append(NAME, not_ten) is not None
    assert value(cold(world)) == {"n": 30}


# Rivals ---------------------------------------------------------------------------------------------------------------


def test_forty_increments_of_forty_threads_on_four_handles_all_count(world: World) -> None:
    handles = [cold(world) for _ in range(4)]
    start = threading.Barrier(40)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        start.wait()
        try:
            handles[number % 4].append(NAME, plus_one)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert value(cold(world)) == {"n": 40}
    assert [snapshot.state()["n"] for snapshot in cold(world).history(NAME)] == [*range(40, 0, -1)]


def test_a_rival_who_is_always_faster_is_a_conflict_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "CONFLICT_TIMEOUT_S", 0.02)
    rival = cold(world)

    def slow(_: Version | None) -> Draft:
        put(rival, {"by": "rival"})
        return Draft({"by": "slow"})

    with pytest.raises(ConflictError) as caught:
        cold(world).append(NAME, slow)
    assert caught.value.code == "overtaken"
    assert value(cold(world)) == {"by": "rival"}


def test_a_lost_answer_is_not_applied_twice(world: World) -> None:
    """A client that repeats a write by itself meets it, and reports a conflict for what has landed."""
    storage = LoseResponse(world.memory, conflict=True)
    chains = on_storage(storage)
    chains.append(NAME, plus_one)
    storage.arm(on("put_create"))
    version = chains.append(NAME, plus_one)
    assert version is not None
    assert (version.number, value(cold(world))) == (2, {"n": 2})


def test_a_write_of_unknown_fate_is_not_repeated(world: World) -> None:
    storage = LoseResponse(world.memory)
    chains = on_storage(storage)
    chains.append(NAME, plus_one)
    storage.arm(on("put", "changes/*"))
    with pytest.raises(StorageError):
        chains.append(NAME, plus_one)
    storage.arm(None)
    assert value(chains) == {"n": 2}
    chains.append(NAME, plus_one)
    assert value(cold(world)) == {"n": 3}


# Looking back ---------------------------------------------------------------------------------------------------------


def test_a_history_is_newest_first_and_as_long_as_wanted(chains: Chains) -> None:
    for _ in range(5):
        chains.append(NAME, plus_one)
    assert [snapshot.state()["n"] for snapshot in chains.history(NAME)] == [5, 4, 3, 2, 1]
    assert [snapshot.state()["n"] for snapshot in chains.history(NAME, limit=2)] == [5, 4]
    assert chains.history(NAME, limit=0) == []
    assert chains.history("test:other") == []


def test_rows_show_all_versions_of_all_names_and_read_no_state(world: World, chains: Chains) -> None:
    for _ in range(2):
        chains.append("test:a", plus_one)
    put(chains, conversation(200), "test:b")
    chains.end("test:b")
    world.archive.save({}, run="plain", graph="other graph")
    reader = cold(world)
    found: list[dict[str, Any]] = []
    usage = world.cost(lambda: found.append(reader.rows()))
    assert {name: [row.id[-2:] for row in rows] for name, rows in found[0].items()} == {"test:a": ["02", "01"], "test:b": ["02"]}
    assert found[0]["test:b"][0].status == ENDED
    assert "get_ranges" not in usage.requests
