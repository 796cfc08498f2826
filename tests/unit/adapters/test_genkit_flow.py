"""Genkit's flow state store: what its engine needs of it, lists in a stable order, and a history for each flow.

Goal: a program with durable flows changes one line. The engine's life of a flow (schedule, interrupt, resume) works from
any process; pages of a list neither repeat nor skip a flow.
Method: an archive in memory, handles that know nothing of one another as other processes, and the part of Genkit's engine
that uses the store, written down from its source (js/flow/src/flow.ts of 0.5.17).
"""

from __future__ import annotations

import asyncio
import copy
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from snapstore import clock
from snapstore.adapters.genkit_flow import FlowStates, FlowStateStore
from snapstore.errors import InvalidInputError
from snapstore.opening import open_on
from snapstore.testing.faults import CrashAt, FaultyStorage, on
from tests.unit.archives import World, conversation

T = TypeVar("T")
Json = dict[str, Any]

NEW = {"put": 2, "put_create": 1}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(world: World) -> FlowStateStore:
    return cold(world)


def cold(world: World, namespace: str | None = None) -> FlowStateStore:
    """The store of another process."""
    return FlowStateStore(world.cold(), namespace)


def done(call: Awaitable[T]) -> T:
    async def wait() -> T:
        return await call

    return asyncio.run(wait())


def flow(id: str, start: float = 1_700_000_000_000, **fields: Any) -> Json:
    """A flow's state as the engine makes it."""
    return {
        "flowId": id,
        "name": "greet",
        "startTime": start,
        "input": {"name": "Ada"},
        "cache": {},
        "eventsTriggered": {},
        "blockedOnStep": None,
        "executions": [{"startTime": start, "traceIds": ["t1"]}],
        "operation": {"name": id, "done": False},
        **fields,
    }


def ids(page: Json) -> list[str]:
    return [state["flowId"] for state in page["flowStates"]]


def walked(store: FlowStateStore, limit: int) -> list[list[str]]:
    """The ids of every page, by the tokens."""
    pages = [done(store.list({"limit": limit}))]
    while "continuationToken" in pages[-1]:
        pages.append(done(store.list({"limit": limit, "continuationToken": pages[-1]["continuationToken"]})))
    return [ids(page) for page in pages]


# Saving and loading ---------------------------------------------------------------------------------------------------


def test_what_was_saved_last_is_loaded_by_everybody(world: World, store: FlowStateStore) -> None:
    assert done(store.load("f")) is None
    done(store.save("f", flow("f")))
    later = flow(
        "f", cache={"step": {"empty": True}}, ours={"kept": [None, 1.5, "ü"]}, blockedOnStep={"name": "ask", "schema": "{}"}
    )
    done(store.save("f", later))
    for reader in (store, cold(world)):
        found = done(reader.load("f"))
        assert found == later
        assert found is not None
        assert list(found) == list(later)  # the order of keys, too
        assert reader.flows.load("f") == later


def test_the_id_decides_and_not_what_the_state_says(store: FlowStateStore) -> None:
    done(store.save("one", flow("other")))
    assert done(store.load("one")) == flow("other")
    assert done(store.load("other")) is None


def test_what_the_caller_does_with_a_state_does_not_show(store: FlowStateStore) -> None:
    mine = flow("f")
    wanted = copy.deepcopy(mine)

    async def change_while_saving() -> None:
        busy, free = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(busy)
        busy.submit(free.wait)
        saving = asyncio.create_task(store.save("f", mine))
        await asyncio.sleep(0)  # the save has begun, and waits for a thread
        mine["cache"]["step"] = {"value": "changed"}
        mine["executions"].clear()
        free.set()
        await saving

    done(change_while_saving())
    for _ in range(2):
        found = done(store.load("f"))
        assert found == wanted
        found["cache"]["mine"] = True
        done(store.list())["flowStates"][0].clear()


@pytest.mark.parametrize("id", ["../escape", "a/b", "a\\b", ".", "..", " ", "NUL\0", "x" * 10_000, "f@00000001", "ü|:%", ""])
def test_ids_are_data(world: World, store: FlowStateStore, id: str) -> None:
    done(store.save("f", flow("f")))
    done(store.save(id, flow(id, start=1)))
    assert done(cold(world).load(id)) == flow(id, start=1)
    assert ids(done(store.list())) == ["f", id]
    assert {row.run.partition(":")[0] for row in world.archive.list()} == {"genkit-flow"}


def test_namespaces_are_apart(world: World) -> None:
    for tenant in ("a", "../a", None):
        done(FlowStateStore(world.archive, tenant).save("f", flow(str(tenant))))
    for tenant in ("a", "../a", None):
        assert done(cold(world, tenant).load("f")) == flow(str(tenant))
        assert ids(done(cold(world, tenant).list())) == [str(tenant)]


MISSING = object()


@pytest.mark.parametrize("start", [MISSING, None, "1700000000000", True, float("nan"), float("inf"), [], 2**63])
def test_a_start_time_that_is_no_number_is_refused(world: World, store: FlowStateStore, start: Any) -> None:
    state = flow("f", start=start)
    if start is MISSING:
        del state["startTime"]
    before = world.keys()
    with pytest.raises(InvalidInputError, match="startTime") as caught:
        done(store.save("f", state))
    assert caught.value.code == "invalid_start_time"
    assert world.keys() == before


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), (1, 2), b"x", {1: 2}, "half \ud800", object(), {1}])
def test_what_json_cannot_hold_is_refused_with_its_place(world: World, store: FlowStateStore, value: Any) -> None:
    done(store.save("f", flow("f")))
    before = world.keys()
    with pytest.raises(InvalidInputError, match=r"state\.cache\.step\.value") as caught:
        done(store.save("f", flow("f", cache={"step": {"value": value}})))
    assert caught.value.code == "not_json"
    assert world.keys() == before
    assert done(store.load("f")) == flow("f")


@pytest.mark.parametrize("id", [None, 7, b"f", "half \ud800"])
def test_an_id_that_is_no_text_is_refused(store: FlowStateStore, id: Any) -> None:
    for call in (lambda: store.save(id, flow("f")), lambda: store.load(id), lambda: store.history(id)):
        with pytest.raises(InvalidInputError):
            done(call())
    with pytest.raises(InvalidInputError, match="must be a dict"):
        done(store.save("f", "state"))  # type: ignore[arg-type]


def test_of_saves_at_once_one_whole_state_is_left_and_all_are_in_the_history(world: World) -> None:
    stores = [cold(world) for _ in range(4)]
    states = [flow("f", cache={f"step {n}": {"value": n}}) for n in range(12)]

    async def race() -> None:
        await asyncio.gather(*(stores[n % 4].save("f", state) for n, state in enumerate(states)))

    done(race())
    history = done(cold(world).history("f"))
    assert sorted(next(iter(one.state()["cache"])) for one in history) == sorted(f"step {n}" for n in range(12))
    assert done(cold(world).load("f")) == history[0].state()
    assert ids(done(cold(world).list())) == ["f"]


# The engine -----------------------------------------------------------------------------------------------------------


class Engine:
    """What Genkit's `Flow` does with its store: runs steps once, stops at interrupts, and goes on in another process."""

    def __init__(self, store: FlowStateStore, steps: Callable[[Engine, Json], Any]) -> None:
        self.store = store
        self.steps = steps

    async def schedule(self, id: str) -> None:
        await self.store.save(id, flow(id))  # before the task is queued

    async def run_scheduled(self, id: str) -> Json:
        return await self._execute(await self._required(id))

    async def resume(self, id: str, payload: Any) -> Json:
        state = await self._required(id)
        if state["blockedOnStep"] is None:
            raise ValueError("Unable to resume flow that's currently not interrupted")
        state["eventsTriggered"][state["blockedOnStep"]["name"]] = payload
        return await self._execute(state)

    async def _required(self, id: str) -> Json:
        state = await self.store.load(id)
        if state is None:
            raise ValueError(f"Unable to find flow state for {id}")
        return state

    async def _execute(self, state: Json) -> Json:
        state["executions"].append({"startTime": 1, "traceIds": []})
        state["blockedOnStep"] = None
        try:
            response = self.steps(self, state)
            state["operation"] = {"name": state["flowId"], "done": True, "result": {"response": response}}
        except InterruptedError as interrupt:
            state["blockedOnStep"] = {"name": str(interrupt), "schema": "{}"}
            state["operation"] = {"name": state["flowId"], "done": False, "blockedOnStep": state["blockedOnStep"]}
        except ArithmeticError as error:
            result = {"response": None, "error": str(error), "stacktrace": "at step"}
            state["operation"] = {"name": state["flowId"], "done": True, "result": result}
        await self.store.save(state["flowId"], state)
        operation: Json = state["operation"]
        return operation

    def step(self, state: Json, name: str, work: Callable[[], Any]) -> Any:
        if name in state["cache"]:
            return state["cache"][name].get("value")
        value = work()
        state["cache"][name] = {"value": value} if value else {"empty": True}
        return value

    def interrupt(self, state: Json, name: str) -> Any:
        if name not in state["eventsTriggered"]:
            raise InterruptedError(name)
        return state["eventsTriggered"][name]


def test_a_durable_flow_is_scheduled_interrupted_and_resumed_each_time_elsewhere(world: World) -> None:
    worked: list[str] = []

    def work(name: str, value: Any) -> Any:
        worked.append(name)
        return value

    def steps(engine: Engine, state: Json) -> str:
        greeting = engine.step(state, "greet", lambda: work("greet", "hello"))
        answer = engine.interrupt(state, "ask")
        engine.step(state, "store", lambda: work("store", None))
        return f"{greeting} {answer['name']}"

    done(Engine(cold(world), steps).schedule("f"))
    assert done(cold(world).load("f")) == flow("f")
    operation = done(Engine(cold(world), steps).run_scheduled("f"))
    assert operation == {"name": "f", "done": False, "blockedOnStep": {"name": "ask", "schema": "{}"}}
    operation = done(Engine(cold(world), steps).resume("f", {"name": "Ada"}))
    state = done(cold(world).load("f"))
    assert state is not None
    assert state["operation"] == operation == {"name": "f", "done": True, "result": {"response": "hello Ada"}}
    assert state["cache"] == {"greet": {"value": "hello"}, "store": {"empty": True}}
    assert worked == ["greet", "store"]  # what was done before the interrupt is not done again
    assert len(state["executions"]) == 3

    with pytest.raises(ValueError, match="not interrupted"):
        done(Engine(cold(world), steps).resume("f", {}))
    with pytest.raises(ValueError, match="Unable to find flow state for g"):
        done(Engine(cold(world), steps).resume("g", {}))
    history = done(cold(world).history("f"))
    assert [one.status for one in history] == ["completed", "interrupted", "running"]
    assert history[2].state() == flow("f")


def test_a_flow_that_fails_is_saved_too(world: World) -> None:
    engine = Engine(cold(world), lambda *_: 1 // 0)
    done(engine.schedule("f"))
    done(engine.run_scheduled("f"))
    state = done(cold(world).load("f"))
    assert state is not None
    assert state["operation"]["result"]["error"] == "integer division or modulo by zero"
    assert [row.run for row in world.archive.list(graph="genkit-flow", status="failed")] == ["genkit-flow:f"]


@pytest.mark.parametrize(
    "operation", [None, "odd", {"done": True}, {"done": True, "result": "odd"}, {"done": "odd", "result": []}]
)
def test_a_state_of_another_shape_is_kept_as_it_is(store: FlowStateStore, operation: Any) -> None:
    done(store.save("f", flow("f", operation=operation, blockedOnStep=7)))
    assert done(store.load("f")) == flow("f", operation=operation, blockedOnStep=7)


# Lists ----------------------------------------------------------------------------------------------------------------


def test_an_empty_list_has_no_token(store: FlowStateStore) -> None:
    assert done(store.list()) == {"flowStates": []}


def test_the_newest_start_comes_first_and_of_equal_ones_the_later_saved(world: World, store: FlowStateStore) -> None:
    for id, start in [("b", 20), ("a", 10), ("c", 30.5), ("d", 20), ("e", 20), ("f", -1)]:
        done(store.save(id, flow(id, start)))
    assert ids(done(store.list())) == ["c", "e", "d", "b", "a", "f"]
    for id in "bd":  # saving again does not move it
        done(cold(world).save(id, flow(id, 20, cache={"again": {"value": 1}})))
    page = done(cold(world).list())
    assert ids(page) == ["c", "e", "d", "b", "a", "f"]
    assert page["flowStates"][2] == flow("d", 20, cache={"again": {"value": 1}})
    done(store.save("a", flow("a", 40)))  # a new start does
    assert ids(done(store.list())) == ["a", "c", "e", "d", "b", "f"]


@pytest.mark.parametrize(
    ("query", "length"), [(None, 10), ({}, 10), ({"limit": 0}, 10), ({"limit": None}, 10), ({"limit": 3}, 3)]
)
def test_the_limit_is_ten_unless_the_query_says_otherwise(store: FlowStateStore, query: Any, length: int) -> None:
    for n in range(11):
        done(store.save(f"f{n}", flow(f"f{n}", n)))
    page = done(store.list(query))
    assert ids(page) == [f"f{n}" for n in range(10, 10 - length, -1)]
    assert isinstance(page["continuationToken"], str)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, 12, 13, 100])
def test_pages_show_everything_once_and_the_last_has_no_token(store: FlowStateStore, limit: int) -> None:
    for n in range(12):
        done(store.save(f"f{n}", flow(f"f{n}", n // 5)))  # many at the same time
    pages = walked(store, limit)
    assert [id for page in pages for id in page] == [f"f{n}" for n in range(11, -1, -1)]
    assert all(len(page) == limit for page in pages[:-1])
    assert len(pages) == -(-12 // limit)  # no empty page at the end


def test_pages_neither_repeat_nor_skip_while_flows_are_added_and_saved(world: World, store: FlowStateStore) -> None:
    rng = random.Random(1)
    there = [f"f{n}" for n in range(20)]
    for id in there:
        done(store.save(id, flow(id, rng.randrange(5))))
    seen: list[str] = []
    query: Json = {"limit": 3}
    while True:
        page = done(store.list(query))
        seen += ids(page)
        if "continuationToken" not in page:
            break
        query["continuationToken"] = page["continuationToken"]
        new = f"new {len(seen)}"
        done(cold(world).save(new, flow(new, rng.randrange(5))))
        again = rng.choice(there)
        state = done(store.load(again))
        assert state is not None
        done(cold(world).save(again, {**state, "cache": {"again": {"value": len(seen)}}}))
    assert len(set(seen)) == len(seen)
    assert set(there) <= set(seen)


def test_flows_of_two_processes_in_the_same_millisecond_are_all_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: 1_700_000_000_000)
    for n in range(9):
        done(cold(world).save(f"f{n}", flow(f"f{n}")))
    pages = walked(cold(world), 2)
    assert sorted(id for page in pages for id in page) == [f"f{n}" for n in range(9)]


@pytest.mark.parametrize("limit", [-1, float("nan"), 2.5, "3", True, [], float("inf")])
def test_a_limit_that_is_none_is_refused(store: FlowStateStore, limit: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        done(store.list({"limit": limit}))
    assert caught.value.code == "invalid_limit"


@pytest.mark.parametrize(
    "token",
    [
        "10",
        "NaN",
        "garbage!",
        "ü",
        "WzFd",
        "W10",
        "bnVsbA",
        "WzIsMSwxLCJhIl0",
        "WzEsTmFOLDEsImEiXQ",
        "WzEsIjEiLDEsImEiXQ",
        7,
        ["x"],
        b"WzFd",
    ],
)
def test_a_token_that_is_none_is_an_error_and_not_the_end(store: FlowStateStore, token: Any) -> None:
    done(store.save("f", flow("f")))
    with pytest.raises(InvalidInputError) as caught:
        done(store.list({"continuationToken": token}))
    assert caught.value.code == "invalid_token"


def test_a_query_may_be_an_object_and_tokens_fit_into_urls(store: FlowStateStore) -> None:
    class Query:
        limit = 1
        continuation_token: str | None = None

    for n in range(2):
        done(store.save(f"f{n}", flow(f"f{n}", n + 0.5)))
    query = Query()
    page = done(store.list(query))
    assert ids(page) == ["f1"]
    token = page["continuationToken"]
    assert all(character.isalnum() or character in "-_" for character in token)
    query.continuation_token = token
    assert done(store.list(query)) == {"flowStates": [flow("f0", 0.5)]}
    assert ids(done(store.list({"continuationToken": ""}))) == ["f1", "f0"]  # as an empty parameter of a URL
    unknowns: list[Any] = [{"filter": {}}, {"limit": 1, "offset": 2}, 7, "query"]
    for unknown in unknowns:
        with pytest.raises(InvalidInputError) as caught:
            done(store.list(unknown))
        assert caught.value.code == "invalid_query"


def test_a_save_that_never_finished_does_not_hide_a_flow(world: World) -> None:
    done(cold(world).save("f", flow("f", 5)))
    done(cold(world).save("g", flow("g", 4)))
    for id in ("f", "new"):
        dying = CrashAt(world.memory)
        store = FlowStateStore(open_on(dying))
        done(store.load(id))
        dying.arm(on("put", "runs/*"))
        with pytest.raises(RuntimeError):
            done(store.save(id, flow(id, 9, cache={"lost": {}})))
    page = done(cold(world).list())
    assert page == {"flowStates": [flow("f", 5), flow("g", 4)]}
    assert done(cold(world).load("f")) == flow("f", 5)


# Looking back, and what it costs --------------------------------------------------------------------------------------


def test_the_history_shows_every_save(world: World, store: FlowStateStore) -> None:
    states = [flow("f", cache={f"step {n}": {"value": n}}) for n in range(4)]
    for state in states:
        done(store.save("f", state))
    history = done(cold(world).history("f"))
    assert [one.state() for one in history] == states[::-1]
    assert [one.parents for one in history] == [(history[1].id,), (history[2].id,), (history[3].id,), ()]
    assert [one.id for one in done(store.history("f", limit=2))] == [history[0].id, history[1].id]
    assert done(store.history("nobody")) == []


def test_a_long_flow_stores_what_changes(world: World, store: FlowStateStore) -> None:
    state = flow("f", input=conversation(300))
    done(store.save("f", state))
    first = world.stored_bytes()
    for n in range(10):
        state["cache"][f"step {n}"] = {"value": "done"}
        done(store.save("f", state))
    assert world.stored_bytes() - first < first / 4


def test_the_requests_of_each_call(world: World) -> None:
    store = FlowStates(world.cold())

    def spent(call: Callable[[], Any]) -> tuple[Json, int]:
        usage = world.cost(call)
        return dict(usage.requests), usage.round_trips

    assert spent(lambda: store.save("f", flow("f"))) == ({"list": 1, **NEW}, 2)
    for n in range(3):
        assert spent(lambda: store.save("f", flow("f", cache={"n": {"value": n}}))) == (NEW, 1)  # noqa: B023
        assert spent(lambda: store.load("f")) == ({"get": 1}, 1)
    reader = FlowStates(world.cold())
    requests, round_trips = spent(lambda: reader.load("f"))
    assert (requests["list"], round_trips) == (1, 4)


def test_a_list_reads_the_states_of_its_page_alone(world: World) -> None:
    for n in range(30):
        done(cold(world).save(f"f{n}", flow(f"f{n}", n, input=conversation(20))))
        done(cold(world).save(f"f{n}", flow(f"f{n}", n, input=conversation(21))))
    record = FaultyStorage(world.memory)
    store = FlowStates(open_on(record))
    for registers in (60 + 2, 2):  # of every save, but only once; and those of the page
        record.arm(None)
        store.list({"limit": 2})
        read = [call.key.partition("/")[0] for call in record.calls if call.verb.startswith("get")]
        assert read.count("snapshots") == registers
        assert read.count("runs") == 2 * 2  # the packs of the two saves of each flow
