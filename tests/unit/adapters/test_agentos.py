"""A CheckpointStore does what AgentOS's ICheckpointStore says, and what its own store in memory does where that is right.

Goal: a program that uses AgentOS's interface finds its behaviour here, across handles and processes; where the store that
comes with AgentOS is wrong (live references, TypeErrors), ours is right.
Method: the cases of AgentOS's own test suite, each read back by a store that knows nothing yet; then lineage, and
archives that are shared.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import snapstore
from snapstore.adapters.agentos import CheckpointNotFoundError, CheckpointStore
from snapstore.errors import NotFoundError, ReadOnlyError
from tests.unit.adapters.agentos_runs import Json, checkpoint, ids, wait
from tests.unit.archives import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(world: World) -> CheckpointStore:
    return CheckpointStore(world.archive)


def cold(world: World) -> CheckpointStore:
    """A store of another process."""
    return CheckpointStore(world.cold())


def save_all(store: CheckpointStore, *checkpoints: Json) -> None:
    for one in checkpoints:
        wait(store.save(one))


# The cases of AgentOS's checkpoint-store.test.ts ----------------------------------------------------------------------


def test_a_checkpoint_is_found_by_its_run(world: World, store: CheckpointStore) -> None:
    saved = checkpoint(memorySnapshot={"reads": [], "pendingWrites": []}, skippedNodes=["node-9"], extra={"kept": [1, None]})
    wait(store.save(saved))
    assert wait(cold(world).load("run-1")) == saved


def test_a_checkpoint_is_found_by_its_id(world: World, store: CheckpointStore) -> None:
    save_all(store, checkpoint("a"), checkpoint("b", runId="run-2"))
    assert wait(cold(world).get("a")) == checkpoint("a")


def test_what_is_not_there_is_none(store: CheckpointStore) -> None:
    assert wait(store.load("nothing")) is None
    assert wait(store.latest("nothing")) is None
    assert wait(store.get("nothing")) is None
    assert wait(store.list("nothing")) == []
    assert wait(store.history("nothing")) == []


def test_a_node_filters(world: World, store: CheckpointStore) -> None:
    save_all(
        store,
        checkpoint("a", nodeId="plan", timestamp=1000),
        checkpoint("b", nodeId="act", timestamp=2000),
        checkpoint("c", nodeId="plan", timestamp=3000),
        checkpoint("d", nodeId="act", timestamp=4000),
    )
    for reader in (store, cold(world)):
        assert wait(reader.load("run-1", "plan")) == checkpoint("c", nodeId="plan", timestamp=3000)
        assert wait(reader.load("run-1", "act")) == checkpoint("d", nodeId="act", timestamp=4000)
        assert wait(reader.load("run-1", "nobody")) is None


def test_the_latest_has_the_highest_timestamp(world: World, store: CheckpointStore) -> None:
    save_all(store, *(checkpoint(f"c{time}", timestamp=time) for time in (1000, 3000, 2000)))
    for reader in (store, cold(world)):
        found = wait(reader.latest("run-1"))
        assert found is not None
        assert found["id"] == "c3000"


def test_a_graph_lists_its_checkpoints(world: World, store: CheckpointStore) -> None:
    save_all(
        store,
        checkpoint("a", timestamp=1000),
        checkpoint("b", timestamp=3000, memorySnapshot={"reads": [], "pendingWrites": []}),
        checkpoint("c", timestamp=2000, runId="run-2", nodeId="other"),
        checkpoint("d", graphId="graph-2"),
    )
    size = len(json.dumps(checkpoint()["state"], separators=(",", ":")))
    rows = wait(cold(world).list("graph-1"))
    assert rows == [
        {"id": "b", "runId": "run-1", "graphId": "graph-1", "nodeId": "node-1", "timestamp": 3000,
         "stateSize": size, "hasMemorySnapshot": True},
        {"id": "c", "runId": "run-2", "graphId": "graph-1", "nodeId": "other", "timestamp": 2000,
         "stateSize": size, "hasMemorySnapshot": False},
        {"id": "a", "runId": "run-1", "graphId": "graph-1", "nodeId": "node-1", "timestamp": 1000,
         "stateSize": size, "hasMemorySnapshot": False},
    ]  # fmt: skip


def test_a_limit_takes_the_newest(world: World, store: CheckpointStore) -> None:
    save_all(store, *(checkpoint(f"c{n}", timestamp=1000 + n) for n in range(20)))
    newest = [f"c{n}" for n in reversed(range(20))]
    reader = cold(world)
    assert ids(wait(reader.list("graph-1", {"limit": 3}))) == newest[:3]
    assert ids(wait(reader.list("graph-1", limit=3))) == newest[:3]
    for no_limit in (0, -1, None):
        assert ids(wait(reader.list("graph-1", {"limit": no_limit}))) == newest
    assert ids(wait(reader.list("graph-1", limit=100))) == newest


def test_a_list_can_be_of_one_run(world: World, store: CheckpointStore) -> None:
    save_all(
        store,
        *(checkpoint(f"{run}{n}", runId=run, timestamp=1000 + n) for n in range(3) for run in ("p", "q")),
        checkpoint("elsewhere", runId="p", graphId="graph-2"),
    )
    reader = cold(world)
    assert ids(wait(reader.list("graph-1", {"runId": "p"}))) == ["p2", "p1", "p0"]
    assert ids(wait(reader.list("graph-1", run_id="q", limit=2))) == ["q2", "q1"]
    assert wait(reader.list("graph-2", {"runId": "q"})) == []


def test_what_is_deleted_is_gone(world: World, store: CheckpointStore) -> None:
    save_all(store, checkpoint("a", timestamp=1000), checkpoint("b", timestamp=2000))
    wait(store.delete("b"))
    for reader in (store, cold(world)):
        assert wait(reader.get("b")) is None
        assert wait(reader.latest("run-1")) == checkpoint("a", timestamp=1000)
        assert ids(wait(reader.list("graph-1"))) == ["a"]
    wait(cold(world).delete("a"))
    assert wait(store.load("run-1")) is None


def test_deleting_nothing_is_silent(world: World, store: CheckpointStore) -> None:
    wait(store.delete("nothing"))
    wait(store.save(checkpoint("a")))
    wait(store.delete("a"))
    wait(cold(world).delete("a"))


def test_a_fork_is_a_run_of_its_own(world: World, store: CheckpointStore) -> None:
    source = checkpoint("a", memorySnapshot={"reads": [], "pendingWrites": []}, nodeResults={"x": {"output": 1}})
    wait(store.save(source))
    run_id = wait(store.fork("a"))
    forked = wait(cold(world).latest(run_id))
    assert forked is not None
    assert (forked["runId"], forked["id"] != "a", forked["timestamp"] > 1000) == (run_id, True, True)
    assert {**forked, "id": "a", "runId": "run-1", "timestamp": 1000} == source
    assert wait(cold(world).get(forked["id"])) == forked
    assert ids(wait(cold(world).list("graph-1"))) == [forked["id"], "a"]
    assert ids(wait(cold(world).list("graph-1", {"runId": run_id}))) == [forked["id"]]
    assert wait(store.get("a")) == source
    assert wait(store.latest("run-1")) == source


def test_a_patch_keeps_what_it_does_not_name(world: World, store: CheckpointStore) -> None:
    source = checkpoint("a")
    wait(store.save(source))
    run_id = wait(store.fork("a", {"scratch": {"draft": "b", "deep": {"n": 1}}, "artifacts": {"made": True}}))
    forked = wait(cold(world).latest(run_id))
    assert forked is not None
    assert forked["state"] == {
        "input": {"prompt": "hello"},
        "scratch": {"step": 1, "draft": "b", "deep": {"n": 1}},
        "artifacts": {"made": True},
        "diagnostics": {"totalTokensUsed": 0, "checkpointsSaved": 0},
    }
    [row] = wait(store.list("graph-1", run_id=run_id))
    assert row["stateSize"] == len(json.dumps(forked["state"], separators=(",", ":")))
    assert wait(cold(world).get("a")) == source


def test_a_fork_of_nothing_says_so(world: World, store: CheckpointStore) -> None:
    wait(store.save(checkpoint("gone")))
    wait(cold(world).delete("gone"))
    for id in ("nothing", "gone"):
        with pytest.raises(CheckpointNotFoundError, match="not found") as caught:
            wait(store.fork(id, {"scratch": {}}))
        assert isinstance(caught.value, KeyError)
        assert isinstance(caught.value, NotFoundError)
        assert (caught.value.code, caught.value.context) == ("checkpoint_not_found", {"id": id})


# Lineage --------------------------------------------------------------------------------------------------------------


def links(rows: list[Json]) -> list[tuple[str, str | None, str | None]]:
    return [(row["id"], row["parentId"], row["forkedFrom"]) for row in rows]


def test_a_run_is_a_line_also_over_processes(world: World) -> None:
    for number in range(6):
        wait(cold(world).save(checkpoint(f"c{number}", timestamp=1000 + number)))
    expected = [(f"c{n}", f"c{n - 1}" if n else None, None) for n in reversed(range(6))]
    assert links(wait(cold(world).history("run-1"))) == expected
    assert links(wait(cold(world).history("run-1", limit=2))) == expected[:2]
    assert links(wait(cold(world).lineage("c5"))) == expected
    assert links(wait(cold(world).lineage("c2"))) == expected[3:]


def test_a_lineage_goes_through_forks(world: World, store: CheckpointStore) -> None:
    save_all(store, *(checkpoint(f"c{n}", timestamp=1000 + n) for n in range(3)))
    middle = wait(store.fork("c1"))
    [first] = ids(wait(store.history(middle)))
    wait(cold(world).save(checkpoint("m", runId=middle, timestamp=10**13)))
    last = wait(cold(world).fork("m", {"scratch": {}}))
    [end] = ids(wait(store.history(last)))
    assert links(wait(cold(world).lineage(end))) == [
        (end, "m", "m"),
        ("m", first, None),
        (first, "c1", "c1"),
        ("c1", "c0", None),
        ("c0", None, None),
    ]
    assert links(wait(store.lineage("c2")))[1:] == [("c1", "c0", None), ("c0", None, None)]


def test_the_interface_does_not_show_where_a_fork_came_from(store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a")))
    forked = wait(store.latest(wait(store.fork("a"))))
    assert forked is not None
    assert forked.keys() == checkpoint("a").keys()
    assert {frozenset(row) for row in wait(store.list("graph-1"))} == {
        frozenset(("id", "runId", "graphId", "nodeId", "timestamp", "stateSize", "hasMemorySnapshot"))
    }


def test_a_fork_saved_again_is_still_a_fork(store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a")))
    forked = wait(store.latest(wait(store.fork("a"))))
    assert forked is not None
    wait(store.save({**forked, "note": "seen"}))
    assert links(wait(store.lineage(forked["id"]))) == [(forked["id"], "a", "a"), ("a", None, None)]


def test_a_lineage_ends_where_something_was_deleted(world: World, store: CheckpointStore) -> None:
    save_all(store, *(checkpoint(f"c{n}", timestamp=1000 + n) for n in range(4)))
    wait(cold(world).delete("c1"))
    assert links(wait(store.lineage("c3"))) == [("c3", "c2", None), ("c2", "c1", None)]
    wait(store.save(checkpoint("c1", timestamp=2000)))  # another checkpoint, which continues c3
    assert links(wait(store.lineage("c3"))) == [("c3", "c2", None), ("c2", "c1", None)]
    assert ids(wait(store.lineage("c1"))) == ["c1", "c3", "c2"]
    with pytest.raises(CheckpointNotFoundError):
        wait(store.lineage("nothing"))


def test_a_run_goes_on_when_its_newest_was_deleted_elsewhere(world: World, store: CheckpointStore) -> None:
    """A store remembers what it saved last; by the next save that may be gone."""
    save_all(store, checkpoint("a"), checkpoint("b"))
    fresh = cold(world)
    assert wait(fresh.latest("run-1")) == checkpoint("b")
    wait(cold(world).delete("b"))
    wait(fresh.save(checkpoint("c", timestamp=2000)))
    assert links(wait(store.history("run-1"))) == [("c", "a", None), ("a", None, None)]
    wait(store.delete("c"))
    wait(store.save(checkpoint("d", timestamp=3000)))
    assert wait(cold(world).latest("run-1")) == checkpoint("d", timestamp=3000)


# Where checkpoints live -----------------------------------------------------------------------------------------------


def test_namespaces_do_not_meet(world: World) -> None:
    stores = [CheckpointStore(world.archive, namespace=name) for name in (None, "tenant-a", "tenant/b")]
    for number, one in enumerate(stores):
        wait(one.save(checkpoint("a", number=number)))
    for number, one in enumerate(stores):
        found = wait(one.latest("run-1"))
        assert found is not None
        assert found["number"] == number
        wait(one.delete("a"))
    assert wait(CheckpointStore(world.cold(), namespace="tenant-a").get("a")) is None


def test_an_archive_is_shared_with_other_snapshots(world: World, store: CheckpointStore) -> None:
    """Plain saves under the same words are not seen, and forks that the archive makes itself are none of ours."""
    world.archive.save({"mine": 1}, id="cp-1", run="run-1", graph="graph-1")
    wait(store.save(checkpoint("cp-1")))
    world.archive.fork("agentos:cp-1", run="agentos:run-1")
    assert ids(wait(store.list("graph-1"))) == ["cp-1"]
    assert wait(store.latest("run-1")) == checkpoint("cp-1")
    assert world.archive["cp-1"].state() == {"mine": 1}
    assert world.archive["agentos:cp-1"].run == "agentos:run-1"


def test_a_folder_keeps_checkpoints_for_the_next_process(tmp_path: Path) -> None:
    with snapstore.open(tmp_path / "runs", create=True) as archive:
        store = CheckpointStore(archive, namespace="t")
        save_all(store, checkpoint("a"), checkpoint("b"))
    with snapstore.open(tmp_path / "runs", read_only=True) as archive:
        store = CheckpointStore(archive, namespace="t")
        assert wait(store.latest("run-1")) == checkpoint("b")
        assert ids(wait(store.list("graph-1"))) == ["b", "a"]
        with pytest.raises(ReadOnlyError):
            wait(store.save(checkpoint("c")))
        with pytest.raises(NotFoundError):
            CheckpointStore(archive, namespace="nobody")


@pytest.mark.parametrize("read_first", [False, True])
def test_a_run_goes_on_from_its_own_checkpoints(world: World, read_first: bool) -> None:
    """What others put into a run is newer than its last checkpoint, and no checkpoint: nothing may continue it."""
    for number in (1, 2):
        wait(cold(world).save(checkpoint(f"cp-{number}")))
    for _ in range(8):  # more than a store looks at first
        world.archive.fork("agentos:cp-1", run="agentos:run-1")
    world.archive.save({"note": "mine"}, run="agentos:run-1", graph="agentos:graph-1")
    store = cold(world)
    if read_first:
        assert wait(store.latest("run-1")) == checkpoint("cp-2")
    wait(store.save(checkpoint("cp-3")))
    assert ids(wait(store.lineage("cp-3"))) == ids(wait(cold(world).lineage("cp-3"))) == ["cp-3", "cp-2", "cp-1"]
    assert [row["parentId"] for row in wait(store.history("run-1"))] == ["cp-2", "cp-1", None]


def test_a_lineage_ends_where_no_checkpoint_is(world: World) -> None:
    """A snapshot that others made is not shown as a checkpoint without an id."""
    world.archive.save({"note": "mine"}, run="mine", id="mine")
    facts = {"timestamp": 1000, "stateSize": 2, "hasMemorySnapshot": False}
    world.archive.save({"state": {}}, run="agentos:run-1", id="agentos:cp-1", parent="mine", metadata=facts)
    assert ids(wait(cold(world).lineage("cp-1"))) == ["cp-1"]
