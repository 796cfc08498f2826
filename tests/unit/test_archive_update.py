"""An update is atomic: the mutator sees what is there, and what it returns is there afterwards, or nothing happened.

Goal: `archive.update` as adapters use it: counters that lose nothing, decisions that are made on current data, errors that
pass through, and heartbeats that cost one small write.
Method: two handles on one storage in memory, of which one keeps a head that the other has overtaken; a storage that lets a
rival in at the worst moment.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.history import swaps
from snapstore.snapshot import SnapshotDraft
from tests.unit.archives import World, conversation

Draft = SnapshotDraft | None


@pytest.fixture
def world() -> World:
    return World()


def live(draft: Draft) -> SnapshotDraft:
    assert draft is not None
    return draft


def count_up(draft: Draft) -> SnapshotDraft:
    draft = live(draft)
    draft.state["n"] += 1
    return draft


def renamed(status: str) -> Any:
    def mutator(draft: Draft) -> SnapshotDraft:
        draft = live(draft)
        draft.status = status
        return draft

    return mutator


# What a mutator can do ------------------------------------------------------------------------------------------------


def test_a_draft_is_changed_in_place(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x", node="a", metadata={"m": 1})

    def mutator(draft: Draft) -> SnapshotDraft:
        draft = live(draft)
        assert (draft.state, draft.status, draft.node, draft.metadata) == ({"n": 1}, "completed", "a", {"m": 1})
        draft.state["n"] = 2
        draft.status, draft.node = "paused", None
        draft.metadata["m"] = 2
        return draft

    for archive in (world.archive, world.cold()):
        found = archive.update("x", mutator) if archive is world.archive else archive["x"]
        assert found is not None
        assert (found.state(), found.status, found.node, found.metadata) == ({"n": 2}, "paused", None, {"m": 2})
        assert (found.run, found.version) == ("r", 2)


def test_a_draft_is_replaced(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x", node="a", metadata={"m": 1})
    found = world.archive.update("x", lambda _: SnapshotDraft(state=[1, 2], status="new"))
    assert found is not None
    assert (found.state(), found.status, found.node, found.metadata) == ([1, 2], "new", None, {})
    assert world.cold()["x"].state() == [1, 2]


def test_a_state_of_none_is_a_state(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")

    def emptied(draft: Draft) -> SnapshotDraft:
        live(draft).state = None
        return live(draft)

    world.archive.update("x", emptied)
    assert world.cold()["x"].state() is None


def test_an_update_keeps_run_graph_parents_and_creation(world: World) -> None:
    world.archive.save({}, run="r", graph="g", id="a")
    world.archive.save({"n": 1}, run="r", graph="g", id="x", parent="a")
    before = world.archive["x"]
    for archive in (world.archive, world.cold()):
        found = archive.update("x", count_up)
        assert found is not None
        assert (found.run, found.graph, found.parents, found.created_at) == ("r", "g", ("a",), before.created_at)
    world.archive.delete("a")
    found = world.cold().update("x", count_up)
    assert found is not None
    assert found.parents == ("a",)


def test_a_missing_snapshot_is_none_and_can_be_created(world: World) -> None:
    seen: list[Draft] = []

    def create(draft: Draft) -> SnapshotDraft:
        seen.append(draft)
        return SnapshotDraft(state={"n": 0}, status="made")

    world.archive.save({}, run="r", id="a")
    found = world.archive.update("x", create, run="r", graph="g", parent="a")
    assert found is not None
    assert (seen, found.run, found.graph, found.parents, found.status) == ([None], "r", "g", ("a",), "made")
    assert found.created_at == found.updated_at
    alone = world.archive.update("thread", create)
    assert alone is not None
    assert (alone.run, alone.parents) == ("thread", ())


def test_a_deleted_snapshot_is_none_and_can_be_created_again(world: World) -> None:
    world.archive.save({"n": 5}, run="r", id="x")
    world.archive.delete("x")
    for archive in (world.archive, world.cold()):
        assert archive.update("x", lambda draft: None if draft is None else draft) is None
    assert world.archive.update("x", lambda _: SnapshotDraft(state={"n": 0}), run="r") is not None
    assert world.cold()["x"].state() == {"n": 0}


def test_none_leaves_everything_as_it_is(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    before = world.keys()

    def touched_but_skipped(draft: Draft) -> None:
        live(draft).state["n"] = 99

    for archive in (world.archive, world.cold()):
        assert archive.update("x", touched_but_skipped) is None
        assert archive.update("missing", lambda _: None) is None
    assert world.keys() == before
    assert world.archive["x"].state() == {"n": 1}
    assert world.archive["x"].version == 1


def test_what_a_mutator_raises_passes_through_and_nothing_is_written(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    before = world.keys()
    for error in (RuntimeError("no"), ConflictError("stale", code="my_conflict"), NotFoundError("x"), KeyboardInterrupt()):

        def mutator(draft: Draft, error: BaseException = error) -> SnapshotDraft:
            raise error

        for archive in (world.archive, world.cold()):
            with pytest.raises(type(error)) as caught:
                archive.update("x", mutator)
            assert caught.value is error
    assert world.keys() == before
    assert world.archive["x"].version == 1


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    before = world.keys()
    for wrong in (
        SnapshotDraft(state=object()),
        SnapshotDraft(state={}, status="x" * 2000),
        SnapshotDraft(state={}, node="\ud800"),
        SnapshotDraft(state={}, metadata={"x": object()}),
    ):
        with pytest.raises(InvalidInputError):
            world.archive.update("x", lambda _: wrong)  # noqa: B023
    with pytest.raises(InvalidInputError):
        world.archive.update("x", lambda draft: _with_node(draft, "\ud800"))
    assert world.keys() == before


def _with_node(draft: Draft, node: str) -> SnapshotDraft:
    live(draft).node = node
    return live(draft)


# What is written ------------------------------------------------------------------------------------------------------


def test_an_untouched_state_writes_no_pack_and_no_marker(world: World) -> None:
    world.archive.save(conversation(300), run="r", id="x")
    packs, markers = world.keys("runs/"), world.keys("changes/")
    beat = world.archive.update("x", lambda draft: draft)
    assert beat is not None
    assert (world.keys("runs/"), world.keys("changes/")) == (packs, markers)
    assert beat.version == 2
    assert beat.updated_at > beat.created_at
    assert beat.state() == conversation(300)
    world.archive.update("x", renamed("done"))
    assert world.keys("runs/") == packs
    assert len(world.keys("changes/")) == len(markers) + 1
    assert world.cold()["x"].state() == conversation(300)
    assert world.cold()["x"].status == "done"


def test_an_update_of_a_large_state_stores_the_change(world: World) -> None:
    world.archive.save(conversation(1000), run="r", id="x")

    def append(draft: Draft) -> SnapshotDraft:
        live(draft).state["messages"].append({"new": True})
        return live(draft)

    for archive in (world.archive, world.cold()):
        found = archive.update("x", append)
        assert found is not None
        assert found.stored_bytes < 3000
    assert len(world.cold()["x"].state()["messages"]) == 1002


# Two writers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def overtaken(world: World) -> tuple[World, Archive]:
    """A world and a handle in it that keeps a head which another process has overtaken."""
    world.archive.save({"n": 1}, run="r", id="x")
    world.cold().update("x", count_up)
    return world, world.archive


def test_an_overtaken_head_loses_nothing(overtaken: tuple[World, Archive]) -> None:
    world, archive = overtaken
    seen: list[int] = []

    def mutator(draft: Draft) -> SnapshotDraft:
        seen.append(live(draft).state["n"])
        return count_up(draft)

    found = archive.update("x", mutator)
    assert found is not None
    assert seen == [1, 2]  # it ran again, on what is there now
    assert world.cold()["x"].state() == {"n": 3}


def test_a_status_change_on_an_overtaken_head_keeps_the_others_content(overtaken: tuple[World, Archive]) -> None:
    world, archive = overtaken
    archive.update("x", renamed("done"))
    found = world.cold()["x"]
    assert (found.status, found.state()) == ("done", {"n": 2})


def test_a_skip_decided_on_an_overtaken_head_is_decided_again(overtaken: tuple[World, Archive]) -> None:
    """`if state["n"] >= 2: write` must not be answered from a copy in which n is still 1."""
    world, archive = overtaken
    found = archive.update("x", lambda draft: count_up(draft) if live(draft).state["n"] >= 2 else None)
    assert found is not None
    assert world.cold()["x"].state() == {"n": 3}


@pytest.mark.parametrize("error", [RuntimeError("too early"), ConflictError("too early", code="too_early")])
def test_an_error_on_an_overtaken_head_is_raised_only_if_it_is_still_one(
    overtaken: tuple[World, Archive], error: Exception
) -> None:
    world, archive = overtaken

    def mutator(draft: Draft) -> SnapshotDraft:
        if live(draft).state["n"] < 2:
            raise error
        return count_up(draft)

    assert archive.update("x", mutator) is not None
    assert world.cold()["x"].state() == {"n": 3}


def test_an_overtaken_head_of_a_deleted_snapshot(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    world.cold().delete("x")
    seen: list[Draft] = []
    assert world.archive.update("x", lambda draft: seen.append(draft)) is None
    assert seen[-1] is None


def test_an_id_that_appears_meanwhile_is_not_overwritten_unseen(world: World) -> None:
    """Two processes initialise the same thread: one creates, the other must see what the first created."""
    rival = world.cold()
    seen: list[Any] = []

    def mutator(draft: Draft) -> SnapshotDraft | None:
        seen.append(None if draft is None else draft.state)
        if draft is None:
            if len(seen) == 1:
                rival.save({"by": "rival"}, run="r", id="x")
            return SnapshotDraft(state={"by": "me"})
        return None

    assert world.archive.update("x", mutator, run="r") is None
    assert seen == [None, {"by": "rival"}]
    assert world.cold()["x"].state() == {"by": "rival"}


def test_a_rival_at_every_attempt_is_outlived(world: World) -> None:
    world.archive.save({"n": 0}, run="r", id="x")
    rival = world.cold()
    tries: list[int] = []

    def mutator(draft: Draft) -> SnapshotDraft:
        draft = count_up(draft)
        tries.append(1)
        if len(tries) <= 4:
            rival.update("x", count_up)
        return draft

    world.archive.update("x", mutator)
    assert len(tries) == 5
    assert world.cold()["x"].state() == {"n": 5}


def test_a_rival_that_never_stops_is_a_conflict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swaps, "CONFLICT_TIMEOUT_S", 0.05)
    world.archive.save({"n": 0}, run="r", id="x")
    rival = world.cold()

    def mutator(draft: Draft) -> SnapshotDraft:
        rival.update("x", count_up)
        return count_up(draft)

    with pytest.raises(ConflictError) as caught:
        world.archive.update("x", mutator)
    assert caught.value.code == "version_changed"


def test_threads_on_one_handle_lose_nothing(world: World) -> None:
    world.archive.save({"n": 0}, run="r", id="x")

    def work(archive: Archive) -> None:
        for _ in range(10):
            archive.update("x", count_up)

    threads = [threading.Thread(target=work, args=(world.archive if n % 2 else world.cold(),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.cold()["x"].state() == {"n": 60}
    assert world.cold()["x"].version == 61
