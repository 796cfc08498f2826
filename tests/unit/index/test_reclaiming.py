"""Full segments are freed when their rows do not count any more, and left alone while rows are only added.

Goal: an archive whose snapshots change or go does not keep every row it ever had; one that only grows writes nothing twice for
this.
Method: segments are full after 100 rows; snapshots are changed again and again, deleted, or just saved. For the cost in an
archive of ten million rows, entries alone are merged, as many times as there would be merges.
"""

from __future__ import annotations

import itertools

import pytest

from snapstore.format.index_current import IndexFile, segment_key
from snapstore.index import Index, RowFilter, folding, levels, writing
from snapstore.snapshot import SnapshotDraft
from tests.unit.archives import World
from tests.unit.index.histories import listed, timeless, truth


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "LEVEL_0_ROWS", 4)
    monkeypatch.setattr(levels, "SPLIT_LEVEL", 2)
    monkeypatch.setattr(folding, "ROUND_MARKERS", 30)
    for module in (levels, writing):
        monkeypatch.setattr(module, "FULL_ROWS", 100)


def saved(count: int) -> World:
    world = World()
    for number in range(count):
        world.archive.save({"n": number}, run="r", graph="g", id=f"s{number}")
    Index(world.memory).refresh()
    return world


def change_all(world: World, count: int, status: str) -> None:
    def changed(draft: SnapshotDraft | None) -> SnapshotDraft | None:
        assert draft is not None
        draft.status = status
        return draft

    for number in range(count):
        world.archive.update(f"s{number}", changed)


@pytest.mark.usefixtures("small")
def test_snapshots_that_change_and_go_leave_no_rows_behind() -> None:
    """After each of 250 snapshots had changed six times there were 1,750 rows, and more still when all were deleted."""
    world = saved(250)
    index = Index(world.memory, grace_s=0)
    for turn in range(4):
        change_all(world, 250, f"status {turn}")
        index.refresh()
        status = index.status()
        assert status.rows <= 250 * 4 // 3
        assert status.rows - status.revised <= 250
        assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))
    for number in range(250):
        world.archive.delete(f"s{number}")
    index.compact()
    assert (index.status().rows, index.status().files) == (0, 0)
    assert listed(index, RowFilter()) == []


@pytest.mark.usefixtures("small")
def test_full_segments_stay_while_little_has_changed() -> None:
    world = saved(320)
    index = Index(world.memory, grace_s=0)
    index.compact()
    full = set(index.files()[:3])
    change_all(world, 20, "failed")
    index.compact()
    assert full <= set(index.files())
    assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))


@pytest.mark.parametrize(("share", "most"), [(0.0, 8.5), (0.2, 8.5), (1.0, 12.0)])
def test_what_a_row_costs_stays_bounded_however_many_revise_others(share: float, most: float) -> None:
    folded, written, rewritten = history_cost(folds=3000, rows=10_000, share=share)
    assert written <= most * folded
    assert (rewritten > 0) is (share == 1.0)


def history_cost(folds: int, rows: int, share: float) -> tuple[int, int, int]:
    """Rows folded, written in all, and written by merges of full segments, when nothing is ever superseded in fact."""
    numbers = itertools.count()

    def entry(bucket: str, rows: int, revised: int, first: int, last: int) -> IndexFile:
        key = segment_key(bucket, f"{next(numbers):032x}")
        return IndexFile(key, rows, revised, 100, 20, "0" * 64, 0, 1, first, last)

    files: list[IndexFile] = []
    written = rewritten = 0
    for fold in range(1, folds + 1):
        files.append(entry("new", rows, int(rows * share), fold, fold))
        written += rows
        while (merge := levels.next_merge(files)) is not None:
            size = sum(file.rows for file in merge.inputs)
            revised = 0 if merge.complete else sum(file.revised for file in merge.inputs)
            written += size
            rewritten += size * any(levels.level_of(file) == levels.FULL_LEVEL for file in merge.inputs)
            files = [file for file in files if file not in merge.inputs]
            for bucket in [f"h{digit:x}" for digit in range(16)] if merge.split else [merge.bucket]:
                left = size // 16 if merge.split else size
                while left > 0:
                    part = min(left, writing.FULL_ROWS)
                    files.append(entry(bucket, part, part * revised // size, merge.first, merge.last))
                    left -= part
    return folds * rows, written, rewritten
