"""DeltaChannels: values that follow from the writes of ancestors, before and after those ancestors are pruned.

Goal: the walk gives what LangGraph's own SQLite saver gives, from registers where registers are enough, and a pruned thread
gives the same as the whole one. Method: chains and branches made by hand; a metered storage.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.checkpoint.sqlite import SqliteSaver

from tests.unit.adapters.langgraph.checkpoints import SaverWorld, checkpoint, config, ids, metadata
from tests.unit.archives import noise

CHANNELS = ["messages", "files", "never"]
LARGE = noise(random.Random(1), 12_000)


def step(
    saver: BaseCheckpointSaver[Any], id: str, parent: str | None, values: dict[str, Any] | None = None, *, counted: bool = True
) -> None:
    """One checkpoint of a graph with DeltaChannels, as LangGraph makes them: what is not stored is counted."""
    made = checkpoint(id, values)
    made["channel_versions"] = dict.fromkeys([*CHANNELS, "branch:to:a", "__start__"], id)
    counters = {name: (1, 1) for name in CHANNELS if name not in (values or {})}
    more: Any = {"counters_since_delta_snapshot": counters} if counted and counters else {}
    saver.put(config(checkpoint_id=parent), made, metadata(**more), {})


def write(saver: BaseCheckpointSaver[Any], id: str, channel: str, value: Any, by: tuple[str, str] = ("task", "")) -> None:
    """A write to a channel, by a task with an id and a path."""
    saver.put_writes(config(checkpoint_id=id), [(channel, value)], *by)


def fill(saver: BaseCheckpointSaver[Any], *, counted: bool = True) -> None:
    """A chain 0 to 6 with stored values at 2 (messages) and 0 (files), and a branch 3b from 2."""
    step(saver, "0", None, {"files": ["plain"]}, counted=counted)
    write(saver, "0", "messages", "m0")
    write(saver, "0", "files", "f0")
    step(saver, "1", "0", counted=counted)
    write(saver, "1", "messages", "m1")
    step(saver, "2", "1", {"messages": _DeltaSnapshot(["m0", HumanMessage("m1", id="1")])}, counted=counted)
    write(saver, "2", "messages", "m2 of b", ("task b", "2"))
    write(saver, "2", "messages", LARGE, ("task a", "3"))
    write(saver, "2", "messages", "m2 of c", ("task c", "1"))
    step(saver, "3", "2", counted=counted)
    step(saver, "3b", "2", counted=counted)
    write(saver, "3b", "messages", "other branch")
    write(saver, "3", "files", "f3")
    write(saver, "3", "branch:to:a", None)
    for id, parent in (("4", "3"), ("5", "4"), ("6", "5")):
        step(saver, id, parent, counted=counted)
        write(saver, id, "messages", f"m{id}")


@pytest.mark.parametrize("counted", [True, False])
def test_the_walk_is_that_of_sqlite(counted: bool) -> None:
    """Newest stored value, then the writes in the order of their steps; only ancestors, and none of the checkpoint's own."""
    world = SaverWorld()
    with SqliteSaver.from_conn_string(":memory:") as theirs:
        for saver in (theirs, world.saver):
            fill(saver, counted=counted)
        for id in (None, "0", "2", "3", "3b", "6", "missing"):
            for channels in (CHANNELS, ["messages"], []):
                wanted = theirs.get_delta_channel_history(config=config(checkpoint_id=id), channels=channels)
                for ours in (world.saver, world.another()):
                    assert ours.get_delta_channel_history(config=config(checkpoint_id=id), channels=channels) == wanted


def test_only_the_states_with_a_value_are_read() -> None:
    """A walk over a hundred ancestors reads registers, a page at a time, and the one state where it ends."""
    world = SaverWorld()
    step(world.saver, "000", None, {"messages": _DeltaSnapshot([])})
    for number in range(1, 41):
        step(world.saver, f"{number:03}", f"{number - 1:03}")
        write(world.saver, f"{number:03}", "messages", number)
    cold = world.another()
    found: list[Any] = []

    def walk() -> None:
        found.append(cold.get_delta_channel_history(config=config(checkpoint_id="040"), channels=["messages"]))

    usage = world.cost(walk)
    assert found[0]["messages"]["seed"] == _DeltaSnapshot([])
    assert [value for _, _, value in found[0]["messages"]["writes"]] == list(range(1, 40))
    assert usage.reads <= 41 + 10
    assert usage.round_trips <= 6


@pytest.mark.parametrize("counted", [True, False])
def test_pruning_keeps_what_delta_channels_need(counted: bool) -> None:
    """A naive keep-latest would empty such a channel silently; other checkpointers refuse to prune these threads."""
    world = SaverWorld()
    fill(world.saver, counted=counted)
    whole = world.saver.get_delta_channel_history(config=config(), channels=CHANNELS)
    before = world.saver.get_tuple(config())
    world.saver.prune(["t"])
    cold = world.another()
    assert ids(cold.list(config())) == ["6"]
    assert cold.get_tuple(config()) == before
    assert cold.get_delta_channel_history(config=config(), channels=CHANNELS) == whole
    world.saver.prune(["t"])
    assert world.another().get_delta_channel_history(config=config(), channels=CHANNELS) == whole


def test_a_pruned_thread_goes_on_and_can_be_pruned_again() -> None:
    """Each prune hands on what the last one had kept, and the writes since."""
    world = SaverWorld()
    fill(world.saver)
    expected = world.saver.get_delta_channel_history(config=config(), channels=["messages"])["messages"]
    for round in range(7, 10):
        world.saver.prune(["t"])
        expected["writes"].append(("task", "messages", f"m{round - 1}"))
        step(world.saver, str(round), str(round - 1))
        write(world.saver, str(round), "messages", f"m{round}")
        assert world.another().get_delta_channel_history(config=config(), channels=["messages"])["messages"] == expected
    step(world.saver, "10", "9", {"messages": _DeltaSnapshot(["all"])})
    step(world.saver, "a1", "10")
    found = world.saver.get_delta_channel_history(config=config(checkpoint_id="a1"), channels=["messages", "files"])
    assert found["messages"] == {"writes": [], "seed": _DeltaSnapshot(["all"])}
    assert found["files"]["seed"] == ["plain"]


def test_pruning_an_ordinary_thread_adds_nothing() -> None:
    """Channels that LangGraph empties after a step are absent too, and have no history worth keeping."""
    world = SaverWorld()
    for number in range(3):
        made = checkpoint(str(number), {"messages": [number]})
        made["channel_versions"] = {"messages": number, "branch:to:a": number, "__start__": 0}
        world.saver.put(config(checkpoint_id=str(number - 1) if number else None), made, metadata(number), {})
        write(world.saver, str(number), "branch:to:a", None)
    packs = len(world.keys("runs/"))
    world.saver.prune(["t"])
    assert len(world.keys("runs/")) == packs
    assert world.archive["langgraph:t//2"].state()["channel_values"] == {"messages": [2]}


def test_a_loop_of_parents_ends() -> None:
    """Putting a checkpoint again under its own descendant makes one."""
    world = SaverWorld()
    for id, parent in (("1", None), ("2", "1"), ("1", "2")):
        step(world.saver, id, parent)
        write(world.saver, id, "messages", id)
    found = world.saver.get_delta_channel_history(config=config(checkpoint_id="2"), channels=["messages"])
    assert [value for _, _, value in found["messages"]["writes"]] == ["1"]


chains = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.lists(st.sampled_from(["messages", "files"]), max_size=2, unique=True),
        st.lists(
            st.tuples(st.sampled_from(["messages", "files"]), st.sampled_from("abc"), st.sampled_from(["", "1", "2"])), max_size=4
        ),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=40, deadline=None)
@given(chains, st.booleans())
def test_random_trees_survive_pruning(steps: list[tuple[int, list[str], list[tuple[str, str, str]]]], counted: bool) -> None:
    """Whatever was stored where: the walk equals SQLite's, and pruning does not change it."""
    world = SaverWorld()
    with SqliteSaver.from_conn_string(":memory:") as theirs:
        for saver in (theirs, world.saver):
            for number, (back, stored, written) in enumerate(steps):
                parent = str(max(0, number - 1 - back % 3)) if number else None
                step(saver, str(number), parent, {name: _DeltaSnapshot([number]) for name in stored}, counted=counted)
                for position, (channel, task, path) in enumerate(written):
                    write(saver, str(number), channel, [number, position], (task + channel, path))
        wanted = theirs.get_delta_channel_history(config=config(), channels=["messages", "files"])
        assert world.another().get_delta_channel_history(config=config(), channels=["messages", "files"]) == wanted
        latest = theirs.get_tuple(config())
        assert latest is not None
        absent = [name for name in ("messages", "files") if name not in latest.checkpoint["channel_values"]]
        world.saver.prune(["t"])
        found = world.another().get_delta_channel_history(config=config(), channels=absent)
        assert found == {name: wanted[name] for name in absent}
