"""Saving: what a caller says of a snapshot is what he reads back, in an order that does not depend on his clock.

Goal: the promises of `Archive.save` beyond the state itself: ids, parents, times, metadata, overwriting and deleting.
Method: an archive in memory, with handles that know nothing of one another as other processes; the clock replaced where
time matters.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from snapstore.opening import open_on
from snapstore.storage.wrapper import ReadOnlyStorage
from tests.unit.archives import World, conversation


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def archive(world: World) -> Archive:
    return world.archive


# Creating only --------------------------------------------------------------------------------------------------------


def test_without_overwrite_exactly_one_of_two_writers_succeeds(world: World) -> None:
    world.archive.save({"by": "first"}, run="r", id="x", overwrite=False)
    for rival in (world.archive, world.cold()):
        with pytest.raises(ConflictError) as caught:
            rival.save({"by": "second"}, run="r", id="x", overwrite=False)
        assert caught.value.code == "already_exists"
    assert world.cold()["x"].state() == {"by": "first"}


def test_what_was_deleted_can_be_created_again(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x", overwrite=False)
    world.cold().delete("x")
    world.archive.save({"n": 2}, run="r", id="x", overwrite=False)
    assert world.cold()["x"].state() == {"n": 2}


def test_a_parent_that_was_deleted_and_made_again_is_one(world: World) -> None:
    """The handle remembers the tombstone that it met; another process has saved over it since."""
    other = world.cold()
    other.save({"n": 1}, run="r", id="p")
    other.delete("p")
    world.archive.delete("p")
    other.save({"n": 2}, run="r", id="p")
    assert world.archive.save({"n": 3}, run="r", parent="p").parents == ("p",)


# Ids and names --------------------------------------------------------------------------------------------------------


def test_an_id_is_drawn_when_none_is_given(archive: Archive) -> None:
    first, second = archive.save({}, run="r"), archive.save({}, run="r")
    assert first.id != second.id
    assert len(first.id) == 32


# Status and metadata --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "", "waiting for input", "🙂", "a\nb", "x" * 1024])
def test_a_status_is_any_short_text(world: World, status: str) -> None:
    id = world.archive.save({}, run="r", status=status).id
    assert world.cold()[id].status == status
    assert [row.id for row in world.archive.list(status=status)] == [id]


@pytest.mark.parametrize("status", ["x" * 1025, "é" * 513, "\ud800", None, 7])
def test_a_status_that_is_no_short_text_is_refused(world: World, status: Any) -> None:
    before = world.keys()
    with pytest.raises(InvalidInputError) as caught:
        world.archive.save({}, run="r", status=status)
    assert (caught.value.code, world.keys()) == ("invalid_status", before)


def test_metadata_is_json_and_comes_back_as_it_was(world: World) -> None:
    metadata = {"model": "large", "tags": ["a", None, True], "cost": 0.1, "n": 2**53 + 1, "é": {"b": 1, "a": 2}}
    id = world.archive.save({}, run="r", metadata=metadata).id
    found = world.cold()[id].metadata
    assert found == metadata
    assert list(found["é"]) == ["b", "a"]
    assert next(iter(world.cold().list())).metadata == metadata


@pytest.mark.parametrize(
    "metadata", [{"x": "y" * 8200}, {"x": math.nan}, {"x": b"y"}, {1: "x"}, {"x": {1, 2}}, {"x": "\ud800"}, [1]]
)
def test_metadata_that_is_no_small_json_object_is_refused(world: World, metadata: Any) -> None:
    before = world.keys()
    with pytest.raises(InvalidInputError):
        world.archive.save({}, run="r", metadata=metadata)
    assert world.keys() == before


def test_metadata_may_be_eight_kilobytes(world: World) -> None:
    metadata = {"x": "y" * (8192 - len('{"x":""}'))}
    assert world.cold()[world.archive.save({}, run="r", metadata=metadata).id].metadata == metadata


# Parents --------------------------------------------------------------------------------------------------------------


def test_a_parent_is_a_snapshot_a_row_or_an_id(archive: Archive) -> None:
    first = archive.save({"n": 1}, run="r")
    for parent in (first, first.id, first.info, [first], (first.id,)):
        assert archive.save({"n": 2}, run="r", parent=parent).parents == (first.id,)
    assert archive.save({"n": 2}, run="r", parent=[]).parents == ()


def test_several_parents_make_a_merge(world: World) -> None:
    branches = [world.archive.save({"branch": n}, run="r", id=f"b{n}") for n in range(3)]
    merge = world.archive.save({"merged": True}, run="r", parent=[*branches, branches[0]])
    assert merge.parents == ("b0", "b1", "b2")
    assert [leaf.id for leaf in world.cold().leaves("r")] == [merge.id]
    # Overwriting makes other parents known as well.
    branches.append(world.archive.save({"branch": 3}, run="r", id="b3"))
    late = world.archive.save({"late": 1}, run="r", id="late", parent="b3")
    assert {leaf.id for leaf in world.cold().leaves("r")} == {merge.id, "late"}
    late = world.archive.save({"late": 2}, run="r", id="late", parent=["b3", merge])
    assert late.parents == ("b3", merge.id)
    assert [leaf.id for leaf in world.cold().leaves("r")] == ["late"]


def test_parents_may_lie_in_other_runs(world: World) -> None:
    one, other = world.archive.save({}, run="a"), world.archive.save({}, run="b")
    merge = world.archive.save({}, run="c", parent=[one, other])
    assert merge.parents == (one.id, other.id)
    for run in "abc":  # a child elsewhere does not end a run
        assert len(world.archive.leaves(run)) == 1


def test_a_parent_that_is_not_there_is_refused(world: World) -> None:
    gone = world.archive.save({}, run="r")
    world.archive.delete(gone.id)
    before = world.keys()
    for archive in (world.archive, world.cold()):
        for parent in ("nothing", gone, [gone.id]):
            with pytest.raises(NotFoundError) as caught:
                archive.save({}, run="r", parent=parent)
            assert caught.value.code == "snapshot_not_found"
    assert world.keys() == before
    world.archive.save({}, run="r", id="self")
    with pytest.raises(InvalidInputError) as refused:
        world.archive.save({}, run="r", id="self", parent="self")
    assert refused.value.code == "own_parent"


def test_a_snapshot_has_at_most_64_parents(world: World) -> None:
    parents = [world.archive.save({"n": n}, run="r") for n in range(65)]
    assert len(world.archive.save({}, run="r", parent=parents[:64]).parents) == 64
    with pytest.raises(InvalidInputError) as caught:
        world.archive.save({}, run="r", parent=parents)
    assert caught.value.code == "too_many_parents"


# Time -----------------------------------------------------------------------------------------------------------------


class Hands:
    """A clock that shows what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1_700_000_000_000
        monkeypatch.setattr(clock, "now_ms", lambda: self.ms)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_a_clock_that_stands_still_keeps_the_order_of_saves(world: World, hands: Hands) -> None:
    ids = [world.archive.save({"n": n}, run="r").id for n in range(30)]
    assert [one.id for one in world.cold().log("r")] == ids[::-1]
    assert [row.id for row in world.cold().list()] == ids[::-1]


def test_a_clock_that_goes_back_cannot_make_a_child_older_than_its_parent(world: World, hands: Hands) -> None:
    """Two machines, one an hour behind: the run continues on the second."""
    first = world.archive.save({"n": 1}, run="r")
    hands.ms -= 3_600_000
    other = world.cold()
    second = other.save({"n": 2}, run="r", parent=first)
    third = world.cold().save({"n": 3}, run="r", parent=second)
    assert first.created_at < second.created_at < third.created_at
    assert [one.id for one in world.cold().log("r")] == [third.id, second.id, first.id]
    newest = world.cold().latest("r")
    assert newest is not None
    assert newest.id == third.id
    assert [leaf.id for leaf in world.cold().leaves("r")] == [third.id]


def test_every_change_of_a_snapshot_is_later_than_the_one_before(world: World, hands: Hands) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    times = [world.archive["x"].updated_at]
    for _ in range(3):
        hands.ms -= 1000
        world.cold().update("x", lambda draft: draft)
        times.append(world.archive["x"].updated_at)
        world.cold().save({"n": 2}, run="r", id="x")
        times.append(world.archive["x"].updated_at)
    assert times == sorted(set(times))


# Overwriting and deleting ---------------------------------------------------------------------------------------------


def test_overwriting_keeps_the_creation_time_and_the_place(world: World) -> None:
    for id in ("a", "b", "c"):
        world.archive.save({"id": id}, run="r", id=id)
    created = world.archive["b"].created_at
    for archive in (world.archive, world.cold()):
        again = archive.save({"id": "b", "again": True}, run="r", id="b", status="edited", metadata={"v": 2})
        assert again.created_at == created
        assert again.updated_at > created
        assert (again.status, again.metadata) == ("edited", {"v": 2})
    assert [one.id for one in world.cold().log("r")] == ["c", "b", "a"]
    assert [row.id for row in world.cold().list()] == ["c", "b", "a"]
    assert world.cold()["b"].state() == {"id": "b", "again": True}
    assert world.cold()["b"].version == 3


def test_overwriting_keeps_the_parents_unless_others_are_given(world: World) -> None:
    world.archive.save({}, run="r", id="a")
    world.archive.save({}, run="r", id="b")
    world.archive.save({"v": 1}, run="r", id="x", parent="a")
    for archive in (world.archive, world.cold()):
        assert archive.save({"v": 2}, run="r", id="x").parents == ("a",)
    assert world.cold().save({"v": 3}, run="r", id="x", parent=["b", "a"]).parents == ("b", "a")
    assert world.cold()["x"].parents == ("b", "a")


def test_a_snapshot_cannot_continue_one_that_is_newer(world: World) -> None:
    """It would turn the history into a circle, in which there is no newest."""
    world.archive.save({}, run="r", id="a")
    world.archive.save({}, run="r", id="b", parent="a")
    with pytest.raises(InvalidInputError) as caught:
        world.archive.save({"v": 2}, run="r", id="a", parent="b")
    assert caught.value.code == "parent_newer"
    assert world.archive["a"].state() == {}


def test_the_last_writer_wins(world: World) -> None:
    one, other = world.cold(), world.cold()
    one.save({"by": "one"}, run="r", id="x")
    other.save({"by": "other"}, run="r", id="x")
    one.save({"by": "one again"}, run="r", id="x")  # with a head that was overtaken
    assert world.cold()["x"].state() == {"by": "one again"}
    assert world.cold()["x"].version == 3


def test_children_keep_what_their_parent_was(world: World) -> None:
    parent = world.archive.save(conversation(300), run="r", id="p")
    child = world.archive.save(conversation(301), run="r", parent=parent)
    world.archive.save({"other": 1}, run="r", id="p")
    assert world.cold()[child.id].state() == conversation(301)
    world.archive.delete("p")
    assert world.cold()[child.id].state() == conversation(301)
    assert world.cold()[child.id].parents == ("p",)


def test_a_deleted_snapshot_is_gone_everywhere(world: World) -> None:
    world.archive.save({}, run="r", graph="g", id="a")
    world.archive.save({}, run="r", graph="g", id="b", parent="a")
    world.archive.delete("b")
    for archive in (world.archive, world.cold()):
        assert archive.get("b") is None
        assert "b" not in archive
        with pytest.raises(NotFoundError) as caught:
            archive["b"]
        assert caught.value.code == "snapshot_not_found"
        latest = archive.latest("r")
        assert latest is not None
        assert latest.id == "a"
        assert [one.id for one in archive.leaves("r")] == ["a"]
        assert [one.id for one in archive.log("r")] == ["a"]
        assert [row.id for row in archive.list("g")] == [row.id for row in archive.list()] == ["a"]
    world.archive.delete("b")
    world.cold().delete("never there")


def test_a_deleted_id_can_be_used_again(world: World) -> None:
    """It is a new snapshot then: newest of its run, with the parents it is given now."""
    world.archive.save({"v": 1}, run="r", id="x")
    world.archive.save({}, run="r", id="y", parent="x")
    for archive in (world.archive, world.cold()):
        archive.delete("x")
        again = archive.save({"v": 2}, run="r", id="x", parent="y")
        assert again.parents == ("y",)
        assert world.cold()["x"].state() == {"v": 2}
        assert [one.id for one in world.cold().log("r")] == ["x", "y"]
        assert [one.id for one in world.cold().leaves("r")] == ["x"]
        assert [row.id for row in world.cold().list()] == ["x", "y"]
    versions = world.cold()["x"].version
    assert versions == 5  # a watcher must see that something happened


def test_deleting_again_what_another_process_made_again(world: World) -> None:
    world.archive.save({"v": 1}, run="r", id="x")
    other = world.cold()
    other.delete("x")
    other.save({"v": 2}, run="r", id="x")
    world.archive.delete("x")
    assert world.cold().get("x") is None


# Reading only ---------------------------------------------------------------------------------------------------------


def test_an_archive_that_is_read_only_refuses_every_write(world: World) -> None:
    id = world.archive.save({"a": 1}, run="r").id
    archive = open_on(ReadOnlyStorage(world.memory))
    assert archive[id].state() == {"a": 1}
    before = world.keys()
    writes: list[Any] = [
        lambda: archive.save({}, run="r"),
        lambda: archive.update(id, lambda draft: draft),
        lambda: archive.fork(id),
        lambda: archive.delete(id),
        lambda: archive.run("r").save({}),
    ]
    for write in writes:
        with pytest.raises(ReadOnlyError) as caught:
            write()
        assert caught.value.code == "read_only"
    assert world.keys() == before
