"""FlowKit's storage adapter: the documented contract, atomic slots, and conversations that expire.

Goal: a program that uses FlowKit's storage changes one line. What its documentation promises holds, and what it leaves open
is as the module's page says. There is no package to try it with.
Method: an archive in memory; handles that know nothing of one another as other processes; a clock that shows what a test
says where conversations expire; crashes through a storage that dies.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, TypeVar

import pytest

from snapstore.adapters.flowkit import StorageAdapter
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_on
from snapstore.testing.faults import CrashAt, at, on
from tests.fault.witness import copied
from tests.unit.adapters.rivals import Asleep, Meanwhile, Now
from tests.unit.archives import World

T = TypeVar("T")

NEW = {"put": 2, "put_create": 1}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def storage(world: World) -> StorageAdapter:
    return cold(world)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    return Now(monkeypatch)


def cold(world: World, **settings: Any) -> StorageAdapter:
    """The adapter of another process."""
    return StorageAdapter(world.cold(), **settings)


def done(call: Awaitable[T]) -> T:
    async def wait() -> T:
        return await call

    return asyncio.run(wait())


def conversation(id: str = "user-7", **fields: Any) -> dict[str, Any]:
    return {
        "conversationId": id,
        "currentStep": "ask_name",
        "slots": {"name": None},
        "history": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Wie heißen Sie? 🦀"}],
        "ended": False,
        "createdAt": 1_690_000_000_000,
        "updatedAt": 1_690_000_000_001,
        **fields,
    }


# The contract ---------------------------------------------------------------------------------------------------------


def test_what_was_saved_last_is_loaded_by_everybody(world: World, storage: StorageAdapter) -> None:
    assert done(storage.load("user-7")) is None
    done(storage.save(conversation()))
    later = conversation(currentStep="done", ended=True, unknown={"kept": [1, 2.5, None]})
    done(storage.save(later))
    for reader in (storage, cold(world)):
        found = done(reader.load("user-7"))
        assert found == later
        assert list(found) == list(later)  # the order of keys, too
        assert done(reader.get_state("user-7")) == later


def test_deleting_is_silent_and_leaves_nothing_to_read(world: World, storage: StorageAdapter) -> None:
    done(storage.delete("user-7"))
    for step in ("one", "two", "three"):
        done(storage.save(conversation(currentStep=step)))
    done(storage.delete("user-7"))
    for reader in (storage, cold(world)):
        assert done(reader.load("user-7")) is None
        assert done(reader.get_slots("user-7")) is None
        assert done(reader.history("user-7")) == []
        done(reader.delete("user-7"))
    assert [snapshot.state() for snapshot in world.cold().log("flowkit:user-7")] == [None]  # the marker of the end


def test_a_deleted_conversation_begins_again_with_nothing_of_the_old_one(world: World, storage: StorageAdapter) -> None:
    other = cold(world)
    done(storage.save(conversation(slots={"secret": 1})))
    done(other.set_slot("user-7", "secret", 2))
    done(other.delete("user-7"))
    with pytest.raises(NotFoundError):
        done(storage.set_slot("user-7", "x", 1))  # although it remembers the first version
    done(storage.save(conversation(currentStep="again")))
    assert done(other.load("user-7")) == conversation(currentStep="again")
    assert [one.state()["currentStep"] for one in done(other.history("user-7"))] == ["again"]


def test_what_the_caller_does_with_a_state_does_not_show(storage: StorageAdapter) -> None:
    mine = conversation()
    wanted = copy.deepcopy(mine)

    async def change_while_saving() -> None:
        busy, free = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(busy)
        busy.submit(free.wait)
        saving = asyncio.create_task(storage.save(mine))
        await asyncio.sleep(0)  # the save has begun, and waits for a thread
        mine["slots"]["name"] = "changed"
        mine["history"].clear()
        free.set()
        await saving

    done(change_while_saving())
    for _ in range(2):
        found = done(storage.load("user-7"))
        assert found == wanted
        found["slots"].clear()


def test_namespaces_are_apart(world: World) -> None:
    for tenant in ("a", "../a", None):
        done(StorageAdapter(world.archive, tenant).save(conversation(currentStep=str(tenant))))
    for tenant in ("a", "../a", None):
        found = done(StorageAdapter(world.cold(), tenant).load("user-7"))
        assert found is not None
        assert found["currentStep"] == str(tenant)


@pytest.mark.parametrize(
    "id", ["../escape", "a/b", "a\\b", ".", "..", "NUL\0", " spaced ", "x" * 10_000, "user-7@00000001", "ü|:%"]
)
def test_ids_are_data(world: World, storage: StorageAdapter, id: str) -> None:
    done(storage.save(conversation("user-7")))
    done(storage.save(conversation(id)))
    assert done(cold(world).load(id)) == conversation(id)
    assert done(cold(world).load("user-7")) == conversation("user-7")
    assert all(row.run.startswith("flowkit:") for row in world.archive.list())


@pytest.mark.parametrize("id", [None, "", " \n", 7, b"user", "half \ud800"])
def test_an_id_that_is_none_is_refused_everywhere(world: World, storage: StorageAdapter, id: Any) -> None:
    before = world.keys()
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: storage.save(conversation(id)),
        lambda: storage.load(id),
        lambda: storage.delete(id),
        lambda: storage.set_slot(id, "x", 1),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError):
            done(call())
    assert world.keys() == before


def test_a_state_without_an_id_is_refused(storage: StorageAdapter) -> None:
    with pytest.raises(InvalidInputError, match="conversationId"):
        done(storage.save({"slots": {}}))
    with pytest.raises(InvalidInputError, match="must be a dict"):
        done(storage.save([conversation()]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is nan"),
        (float("-inf"), "is -inf"),
        ((1, 2), "is of type tuple"),
        (b"x", "is of type bytes"),
        ({1}, "is of type set"),
        ({"a": {1: 2}}, r"\.a has the key 1"),
        (["ok", "half \ud800"], r"\[1\] has half a surrogate pair"),
        ({"half \ud800": 1}, "has half a surrogate pair"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(world: World, storage: StorageAdapter, value: Any, problem: str) -> None:
    done(storage.save(conversation()))
    before = world.keys()
    calls: list[Callable[[], Awaitable[None]]] = [
        lambda: storage.save(conversation(slots={"bad": value})),
        lambda: storage.set_slot("user-7", "bad", value),
        lambda: storage.set_slot("user-7", "bad", lambda _: value),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match=r"slots\.bad.*" + problem) as caught:
            done(call())
        assert caught.value.code == "not_json"
    assert world.keys() == before
    assert done(storage.load("user-7")) == conversation()


def test_a_state_that_contains_itself_is_refused(storage: StorageAdapter) -> None:
    state = conversation()
    state["slots"]["self"] = state
    with pytest.raises(InvalidInputError, match="contains itself"):
        done(storage.save(state))


# Slots ----------------------------------------------------------------------------------------------------------------


def test_slots_are_read_and_set(world: World, storage: StorageAdapter, now: Now) -> None:
    assert done(storage.get_slots("user-7")) is None
    assert done(storage.get_slot("user-7", "name")) is None
    done(storage.save(conversation(slots={"name": "Ada", "_handoff": False})))
    now.ms += 5000
    done(cold(world).set_slot("user-7", "verified", {"by": ["mail"]}))
    done(storage.set_slot("user-7", "name", lambda old: f"{old} L."))
    assert done(storage.get_slots("user-7")) == {"name": "Ada L.", "_handoff": False, "verified": {"by": ["mail"]}}
    assert done(storage.get_slot("user-7", "verified")) == {"by": ["mail"]}
    assert done(storage.get_slot("user-7", "other")) is None
    wanted = conversation(slots={"name": "Ada L.", "_handoff": False, "verified": {"by": ["mail"]}}, updatedAt=now.ms)
    assert done(cold(world).load("user-7")) == wanted
    assert len(done(storage.history("user-7"))) == 3


def test_a_slot_of_no_conversation_is_an_error_that_says_what_to_do(storage: StorageAdapter) -> None:
    with pytest.raises(NotFoundError) as caught:
        done(storage.set_slot("user-7", "name", "Ada"))
    assert caught.value.code == "conversation_not_found"
    assert "start it first" in str(caught.value.hint)
    assert done(storage.load("user-7")) is None


def test_slots_that_are_no_dict_are_an_error_and_missing_ones_are_none_yet(storage: StorageAdapter) -> None:
    done(storage.save({"conversationId": "bare"}))
    assert done(storage.get_slots("bare")) == {}
    done(storage.set_slot("bare", "x", 1))
    assert done(storage.get_slots("bare")) == {"x": 1}
    done(storage.save(conversation("odd", slots=["x"])))
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: storage.get_slots("odd"),
        lambda: storage.get_slot("odd", "x"),
        lambda: storage.set_slot("odd", "x", 1),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="no dict"):
            done(call())
    for name in (7, None, "half \ud800"):
        with pytest.raises(InvalidInputError):
            done(storage.set_slot("bare", name, 1))  # type: ignore[arg-type]
    assert done(storage.load("odd")) == conversation("odd", slots=["x"])


def test_forty_increments_at_once_from_four_processes_all_count(world: World) -> None:
    adapters = [cold(world) for _ in range(4)]
    done(adapters[0].save(conversation(slots={"count": 0})))

    async def race() -> None:
        increments = [adapters[n % 4].set_slot("user-7", "count", lambda old: old + 1) for n in range(40)]
        others = [adapters[n % 4].set_slot("user-7", f"slot {n}", n) for n in range(10)]
        await asyncio.gather(*increments, *others)

    done(race())
    slots = done(cold(world).get_slots("user-7"))
    assert slots == {"count": 40, **{f"slot {n}": n for n in range(10)}}


def test_a_cancelled_wait_leaves_a_whole_state(storage: StorageAdapter) -> None:
    done(storage.save(conversation()))

    async def cancel() -> None:
        setting = asyncio.create_task(storage.set_slot("user-7", "x", 1))
        await asyncio.sleep(0)
        setting.cancel()
        with suppress(asyncio.CancelledError):
            await setting

    done(cancel())  # the loop waits for its threads before it ends
    assert done(storage.get_slots("user-7")) in ({"name": None}, {"name": None, "x": 1})


# Expiry ---------------------------------------------------------------------------------------------------------------


def test_a_conversation_expires_after_its_last_write(world: World, now: Now) -> None:
    storage = cold(world, ttl=60)
    done(storage.save(conversation()))
    now.ms += 59_999
    assert done(storage.load("user-7")) is not None  # reading does not prolong it
    done(storage.set_slot("user-7", "x", 1))
    now.ms += 59_999
    done(storage.save(conversation()))
    now.ms += 59_999
    for reader in (storage, cold(world)):
        assert done(reader.load("user-7")) == conversation()
    now.ms += 1
    for reader in (storage, cold(world), cold(world, ttl=7)):
        assert done(reader.load("user-7")) is None
        assert done(reader.get_state("user-7")) is None
        assert done(reader.get_slots("user-7")) is None
        assert done(reader.get_slot("user-7", "x")) is None
        assert done(reader.history("user-7")) == []
        with pytest.raises(NotFoundError):
            done(reader.set_slot("user-7", "x", 1))


def test_what_has_expired_begins_anew(world: World, now: Now) -> None:
    storage = cold(world, ttl=0.5)
    done(storage.save(conversation(slots={"secret": 1})))
    now.ms += 500
    done(storage.save(conversation(currentStep="again")))
    for reader in (storage, cold(world)):
        assert done(reader.load("user-7")) == conversation(currentStep="again")
        assert [one.state()["currentStep"] for one in done(reader.history("user-7"))] == ["again"]


def test_whoever_wrote_last_says_how_long_it_stays(world: World, now: Now) -> None:
    done(cold(world, ttl=10).save(conversation("a")))
    done(cold(world).save(conversation("a")))
    done(cold(world).save(conversation("b")))
    done(cold(world, ttl=10).save(conversation("b")))
    now.ms += 1_000_000
    assert done(cold(world).load("a")) is not None
    assert done(cold(world).load("b")) is None


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "60", 1e300])
def test_a_ttl_that_is_none_is_refused(world: World, ttl: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        StorageAdapter(world.archive, ttl=ttl)
    assert caught.value.code == "invalid_ttl"


def test_a_sweep_deletes_what_has_expired_and_nothing_else(world: World, now: Now) -> None:
    short, long, forever = cold(world, ttl=10), cold(world, ttl=100), cold(world)
    for step in ("one", "two"):
        for adapter, id in ((short, "a"), (short, "b"), (long, "c"), (forever, "d")):
            done(adapter.save(conversation(id, currentStep=step)))
    assert done(forever.sweep()) == 0
    now.ms += 10_000
    before = world.stored_bytes()
    assert done(forever.sweep()) == 2
    assert world.stored_bytes() != before
    assert [len(world.cold().log(f"flowkit:{id}")) for id in "abcd"] == [1, 1, 2, 2]
    assert done(long.load("c")) == conversation("c", currentStep="two")
    assert done(forever.sweep()) == 0
    now.ms += 1_000_000
    assert done(short.sweep()) == 1
    assert done(forever.load("d")) == conversation("d", currentStep="two")


@pytest.mark.parametrize("moment", [("list", "runs/*"), ("put_create", "*")], ids=["before it looks", "before it ends"])
def test_a_sweep_does_not_delete_what_is_refreshed_meanwhile(world: World, now: Now, moment: tuple[str, str]) -> None:
    storage = cold(world, ttl=10)
    done(storage.save(conversation()))
    now.ms += 10_000
    sweeping = Meanwhile(world.memory, lambda: done(storage.save(conversation(currentStep="back"))))
    sweeper = StorageAdapter(open_on(sweeping))
    sweeping.arm(on(*moment))
    assert done(sweeper.sweep()) == 0
    assert sweeping.acted
    assert done(cold(world).load("user-7")) == conversation(currentStep="back")


def test_a_sweep_finishes_a_deletion_that_crashed(world: World) -> None:
    for step in ("one", "two", "three"):
        done(cold(world).save(conversation(currentStep=step)))
    finished = 0
    for number in count():
        crashed = World(copied(world.memory))
        dying = CrashAt(crashed.memory)
        storage = StorageAdapter(open_on(dying))
        done(storage.load("user-7"))
        dying.arm(lambda call, number=number: call.number >= number)  # type: ignore[misc]
        with suppress(RuntimeError):
            done(storage.delete("user-7"))
        if not dying.died:
            break
        listed = [row.status for row in crashed.cold().list(graph="flowkit")]
        deleted = done(cold(crashed).load("user-7")) is None
        assert done(cold(crashed).sweep()) == 0  # nothing here expires
        if not deleted:
            assert done(cold(crashed).load("user-7")) == conversation(currentStep="three")
        elif "ended" in listed:  # else the crash came before the list heard of it, and nobody was told that it is deleted
            finished += 1
            assert len(crashed.cold().log("flowkit:user-7")) == 1
        done(cold(crashed).delete("user-7"))
        assert len(crashed.cold().log("flowkit:user-7")) == 1
    assert finished > 5


# Looking back, and what it costs --------------------------------------------------------------------------------------


def test_the_history_shows_every_save(world: World, storage: StorageAdapter) -> None:
    for step in ("one", "two", "three"):
        done(storage.save(conversation(currentStep=step)))
    history = done(cold(world).history("user-7"))
    assert [(one.node, one.state()["currentStep"]) for one in history] == [("three",) * 2, ("two",) * 2, ("one",) * 2]
    assert [one.node for one in done(storage.history("user-7", limit=1))] == ["three"]
    assert history[0].parents == (history[1].id,)
    assert done(storage.history("nobody")) == []


@pytest.mark.parametrize("step", ["", None, 7, "x" * 20_000])
def test_a_step_that_is_no_name_is_kept_in_the_state_alone(world: World, storage: StorageAdapter, step: Any) -> None:
    done(storage.save(conversation(currentStep=step)))
    assert done(cold(world).load("user-7")) == conversation(currentStep=step)


def test_the_requests_of_each_call(world: World) -> None:
    storage = cold(world, ttl=60)

    def spent(adapter: StorageAdapter, call: Callable[[StorageAdapter], Awaitable[Any]]) -> tuple[dict[str, int], int]:
        usage = world.cost(partial(done, call(adapter)))
        return dict(usage.requests), usage.round_trips

    assert spent(storage, lambda it: it.save(conversation())) == ({"list": 1, **NEW}, 2)
    for turn in range(3):
        assert spent(storage, lambda it: it.save(conversation(currentStep=f"{turn}"))) == (NEW, 1)  # noqa: B023
        assert spent(storage, lambda it: it.set_slot("user-7", "n", turn)) == (NEW, 1)  # noqa: B023
        assert spent(storage, lambda it: it.load("user-7")) == ({"get": 1}, 1)
    reader = cold(world)
    requests, round_trips = spent(reader, lambda it: it.load("user-7"))
    assert (requests["list"], round_trips) == (1, 4)
    assert not requests.keys() & NEW.keys()


def test_a_crash_at_any_call_of_a_slot_leaves_the_conversation_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    Asleep(monkeypatch)  # a create that never finished is waited for
    for number in range(3):
        world = World()
        dying = CrashAt(world.memory)
        storage = StorageAdapter(open_on(dying))
        done(storage.save(conversation(slots={"n": 0})))
        dying.arm(at(number))
        with pytest.raises(RuntimeError):
            done(storage.set_slot("user-7", "n", 1))
        found = done(cold(world).get_slots("user-7"))
        assert found in ({"n": 0}, {"n": 1})
        done(cold(world).set_slot("user-7", "n", lambda old: old + 1))
        assert done(cold(world).get_slot("user-7", "n")) == found["n"] + 1
