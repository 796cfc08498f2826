"""The walks: newest, leaves, log, lists and watching show what is there, in order, whatever happened on the way.

Goal: a history is found from listings alone, so these tests are about what else lies in them: refused creates, earlier
versions, deleted and remade snapshots, other runs, ties in time.
Method: histories made through several handles in memory, read by one that knows nothing.
"""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError, StorageError
from snapstore.opening import open_on
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import BytesLike
from tests.unit.archives import World, filled


@pytest.fixture
def world() -> World:
    return World()


def ids(found: Any) -> list[str]:
    return [one.id for one in found]


# Runs -----------------------------------------------------------------------------------------------------------------


def tree(world: World) -> None:
    """A history: a - b - c, and from b: d - e, and from a: f."""
    for id, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "b"), ("e", "d"), ("f", "a")):
        world.archive.save({"id": id}, run="r", id=id, parent=parent, node=f"step-{id}")


def test_the_log_is_every_snapshot_newest_first(world: World) -> None:
    tree(world)
    assert ids(world.cold().log("r")) == ["f", "e", "d", "c", "b", "a"]
    assert ids(world.cold().log("r", limit=2)) == ["f", "e"]
    assert ids(world.cold().log("r", limit=100)) == ["f", "e", "d", "c", "b", "a"]
    assert world.cold().log("other") == []
    assert world.cold().log("r")[2].state() == {"id": "d"}


def test_a_long_log_is_complete(world: World) -> None:
    """Longer than what is looked up at a time."""
    run = world.archive.run("r")
    saved = [run.save({"n": n}).id for n in range(150)]
    assert ids(world.cold().log("r")) == saved[::-1]
    assert ids(world.cold().log("r", limit=70)) == saved[:-71:-1]
    assert ids(world.cold().list(run="r")) == saved[::-1]


def test_leaves_are_what_nobody_continued(world: World) -> None:
    tree(world)
    assert ids(world.cold().leaves("r")) == ["f", "e", "c"]
    world.archive.delete("e")
    assert ids(world.cold().leaves("r")) == ["f", "d", "c"]
    world.archive.delete("f")
    world.archive.delete("c")
    world.archive.delete("d")
    assert ids(world.cold().leaves("r")) == ["b"]
    assert world.cold().leaves("other") == []


def test_the_newest_is_a_leaf(world: World) -> None:
    tree(world)
    for id in ("f", "e", "d", "c", "b", "a"):
        latest = world.cold().latest("r")
        assert latest is not None
        assert (latest.id, latest.state()) == (id, {"id": id})
        world.archive.delete(id)
    assert world.cold().latest("r") is None


def test_the_newest_of_a_node(world: World) -> None:
    tree(world)
    world.archive.save({"again": 1}, run="r", id="g", node="step-b")
    found = world.cold().latest("r", node="step-b")
    assert found is not None
    assert found.id == "g"
    world.archive.delete("g")
    found = world.cold().latest("r", node="step-b")
    assert found is not None
    assert (found.id, found.state()) == ("b", {"id": "b"})
    assert world.cold().latest("r", node="nowhere") is None


def test_a_refused_create_leaves_no_trace_in_the_history(world: World) -> None:
    """A handle that does not know the id tries to create it first: that leaves a pack under a newer time."""
    world.archive.save({"v": 1}, run="r", id="a")
    world.archive.save({"v": 1}, run="r", id="b", parent="a")
    world.cold().save({"v": 2}, run="r", id="a")
    assert len(world.keys("runs/")) == 4
    for archive in (world.archive, world.cold()):
        assert ids(archive.log("r")) == ["b", "a"]
        assert ids(archive.leaves("r")) == ["b"]
        latest = archive.latest("r")
        assert latest is not None
        assert latest.id == "b"
    world.cold().save({"v": 2}, run="r", id="b", parent="a")
    assert ids(world.cold().leaves("r")) == ["b"]


def test_a_snapshot_that_moved_to_another_run_is_only_there(world: World) -> None:
    world.archive.save({"v": 1}, run="old", graph="g1", id="x")
    for archive in (world.archive, world.cold()):
        archive.save({"v": 2}, run="new", graph="g2", id="x")
        assert ids(world.cold().log("old")) == []
        assert world.cold().latest("old") is None
        assert ids(world.cold().log("new")) == ids(world.cold().leaves("new")) == ["x"]
        assert (ids(world.cold().list("g1")), ids(world.cold().list("g2"))) == ([], ["x"])


class FailingStorage(MemoryStorage):
    """Refuses to store what lies under a prefix."""

    refused = "nothing"

    def put(self, key: str, data: BytesLike) -> str:
        if key.startswith(self.refused):
            raise StorageError("refused", code="storage_unavailable")
        return super().put(key, data)


def test_a_save_that_never_finished_is_not_there_and_can_be_repeated() -> None:
    """The register came through and the pack did not. Whoever saves again, or upon it, must not lean on that pack."""
    storage = FailingStorage()
    world = World(storage)
    world.archive.save({"first": 1}, run="r", id="a")
    for id, state in (("tiny", {"step": 1}), ("tree", {"text": "x" * 3000, "list": list(range(5000))})):
        storage.refused = "runs/"
        with pytest.raises(StorageError):
            world.archive.save(state, run=id, id=id, parent="a")
        storage.refused = "nothing"
        assert world.cold().get(id) is None
        assert world.cold().latest(id) is None
        assert ids(world.cold().log(id)) == ids(world.cold().leaves(id)) == []
        with pytest.raises(NotFoundError) as caught:
            world.cold().save(state, run=id, parent=id)
        assert caught.value.code == "snapshot_incomplete"
        again = world.cold().save(state, run=id, id=id, parent="a")
        assert again.state() == state
        assert world.cold()[id].state() == state
        assert ids(world.cold().leaves(id)) == [id]


# Lists ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Twelve snapshots a minute apart, in two graphs, three runs and two statuses; number 7 deleted."""
    for n in range(12):
        monkeypatch.setattr(clock, "now_ms", lambda n=n: START_MS + n * 60_000)
        status = "failed" if n % 4 == 0 else "completed"
        world.archive.save({"n": n}, run=f"r{n % 3}", graph=f"g{n % 2}", id=f"s{n:02}", status=status)
    world.archive.delete("s07")
    return world


START_MS = 1_700_000_000_000
ALL = [f"s{n:02}" for n in range(11, -1, -1) if n != 7]
EVEN = ["s10", "s08", "s06", "s04", "s02", "s00"]


def moment(n: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(START_MS / 1000 + n * 60, datetime.UTC)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [11, 10, 9, 8, 6, 5, 4, 3, 2, 1, 0]),
        ({"graph": "g0"}, [10, 8, 6, 4, 2, 0]),
        ({"graph": "g2"}, []),
        ({"run": "r1"}, [10, 4, 1]),
        ({"status": "failed"}, [8, 4, 0]),
        ({"graph": "g0", "run": "r1"}, [10, 4]),
        ({"graph": "g0", "status": "failed", "run": "r2"}, [8]),
        ({"since": moment(9)}, [11, 10, 9]),
        ({"until": moment(2)}, [1, 0]),
        ({"since": moment(3), "until": moment(6)}, [5, 4, 3]),
        ({"since": START_MS + 9 * 60_000}, [11, 10, 9]),
        ({"limit": 3}, [11, 10, 9]),
        ({"limit": 2, "status": "failed"}, [8, 4]),
        ({"before": "s05", "limit": 2}, [4, 3]),
        ({"before": "s05", "graph": "g1", "limit": 9}, [3, 1]),
        ({"before": "s00"}, []),
        ({"run": "r1", "before": "s04"}, [1]),
        ({"graph": "g0", "since": moment(5)}, [10, 8, 6]),
    ],
    ids=str,
)
def test_lists_are_filtered_and_newest_first(listed: World, filters: dict[str, Any], numbers: list[int]) -> None:
    for archive in (listed.archive, listed.cold()):
        assert ids(archive.list(**filters)) == [f"s{n:02}" for n in numbers]


def test_a_row_says_what_the_snapshot_says(listed: World) -> None:
    row = next(iter(listed.cold().list()))
    assert isinstance(row, SnapshotInfo)
    assert row == listed.cold()[row.id].info
    assert row.created_at == moment(11)


def test_pages_are_the_whole_list(listed: World) -> None:
    for graph, size, expected in ((None, 4, ALL), ("g1", 2, ["s11", "s09", "s05", "s03", "s01"]), ("g0", 1, EVEN)):
        found: list[SnapshotInfo] = []
        while page := list(listed.cold().list(graph, limit=size, before=found[-1] if found else None)):
            found += page
        assert ids(found) == expected


def test_what_changes_between_pages_does_not_disturb_them(listed: World) -> None:
    """A status change moves nothing: rows are in the order of creation."""
    first = list(listed.archive.list("g0", limit=3))
    listed.archive.update("s00", lambda draft: SnapshotDraft(state=1, status="changed"))
    listed.archive.save({}, run="r", graph="g0", id="newer")
    assert ids(listed.archive.list("g0", limit=9, before=first[-1])) == ["s04", "s02", "s00"]


def test_ties_in_time_are_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty machines save in the same millisecond: pages must neither repeat nor miss one."""
    monkeypatch.setattr(clock, "now_ms", lambda: START_MS)
    storage = filled(MemoryStorage())
    archives = [open_on(storage) for _ in range(40)]
    for n, archive in enumerate(archives):
        archive.save({}, run="r", graph="g", id=f"tie-{n:02}")
    for graph in ("g", None):
        found: list[SnapshotInfo] = []
        while page := list(archives[0].list(graph, limit=7, before=found[-1] if found else None)):
            found += page
        assert ids(found) == [f"tie-{n:02}" for n in range(40)]


def test_a_moment_without_a_time_zone_is_refused(world: World) -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(world.archive.list(since=datetime.datetime(2026, 1, 1)))  # noqa: DTZ001 - what is refused
    assert caught.value.code == "naive_datetime"


def test_paging_after_what_is_not_there(world: World) -> None:
    with pytest.raises(NotFoundError):
        list(world.archive.list(before="nothing"))


# Watching -------------------------------------------------------------------------------------------------------------


def watched(archive: Archive, **what: Any) -> list[Snapshot]:
    return list(archive.watch(**what, interval_s=0.01, timeout_s=0.0))


def test_watching_shows_the_current_one_first(world: World) -> None:
    saved = world.archive.save({"n": 1}, run="r", id="x")
    assert watched(world.cold(), id="x") == [saved]
    assert watched(world.cold(), run="r") == [saved]
    assert watched(world.cold(), id="nothing") == []
    for wrong in ({}, {"id": "x", "run": "r"}):
        with pytest.raises(InvalidInputError):
            watched(world.cold(), **wrong)


def test_watching_an_id_shows_every_change_that_it_notices(world: World) -> None:
    world.archive.save({"n": 1}, run="r", id="x")
    changes = world.cold().watch(id="x", interval_s=0.001, timeout_s=5)
    assert next(changes).state() == {"n": 1}
    world.archive.save({"n": 2}, run="r", id="x")
    assert next(changes).state() == {"n": 2}
    world.archive.update("x", lambda draft: draft)  # a heartbeat is a change: whoever watches for signs of life sees it
    assert next(changes).version == 3
    world.archive.delete("x")
    world.archive.save({"n": 3}, run="r", id="x")
    assert next(changes).state() == {"n": 3}


def test_watching_a_run_shows_its_newest_snapshots(world: World) -> None:
    run = world.archive.run("r")
    changes = world.cold().watch(run="r", interval_s=0.001, timeout_s=5)
    writer = threading.Timer(0.02, lambda: run.save({"n": 0}))
    writer.start()
    assert next(changes).state() == {"n": 0}  # it waited for the first
    writer.join()
    for n in range(1, 4):
        run.save({"n": n})
        assert next(changes).state() == {"n": n}


def test_watching_ends_when_its_time_is_over(world: World) -> None:
    world.archive.save({}, run="r", id="x")
    usage = world.cost(lambda: list(world.archive.watch(id="x", interval_s=0.01, timeout_s=0.035)))
    assert 2 <= usage.requests["get"] <= 12  # no polling faster than was asked for
