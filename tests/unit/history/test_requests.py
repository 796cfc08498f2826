"""What every operation asks of the storage, exactly.

Goal: the table of requests and sequential round trips in the design holds: on object storage they are the time that a user
waits and the bill that he pays, and nothing but a count notices when one more creeps in.
Method: a meter around a storage in memory; each operation through a handle that has just done the work before (warm)
and through one that knows nothing (cold), as another process would.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from snapstore.snapshot import Snapshot, SnapshotDraft
from snapstore.storage.meter import Usage
from tests.unit.archives import State, World, conversation, message, noise

NEW = {"put": 2, "put_create": 1}
"""A new snapshot: its pack and its change marker, and the register that must not exist."""

REPLACED = {"put": 2, "put_if": 1}
"""New content under an old id: pack and change marker, and the register that must not have changed."""

TINY = {"step": 1}
LOOKS = 2
"""What a list asks besides changes and registers: whether there is an index, and, after the changes, whether there was one."""

LARGE_BYTES = 5 * 1024 * 1024  # beyond what is read together with the register


@pytest.fixture
def world() -> World:
    return World()


def spent(usage: Usage) -> tuple[dict[str, int], int]:
    return dict(usage.requests), usage.round_trips


def long_run(world: World, run: str = "long") -> Snapshot:
    """A run whose last snapshot needs more than 20 packs: saves of three sizes, too few of each to be merged."""
    rng = random.Random(1)
    handle = world.archive.run(run, graph="agents")
    state: State = {"log": []}
    for size in [270_000] * 6 + [40_000] * 8 + [500] * 8:
        state["log"].append(noise(rng, size))
        last = handle.save(state)
    assert 20 < len(last.register.closure) <= 24
    return last


# Saving ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [{}, TINY, conversation(1000)], ids=["empty", "tiny", "300 KB"])
@pytest.mark.parametrize("id", [None, "given"])
def test_a_new_snapshot_is_three_writes_at_once(world: World, state: State, id: str | None) -> None:
    assert spent(world.cost(lambda: world.archive.save(state, run="r", id=id))) == (NEW, 1)
    assert spent(world.cost(lambda: world.cold().save(state, run="r", id=None))) == (NEW, 1)


def test_a_child_of_what_this_handle_saved_reads_nothing(world: World) -> None:
    state = conversation(1000)
    parent = world.archive.save(state, run="r")
    for index in range(30):  # among them saves that merge packs: their chunks are in memory anyway
        state["messages"].append(message(1000 + index))
        children: list[Snapshot] = []
        usage = world.cost(lambda: children.append(world.archive.save(state, run="r", parent=parent)))  # noqa: B023
        assert spent(usage) == (NEW, 1)
        parent = children[0]


def test_a_run_handle_looks_once_and_then_only_writes(world: World) -> None:
    run = world.archive.run("r")
    assert spent(world.cost(lambda: run.save(TINY))) == ({"list": 1, **NEW}, 2)
    assert spent(world.cost(lambda: run.save(TINY))) == (NEW, 1)


def test_a_child_of_a_snapshot_not_seen_before_reads_its_register_and_what_it_stands_on(world: World) -> None:
    tiny = world.archive.save(TINY, run="r")
    # The one chunk is read too: a register can be visible before its pack is, and then nobody may stand on it.
    archive = world.cold()
    assert spent(world.cost(lambda: archive.save(TINY, run="r", parent=tiny))) == ({"get": 1, "get_ranges": 1, **NEW}, 3)
    archive = world.cold()
    parent = world.archive.save(conversation(1000), run="r")
    usage = world.cost(lambda: archive.save(conversation(1001), run="r", parent=parent.id))
    nodes = usage.requests["get_ranges"]
    assert spent(usage) == ({"get": 1, "get_ranges": nodes, **NEW}, 2 + nodes)
    assert nodes <= 3
    assert usage.bytes_read < 0.05 * parent.size_bytes  # the nodes, not the state


def test_each_further_parent_is_one_more_marker_at_the_same_time(world: World) -> None:
    parents = [world.archive.save({"branch": n}, run="r") for n in range(4)]
    usage = world.cost(lambda: world.archive.save(TINY, run="r", parent=parents))
    assert spent(usage) == ({"put": 2 + 3, "put_create": 1}, 1)


def test_unknown_parents_are_read_together(world: World) -> None:
    parents = [world.archive.save({"branch": n}, run="r").id for n in range(4)]
    archive = world.cold()
    usage = world.cost(lambda: archive.save(TINY, run="r", parent=parents))
    assert spent(usage) == ({"get": 4, "get_ranges": 1, "put": 2 + 3, "put_create": 1}, 3)


def test_overwriting_what_this_handle_saved_is_pack_and_then_register_and_marker(world: World) -> None:
    world.archive.save(TINY, run="r", id="x")
    for state in ({"step": 2}, conversation(1000), TINY):
        assert spent(world.cost(lambda: world.archive.save(state, run="r", id="x"))) == (REPLACED, 2)  # noqa: B023


def test_overwriting_an_unexpected_snapshot_first_tries_to_create_it(world: World) -> None:
    world.archive.save(TINY, run="r", id="x")
    archive = world.cold()
    usage = world.cost(lambda: archive.save({"step": 2}, run="r", id="x"))
    # The refused create and its look at the register, the proof that the old version is whole, then as above.
    assert spent(usage) == ({"put": 2 + 2, "put_create": 1, "get": 1, "get_ranges": 1, "put_if": 1}, 2 + 1 + 2)


# Updating -------------------------------------------------------------------------------------------------------------


def finished(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    assert draft is not None
    draft.status = "done" if draft.status == "running" else "running"
    return draft


def moved(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    assert draft is not None
    draft.node = f"{draft.node}+"
    return draft


def noted(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    assert draft is not None
    draft.metadata["seen"] = draft.metadata.get("seen", 0) + 1
    return draft


def beat(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    return draft


@pytest.mark.parametrize("mutator", [finished, moved, noted])
def test_a_status_change_is_the_register_and_a_marker(world: World, mutator: Any) -> None:
    world.archive.save(conversation(1000), run="r", id="x")
    assert spent(world.cost(lambda: world.archive.update("x", mutator))) == ({"put_if": 1, "put": 1}, 1)
    archive = world.cold()
    assert spent(world.cost(lambda: archive.update("x", mutator))) == ({"get": 1, "put_if": 1, "put": 1}, 2)
    assert spent(world.cost(lambda: archive.update("x", mutator))) == ({"put_if": 1, "put": 1}, 1)


def test_a_heartbeat_is_one_conditional_write(world: World) -> None:
    world.archive.save(conversation(1000), run="r", id="x")
    for _ in range(3):
        usage = world.cost(lambda: world.archive.update("x", beat))
        assert spent(usage) == ({"put_if": 1}, 1)
        assert usage.bytes_written < 1000
    archive = world.cold()
    assert spent(world.cost(lambda: archive.update("x", beat))) == ({"get": 1, "put_if": 1}, 2)
    assert len(world.keys("runs/")) == 1


def test_new_content_by_update(world: World) -> None:
    def replaced(draft: SnapshotDraft | None) -> SnapshotDraft:
        return SnapshotDraft(state={"step": 2})

    def appended(draft: SnapshotDraft | None) -> SnapshotDraft:
        assert draft is not None
        draft.state["step"] += 1
        return draft

    world.archive.save(TINY, run="r", id="x")
    assert spent(world.cost(lambda: world.archive.update("x", replaced))) == (REPLACED, 2)
    # A mutator that looks at the state has its pack read first.
    assert spent(world.cost(lambda: world.archive.update("x", appended))) == ({"get": 1, **REPLACED}, 3)
    archive = world.cold()
    assert spent(world.cost(lambda: archive.update("x", appended))) == ({"get": 2, **REPLACED}, 4)


def test_an_update_that_creates_looks_first(world: World) -> None:
    usage = world.cost(lambda: world.archive.update("new", lambda _: SnapshotDraft(state=TINY)))
    assert spent(usage) == ({"get": 1, **NEW}, 2)


def test_a_skipped_update_is_decided_on_what_is_there_now(world: World) -> None:
    world.archive.save(TINY, run="r", id="x")
    assert spent(world.cost(lambda: world.archive.update("x", lambda _: None))) == ({"get": 1}, 1)


# Restoring ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [TINY, conversation(1000)], ids=["tiny", "300 KB"])
def test_a_restore_is_the_register_and_then_the_pack(world: World, state: State) -> None:
    id = world.archive.save(state, run="r").id
    archive = world.cold()
    assert spent(world.cost(lambda: archive[id].state())) == ({"get": 2}, 2)
    assert spent(world.cost(lambda: world.archive[id].state())) == ({"get": 2}, 2)


def test_a_restore_from_many_packs_is_two_round_trips(world: World) -> None:
    last = long_run(world)
    for archive in (world.archive, world.cold()):
        usage = world.cost(lambda: archive[last.id].state())  # noqa: B023
        assert usage.round_trips == 2
        assert usage.total == 1 + len(last.register.closure)
        assert usage.bytes_read < 1.1 * sum(ref.size for ref in last.register.closure.values())


def test_a_large_state_is_read_only_when_it_is_wanted(world: World) -> None:
    id = world.archive.save({"text": noise(random.Random(1), 2 * LARGE_BYTES)}, run="r").id
    archive = world.cold()
    found: list[Snapshot] = []
    assert spent(world.cost(lambda: found.append(archive[id]))) == ({"get": 1}, 1)
    assert spent(world.cost(lambda: found[0].state())) == ({"get": 1}, 1)


def test_the_state_of_a_saved_snapshot_is_one_round_trip_away(world: World) -> None:
    saved = world.archive.save(conversation(1000), run="r")
    assert spent(world.cost(saved.state)) == ({"get": 1}, 1)
    # Reading it again, or a part, asks for nothing: it was small enough to stay at hand.
    assert spent(world.cost(saved.state)) == ({}, 0)
    assert spent(world.cost(lambda: saved["messages"][-10:])) == ({}, 0)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_fork_restores_in_two_round_trips(world: World, depth: int) -> None:
    snapshot = long_run(world)
    for _ in range(depth):
        snapshot = world.archive.fork(snapshot.id)
    archive = world.cold()
    usage = world.cost(lambda: archive[snapshot.id].state())
    assert (usage.round_trips, usage.total) == (2, 1 + len(snapshot.register.closure))


def test_nothing_there_is_found_out_quickly(world: World) -> None:
    assert spent(world.cost(lambda: world.archive.get("nothing"))) == ({"get": 1}, 1)
    assert spent(world.cost(lambda: world.archive.latest("nothing"))) == ({"list": 1}, 1)
    assert spent(world.cost(lambda: list(world.archive.list("nothing")))) == ({"list": 1, "get": LOOKS}, 2)


# The newest of a run --------------------------------------------------------------------------------------------------


def newest_state(archive: Any, run: str) -> Any:
    found = archive.latest(run)
    assert found is not None
    return found.state()


def test_the_newest_of_a_run_comes_with_its_state_in_three_round_trips(world: World) -> None:
    world.archive.save(TINY, run="r")
    archive = world.cold()
    usage = world.cost(lambda: newest_state(archive, "r"))
    assert spent(usage) == ({"list": 1, "get_ranges": 1, "get": 1}, 3)  # the pack's end is all of it


def test_the_newest_of_a_long_run_comes_with_its_state_in_three_round_trips(world: World) -> None:
    last = long_run(world)
    for archive in (world.archive, world.cold()):
        usage = world.cost(lambda: newest_state(archive, "long"))  # noqa: B023
        # Listing, the end of the newest pack, then the register and the other packs together.
        assert (usage.round_trips, usage.total) == (3, 3 + len(last.register.closure) - 1)


def test_the_newest_of_a_forked_run_comes_with_its_state_in_three_round_trips(world: World) -> None:
    fork = world.archive.fork(long_run(world).id, run="other")
    archive = world.cold()
    usage = world.cost(lambda: newest_state(archive, "other"))
    assert (usage.round_trips, usage.total) == (3, 3 + len(fork.register.closure) - 1)


def test_the_newest_of_a_run_with_a_large_state_is_found_without_reading_it(world: World) -> None:
    world.archive.save({"text": noise(random.Random(1), 2 * LARGE_BYTES)}, run="r")
    archive = world.cold()
    assert world.cost(lambda: archive.latest("r")).bytes_read < 100_000
    assert world.cost(lambda: archive.latest("r")).round_trips == 3
    assert world.cost(lambda: newest_state(archive, "r")).round_trips == 4


@pytest.mark.parametrize("messages", [50, 400, 1600, 6400])
def test_the_end_of_a_pack_holds_what_the_newest_needs(world: World, messages: int) -> None:
    """Nodes lie at the end of a pack, and with many of them the directory must still come in the first read."""
    run = world.archive.run("r")
    state = conversation(messages)
    run.save(state)
    state["messages"].append(message(messages))
    run.save(state, metadata={"note": "x" * 8000})
    archive = world.cold()
    assert world.cost(lambda: newest_state(archive, "r")).round_trips == 3


# Forks ----------------------------------------------------------------------------------------------------------------


def test_a_fork_reads_one_register_and_copies_nothing(world: World) -> None:
    last = long_run(world)
    for archive in (world.archive, world.cold()):
        usage = world.cost(lambda: archive.fork(last.id, run="other"))  # noqa: B023
        assert spent(usage) == ({"get": 1, **NEW}, 2)
        assert usage.bytes_written < 5000


def test_a_patched_fork_reads_the_state(world: World) -> None:
    id = world.archive.save(conversation(1000), run="r").id
    archive = world.cold()
    usage = world.cost(lambda: archive.fork(id, patch={"cost": 1.5}))
    assert spent(usage) == ({"get": 2, **NEW}, 3)
    assert usage.bytes_written < 3000


def test_a_move_into_another_graph_is_told_to_both(world: World) -> None:
    """Whoever keeps the list of the graph that it left looks only at the changes there."""
    world.archive.save(TINY, run="r", graph="old", id="x")
    usage = world.cost(lambda: world.archive.save({"step": 2}, run="r", graph="new", id="x"))
    assert spent(usage) == ({"put": 3, "put_if": 1}, 2)
    archive = world.cold()
    assert [len([*archive.list(graph=graph)]) for graph in ("old", "new")] == [0, 1]
    assert len([*world.archive.storage.list("changes/old/")]) == 2


# Lists ----------------------------------------------------------------------------------------------------------------


def test_the_newest_fifty_of_a_graph_are_one_listing_and_their_registers(world: World) -> None:
    ids = [world.archive.save({"n": n}, run=f"r{n % 7}", graph="g", id=f"s{n:03}").id for n in range(120)]
    archive = world.cold()
    rows: list[str] = []
    usage = world.cost(lambda: rows.extend(row.id for row in archive.list("g", limit=50)))
    assert (spent(usage), rows) == (({"list": 1, "get": 50 + LOOKS}, 2), ids[:-51:-1])


def test_a_graph_whose_snapshots_change_status_lists_as_quickly(world: World) -> None:
    """Every snapshot has several markers then, and the newest are not those of creations."""
    for n in range(80):
        world.archive.save({"n": n}, run="r", graph="g", id=f"s{n}", status="running")
        world.archive.update(f"s{n}", finished)
    archive = world.cold()
    usage = world.cost(lambda: list(archive.list("g", limit=50)))
    assert spent(usage) == ({"list": 1, "get": 50 + LOOKS}, 2)


def test_a_list_reads_only_what_changed_since_this_process_read_or_wrote_it(world: World) -> None:
    """A dashboard asks every few seconds: its cost must follow the changes."""
    for n in range(80):
        world.archive.save({"n": n}, run="r", graph="g", id=f"s{n}", status="running")
    archive = world.cold()
    assert spent(world.cost(lambda: list(world.archive.list("g")))) == ({"list": 1, "get": LOOKS}, 2)
    assert spent(world.cost(lambda: list(archive.list("g")))) == ({"list": 1, "get": 80 + LOOKS}, 2)
    world.archive.update("s3", finished)
    world.archive.delete("s4")
    rows: list[Any] = []
    usage = world.cost(lambda: rows.extend(archive.list("g")))
    assert spent(usage) == ({"list": 1, "get": 2 + LOOKS}, 2)
    assert (len(rows), {row.id for row in rows if row.status == "done"}) == (79, {"s3"})


def test_a_run_lists_in_three_round_trips(world: World) -> None:
    run = world.archive.run("r")
    for n in range(60):
        run.save({"n": n})
    archive = world.cold()
    for call in (lambda: archive.log("r", limit=50), lambda: archive.log("r"), lambda: list(archive.list(run="r"))):
        assert world.cost(call).round_trips == 3
    assert spent(world.cost(lambda: archive.log("r", limit=5))) == ({"list": 1, "get_ranges": 5, "get": 5}, 3)
    assert spent(world.cost(lambda: archive.leaves("r"))) == ({"list": 1, "get_ranges": 1, "get": 1}, 3)


# The rest -------------------------------------------------------------------------------------------------------------


def test_deleting_reads_the_register_and_replaces_it(world: World) -> None:
    world.archive.save(TINY, run="r", id="x")
    assert spent(world.cost(lambda: world.archive.delete("x"))) == ({"get": 1, "put_if": 1, "put": 1}, 2)
    assert spent(world.cost(lambda: world.archive.delete("x"))) == ({"get": 1}, 1)


def test_a_limit_of_nothing_asks_for_nothing(world: World) -> None:
    assert spent(world.cost(lambda: list(world.archive.list(limit=0)))) == ({}, 0)
    assert spent(world.cost(lambda: world.archive.log("r", limit=0))) == ({}, 0)
