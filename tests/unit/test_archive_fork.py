"""A fork is a new run that begins with an old state, and costs nothing however large that is.

Goal: branching from any snapshot of a history, patched or not, without disturbing it.
Method: forks of snapshots of every kind, read by handles that know nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from snapstore.errors import InvalidInputError, NotFoundError
from tests.unit.archives import World, conversation, message


@pytest.fixture
def world() -> World:
    return World()


def test_a_fork_begins_a_new_run_with_the_same_state(world: World) -> None:
    state = conversation(1000)
    source = world.archive.save(state, run="r", graph="g", node="plan", status="waiting", metadata={"m": 1}, id="s")
    fork = world.archive.fork("s")
    found = world.cold()[fork.id]
    assert found.state() == state
    assert (found.parents, found.graph, found.node, found.status, found.metadata) == (("s",), "g", "plan", "waiting", {"m": 1})
    assert found.run not in {"r", ""}
    assert found.digest == source.digest
    assert found.size_bytes == source.size_bytes
    assert found.created_at > source.created_at
    assert found.stored_bytes < 1000
    assert [one.id for one in world.cold().log(found.run)] == [found.id]
    assert [one.id for one in world.cold().leaves("r")] == ["s"]  # the source's run goes on as if nothing had happened


def test_a_fork_may_belong_to_another_graph(world: World) -> None:
    source = world.archive.save({"n": 1}, run="r", graph="g")
    fork = world.archive.fork(source.id, run="s", graph="h", new_id="y")
    assert (fork.graph, fork.parents) == ("h", (source.id,))
    assert [row.id for row in world.cold().list(graph="h")] == ["y"]


def test_what_differs_can_be_said(world: World) -> None:
    world.archive.save({"a": 1}, run="r", id="s", metadata={"m": 1})
    fork = world.archive.fork("s", "other", new_id="f", node="retry", status="running", metadata={"why": "test"})
    assert (fork.id, fork.run, fork.node, fork.status, fork.metadata) == ("f", "other", "retry", "running", {"why": "test"})
    assert world.archive.fork("s", metadata={}).metadata == {}


def test_a_patch_replaces_pairs(world: World) -> None:
    world.archive.save(conversation(500), run="r", id="s")
    for archive in (world.archive, world.cold()):
        fork = archive.fork("s", patch={"cost": 7, "new": [1]})
        assert world.cold()[fork.id].state() == {**conversation(500), "cost": 7, "new": [1]}
        assert fork.parents == ("s",)
        assert fork.stored_bytes < 3000
    assert world.cold()["s"].state() == conversation(500)


def test_a_patch_is_a_function_of_the_state(world: World) -> None:
    def shortened(state: Any) -> Any:
        state["messages"] = [*state["messages"][:100], message(9999)]
        return state

    world.archive.save(conversation(500), run="r", id="s")
    fork = world.cold().fork("s", patch=shortened)
    assert world.cold()[fork.id].state() == {**conversation(500), "messages": [*conversation(100)["messages"], message(9999)]}
    assert fork.stored_bytes < 30_000
    assert world.cold()["s"].state() == conversation(500)


def test_a_dict_patch_needs_a_dict(world: World) -> None:
    world.archive.save([1, 2], run="r", id="s")
    with pytest.raises(InvalidInputError) as caught:
        world.archive.fork("s", patch={"a": 1})
    assert caught.value.code == "patch_needs_dict"
    assert world.archive.fork("s", patch=lambda state: [*state, 3]).state() == [1, 2, 3]


def test_what_a_patch_raises_passes_through(world: World) -> None:
    world.archive.save({}, run="r", id="s")
    before = world.keys()
    with pytest.raises(ZeroDivisionError):
        world.archive.fork("s", patch=lambda _: 1 // 0)
    assert world.keys() == before


def test_a_fork_begins_at_what_the_snapshot_is_now(world: World) -> None:
    """A handle that saved the source keeps a copy of its register; another process has replaced it since."""
    world.archive.save({"v": 1}, run="r", id="s")
    world.cold().save({"v": 2}, run="r", id="s")
    assert world.archive.fork("s").state() == {"v": 2}
    world.cold().save({"v": 3}, run="r", id="s")
    assert world.archive.fork("s", patch={"p": 1}).state() == {"v": 3, "p": 1}
    world.cold().delete("s")
    with pytest.raises(NotFoundError):
        world.archive.fork("s")


def test_forks_of_forks_and_saves_upon_them(world: World) -> None:
    state = conversation(300)
    latest = world.archive.save(state, run="r")
    for depth in range(5):
        latest = world.cold().fork(latest.id, run=f"f{depth}")
        state["messages"].append(message(300 + depth))
        latest = world.cold().save(state, run=f"f{depth}", parent=latest)
        assert world.cold()[latest.id].state() == state
        assert latest.stored_bytes < 30_000


def test_a_fork_outlives_its_source(world: World) -> None:
    world.archive.save(conversation(300), run="r", id="s")
    fork = world.archive.fork("s")
    world.archive.delete("s")
    assert world.cold()[fork.id].state() == conversation(300)
    child = world.cold().save(conversation(301), run=fork.run, parent=fork.id)
    assert world.cold()[child.id].state() == conversation(301)


def test_there_is_nothing_to_fork(world: World) -> None:
    world.archive.save({}, run="r", id="gone")
    world.archive.delete("gone")
    for id in ("nothing", "gone"):
        with pytest.raises(NotFoundError) as caught:
            world.archive.fork(id)
        assert caught.value.code == "snapshot_not_found"


def test_an_existing_id_gets_the_fork_as_its_new_content(world: World) -> None:
    """As `save` does: a fork that is tried again after a lost answer must not fail for having succeeded."""
    world.archive.save({"a": 1}, run="r", id="s")
    world.archive.save({"b": 1}, run="r", id="taken")
    for patch in (None, {"x": 1}):
        for archive in (world.archive, world.cold()):
            fork = archive.fork("s", "other", new_id="taken", patch=patch)
            found = world.cold()["taken"]
            assert found.state() == {"a": 1, **(patch or {})}
            assert (found.run, found.parents, fork.id) == ("other", ("s",), "taken")
            assert [one.id for one in world.cold().log("r")] == ["s"]
            assert [one.id for one in world.cold().log("other")] == ["taken"]


def test_a_fork_cannot_be_its_own_source(world: World) -> None:
    world.archive.save({"a": 1}, run="r", id="s")
    with pytest.raises(InvalidInputError) as caught:
        world.archive.fork("s", new_id="s")
    assert caught.value.code == "own_parent"
