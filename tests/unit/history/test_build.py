"""A tree depends on the state alone, and a save stores what changed and little more.

Goal: the two promises that everything else rests on. Equal states have equal roots however they came about (else nothing is
stored once), and the cost of a save follows the change.
Method: states of some hundred kilobytes, whose stored bytes are counted; and random edits over a random state with the chunk
sizes lowered to some bytes, so that small states make deep trees, compared with the tree that is built from nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapstore.history import build, cutting, items
from snapstore.snapshot import Snapshot
from tests.unit.archives import State, World, conversation, message, noise

CHANGE_BYTES = 12_000
"""More than a chunk and the path of nodes above it take, about 8 KiB and some hundred bytes; a tenth of the states here."""


@pytest.fixture
def world() -> World:
    return World()


def root_of(snapshot: Snapshot) -> str:
    """The digest of the root: covers everything but where the bytes lie."""
    assert snapshot.register.root is not None
    return snapshot.register.root.digest


def from_nothing(state: Any) -> str:
    """The root that the state gets in an archive which has never seen anything else."""
    return root_of(World().archive.save(state, run="r"))


def saved_over(world: World, before: Any, after: Any) -> Snapshot:
    """Save one state and then the other as its child, through one handle; check that the tree is the canonical one."""
    parent = world.archive.save(before, run="r")
    child = world.archive.save(after, run="r", parent=parent)
    assert root_of(child) == from_nothing(after)
    assert world.cold()[child.id].state() == after
    return child


# What a save costs ----------------------------------------------------------------------------------------------------


def test_appending_a_message_stores_the_message_and_one_path(world: World) -> None:
    child = saved_over(world, conversation(1000), conversation(1001))
    assert child.stored_bytes < 2000  # 150 bytes of content, half a node per level, manifest and directory


def test_appending_for_long_costs_the_same_every_time(world: World) -> None:
    run = world.archive.run("r")
    state = conversation(1000)
    run.save(state)
    costs = []
    for index in range(1000, 1100):
        state["messages"].append(message(index))
        costs.append(run.save(state).stored_bytes)
    # A merge now and then copies the small packs before it; on average that is less than the saves themselves.
    assert sum(costs) / len(costs) < 3000
    assert max(costs) < 60_000


def test_an_edit_in_the_middle_stores_one_chunk_again(world: World) -> None:
    after = conversation(1000)
    after["messages"][500]["content"] = noise(random.Random("new"), 300)
    assert saved_over(world, conversation(1000), after).stored_bytes < CHANGE_BYTES


def test_an_insertion_moves_nothing_but_itself(world: World) -> None:
    after = conversation(1000)
    after["messages"].insert(10, message(5000))
    assert saved_over(world, conversation(1000), after).stored_bytes < CHANGE_BYTES


def test_a_removal_at_the_front_stores_one_chunk_again(world: World) -> None:
    after = conversation(1000)
    del after["messages"][0]
    assert saved_over(world, conversation(1000), after).stored_bytes < CHANGE_BYTES


def test_a_changed_field_leaves_its_neighbours_alone(world: World) -> None:
    before, after = conversation(1000), conversation(1000)
    before["memory"], after["memory"] = noise(random.Random(1), 50_000), noise(random.Random(1), 50_000)
    after["cost"] = 99.5
    assert saved_over(world, before, after).stored_bytes < 2000


def test_content_that_moved_is_found_again(world: World) -> None:
    """An agent that compacts its context moves most of it: three quarters of the state stay as they are here."""
    before = conversation(2000)
    after = {**before, "messages": before["messages"][500:], "archive": {"old": before["messages"][:500]}}
    child = saved_over(world, before, after)
    assert child.stored_bytes < 0.15 * before_bytes(before)
    # Back to where it was: the grandparent is not looked at, but all of it came along in the parent.
    back = world.archive.save(before, run="r", parent=child)
    assert back.stored_bytes < 0.15 * before_bytes(before)


def before_bytes(state: State) -> int:
    """What a state takes when it is stored for the first time."""
    return World().archive.save(state, run="r").stored_bytes


def test_what_is_said_twice_is_stored_once() -> None:
    block = [message(index) for index in range(300)]
    once, twice = before_bytes({"a": block}), before_bytes({"a": block, "b": block})
    assert twice < 1.1 * once


def test_a_long_text_is_stored_by_its_changes(world: World) -> None:
    text = noise(random.Random(1), 400_000)
    after = text[:200_000] + "inserted" + text[200_000:]
    assert saved_over(world, {"text": text}, {"text": after}).stored_bytes < 2 * CHANGE_BYTES
    assert saved_over(world, {"text": text}, {"text": text + "appended"}).stored_bytes < 2 * CHANGE_BYTES
    data = random.Random(2).randbytes(400_000)
    assert saved_over(world, {"data": data}, {"data": data[1000:]}).stored_bytes < 2 * CHANGE_BYTES


def test_the_same_state_again_stores_a_manifest(world: World) -> None:
    for state in ({"step": 1}, conversation(1000)):
        assert saved_over(world, state, state).stored_bytes < 700


def test_a_state_that_another_run_has_already_is_shared(world: World) -> None:
    """Many runs begin with the same long prompt: no parent ties them together."""
    prompt = noise(random.Random(1), 1_500_000)
    first = world.archive.save({"prompt": prompt, "messages": []}, run="a", graph="g")
    second = world.archive.save({"prompt": prompt, "messages": [message(1)]}, run="b", graph="g")
    assert first.stored_bytes > 700_000
    assert second.stored_bytes < 5000
    assert world.cold()[second.id].state()["prompt"] == prompt


def test_a_large_dict_is_stored_by_its_changes(world: World) -> None:
    before = {f"doc-{n}": {"title": f"Title {n}", "body": noise(random.Random(n), 600)} for n in range(1000)}
    after = {**before, "doc-500": {"title": "changed", "body": "short"}}
    assert saved_over(world, {"docs": before}, {"docs": after}).stored_bytes < 2 * CHANGE_BYTES
    assert saved_over(world, {"docs": before}, {"docs": {**before, "new": 1}}).stored_bytes < CHANGE_BYTES


# The same tree from everywhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": [1, 2, 3]}, [1, 2, 3]),
        ([message(n) for n in range(100)], {"a": [message(n) for n in range(100)]}),
        ({"a": [message(n) for n in range(100)]}, {"a": {str(n): message(n) for n in range(100)}}),
        ({"a": noise(random.Random(1), 90_000)}, {"a": noise(random.Random(1), 90_000).encode()}),
        ({"a": noise(random.Random(1), 90_000)}, {"a": "short"}),
        (conversation(300), {}),
        ({}, conversation(300)),
        ("text", b"bytes"),
        ({"a": tuple(range(9000))}, {"a": (*range(9000), 1)}),
        (conversation(300), dict(reversed(conversation(300).items()))),
    ],
    ids=["root", "wrapped", "list to dict", "text to bytes", "shrunk", "emptied", "grown", "plain", "opaque", "key order"],
)
def test_a_change_of_shape_builds_the_canonical_tree(world: World, before: Any, after: Any) -> None:
    child = saved_over(world, before, after)
    restored = world.cold()[child.id].state()
    assert type(restored) is type(after)
    if isinstance(after, dict):
        assert list(restored) == list(after)


@pytest.fixture
def small_chunks() -> Iterator[None]:
    """Sizes a hundredth of the real ones: some hundred values make a tree of several levels."""
    with (
        mock.patch.multiple(cutting, CHUNK_MIN_BYTES=24, CHUNK_MEAN_BYTES=64, CHUNK_CLOSE_BYTES=160, NODE_MAX_ENTRIES=6),
        mock.patch.multiple(items, CHUNK_MAX_BYTES=320, INLINE_BYTES=12),
        mock.patch.multiple(build, ITEM_MAX_BYTES=320, VALUE_TREE_BYTES=20, SMALL_MAP_PAIRS=5, SEGMENTS_MAX=3, UNKNOWN_CHUNKS=1),
    ):
        yield


def some_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 4:
        return noise(rng, rng.choice([3, 3, 20, 60, 700]))
    if kind == 4:
        return rng.randrange(1000)
    if kind == 5:
        return rng.randbytes(rng.choice([4, 4, 4, 500, 5000]))
    count = rng.choice([2, 5, 25] if depth < 2 else [1, 3])
    if kind == 6:
        return [some_value(rng, depth + 1) for _ in range(count)]
    return {f"k{rng.randrange(10**6)}": some_value(rng, depth + 1) for _ in range(count)}


def edited(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """The value with one change somewhere in it."""
    if isinstance(value, list):
        return _edited_list(list(value), rng, depth)
    if isinstance(value, dict) and value:
        pairs = dict(value)
        key = rng.choice(list(pairs))
        if rng.random() < 0.15:
            del pairs[key]
        elif rng.random() < 0.2:
            pairs[f"k{rng.randrange(10**6)}"] = some_value(rng, depth + 1)
        else:
            pairs[key] = edited(pairs[key], rng, depth + 1)
        return pairs
    if isinstance(value, bytes) and len(value) > 10:
        return edited(value.hex(), rng, depth).encode()
    if isinstance(value, str) and len(value) > 10:
        middle = rng.randrange(len(value))
        return value[:middle] + value[middle + rng.randrange(3) :] + value[: rng.randrange(9)]
    return some_value(rng, depth)


def _edited_list(value: list[Any], rng: random.Random, depth: int) -> list[Any]:
    choice = rng.randrange(6) if value else 0
    if choice <= 1:
        value.append(some_value(rng, depth + 1))
    elif choice == 2:
        value.insert(rng.randrange(len(value)), some_value(rng, depth + 1))
    elif choice == 3:
        del value[rng.randrange(len(value))]
    elif choice == 4 and len(value) > 3:
        middle = rng.randrange(len(value))
        value = value[middle:] + value[:middle]
    else:
        index = rng.randrange(len(value))
        value[index] = edited(value[index], rng, depth + 1)
    return value


@pytest.mark.usefixtures("small_chunks")
@given(seed=st.integers(0, 10**9))
@settings(max_examples=12, deadline=None)
def test_any_history_of_edits_ends_in_the_canonical_tree(seed: int) -> None:
    """Prefixes that are reused, chunks that grow, items that move, packs that are merged: none of it may show."""
    rng = random.Random(seed)
    world = World()
    run = world.archive.run("r")
    state: dict[str, Any] = {"list": [some_value(rng) for _ in range(30)], "value": some_value(rng)}
    for _ in range(10):
        for _ in range(rng.choice([1, 1, 3])):
            key = rng.choice(["list", "list", "value"])
            state = {**state, key: edited(state[key], rng)}
        snapshot = run.save(state)
        assert root_of(snapshot) == from_nothing(state)
        assert len(snapshot.register.closure) <= 24
    restored = world.cold()[snapshot.id]
    assert restored.state() == state
    assert list(restored) == list(state)


@pytest.mark.usefixtures("small_chunks")
def test_the_history_of_edits_really_makes_deep_trees() -> None:
    """The property above means nothing on states of one chunk."""
    rng = random.Random(1)
    snapshot = World().archive.save({"list": [some_value(rng) for _ in range(60)]}, run="r")
    entry = snapshot.tree.root
    level = snapshot.tree.reader.loaded_node(snapshot.tree.reader.loaded_node(entry).entries[0])
    assert level.level >= 2
