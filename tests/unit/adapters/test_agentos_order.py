"""The newest checkpoint is the one with the highest timestamp, of equal ones the one saved last, found with few requests.

Goal: `latest`, `load` and `list` are exact in every order of saving: equal milliseconds, clocks that run ahead, checkpoints
saved again, moved and deleted, many processes; and in the order that programs have, they cost the same however long a
run or graph is.
Method: made sequences of operations against a model of ten lines, on a clock that the tests move; the numbers of a meter.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from snapstore.adapters.agentos import CheckpointStore
from snapstore.storage.meter import Usage
from tests.unit.adapters.agentos_runs import NOW, Json, Model, Time, checkpoint, ids, wait
from tests.unit.archives import World, noise

NEW = {"put": 2, "put_create": 1}
"""A snapshot with a new id: pack, register and change marker, in one round trip."""

LOOKS = 2
"""What a list asks of the index: whether there is one, and, after the changes, whether there was one."""


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


@pytest.fixture
def world() -> World:
    return World()


def cold(world: World) -> CheckpointStore:
    """A store of another process."""
    return CheckpointStore(world.cold())


def spent(usage: Usage) -> tuple[dict[str, int], int]:
    return dict(usage.requests), usage.round_trips


def filled(world: World, time: Time, count: int, run: str = "run-1", *, start: int = 0, ahead_ms: int = -2) -> CheckpointStore:
    """A run whose checkpoints were saved 40 ms apart, with timestamps so much ahead of the archive's clock."""
    store = CheckpointStore(world.archive)
    for number in range(start, start + count):
        time.ms += 40
        wait(store.save(checkpoint(f"{run}/{number}", runId=run, timestamp=time.ms + ahead_ms, nodeId=f"n{number % 10}")))
    return store


# Exactness ------------------------------------------------------------------------------------------------------------


def test_of_equal_timestamps_the_one_saved_last_is_newest(world: World) -> None:
    """The nodes of a quick graph end in the same millisecond; AgentOS's own store then takes the first."""
    store = CheckpointStore(world.archive)
    for id in "abcd":
        wait(store.save(checkpoint(id)))
    for reader in (store, cold(world)):
        assert ids(wait(reader.list("graph-1"))) == ["d", "c", "b", "a"]
        assert wait(reader.latest("run-1")) == checkpoint("d")


def test_a_checkpoint_saved_again_was_saved_last(world: World) -> None:
    store = CheckpointStore(world.archive)
    for id in "abc":
        wait(store.save(checkpoint(id)))
    wait(store.save(checkpoint("a", note=1)))
    for reader in (store, cold(world)):
        assert ids(wait(reader.list("graph-1"))) == ["a", "c", "b"]
        assert wait(reader.latest("run-1")) == checkpoint("a", note=1)
    wait(cold(world).save(checkpoint("b", note=2)))
    assert ids(wait(store.list("graph-1"))) == ["b", "a", "c"]
    wait(store.save(checkpoint("d")))
    assert ids(wait(cold(world).list("graph-1", limit=2))) == ["d", "b"]


def test_saves_within_one_millisecond_keep_their_order(world: World, time: Time) -> None:
    """On a clock that stands still: new checkpoints, old ones saved again, and forks of those."""
    store = CheckpointStore(world.archive)
    for id in ("a", "b", "c", "a", "d", "b"):
        wait(store.save(checkpoint(id, timestamp=time.ms)))
    assert ids(wait(cold(world).list("graph-1"))) == ["b", "d", "a", "c"]
    run_id = wait(store.fork("a"))
    newest = ids(wait(cold(world).list("graph-1")))
    assert (newest[1:], ids(wait(store.history(run_id)))) == (["b", "d", "a", "c"], newest[:1])


def test_saving_again_with_an_older_timestamp_is_going_back(world: World) -> None:
    store = CheckpointStore(world.archive)
    wait(store.save(checkpoint("a", timestamp=1000)))
    wait(store.save(checkpoint("b", timestamp=2000)))
    wait(store.save(checkpoint("b", timestamp=500)))
    assert wait(cold(world).latest("run-1")) == checkpoint("a", timestamp=1000)
    assert ids(wait(cold(world).list("graph-1"))) == ["a", "b"]


def test_saving_again_can_move_to_another_run_and_graph(world: World) -> None:
    store = CheckpointStore(world.archive)
    for id in "ab":
        wait(store.save(checkpoint(id)))
    moved = checkpoint("b", runId="run-2", graphId="graph-2", nodeId="other")
    wait(store.save(moved))
    for reader in (store, cold(world)):
        assert wait(reader.latest("run-1")) == checkpoint("a")
        assert wait(reader.latest("run-2")) == moved
        assert ids(wait(reader.list("graph-1"))) == ["a"]
        assert ids(wait(reader.list("graph-2"))) == ["b"]
    wait(store.save(checkpoint("c", timestamp=2000)))
    assert [(row["id"], row["parentId"]) for row in wait(store.history("run-1"))] == [("c", "a"), ("a", None)]


@pytest.mark.parametrize("ahead_ms", [1, 7, 5_000, 10**12])
def test_a_clock_that_runs_ahead_hides_nothing(world: World, time: Time, ahead_ms: int) -> None:
    """An old checkpoint with a timestamp from the future stays newest, however many are saved after it."""
    store = filled(world, time, 5)
    time.ms += 40
    early = checkpoint("early", timestamp=time.ms + ahead_ms, nodeId="x")
    wait(store.save(early))
    for number in range(20):
        time.ms += 1
        wait(store.save(checkpoint(f"late{number}", timestamp=time.ms)))
    for reader in (store, cold(world)):
        found = ids(wait(reader.list("graph-1", limit=3)))
        newest = wait(reader.latest("run-1"))
        assert newest is not None
        if ahead_ms > 20:
            assert (found[0], newest) == ("early", early)
        else:
            assert (found[0], newest["id"]) == ("late19", "late19")
        assert wait(reader.load("run-1", "x")) == early


def test_saving_an_old_checkpoint_again_is_seen_behind_many(world: World, time: Time) -> None:
    store = filled(world, time, 300)
    time.ms += 1000
    again = checkpoint("run-1/3", timestamp=time.ms, nodeId="again")
    wait(store.save(again))
    for reader in (store, cold(world)):
        assert wait(reader.latest("run-1")) == again
        assert wait(reader.load("run-1", "again")) == again
        assert ids(wait(reader.list("graph-1", limit=2))) == ["run-1/3", "run-1/299"]


class Story:
    """Operations drawn from a seed, done to stores and a model."""

    def __init__(self, world: World, time: Time, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.time = time
        self.model = Model()
        self.stores = [CheckpointStore(world.archive), cold(world), cold(world)]

    def act(self) -> None:
        """Save, save again, move, fork or delete in one of three processes, then let time pass."""
        rng, store = self.rng, self.rng.choice(self.stores)
        id = rng.choice([f"c{rng.randrange(12)}", f"new{rng.randrange(10**9)}"])
        if rng.random() < 0.15:
            wait(store.delete(id))
            self.model.saved.pop(id, None)
        elif rng.random() < 0.1 and id in self.model.saved:
            run_id = wait(store.fork(id))
            forked = wait(store.latest(run_id))
            assert forked is not None
            assert forked["timestamp"] == self.time.ms
            self.model.save(forked)
        else:
            off = rng.choice([0, 0, 0, -1, -2, -50, -(10**9), 1, 60, 3000])
            saved = checkpoint(
                id,
                runId=f"r{rng.randrange(2)}",
                graphId=f"g{rng.randrange(2)}",
                nodeId=f"n{rng.randrange(3)}",
                timestamp=self.time.ms // 20 * 20 + off,  # ties are frequent
            )
            wait(store.save(saved))
            self.model.save(saved)
        self.time.ms += rng.choice([3, 10, 10, 500])  # one save takes up at most two milliseconds

    def check(self) -> None:
        """Whatever a reader asks, the model says the same."""
        reader = self.rng.choice([*self.stores, cold(self.world)])
        for graph in ("g0", "g1"):
            expected = ids(self.model.newest_first(graphId=graph))
            limit = self.rng.choice([1, 2, 5, 30])
            assert ids(wait(reader.list(graph))) == expected
            assert ids(wait(reader.list(graph, limit=limit))) == expected[:limit]
            both = ids(self.model.newest_first(graphId=graph, runId="r0"))
            assert ids(wait(reader.list(graph, {"runId": "r0", "limit": limit}))) == both[:limit]
        for run in ("r0", "r1"):
            for node in (None, "n0", "n1"):
                newest: list[Any] = [*self.model.newest_first(runId=run, nodeId=node), None]
                assert wait(reader.load(run, node)) == newest[0]


@pytest.mark.parametrize("seed", range(6))
def test_any_story_reads_as_the_contract_says(world: World, time: Time, seed: int) -> None:
    story = Story(world, time, seed)
    for step in range(60):
        story.act()
        if step % 6 == 5:
            story.check()


def test_saves_at_the_same_time_are_all_kept(world: World) -> None:
    """Parallel branches of a graph save while the others wait for their answers."""
    stores = [CheckpointStore(world.archive), cold(world)]
    saved = [checkpoint(f"c{n:02}", timestamp=1000 + n) for n in range(40)]

    async def save_all() -> None:
        await asyncio.gather(*(stores[number % 2].save(one) for number, one in enumerate(saved)))

    wait(save_all())
    reader = cold(world)
    assert wait(reader.latest("run-1")) == saved[-1]
    assert ids(wait(reader.list("graph-1"))) == [one["id"] for one in reversed(saved)]
    assert {one["id"]: wait(reader.get(one["id"])) for one in saved} == {one["id"]: one for one in saved}


# Requests -------------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_found_out_quickly(world: World) -> None:
    """`resume(x)` asks for the latest of run x, and then for checkpoint x: one of both is always missing."""
    store = cold(world)
    assert spent(world.cost(lambda: wait(store.get("x")))) == ({"get": 1}, 1)
    assert spent(world.cost(lambda: wait(store.latest("x")))) == ({"list": 1, "get": 1}, 1)
    assert spent(world.cost(lambda: wait(store.load("x", "n")))) == ({"list": 1, "get": 1}, 1)
    assert spent(world.cost(lambda: wait(store.list("x")))) == ({"list": 1, "get": 1 + LOOKS}, 2)


def test_a_save_is_one_round_trip_once_the_run_is_known(world: World, time: Time) -> None:
    store = CheckpointStore(world.archive)
    first = world.cost(lambda: wait(store.save(checkpoint("a", timestamp=time.ms))))
    assert spent(first) == ({"list": 1, **NEW}, 2)
    for number in range(100):  # more than an archive keeps the heads of
        time.ms += 5
        usage = world.cost(lambda: wait(store.save(checkpoint(f"c{number}", timestamp=time.ms))))  # noqa: B023
        assert spent(usage) == (NEW, 1)


def test_a_resumed_run_is_looked_up_once(world: World, time: Time) -> None:
    filled(world, time, 30)
    store = cold(world)
    looked = world.cost(lambda: wait(store.save(checkpoint("a", timestamp=time.ms))))
    assert looked.requests["list"] == 1
    store = cold(world)
    wait(store.latest("run-1"))  # which has shown where the run stands
    saved = world.cost(lambda: wait(store.save(checkpoint("b", timestamp=time.ms))))
    assert "list" not in saved.requests
    assert spent(world.cost(lambda: wait(store.save(checkpoint("c", timestamp=time.ms))))) == (NEW, 1)


def test_the_latest_of_a_long_run_costs_as_much_as_of_a_short_one(world: World, time: Time) -> None:
    filled(world, time, 10)
    short = world.cost(lambda: wait(cold(world).latest("run-1")))
    filled(world, time, 400, start=10)
    store = cold(world)
    usage = world.cost(lambda: wait(store.latest("run-1")))
    assert usage.round_trips == 4  # listing, ends of packs, registers, packs of the newest
    assert usage.total <= 16
    assert usage.total <= short.total + 4
    assert world.cost(lambda: wait(store.load("run-1", "n8"))).total <= 16


def test_a_clock_that_runs_ahead_costs_a_little_more(world: World, time: Time) -> None:
    filled(world, time, 300, ahead_ms=200)
    usage = world.cost(lambda: wait(cold(world).latest("run-1")))
    assert usage.requests["get"] < 100
    saved = checkpoint("next", timestamp=time.ms + 230)
    assert world.cost(lambda: wait(CheckpointStore(world.archive).save(saved))).writes == 3  # the notes are there already


def test_a_list_reads_registers_only(world: World, time: Time) -> None:
    store = CheckpointStore(world.archive)
    rng = random.Random(1)
    for number in range(30):
        time.ms += 40
        wait(store.save(checkpoint(f"c{number}", timestamp=time.ms, state={"scratch": noise(rng, 50_000)})))
    reader = cold(world)
    usage = world.cost(lambda: wait(reader.list("graph-1", limit=20)))
    assert spent(usage) == ({"list": 1, "get": 25 + LOOKS}, 2)  # twenty, four that prove the order, a note that is not there
    assert usage.bytes_read < 50_000
    assert spent(world.cost(lambda: wait(reader.list("graph-1", limit=20)))) == ({"list": 1, "get": 1 + LOOKS}, 2)
    reader = cold(world)
    everything = world.cost(lambda: wait(reader.list("graph-1")))
    assert spent(everything) == ({"list": 1, "get": 31 + LOOKS}, 2)
    assert everything.bytes_read < 60_000


def test_a_list_of_a_large_graph_reads_what_it_shows(world: World, time: Time) -> None:
    for run in range(6):
        filled(world, time, 50, run=f"run-{run}")
    assert world.cost(lambda: wait(cold(world).list("graph-1", limit=10))).total <= 10 + 4 + 2 + 2 + LOOKS


def test_a_fork_copies_nothing(world: World) -> None:
    store = CheckpointStore(world.archive)
    state = {"input": noise(random.Random(1), 200_000), "scratch": {"n": 1}}
    wait(store.save(checkpoint("a", state=state)))
    for forking in (store, cold(world)):
        usage = world.cost(lambda: wait(forking.fork("a")))  # noqa: B023
        assert {verb: count for verb, count in usage.requests.items() if verb.startswith("put")} == NEW
        assert usage.bytes_written < 2000
    assert spent(world.cost(lambda: wait(store.fork("a")))) == ({"get": 2, **NEW}, 3)
    patched = world.cost(lambda: wait(store.fork("a", {"scratch": {"n": 2}})))
    assert patched.bytes_written < 2500


def test_saving_again_stores_what_changed(world: World) -> None:
    """Also in a process that knows nothing of the checkpoint, and whether or not it is the newest of its run."""
    documents = {f"d{n}": noise(random.Random(n), 20_000) for n in range(10)}
    store = CheckpointStore(world.archive)
    for id in ("a", "b"):
        wait(store.save(checkpoint(id, state={"input": documents, "scratch": {"id": id}})))
    for number, id in enumerate("abab"):
        for saving in (cold(world), store):
            again = checkpoint(id, state={"input": documents, "scratch": {"id": id, "again": number}})
            assert world.cost(lambda: wait(saving.save(again))).bytes_written < 8000  # noqa: B023
            assert wait(cold(world).latest("run-1")) == again


def test_a_save_stores_what_changed(world: World, time: Time) -> None:
    """Each checkpoint repeats the input, the artifacts and the results of all nodes before it."""
    store = CheckpointStore(world.archive)
    rng = random.Random(1)
    results: Json = {}
    state: Json = {"input": {"document": noise(rng, 40_000)}, "scratch": {}, "artifacts": {}, "diagnostics": {}}
    written = []
    for number in range(60):
        results[f"node-{number}"] = {"effectClass": "external", "output": noise(rng, 2000), "durationMs": number}
        state["artifacts"][f"node-{number}"] = results[f"node-{number}"]["output"]
        saved = checkpoint(f"c{number}", timestamp=NOW, state=state, nodeResults=results)
        written.append(world.cost(lambda: wait(store.save(saved))).bytes_written)  # noqa: B023
    # A result of 2,000 hex digits takes 1,000 bytes, once for both of its places or twice; a full copy takes 160,000.
    assert sum(written[1:]) / len(written[1:]) < 9000
    assert sum(written[-20:]) < 1.5 * sum(written[20:40])
