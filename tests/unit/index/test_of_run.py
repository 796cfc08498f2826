"""A run's log, leaves and list read the index where it helps, and are the same with and without it.

Goal: a long run costs some requests and not two per snapshot; what is shown is what the registers say; a snapshot that was
listed from the index reads the state it was listed with, or says that this is gone.
Method: runs in memory, some of them longer than what is looked up one by one; requests are counted.
"""

from __future__ import annotations

from typing import Any

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError, NotFoundError
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.meter import Usage
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.archives import World

LENGTH = 1_100


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


def grow(archive: Archive, run: str, first: int, count: int, **more: Any) -> None:
    """Continue a run by snapshots called s0000 and so on."""
    for n in range(first, first + count):
        archive.save({"n": n}, run=run, id=f"{run}{n:04}", parent=f"{run}{n - 1:04}" if n else None, **more)


@pytest.fixture(scope="module")
def folded() -> World:
    """A run of which all but the newest three snapshots are in the index; only read by tests."""
    world = World()
    grow(world.archive, "s", 0, LENGTH, graph="support", node="plan", metadata={"model": "large"})
    world.archive.index.refresh()
    grow(world.archive, "s", LENGTH, 3, graph="support")
    return world


def requests(usage: Usage) -> int:
    return sum(usage.requests.values())


def newest_first(last: int) -> list[str]:
    return [f"s{n:04}" for n in range(last - 1, -1, -1)]


def test_the_log_of_a_long_run_costs_some_requests(folded: World) -> None:
    """Sixty-four are looked up, pack and register; the others cost their segment."""
    for walk in (lambda: folded.cold().log("s"), lambda: list(folded.cold().list(run="s"))):
        shown: list[str] = []
        usage = folded.cost(lambda walk=walk, shown=shown: shown.extend(ids(walk())))  # type: ignore[misc]
        assert shown == newest_first(LENGTH + 3)
        assert requests(usage) < 160


def test_a_page_deep_in_a_long_run_is_no_dearer_than_the_first(folded: World) -> None:
    before = folded.cold().get("s0500")
    assert before is not None
    shown: list[str] = []
    usage = folded.cost(lambda: shown.extend(ids(folded.cold().list(run="s", before=before.info, limit=20))))
    assert shown == [f"s{n:04}" for n in range(499, 479, -1)]
    assert requests(usage) < 60


def test_what_is_listed_from_the_index_says_and_reads_everything(folded: World) -> None:
    archive = folded.cold()
    listed = archive.log("s")[-5]
    read = archive["s0004"]
    assert (listed, listed.info) == (read, read.info)
    assert listed.state() == listed.view() == {"n": 4}
    assert listed.register == read.register
    assert [change.path for change in archive.diff(listed, archive["s0005"])] == [("n",)]
    assert ids(archive.leaves("s")) == [f"s{LENGTH + 2:04}"]


def test_filters_of_a_list_hold_for_rows_of_the_index(folded: World) -> None:
    assert len([*folded.cold().list(run="s", node="plan", metadata={"model": "large"})]) == LENGTH
    assert len([*folded.cold().list(run="s", node="plan", limit=700)]) == 700
    assert [*folded.cold().list(run="s", node="other")] == []


@pytest.fixture
def long() -> World:
    """A run of two hundred, folded, for tests that change it."""
    world = World()
    grow(world.archive, "s", 0, 200)
    world.archive.index.refresh()
    return world


def test_a_state_that_was_replaced_after_the_log_is_read_as_it_was(long: World) -> None:
    """The register keeps the version before: what was listed can still be read."""
    listed = long.cold().log("s")[-1]
    long.archive.save({"n": "new"}, run="s", id="s0000")
    assert listed.state() == {"n": 0}


def test_a_state_that_was_replaced_twice_is_refused_and_not_mixed_up(long: World) -> None:
    listed = long.cold().log("s")[-1]
    for text in ("new", "newer", "newest"):
        long.archive.save({"n": text}, run="s", id="s0000")
    with pytest.raises(ConflictError, match="replaced since") as caught:
        listed.state()
    assert caught.value.code == "snapshot_changed"
    assert (listed.id, listed.version) == ("s0000", 1)


def test_a_snapshot_that_was_deleted_after_the_log_is_not_found(long: World) -> None:
    listed = long.cold().log("s")[-1]
    long.archive.delete("s0000")
    with pytest.raises(NotFoundError):
        listed.state()


def test_a_change_of_status_after_the_log_does_not_hide_the_state(long: World) -> None:
    listed = long.cold().log("s")[-1]

    def fail(draft: SnapshotDraft | None) -> SnapshotDraft | None:
        assert draft is not None
        draft.status = "failed"
        return draft

    long.archive.update("s0000", fail)
    assert (listed.status, listed.state()) == ("completed", {"n": 0})
    assert long.cold().log("s")[-1].status == "failed"


def test_the_end_of_a_history_that_was_deleted_is_walked_through_quickly(long: World) -> None:
    """Its parents are found one behind the other: looked up one at a time they would take 150 round trips and more."""
    for n in range(50, 200):
        long.archive.delete(f"s{n:04}")
    leaves: list[str] = []
    usage = long.cost(lambda: leaves.extend(ids(long.cold().leaves("s"))))
    assert leaves == ["s0049"]
    assert usage.round_trips < 60


def test_a_run_in_several_graphs_is_listed_whole(long: World) -> None:
    """Its snapshots are looked for in the graphs that come to light on the way."""
    for n in range(200, 500):
        long.archive.save({"n": n}, run="s", id=f"s{n:04}", graph=f"g{n // 20}")
    long.archive.index.refresh()
    assert ids(long.cold().log("s")) == newest_first(500)


def test_a_run_that_lies_thinly_in_a_large_graph_does_not_read_the_graph(long: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapstore.index.of_run.ROWS_PER_ENTRY", 0)
    usage = long.cost(lambda: long.cold().log("s"))
    assert requests(usage) > 400  # pack and register of each, and no segment
    assert ids(long.cold().log("s")) == newest_first(200)


def test_a_damaged_or_missing_segment_does_not_hide_a_run(long: World) -> None:
    [key] = long.archive.index.files()
    body = long.memory.get(key).data
    long.memory.put(key, body[:100] + bytes(len(body) - 100))
    assert ids(long.cold().log("s")) == newest_first(200)
    long.memory.delete_many([key])
    assert ids(long.cold().log("s")) == newest_first(200)
    assert ids(long.cold().leaves("s")) == ["s0199"]


class _FoldsMeanwhile(WrappedStorage):
    """Folds once while somebody lists change markers."""

    def __init__(self, world: World) -> None:
        super().__init__(world.memory)
        self._world: World | None = world

    def list(self, prefix: str, **more: Any) -> Any:
        world, self._world = (self._world, None) if prefix.startswith("changes/") else (None, self._world)
        if world is not None:
            world.archive.index.refresh()
        return super().list(prefix, **more)


def test_a_fold_between_two_looks_hides_no_change(long: World) -> None:
    """Markers that the reader never saw are gone, and the segments that it knows do not have their rows."""
    long.archive.update("s0003", lambda draft: _failed(draft))
    storage = _FoldsMeanwhile(long)
    shown = {snap.id: snap.status for snap in open_on(storage).log("s")}
    assert shown["s0003"] == "failed"


def _failed(draft: SnapshotDraft | None) -> SnapshotDraft | None:
    assert draft is not None
    draft.status = "failed"
    return draft


def test_pages_of_a_run_lose_nothing_that_was_saved_in_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many processes save at once; the listing orders what they save by digest, and pages continue after an id."""
    world = World()
    monkeypatch.setattr(clock, "now_ms", lambda: 1_800_000_000_000)
    for n in range(30):
        world.cold().save({"n": n}, run="s", id=f"s{n:04}")
    pages: list[str] = []
    while len(pages) < 40:
        page = [*world.cold().list(run="s", limit=7, before=pages[-1] if pages else None)]
        if not page:
            break
        pages += ids(page)
    assert pages == sorted(newest_first(30))
