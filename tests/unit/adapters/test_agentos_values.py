"""A checkpoint is what it was when it was saved: values, names and patches, and input that no checkpoint can hold.

Goal: no later change reaches what was saved, what JSON cannot hold is refused before anything is written, ids from the wire
are ids and nothing else, and a patch does what it says without a TypeError.
Method: made checkpoints, read back by stores that know nothing of them; a list of the storage's keys before and after.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
from typing import Any

import pytest

from snapstore.adapters.agentos import CheckpointStore
from snapstore.adapters.agentos_checkpoint import javascript_size
from snapstore.errors import InvalidInputError
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


# Values ---------------------------------------------------------------------------------------------------------------


def test_later_changes_do_not_reach_what_was_saved(store: CheckpointStore) -> None:
    """AgentOS hands the same growing `nodeResults` to every checkpoint of a run; a reference to it shows the future."""
    results: Json = {}
    expected = []
    for node in "abc":
        results[node] = {"effectClass": "external", "output": [node], "durationMs": 1}
        expected.append(copy.deepcopy(results))
        wait(store.save(checkpoint(node, nodeResults=results)))
    results["a"]["output"].append("changed")
    for node, seen in zip("abc", expected, strict=True):
        found = wait(store.get(node))
        assert found is not None
        assert found["nodeResults"] == seen


def test_what_changes_during_a_save_is_not_saved(store: CheckpointStore) -> None:
    """The writing happens in a thread, while the event loop goes on with the next node."""
    saved = checkpoint("a", nodeResults={"n": {"output": list(range(1000))}})
    before = copy.deepcopy(saved)

    async def save() -> None:
        saving = asyncio.create_task(store.save(saved))
        await asyncio.sleep(0)
        saved["nodeResults"]["n"]["output"].clear()
        saved["runId"] = "other"
        await saving

    wait(save())
    assert wait(store.get("a")) == before


def test_readers_own_what_they_read(store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a")))
    for _ in range(2):
        for found in (wait(store.get("a")), wait(store.latest("run-1")), wait(store.load("run-1", "node-1"))):
            assert found is not None
            assert found == checkpoint("a")
            found["state"]["scratch"].clear()
            found["visitedNodes"].append("x")


def test_the_order_of_keys_is_kept(world: World, store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a", zebra=1, state={"z": {"b": 1, "a": 2}, "input": 1}, apple=2)))
    found = wait(cold(world).get("a"))
    assert json.dumps(found) == json.dumps(checkpoint("a", zebra=1, state={"z": {"b": 1, "a": 2}, "input": 1}, apple=2))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (math.nan, "checkpoint.state.scratch[1] is nan"),
        (-math.inf, "checkpoint.state.scratch[1] is -inf"),
        ((1, 2), "checkpoint.state.scratch[1] is of type tuple"),
        ({1}, "checkpoint.state.scratch[1] is of type set"),
        (b"raw", "checkpoint.state.scratch[1] is of type bytes"),
        pytest.param(10**5000, "the state does not fit into JSON", id="digits"),
        ({1: "a"}, "checkpoint.state.scratch[1] has the key 1"),
        ({"deep": [{"x": object()}]}, "checkpoint.state.scratch[1].deep[0].x is of type object"),
        ("\ud800", "checkpoint.state.scratch[1] has half a surrogate pair"),
        ({"\ud800": 1}, "checkpoint.state.scratch[1] has half a surrogate pair"),
    ],
)
def test_what_json_cannot_hold_is_refused_before_anything_is_written(
    world: World, store: CheckpointStore, value: Any, where: str
) -> None:
    wait(store.save(checkpoint("a")))
    before = world.keys()
    with pytest.raises(InvalidInputError) as caught:
        wait(store.save(checkpoint("a", timestamp=10**14, state={"scratch": [0, value]})))
    assert (caught.value.code, str(caught.value).startswith(where)) == ("not_json", True), str(caught.value)
    with pytest.raises(InvalidInputError) as caught:
        wait(store.fork("a", {"scratch": {"changed": value}}))
    assert caught.value.code == "not_json"
    assert world.keys() == before
    assert wait(store.get("a")) == checkpoint("a")


def test_a_checkpoint_that_contains_itself_is_refused(store: CheckpointStore) -> None:
    loop: Json = {}
    loop["again"] = loop
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for state in (loop, deep):
        with pytest.raises(InvalidInputError, match="contains itself") as caught:
            wait(store.save(checkpoint("a", state=state)))
        assert caught.value.code == "not_json"


@pytest.mark.parametrize("field", ["id", "graphId", "runId", "nodeId", "timestamp"])
def test_a_missing_field_is_named(world: World, store: CheckpointStore, field: str) -> None:
    before = world.keys()
    whole = checkpoint("a")
    for broken in ({key: value for key, value in whole.items() if key != field}, {**whole, field: None}, {**whole, field: True}):
        with pytest.raises(InvalidInputError, match=field) as caught:
            wait(store.save(broken))
        assert (caught.value.code, caught.value.context["field"]) == ("checkpoint_field", field)
    assert world.keys() == before


def test_timestamps_are_moments(store: CheckpointStore) -> None:
    for wrong in ("1000", math.nan, math.inf, 1e300, 10**400):
        with pytest.raises(InvalidInputError, match="timestamp"):
            wait(store.save(checkpoint("a", timestamp=wrong)))
    for right in (0, -5, 1.5, 8.64e15):
        wait(store.save(checkpoint("a", timestamp=right)))
        assert wait(store.get("a")) == checkpoint("a", timestamp=right)


@pytest.mark.parametrize("wrong", [None, [], "text", 5])
def test_what_is_no_checkpoint_and_no_patch_is_refused(store: CheckpointStore, wrong: Any) -> None:
    wait(store.save(checkpoint("a")))
    with pytest.raises(InvalidInputError):
        wait(store.save(wrong))
    if wrong is not None:
        with pytest.raises(InvalidInputError) as caught:
            wait(store.fork("a", wrong))
        assert caught.value.code == "invalid_patch"


@pytest.mark.parametrize("wrong", ["3", 2.5, True])
def test_a_limit_is_a_whole_number(store: CheckpointStore, wrong: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        wait(store.list("graph-1", {"limit": wrong}))
    assert caught.value.code == "invalid_limit"


NAMES = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "a%2Fb",
    "agentos:x",
    "run/r",
    "NUL",
    "\0",
    "x|y:z",
    "ünï😀",
    "__x__",
    "X" * 10_000,
]


def test_names_from_the_wire_are_names_and_nothing_else(world: World, store: CheckpointStore) -> None:
    for name in NAMES:
        wait(store.save(checkpoint(name, runId=name, graphId=name, nodeId=name)))
    reader = cold(world)
    for name in NAMES:
        expected = checkpoint(name, runId=name, graphId=name, nodeId=name)
        assert wait(reader.get(name)) == expected
        assert wait(reader.load(name, name)) == expected
        assert ids(wait(reader.list(name))) == [name]
        run_id = wait(reader.fork(name))
        [row, source] = wait(reader.lineage(ids(wait(reader.history(run_id)))[0]))
        assert (row["forkedFrom"], source["id"]) == (name, name)


# Patches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": {"x": 1}, "b": 2}, {"a": {"y": 2}}, {"a": {"y": 2}, "b": 2}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": 1}, "text", "text"),
        ({"a": 1}, [1], [1]),
        ("text", {"a": 1}, {"a": 1}),
        (None, {"a": 1}, {"a": 1}),
        ([1, 2], [3], [3]),
        (7, None, None),
    ],
)
def test_a_patch_merges_objects_and_replaces_the_rest(store: CheckpointStore, old: Any, patch: Any, new: Any) -> None:
    """AgentOS's own store raises a TypeError for several of these."""
    wait(store.save(checkpoint("a", state={"input": old, "scratch": 1})))
    forked = wait(store.latest(wait(store.fork("a", {"input": patch}))))
    assert forked is not None
    assert forked["state"] == {"input": new, "scratch": 1}


def test_a_patch_can_add_a_part_and_ignores_what_is_no_part(store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a", state={"input": 1})))
    patch = {"scratch": {"n": 1}, "memory": object(), "visitedNodes": ["z"], "currentNodeId": "z"}
    forked = wait(store.latest(wait(store.fork("a", patch))))
    assert forked is not None
    assert (forked["state"], forked["visitedNodes"], "memory" in forked) == ({"input": 1, "scratch": {"n": 1}}, ["node-1"], False)
    without = {key: value for key, value in checkpoint("b").items() if key != "state"}
    wait(store.save(without))
    forked = wait(store.latest(wait(store.fork("b", {"input": 1}))))
    assert forked is not None
    assert forked["state"] == {"input": 1}


def test_a_patch_is_the_callers(store: CheckpointStore) -> None:
    wait(store.save(checkpoint("a")))
    patch: Json = {"scratch": {"list": [1]}}

    async def fork() -> str:
        forking = asyncio.create_task(store.fork("a", patch))
        await asyncio.sleep(0)
        patch["scratch"]["list"].append(2)
        return await forking

    forked = wait(store.latest(wait(fork())))
    assert forked is not None
    assert forked["state"]["scratch"]["list"] == [1]


# The numbers of JavaScript --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 1.0, 0.5, -0.0, True, None], "b": {}}, '{"a":[1,1,0.5,0,true,null],"b":{}}'),
        ([1e16, 1e20, 1e21, 1.5e300], "[10000000000000000,100000000000000000000,1e+21,1.5e+300]"),
        ([1e-5, 1e-6, 1e-7, -2.5e-9, 5e-324], "[0.00001,0.000001,1e-7,-2.5e-9,5e-324]"),
        ([123456.789, 0.1 + 0.2, 1e15 + 0.5], "[123456.789,0.30000000000000004,1000000000000000.5]"),
        ('é😀\n"\\\x01\x7f', '"é😀\\n\\"\\\\\\u0001\x7f"'),
    ],
)
def test_a_state_has_the_size_that_javascript_gives_it(value: Any, text: str) -> None:
    """The texts are what `JSON.stringify` writes; its length counts UTF-16 code units."""
    assert javascript_size(value) == len(text.encode("utf-16-le")) // 2
