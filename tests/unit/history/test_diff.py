"""A diff names what changed, where, and reads no more than that.

Goal: an agent's developer sees which message was added and which field was edited, not that two large states differ; and
on two neighbours of many megabytes that costs what the change costs.
Method: pairs of states, small (compared as values) and large (compared as trees), with the expected changes; a random
pair is patched by its own diff; the bytes read are metered.
"""

from __future__ import annotations

import copy
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapstore.errors import NotFoundError
from snapstore.history.diff import Change, path_text
from tests.unit.archives import State, World, conversation, message, noise

LONG = noise(random.Random(1), 50_000)


@pytest.fixture
def world() -> World:
    return World()


def changes(old: Any, new: Any) -> list[tuple[str, str, Any, Any]]:
    """The changes between two states, as kind, path, old and new; the reverse must be their mirror image."""
    found = changes_one_way(old, new)
    mirrored = {"added": "removed", "removed": "added", "changed": "changed"}
    back = [(mirrored[kind], path, after, before) for kind, path, before, after in changes_one_way(new, old)]
    assert sorted(back, key=repr) == sorted(found, key=repr)
    return found


def changes_one_way(old: Any, new: Any) -> list[tuple[str, str, Any, Any]]:
    world = World()
    a, b = world.archive.save(old, run="r"), world.archive.save(new, run="r")
    return [(c.kind, path_text(c.path), c.old, c.new) for c in world.cold().diff(a.id, b.id)]


def test_equal_states_have_no_changes() -> None:
    assert changes({"a": 1}, {"a": 1}) == []
    assert changes(conversation(500), conversation(500)) == []


def test_fields_of_a_small_state() -> None:
    assert changes({"a": 1, "b": 2}, {"b": 3, "c": {"d": 4}}) == [
        ("removed", "$.a", 1, None),
        ("changed", "$.b", 2, 3),
        ("added", "$.c", None, {"d": 4}),
    ]
    assert changes({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}) == [("changed", "$.a.b.c", 1, 2)]
    assert changes([1, 2, 3], [1, 3]) == [("removed", "$[1]", 2, None)]
    assert changes("one", "two") == [("changed", "$", "one", "two")]


@pytest.mark.parametrize("count", [5, 500])
def test_an_appended_message_is_one_addition(count: int) -> None:
    assert changes(conversation(count), conversation(count + 1)) == [
        ("added", f"$.messages[{count}]", None, message(count)),
    ]


@pytest.mark.parametrize("count", [5, 500])
@pytest.mark.parametrize("at", [0, 3])
def test_an_inserted_message_does_not_change_those_behind_it(count: int, at: int) -> None:
    new = conversation(count)
    new["messages"].insert(at, message(9999))
    assert changes(conversation(count), new) == [("added", f"$.messages[{at}]", None, message(9999))]


def test_a_removed_message_is_named_by_its_old_place() -> None:
    new = conversation(500)
    gone = new["messages"].pop(250)
    assert changes(conversation(500), new) == [("removed", "$.messages[250]", gone, None)]


def test_a_changed_field_of_a_message_is_named_itself() -> None:
    new = conversation(500)
    new["messages"][250]["content"] = "edited"
    assert changes(conversation(500), new) == [
        ("changed", "$.messages[250].content", message(250)["content"], "edited"),
    ]


def test_changes_far_apart_leave_what_lies_between_alone() -> None:
    for count in (12, 500):
        new = conversation(count)
        new["messages"].insert(2, message(9999))
        del new["messages"][count - 3]
        new["messages"][6]["role"] = "system"
        assert [(kind, path) for kind, path, _, _ in changes_one_way(conversation(count), new)] == [
            ("added", "$.messages[2]"),
            ("changed", "$.messages[6].role"),
            ("removed", f"$.messages[{count - 4}]"),
        ]


def test_several_changes_come_in_the_order_of_the_state() -> None:
    new = conversation(500)
    new["agent"] = "sales"
    new["messages"][100]["role"] = "system"
    new["messages"].append(message(500))
    new["cost"] = 1.5
    assert [path for _, path, _, _ in changes(conversation(500), new)] == [
        "$.agent",
        "$.messages[100].role",
        "$.messages[500]",
        "$.cost",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, True), (1, 1.0), (0, False), ("1", 1), (b"a", "a"), ([1], (1,)), ({"a": 1}, [1]), (None, {}), (LONG, LONG.encode())],
    ids=lambda value: repr(value)[:12],
)
def test_a_change_of_type_is_a_change(old: Any, new: Any) -> None:
    """1 == True and 1 == 1.0 in Python: a diff by equality would be silent about them."""
    assert changes({"x": old, "pad": LONG}, {"x": new, "pad": LONG}) == [("changed", "$.x", old, new)]
    assert changes({"x": [old]}, {"x": [new]}) == [("changed", "$.x[0]", old, new)]


def test_nan_is_no_change() -> None:
    """nan != nan: every diff of a state with a NaN would show it."""
    assert changes({"x": math.nan, "y": 1}, {"x": math.nan, "y": 2}) == [("changed", "$.y", 1, 2)]
    assert changes({"x": [math.nan, 1, (math.nan,)]}, {"x": [math.nan, 2, (math.nan,)]}) == [("changed", "$.x[1]", 1, 2)]
    world = World()
    a, b = world.archive.save({"x": math.nan}, run="r"), world.archive.save({"x": 1.0}, run="r")
    (change,) = world.archive.diff(a, b)
    assert math.isnan(change.old)
    assert change.new == 1.0


def test_the_order_of_keys_is_no_change() -> None:
    """It is kept and restored, but a reordered dict holds nothing that was not there before."""
    assert changes({"a": 1, "b": [2]}, {"b": [2], "a": 1}) == []
    assert changes({"x": [{"a": 1, "b": 2}]}, {"x": [{"b": 2, "a": 1}]}) == []
    big = {"messages": conversation(300)["messages"], "text": LONG}
    assert changes(big, dict(reversed(big.items()))) == []


def test_long_texts_are_compared_by_digest_and_shown_whole() -> None:
    assert changes({"t": LONG, "u": 1}, {"t": LONG, "u": 2}) == [("changed", "$.u", 1, 2)]
    assert changes({"t": LONG}, {"t": LONG + "x"}) == [("changed", "$.t", LONG, LONG + "x")]
    assert changes({"t": [LONG, LONG]}, {"t": [LONG, "short"]}) == [("changed", "$.t[1]", LONG, "short")]
    assert changes({}, {"t": LONG}) == [("added", "$.t", None, LONG)]


def test_a_container_that_outgrew_its_place_is_compared_item_by_item() -> None:
    """Below a kilobyte a list lies in its dict, above it is a tree: the two forms are the same list."""
    small, large = [message(n) for n in range(2)], [message(n) for n in range(40)]
    assert [path for _, path, _, _ in changes({"m": small}, {"m": large})] == [f"$.m[{n}]" for n in range(2, 40)]
    few, many = {"k0": 0}, {f"k{n}": n for n in range(500)}
    assert [path for _, path, _, _ in changes({"m": few}, {"m": many})] == [f"$.m.k{n}" for n in range(1, 500)]


def test_large_dicts_are_compared_key_by_key() -> None:
    old = {f"doc{n}": {"body": noise(random.Random(n), 500)} for n in range(300)}
    new: State = copy.deepcopy(old)
    new["doc7"]["body"] = "edited"
    del new["doc100"]
    new["doc300"] = 1
    assert [(kind, path) for kind, path, _, _ in changes({"docs": old}, {"docs": new})] == [
        ("removed", "$.docs.doc100"),
        ("changed", "$.docs.doc7.body"),
        ("added", "$.docs.doc300"),
    ]


def applied(state: Any, found: list[Change]) -> Any:
    """The old state with the changes made: what a diff is for."""
    state = copy.deepcopy(state)
    # Removals count in the old state and additions in the new: from the back, then from the front.
    for change in sorted((c for c in found if c.kind == "removed"), key=lambda c: [_order(p) for p in c.path], reverse=True):
        del _holder(state, change.path)[change.path[-1]]
    for change in (c for c in found if c.kind == "added"):
        holder = _holder(state, change.path)
        holder.insert(change.path[-1], change.new) if isinstance(holder, list) else holder.update({change.path[-1]: change.new})
    for change in (c for c in found if c.kind == "changed"):
        if not change.path:
            return change.new
        _holder(state, change.path)[change.path[-1]] = change.new
    return state


def _order(part: Any) -> tuple[int, Any]:
    return (0, part) if isinstance(part, int) else (1, part)


def _holder(state: Any, path: tuple[Any, ...]) -> Any:
    for part in path[:-1]:
        state = state[part]
    return state


@given(st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_edits_of_lists_can_be_made_again_from_their_diff(seed: int) -> None:
    rng = random.Random(seed)
    old: State = {name: [message(n, 200) for n in range(rng.choice([3, 100]))] for name in "abc"}
    new: State = copy.deepcopy(old)
    for name in "aabbbc":
        at = rng.randrange(len(new[name]) + 1)
        edit = [message(rng.randrange(10**6), rng.choice([100, 100, 40_000])) for _ in range(rng.randrange(3))]
        new[name][at : at + rng.randrange(3)] = edit
    world = World()
    a, b = world.archive.save(old, run="r"), world.archive.save(new, run="r")
    assert applied(old, list(world.cold().diff(a.id, b.id))) == new
    assert applied(new, list(world.cold().diff(b.id, a.id))) == old


# What it reads --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> tuple[World, str, str]:
    """Two neighbours of 20 MB that differ in one message, and their ids."""
    world = World()
    state = conversation(20_000, size=1000)
    first = world.archive.save(state, run="r")
    state["messages"][12_345]["content"] = "edited"
    state["messages"].append(message(20_000))
    return world, first.id, world.archive.save(state, run="r", parent=first).id


def test_a_diff_of_large_neighbours_reads_what_differs(large: tuple[World, str, str]) -> None:
    world, first, second = large
    archive = world.cold()
    found: list[Change] = []
    usage = world.cost(lambda: found.extend(archive.diff(first, second)))
    # What lies between the edit and the append is the same, though neither end of the list shows it.
    assert [str(change) for change in found] == ["changed $.messages[12345].content", "added $.messages[20000]"]
    assert usage.bytes_read < 0.02 * 20_000_000  # two frames of chunks on each side, and the nodes above
    assert usage.round_trips <= 10


def test_a_diff_of_one_appended_message_reads_one_percent(large: tuple[World, str, str]) -> None:
    world, _, second = large
    archive = world.cold()
    state = {**world.archive[second].state()}
    state["messages"].append(message(20_001))
    third = world.archive.save(state, run="r", parent=second)
    found: list[Change] = []
    usage = world.cost(lambda: found.extend(archive.diff(second, third.id)))
    assert [str(change) for change in found] == ["added $.messages[20001]"]
    assert usage.bytes_read < 0.01 * third.size_bytes
    assert usage.round_trips <= 10


def test_equal_large_states_are_compared_without_reading(large: tuple[World, str, str]) -> None:
    world, first, _ = large
    fork = world.archive.fork(first)
    archive = world.cold()
    usage = world.cost(lambda: list(archive.diff(first, fork.id)))
    assert dict(usage.requests) == {"get": 2}


def test_a_diff_of_a_large_dict_reads_what_differs(world: World) -> None:
    docs: State = {f"doc-{n}": {"body": noise(random.Random(n), 2000)} for n in range(5000)}  # too large to be read at once
    first = world.archive.save({"docs": docs}, run="r")
    second = world.archive.save({"docs": {**docs, "doc-17": 1, "new": 2}}, run="r", parent=first)
    archive = world.cold()
    found: list[Change] = []
    usage = world.cost(lambda: found.extend(archive.diff(first.id, second.id)))
    assert [str(change) for change in found] == ['changed $.docs["doc-17"]', "added $.docs.new"]
    assert usage.bytes_read < 0.1 * first.stored_bytes


def test_a_diff_with_nothing_is_an_error(world: World) -> None:
    id = world.archive.save({}, run="r").id
    with pytest.raises(NotFoundError):
        world.archive.diff(id, "nothing")


def test_paths_as_text() -> None:
    assert path_text(()) == "$"
    assert path_text(("messages", 12, "content")) == "$.messages[12].content"
    assert path_text(("a b", 'say "hi"', "back\\slash")) == '$["a b"]["say \\"hi\\""]["back\\\\slash"]'
    assert path_text((b"raw", None, 1.5)) == "$[b'raw'][None][1.5]"
    assert str(Change(("a", 0), "removed", 1, None)) == "removed $.a[0]"
