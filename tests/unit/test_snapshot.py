"""A snapshot reads like the state it holds, whole or in part.

Goal: `snap["messages"][-10:]` gives what the same expression gives on the state, and costs what it shows.
Method: every reading operation beside the same one on the plain state, for states that lie in one chunk, in one pack and in
many; requests and bytes on 20 MB.
"""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from snapstore.errors import CorruptionError
from snapstore.format import values
from snapstore.snapshot import ListView, MapView, Snapshot
from snapstore.storage.meter import Meter
from snapstore.storage.protocol import Stored
from tests.unit.archives import State, World, conversation, message, noise

LONG = noise(random.Random(1), 100_000)


def stored(state: Any) -> Snapshot:
    """A state as another process finds it."""
    world = World()
    saved = world.archive.save(state, run="r")
    return world.cold()[saved.id]


# Views ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[3, 400, 6000], ids=["small", "one pack", "large"])
def pair(request: pytest.FixtureRequest) -> tuple[Snapshot, State]:
    """A snapshot, and the state it holds."""
    state = conversation(request.param, size=1200)
    state["docs"] = {f"doc-{n}": {"title": f"Title {n}"} for n in range(request.param)}
    return stored(state), state


def test_it_has_the_length_keys_and_order_of_the_state(pair: tuple[Snapshot, State]) -> None:
    snap, state = pair
    assert len(snap) == len(state)
    assert list(snap) == list(state)
    assert "messages" in snap
    assert "nothing" not in snap
    assert len(snap["messages"]) == len(state["messages"])
    assert list(snap["docs"]) == list(state["docs"])
    assert snap.view() == state
    assert snap.state() == state


@pytest.mark.parametrize(
    "part",
    [
        *[slice(None), slice(-10, None), slice(2), slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(-1, -3, -1)],
        *[slice(1, 1), slice(5, 2), slice(10**9, None), slice(None, 10**9), slice(-(10**9), 2), slice(2, None, 97)],
        *[slice(None, None, 10**9), slice(None, None, -97), slice(-2, None, -50)],
    ],
    ids=str,
)
def test_slices_are_those_of_a_list(pair: tuple[Snapshot, State], part: slice) -> None:
    snap, state = pair
    found = snap["messages"][part]
    assert type(found) is list
    assert found == state["messages"][part]


def test_indexes_are_those_of_a_list(pair: tuple[Snapshot, State]) -> None:
    snap, state = pair
    view, plain = snap["messages"], state["messages"]
    for index in (0, 1, 2, -1, -2, len(plain) // 2, -len(plain)):
        assert view[index] == plain[index]
    for index in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            view[index]
    for wrong in ("0", 0.5, None):
        with pytest.raises(TypeError):
            view[wrong]


def test_lists_are_iterated_and_searched(pair: tuple[Snapshot, State]) -> None:
    snap, state = pair
    view, plain = snap["messages"], state["messages"]
    assert list(view) == plain
    assert list(reversed(view[:10])) == plain[:10][::-1]
    assert plain[1] in view
    assert {"role": "nobody"} not in view
    assert view.index(plain[2]) == 2
    assert [one["index"] for one in view] == [one["index"] for one in plain]


def test_dicts_are_those_of_the_state(pair: tuple[Snapshot, State]) -> None:
    snap, state = pair
    view, plain = snap["docs"], state["docs"]
    assert view["doc-1"]["title"] == "Title 1"
    assert view.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        view["nothing"]
    assert list(view.items()) == list(plain.items())
    assert list(view.values()) == list(plain.values())
    assert (view.keys() & {"doc-2", "other"}) == {"doc-2"}
    assert view == plain
    assert view != {**plain, "doc-1": None}
    assert dict(view) == plain


def test_a_view_equals_the_plain_value_and_other_views() -> None:
    snap = stored({"a": conversation(200)["messages"], "b": conversation(200)["messages"], "nan": [math.nan, LONG]})
    assert isinstance(snap["a"], ListView)
    assert snap["a"] == snap["b"]
    assert snap["a"] == conversation(200)["messages"]
    assert conversation(200)["messages"] == snap["a"]
    assert snap["a"] != conversation(199)["messages"]
    assert snap["a"] != tuple(conversation(200)["messages"])
    assert snap["nan"] == snap["nan"]  # the same bytes, though nan != nan
    assert repr(snap["a"]) == "<ListView of 200 items>"
    with pytest.raises(TypeError):
        hash(snap["a"])


def test_a_key_that_cannot_be_in_a_dict_is_a_missing_one() -> None:
    view = stored({"docs": {f"k{n}": LONG[:2000] for n in range(100)}})["docs"]
    assert isinstance(view, MapView)
    for key in (("a", 1), frozenset(), 1.5, object()):
        assert key not in view
        with pytest.raises(KeyError):
            view[key]
    with pytest.raises(TypeError):
        view[[]]


def test_keys_are_found_as_in_a_dict() -> None:
    """1, 1.0 and True are one key in Python; a large value behind such a key is found by any of them."""
    state = {1: conversation(100), b"raw": LONG, None: [1], "text": {"x": LONG}, 2.5: "float"}
    snap = stored(state)
    assert snap[1] == state[1]
    assert snap[1.0] == state[1]
    assert snap[True] == state[1]
    assert snap[b"raw"] == LONG
    assert snap[None] == [1]
    assert snap[2.5] == "float"
    assert list(snap) == list(state)
    with pytest.raises(KeyError):
        snap["raw"]


def test_large_items_within_lists() -> None:
    """A tool's output of a megabyte is a tree in its list: text comes as text, containers as views."""
    items: list[Any] = [1, LONG, conversation(300), "small", LONG.encode(), [LONG] * 3, tuple(range(30_000))]
    snap = stored({"items": items})
    view = snap["items"]
    assert list(view) == items
    assert view[:] == items
    assert view[::-2] == items[::-2]
    assert [type(item).__name__ for item in view] == ["int", "str", "MapView", "str", "bytes", "ListView", "tuple"]
    assert [type(item).__name__ for item in view[:]] == ["int", "str", "dict", "str", "bytes", "list", "tuple"]
    assert view[2]["messages"][-1] == message(299)
    assert view[2]["messages"][-1]["content"] == message(299)["content"]
    assert view.index(LONG) == 1


@pytest.mark.parametrize("state", [[1, 2, 3], [LONG] * 2, "text", LONG, b"", LONG.encode(), 7, None, 1.5, (1, 2), {1, 2}])
def test_a_state_need_not_be_a_dict(state: Any) -> None:
    snap = stored(state)
    assert snap.state() == state
    assert type(snap.state()) is type(state)
    assert snap.view() == state
    if isinstance(state, (list, str, bytes)) and state:
        assert snap[0] == state[0]
        assert snap[-1:] == state[-1:]


def test_what_a_snapshot_says_of_itself() -> None:
    world = World()
    first = world.archive.save({"a": 1}, run="r", graph="g", node="plan", status="waiting", metadata={"k": [1, None]}, id="x")
    child = world.archive.save({"a": 2}, run="r", graph="g", parent=first)
    found = world.cold()[child.id]
    assert (found.run, found.graph, found.node, found.status, found.metadata) == ("r", "g", None, "completed", {})
    assert found.parents == ("x",)
    assert (first.node, first.status, first.metadata, first.parents) == ("plan", "waiting", {"k": [1, None]}, ())
    assert found.created_at.utcoffset() is not None
    assert found.created_at > first.created_at
    assert found.created_at == found.updated_at
    assert found.size_bytes == len(values.encode({"a": 2}))
    assert found.stored_bytes > 0
    assert found.info.id == found.id
    assert repr(first) == "<Snapshot 'x' run='r' graph='g' status='waiting'>"
    assert found == child
    assert found != first
    assert len({found, child, first}) == 2


def test_equal_states_have_equal_digests() -> None:
    """What a caller compares to see whether anything changed."""
    assert stored(conversation(200)).digest == stored(conversation(200)).digest
    assert stored(conversation(200)).digest != stored(conversation(201)).digest
    reordered = dict(reversed(conversation(200).items()))
    assert stored(reordered).digest != stored(conversation(200)).digest  # order is kept, so it counts


# What a part costs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> tuple[World, str, State]:
    """A state of 20 MB with large and small parts."""
    state = conversation(18_000, size=1000)
    state["memory"] = {f"note-{n}": noise(random.Random(n), 900) for n in range(2000)}
    world = World()
    return world, world.archive.save(state, run="r").id, state


@pytest.mark.parametrize(
    ("read", "bytes_at_most", "trips_at_most"),
    [
        (lambda snap: snap["messages"][-10:], 250_000, 4),
        (lambda snap: snap["messages"][-1], 250_000, 4),
        (lambda snap: snap["messages"][9000], 250_000, 6),
        (lambda snap: snap["messages"][9000:9100], 400_000, 6),
        (lambda snap: len(snap["messages"]), 100_000, 2),
        (lambda snap: list(snap), 150_000, 2),
        (lambda snap: snap["cost"], 150_000, 2),
        (lambda snap: snap["memory"]["note-1999"], 1_400_000, 7),
        (lambda snap: "note-5" in snap["memory"], 1_400_000, 7),
        (lambda snap: next(iter(snap["messages"])), 400_000, 6),
    ],
    ids=["tail", "last", "middle", "range", "length", "keys", "field", "key", "membership", "first"],
)
def test_a_part_of_a_large_state_costs_a_part(
    large: tuple[World, str, State], read: Any, bytes_at_most: int, trips_at_most: int
) -> None:
    world, id, state = large
    snap = world.cold()[id]
    found: list[Any] = []
    usage = world.cost(lambda: found.append(read(snap)))
    assert found[0] == read(state)
    assert usage.bytes_read <= bytes_at_most
    assert usage.round_trips <= trips_at_most


def test_walking_a_large_state_reads_it_once(large: tuple[World, str, State]) -> None:
    world, id, _ = large
    for read in (lambda snap: list(snap["messages"]), lambda snap: snap["messages"][:], lambda snap: snap["messages"][::-1]):
        snap = world.cold()[id]
        found: list[Any] = []
        usage = world.cost(lambda: found.append(read(snap)))  # noqa: B023
        assert len(found[0]) == 18_000
        assert usage.bytes_read < 1.2 * 10_000_000
        assert usage.round_trips <= 25
    snap = world.cold()[id]
    usage = world.cost(lambda: list(snap["memory"].items()))
    assert (usage.bytes_read < 1_600_000, usage.round_trips <= 9) == (True, True)


def test_many_large_items_are_read_together() -> None:
    """Ten tool outputs of 50 KB each are ten trees: read one by one, each would take two round trips more."""
    world = World()
    state = {"messages": [{"role": "tool", "content": noise(random.Random(n), 60_000)} for n in range(200)]}
    id = world.archive.save(state, run="r").id
    snap = world.cold()[id]
    found: list[Any] = []
    usage = world.cost(lambda: found.append(snap["messages"][-10:]))
    assert found[0] == state["messages"][-10:]
    assert usage.round_trips <= 5
    assert usage.bytes_read < 0.1 * world.stored_bytes("runs/")


def test_the_end_of_a_long_run_is_read_from_its_newest_packs() -> None:
    """After hundreds of saves the last messages lie in many packs: they are still one wave of requests."""
    world = World()
    state = conversation(9000, size=1000)
    run = world.archive.run("r")
    run.save(state)
    for index in range(9000, 9060):
        state["messages"].append(message(index, size=1000))
        last = run.save(state)
    snap = world.cold()[last.id]
    found: list[Any] = []
    usage = world.cost(lambda: found.append(snap["messages"][-30:]))
    assert found[0] == state["messages"][-30:]
    assert usage.round_trips <= 6
    assert usage.bytes_read < 0.05 * last.size_bytes


def test_what_was_read_once_is_not_read_again(large: tuple[World, str, State]) -> None:
    world, id, _ = large
    snap = world.cold()[id]
    assert snap["messages"][-10:]
    assert world.cost(lambda: snap["messages"][-5:]).total == 0
    assert world.cost(lambda: snap["messages"][-1]["content"]).total == 0


# Damage ---------------------------------------------------------------------------------------------------------------


class FlippingMeter(Meter):
    """Turns one bit of every body of a pack that is read whole, at a place of its length's choosing."""

    place = 0.5
    on = False

    def get(self, key: str) -> Stored:
        stored = super().get(key)
        if not self.on or not key.startswith(("runs/", "packs/")):
            return stored
        data = bytearray(stored.data)
        data[int(len(data) * self.place)] ^= 16
        return Stored(bytes(data), stored.version)


@pytest.mark.parametrize("count", [2, 300])
def test_a_flipped_bit_is_an_error_and_never_a_wrong_state(count: int) -> None:
    """Snapshots that are read at once keep their packs at hand; what is taken from there is verified like the rest."""
    world = World()
    state = conversation(count)
    id = world.archive.save(state, run="r").id
    flipping = FlippingMeter(world.memory)
    world.meter = flipping
    archive = world.cold()
    flipping.on = True
    codes = []
    for step in range(100):
        flipping.place = step / 100
        try:
            assert archive[id].state() == state  # a bit of the trailer, which reading a state does not need
            assert archive[id]["messages"][-1] == state["messages"][-1]
        except CorruptionError as error:
            codes.append(error.code)
    assert len(codes) > 60
    assert set(codes) <= {"frame_damaged", "chunk_damaged", "node_damaged", "state_damaged", "value_damaged"}
    flipping.on = False
    assert world.cold()[id].state() == state
