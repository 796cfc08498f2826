"""However long a history grows, a snapshot stays a matter of few packs and few pieces.

Goal: what ten thousand appends, forks of forks and states of many packs add up to: the closure stays below its cap and far
below it in ordinary life, a growing chunk lies in a bounded number of pieces, and all of it still reads back.
Method: long histories through the archive; large states with the pack size lowered, and one at the real size.
"""

from __future__ import annotations

import os
import random
from typing import cast
from unittest import mock

import pytest

from snapstore.config import SEGMENTS_MAX
from snapstore.format.limits import CLOSURE_LIMIT
from snapstore.format.node import LEAF, Entry
from snapstore.history import build
from snapstore.packs import builder
from snapstore.snapshot import Snapshot
from tests.unit.archives import State, World, conversation, message, noise

TYPICAL_PACKS = 24


@pytest.fixture
def world() -> World:
    return World()


def last_chunk(snapshot: Snapshot) -> Entry:
    """The last chunk of the list under the key `messages`."""
    view = snapshot["messages"]
    entry = cast("Entry", view.entry)
    while entry.kind != LEAF:
        entry = snapshot.tree.reader.loaded_node(entry).entries[-1]
    return entry


# Growing chunks -------------------------------------------------------------------------------------------------------


def test_a_growing_chunk_is_stored_in_pieces_until_it_closes(world: World) -> None:
    """Writing the last chunk again with every message would store each message twenty times over."""
    run = world.archive.run("r")
    state = conversation(40)
    run.save(state)
    pieces = []
    for index in range(40, 120):
        state["messages"].append(message(index, size=100))
        snapshot = run.save(state)
        pieces.append(len(last_chunk(snapshot).place))
        assert world.cold()[snapshot.id].state() == state
    assert max(pieces) > 4
    assert max(pieces) <= SEGMENTS_MAX
    assert 1 in pieces  # it closes, and the next one begins


def test_a_chunk_of_many_pieces_is_written_again_as_one(world: World) -> None:
    """Merging packs usually comes first and joins the pieces; where it does not, reading must not follow pieces forever."""
    run = world.archive.run("r")
    state = conversation(40)
    run.save(state)
    pieces = []
    with mock.patch.object(build, "SEGMENTS_MAX", 3):
        for index in range(40, 70):
            state["messages"].append(message(index, size=60))
            snapshot = run.save(state)
            pieces.append(len(last_chunk(snapshot).place))
    assert max(pieces) == 3
    assert pieces[pieces.index(3) + 1] == 1
    assert world.cold()[snapshot.id].state() == state


def test_pieces_read_in_part(world: World) -> None:
    """A piece is compressed against the pieces before it: the reader must find them in any order of reading."""
    run = world.archive.run("r")
    state = conversation(3000)
    run.save(state)
    for index in range(3000, 3040):
        state["messages"].append(message(index, size=60))
        snapshot = run.save(state)
        if len(last_chunk(snapshot).place) > 4:
            break
    assert len(last_chunk(snapshot).place) > 4
    for part in (slice(-3, None), slice(-40, -1), slice(-1, None)):
        found = world.cold()[snapshot.id]
        found.tree.reader.release_packs()
        assert found["messages"][part] == state["messages"][part]


# The closure ----------------------------------------------------------------------------------------------------------


def test_four_hundred_saves_with_forks_stay_far_below_the_cap(world: World) -> None:
    state = conversation(20)
    latest = world.archive.save(state, run="main")
    counts, kept = [], []
    for index in range(400):
        state["messages"].append(message(index, size=60 + index % 7 * 100))
        if index % 40 == 39:
            latest = world.archive.fork(latest.id, run=f"fork-{index}")
        latest = world.archive.save(state, run=latest.run, parent=latest)
        counts.append(len(latest.register.closure))
        if index % 57 == 0:
            kept.append((latest.id, len(state["messages"])))
    assert max(counts) <= TYPICAL_PACKS
    archive = world.cold()
    for id, length in kept:
        restored = archive[id].state()
        assert restored == {**state, "messages": state["messages"][:length]}


def test_a_handle_that_forgets_everything_merges_as_well(world: World) -> None:
    """Merging copies chunks that the new process has never read: it must read nothing else wrong, and stay small."""
    state = conversation(50)
    latest = world.archive.save(state, run="r")
    for index in range(60):
        state["messages"].append(message(index))
        latest = world.cold().save(state, run="r", parent=latest)
        assert len(latest.register.closure) <= TYPICAL_PACKS
    assert world.cold()[latest.id].state() == state


def test_forks_of_forks_never_exceed_the_cap(world: World) -> None:
    """A fork adds a pack and cannot merge, since it reads nothing: at the cap it has to write the state again."""
    state = conversation(100)
    latest = world.archive.save(state, run="r")
    counts = []
    for index in range(150):
        latest = world.archive.fork(latest.id, run=f"fork-{index}")
        counts.append(len(latest.register.closure))
    assert max(counts) <= CLOSURE_LIMIT
    assert min(counts[64:]) < 10  # it was written again, and then as one pack
    assert world.cold()[latest.id].state() == state
    child = world.archive.save({**state, "cost": 1}, run=latest.run, parent=latest)
    assert len(child.register.closure) <= TYPICAL_PACKS


def test_what_a_merge_leaves_behind_is_not_needed(world: World) -> None:
    """Packs that fell out of the closure may be collected: the newest snapshot has to live without them."""
    run = world.archive.run("r")
    state = conversation(10)
    for index in range(80):
        state["messages"].append(message(index))
        latest = run.save(state)
    needed = {ref.key for ref in latest.register.closure.values()}
    left = [key for key in world.keys("runs/") if key not in needed]
    assert len(left) > 60
    world.memory.delete_many(left)
    assert world.cold()[latest.id].state() == state
    state["messages"].append(message(80))
    child = world.cold().save(state, run="r", parent=latest)
    assert world.cold()[child.id].state() == state


# States of many packs -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_packs() -> object:
    """Packs of 200 KB in place of 16 MiB: each is one frame of chunks, which is as small as they get."""
    with mock.patch.object(builder, "PACK_BYTES", 200_000) as patched:
        yield patched


@pytest.mark.usefixtures("small_packs")
def test_a_state_of_many_packs_restores_and_reads_in_part(world: World) -> None:
    rng = random.Random(1)
    state: State = {"messages": [noise(rng, 3000) for _ in range(1200)], "blob": rng.randbytes(300_000)}
    saved = world.archive.save(state, run="r")
    further = world.keys("packs/")
    assert len(further) > 5
    assert len(saved.register.closure) == len(further) + 1
    assert saved.stored_bytes == world.stored_bytes("packs/") + world.stored_bytes("runs/")
    found = world.cold()[saved.id]
    assert found.state() == state
    assert world.cold()[saved.id]["messages"][350:352] == state["messages"][350:352]
    state["messages"].append("more")
    assert world.archive.save(state, run="r", parent=saved).stored_bytes < 10_000


@pytest.mark.usefixtures("small_packs")
def test_packs_grow_with_their_number_so_that_any_state_fits(world: World) -> None:
    """With packs of one size the cap of 64 would be a limit on the size of a state."""
    data = random.Random(1).randbytes(20_000_000)  # 75 frames
    saved = world.archive.save({"data": data}, run="r")
    assert len(saved.register.closure) < CLOSURE_LIMIT
    sizes = [ref.size for _, ref in sorted(saved.register.closure.items())]
    assert sizes[-3] > 3 * sizes[0]
    assert world.cold()[saved.id].state() == {"data": data}


def test_a_state_above_the_pack_size_is_uploaded_in_parts_first(world: World) -> None:
    data = os.urandom(40_000_000)
    usage = world.cost(lambda: world.archive.save({"data": data}, run="r", id="x"))
    assert dict(usage.requests) == {"put": 2 + 2, "put_create": 1}
    assert usage.round_trips == 2  # two packs together, then pack, register and marker
    assert [size for size in map(len, [world.memory.get(key).data for key in world.keys("packs/")]) if size > 17_000_000] == []
    assert world.cold()["x"].state() == {"data": data}
    changed = data[:20_000_000] + b"x" * 100 + data[20_000_000:]
    saved = world.archive.save({"data": changed}, run="r", parent="x")
    assert saved.stored_bytes < 200_000
    assert world.cold()[saved.id]["data"] == changed
