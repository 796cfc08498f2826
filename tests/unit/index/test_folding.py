"""Folding writes what has changed, and nothing for what only announces itself.

Goal: an index at rest costs nothing, whatever dead writers left behind.
Method: markers without the change that they announce, as a writer leaves them that dies between marker and register.
"""

from __future__ import annotations

from snapstore import clock
from snapstore.format import names
from snapstore.snapshot import SnapshotDraft
from tests.unit.archives import World


def announce(world: World, id: str) -> str:
    """Leave the marker of a change that never came."""
    key = names.change_key("g", clock.now_ms() + 5, clock.random_hex(), id)
    world.memory.put(key, b"")
    return key


def test_a_change_that_never_came_is_not_folded_again_and_again() -> None:
    world = World()
    world.archive.save({"n": 1}, run="r", graph="g", id="x")
    world.archive.index.refresh()
    before = world.archive.index.status()
    marker = announce(world, "x")
    for _ in range(3):
        folded = world.archive.index.refresh()
        assert (folded.rows, folded.markers, folded.waiting) == (0, 0, 1)
    after = world.archive.index.status()
    assert (after.folds, after.rows, after.generation) == (before.folds, before.rows, before.generation)
    assert [row.id for row in world.cold().list("g")] == ["x"]
    assert world.memory.get(marker).data == b""


def test_a_change_beside_one_that_never_came_is_folded() -> None:
    world = World()
    world.archive.save({"n": 1}, run="r", graph="g", id="x")
    world.archive.index.refresh()

    def fail(draft: SnapshotDraft | None) -> SnapshotDraft | None:
        assert draft is not None
        draft.status = "failed"
        return draft

    world.archive.update("x", fail)
    announce(world, "x")
    folded = world.archive.index.refresh()
    assert (folded.rows, folded.markers, folded.waiting) == (1, 1, 1)
    assert [row["status"] for row in world.cold().query("SELECT status FROM snapshots").rows()] == ["failed"]
