"""Putting and getting checkpoints: what comes back, what it costs, what happens with odd names and odd order.

Goal: the interface's rules that no conformance suite checks, and the costs that are promised. Method: checkpoints made by hand,
a metered storage, a second checkpointer that knows nothing; random histories against LangGraph's own SQLite saver.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

import snapstore
from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.errors import InvalidInputError
from tests.unit.adapters.langgraph.checkpoints import SaverWorld, checkpoint, config, ids, metadata, put

ODD_NAMES = ["../x", "a/b", ".", "..", "a b", "a|b:c", "%2F", "naïve \U0001f600", "\x00", "x" * 10_000, "-1", "langgraph:x"]


def read_into(saver: SnapstoreSaver, wanted: RunnableConfig, found: list[CheckpointTuple | None]) -> None:
    """Read one checkpoint."""
    found.append(saver.get_tuple(wanted))


def conversation(count: int) -> list[HumanMessage]:
    """Messages of about 1 KB."""
    return [HumanMessage(f"message {number} " + "word " * 200, id=str(number)) for number in range(count)]


def test_put_is_one_pack_in_one_round_trip() -> None:
    """The promise of the interface's cost: three writes at once and no reads, when the parent was put by this process."""
    world = SaverWorld()
    messages = conversation(20)
    put(world.saver, "1", {"messages": messages[:19]})
    usage = world.cost(lambda: put(world.saver, "2", {"messages": messages}, parent="1"))
    assert (usage.requests, usage.round_trips) == ({"put": 2, "put_create": 1}, 1)


def test_small_writes_are_two_requests_and_no_pack() -> None:
    """Every step of a graph has pending writes: they must not cost what a checkpoint costs."""
    world = SaverWorld()
    put(world.saver, "1")
    packs = world.keys("runs/")
    usage = world.cost(lambda: world.saver.put_writes(config(checkpoint_id="1"), [("messages", conversation(1))], "task"))
    assert (usage.requests, usage.round_trips) == ({"put": 1, "put_if": 1}, 1)
    assert world.keys("runs/") == packs


def test_reading_takes_two_round_trips_by_id_and_three_for_the_latest() -> None:
    """What the archive promises must not be lost in the adapter: pending writes come with the register."""
    world = SaverWorld()
    messages = conversation(30)
    for number in range(30):
        put(world.saver, f"{number:02}", {"messages": messages[: number + 1]}, parent=f"{number - 1:02}" if number else None)
        world.saver.put_writes(config(checkpoint_id=f"{number:02}"), [("messages", messages[number])], "task")
    for wanted, trips in ((config(checkpoint_id="17"), 2), (config(), 3)):
        cold = world.another()
        found: list[CheckpointTuple | None] = []
        usage = world.cost(partial(read_into, cold, wanted, found))
        assert found[0] is not None
        assert found[0].pending_writes
        assert usage.round_trips == trips


def test_an_unchanged_channel_is_stored_once() -> None:
    """A document in the state would otherwise be stored again with every step, as the other checkpointers do."""
    world = SaverWorld()
    document = "".join(f"{number:09x}" for number in range(0, 11_000_000, 1000))
    put(world.saver, "1", {"document": document, "step": 0})
    before = world.stored_bytes("runs/")
    for number in range(2, 6):
        put(world.saver, str(number), {"document": document, "step": number}, parent=str(number - 1))
    assert world.stored_bytes("runs/") - before < before / 5


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: repr(name[:12]))
def test_names_are_data_and_not_paths(name: str) -> None:
    """Thread ids come off the wire: they must neither escape from the archive nor meet one another."""
    world = SaverWorld()
    for thread, ns, value in ((name, "", 1), ("t", name, 2), (f"{name}/", "", 3)):
        stored = put(world.saver, "1", {"x": value}, thread=thread, ns=ns)
        world.saver.put_writes(stored, [("x", value)], name or "task")
    for thread, ns, value in ((name, "", 1), ("t", name, 2), (f"{name}/", "", 3)):
        read = world.another().get_tuple(config(thread, ns=ns))
        assert read is not None
        assert read.checkpoint["channel_values"] == {"x": value}
        assert read.pending_writes == [(name, "x", value)]
        assert [one.config for one in world.saver.list(config(thread, ns=ns))] == [config(thread, "1", ns)]
    world.saver.delete_thread(name)
    assert world.saver.get_tuple(config(name)) is None
    assert world.saver.get_tuple(config(f"{name}/")) is not None


def test_a_thread_id_may_be_a_number() -> None:
    """Many programs number their threads; the configs that come back are those of the other checkpointers."""
    world = SaverWorld()
    assert put(world.saver, "1", {"x": 1}, thread=7)["configurable"]["thread_id"] == 7
    read = world.saver.get_tuple(config("7"))
    assert read is not None
    assert read.config["configurable"]["thread_id"] == "7"


@pytest.mark.parametrize("broken", [{}, {"configurable": {}}, {"configurable": {"thread_id": None}}])
def test_a_config_without_a_thread_is_refused_with_advice(broken: Any) -> None:
    """The usual mistake of a newcomer: the graph is invoked without a config."""
    saver = SaverWorld().saver
    calls: list[Callable[[], object]] = [
        lambda: saver.get_tuple(broken),
        lambda: list(saver.list(broken)),
        lambda: saver.put(broken, checkpoint("1"), metadata(), {}),
        lambda: saver.put_writes(broken, [("x", 1)], "task"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="names no thread") as caught:
            call()
        assert isinstance(caught.value, InvalidInputError)
        assert caught.value.hint is not None


def test_writes_need_a_checkpoint() -> None:
    """Writes that belong to nothing would be lost silently."""
    with pytest.raises(ValueError, match="names no checkpoint"):
        SaverWorld().saver.put_writes(config(), [("x", 1)], "task")


def test_a_parent_that_was_never_put_is_remembered() -> None:
    """With durability "exit" the first stored checkpoint names a parent that exists nowhere."""
    world = SaverWorld()
    put(world.saver, "2", {"x": 1}, parent="1")
    read = world.saver.get_tuple(config())
    assert read is not None
    assert read.parent_config == config(checkpoint_id="1")


def test_putting_again_replaces_the_checkpoint_and_keeps_its_writes() -> None:
    """As the other checkpointers do: a retried put must not drop what tasks have written meanwhile."""
    world = SaverWorld()
    put(world.saver, "1", {"x": 1}, step=1)
    world.saver.put_writes(config(checkpoint_id="1"), [("x", 5)], "task")
    put(world.saver, "1", {"x": 2}, step=2, parent="0")
    read = world.another().get_tuple(config())
    assert read is not None
    assert (read.checkpoint["channel_values"], read.metadata["step"]) == ({"x": 2}, 2)
    assert read.parent_config == config(checkpoint_id="0")
    assert read.pending_writes == [("task", "x", 5)]


def test_large_or_odd_metadata_goes_to_the_state_and_comes_back() -> None:
    """The register holds 8 KiB of JSON; LangGraph sets no limit and no type."""
    world = SaverWorld()
    more: dict[str, Any] = {"document": "x" * 20_000, "nan": float("nan"), "pair": (1, 2), "keys": {1: 2}, "user": "ann"}
    put(world.saver, "1", {"x": 1}, step=3, **more)
    put(world.saver, "2", {"x": 1}, step=3, parent="1", user="bob")
    read = world.another().get_tuple(config(checkpoint_id="1"))
    assert read is not None
    found: Any = read.metadata
    assert (found["document"], found["keys"], found["pair"]) == (more["document"], {1: 2}, [1, 2])
    assert found["nan"] != found["nan"]
    for wanted in ({"document": "x" * 20_000}, {"keys": {1: 2}, "user": "ann"}, {"pair": (1, 2)}):
        assert ids(world.saver.list(config(), filter=wanted)) == ["1"]
    assert ids(world.saver.list(config(), filter={"document": None})) == ["2"]


def test_versions_continue_those_of_other_checkpointers() -> None:
    """A thread begun elsewhere must go on here, and back: versions are compared as text."""
    saver = SaverWorld().saver
    first = saver.get_next_version(None, None)
    assert first == f"{1:032}.0"
    for current, following in ((1, 2), (2.0, 3), (f"{41:032}.0.243798848838515", 42), (saver.get_next_version(41, None), 43)):
        version = saver.get_next_version(current, None)
        assert version.split(".", maxsplit=1)[0] == f"{following:032}"
        assert not isinstance(current, str) or version > current
    with SqliteSaver.from_conn_string(":memory:") as theirs:
        assert theirs.get_next_version(first, None) > first


def test_the_latest_is_the_highest_id_whatever_the_order() -> None:
    """A thread that is copied over newest first must go on from its newest checkpoint, also for who reads it cold."""
    world = SaverWorld()
    for id in ("5", "3", "4", "1", "2"):
        put(world.saver, id, {"x": id})
    for saver in (world.saver, world.another()):
        read = saver.get_tuple(config())
        assert read is not None
        assert read.checkpoint["id"] == "5"
        assert ids(saver.list(config())) == ["5", "4", "3", "2", "1"]
        assert ids(saver.list(config(), limit=2)) == ["5", "4"]
    late = world.another()
    put(late, "35", {"x": "35"})
    put(late, "6", {"x": "6"})
    assert ids(world.another().list(config(), limit=4)) == ["6", "5", "4", "35"]
    world.archive.delete("langgraph:t//6")
    read = world.another().get_tuple(config())
    assert read is not None
    assert read.checkpoint["id"] == "5"


def test_several_threads_put_into_their_own_conversations() -> None:
    """A server runs many conversations in one process, with one checkpointer."""
    world = SaverWorld()

    def converse(thread: str) -> None:
        for number in range(8):
            stored = put(world.saver, str(number), {"x": [thread, number]}, thread=thread, parent=str(number - 1))
            world.saver.put_writes(stored, [("x", number)], "task")

    threads = [threading.Thread(target=converse, args=(str(name),)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cold = world.another()
    for name in range(8):
        read = cold.get_tuple(config(str(name)))
        assert read is not None
        assert read.checkpoint["channel_values"] == {"x": [str(name), 7]}
        assert len(list(cold.list(config(str(name))))) == 8


def test_a_url_is_enough(tmp_path: Any) -> None:
    """The one line that a program changes; the archive is made, and closed with the saver."""
    with SnapstoreSaver.from_url(str(tmp_path / "runs")) as saver:
        put(saver, "1", {"x": 1})

    async def read() -> CheckpointTuple | None:
        async with SnapstoreSaver.from_url(str(tmp_path / "runs"), namespace=None) as again:
            return await again.aget_tuple(config())

    found = asyncio.run(read())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"x": 1}


def test_namespaces_are_isolated_archives(tmp_path: Any) -> None:
    """Tenants share a bucket and see nothing of each other; other systems' snapshots are not listed either."""
    archive = snapstore.open(str(tmp_path), create=True)
    archive.save({"x": 1}, run="langgraph:t/", id="langgraph:t")
    one, two = (SnapstoreSaver(archive, namespace=name) for name in ("one", "two"))
    put(one, "1", {"x": 1})
    assert two.get_tuple(config()) is None
    assert ids(one.list(None)) == ["1"]
    assert list(two.list(None)) == []
    assert list(SnapstoreSaver(archive).list(None)) == []


Step = tuple[str, str, str | None, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "writes", "resume"]),
        st.sampled_from([f"{number}{ns}" for number in range(6) for ns in "ab"]),
        st.one_of(st.none(), st.integers(0, 5).map(str)),
        st.integers(0, 3),
    ),
    max_size=14,
)


def play(saver: BaseCheckpointSaver[Any], done: list[Step]) -> None:
    """Put checkpoints and writes in the given order; the last letter of an id is its namespace."""
    for verb, id, parent, number in done:
        ns = id[-1]
        if verb == "put":
            put(saver, id, {"x": number}, parent=parent and parent + ns, ns=ns, step=number)
        else:
            channel = "x" if verb == "writes" else "__resume__"
            writes = [(channel, [number, id]), *([("y", number)] if number > 1 and verb == "writes" else [])]
            saver.put_writes(config(checkpoint_id=id, ns=ns), writes, f"task{number % 2}", f"path{number}")


@settings(max_examples=40, deadline=None)
@given(steps)
def test_random_histories_are_those_of_sqlite(done: list[Step]) -> None:
    """Order, parents, writes before and after their checkpoint, replacement: all of it as in LangGraph's own saver."""
    world = SaverWorld()
    with SqliteSaver.from_conn_string(":memory:") as theirs:
        for saver in (theirs, world.saver):
            play(saver, done)
        for ours in (world.saver, world.another()):
            for ns in ("a", "b", None):
                for wanted in ({}, {"limit": 2}, {"before": config(checkpoint_id="3")}, {"filter": {"step": 1}}):
                    found = list(ours.list(config(ns=ns), **wanted))
                    assert found == list(theirs.list(config(ns=ns), **wanted))
                if ns is not None:
                    assert ours.get_tuple(config(ns=ns)) == theirs.get_tuple(config(ns=ns))
