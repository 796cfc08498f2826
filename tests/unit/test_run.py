"""A run handle appends: each save continues the one before, whoever made it.

Goal: the shortest way to keep a history does the right thing without being told about parents.
Method: handles of one and of several archives on the same run, in memory.
"""

from __future__ import annotations

import pytest

from snapstore import clock
from snapstore.errors import InvalidInputError
from tests.unit.archives import World


@pytest.fixture
def world() -> World:
    return World()


def test_each_save_continues_the_one_before(world: World) -> None:
    run = world.archive.run("r", graph="g")
    assert run.latest() is None
    first = run.save({"n": 1}, node="a", metadata={"m": 1})
    second = run.save({"n": 2}, status="failed", id="two")
    third = run.save({"n": 3})
    assert [one.parents for one in (first, second, third)] == [(), (first.id,), ("two",)]
    assert (first.run, first.graph, first.node, first.metadata, second.status) == ("r", "g", "a", {"m": 1}, "failed")
    latest = run.latest()
    assert latest == third
    assert [one.id for one in run.log()] == [third.id, "two", first.id]
    assert [one.id for one in run.log(limit=1)] == [third.id]
    assert [one.id for one in run.leaves()] == [third.id]
    assert repr(run).startswith("<Run 'r' of memory:")


def test_a_new_handle_goes_on_where_the_run_stands(world: World) -> None:
    first = world.archive.run("r").save({"n": 1})
    assert world.cold().run("r").save({"n": 2}).parents == (first.id,)


def test_two_handles_make_a_branch_and_lose_nothing(world: World) -> None:
    root = world.archive.run("r").save({"n": 0})
    one, other = world.cold().run("r"), world.cold().run("r")
    assert one.latest() == other.latest() == root
    a = one.save({"a": 1})
    clock.sleep(0.005)  # two writers know nothing of each other: within one millisecond either may be the newer
    b = other.save({"b": 1})
    assert (a.parents, b.parents) == ((root.id,), (root.id,))
    one.latest()  # b, which is newer
    assert one.save({"a": 2}).parents == (b.id,)
    assert {leaf.id for leaf in world.archive.leaves("r")} == {a.id, one.log(1)[0].id}


def test_looking_for_a_node_does_not_move_the_line(world: World) -> None:
    run = world.archive.run("r")
    first = run.save({"n": 1}, node="plan")
    second = run.save({"n": 2}, node="act")
    found = run.latest(node="plan")
    assert found == first
    assert run.save({"n": 3}).parents == (second.id,)


def test_saving_over_a_snapshot_of_the_run_keeps_its_place(world: World) -> None:
    run = world.archive.run("r")
    run.save({"n": 1}, id="a")
    run.save({"n": 2}, id="b")
    assert run.save({"n": 2.5}, id="b").parents == ("a",)
    assert run.save({"n": 1.5}, id="a").parents == ()
    assert run.save({"n": 3}, id="c").parents == ("b",)
    assert [one.id for one in run.log()] == ["c", "b", "a"]
    assert [one.id for one in run.leaves()] == ["c"]


def test_saving_over_the_newest_snapshot_through_a_new_handle(world: World) -> None:
    """A process that was restarted writes its last step again."""
    run = world.archive.run("r")
    run.save({"n": 1}, id="a")
    run.save({"n": 2}, id="b")
    again = world.cold().run("r").save({"n": 2.5}, id="b")
    assert (again.parents, again.state()) == (("a",), {"n": 2.5})
    assert world.cold().run("r").save({"n": 3}, id="c").parents == ("b",)


def test_after_its_last_snapshot_was_deleted_a_handle_can_look_again(world: World) -> None:
    run = world.archive.run("r")
    run.save({"n": 1}, id="a")
    run.save({"n": 2}, id="b")
    world.archive.delete("b")
    latest = run.latest()
    assert latest is not None
    assert latest.id == "a"
    assert run.save({"n": 3}).parents == ("a",)


@pytest.mark.parametrize("name", ["", "\ud800"])
def test_a_run_needs_a_name(world: World, name: str) -> None:
    with pytest.raises(InvalidInputError):
        world.archive.run(name)
