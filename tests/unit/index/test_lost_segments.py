"""A segment that is gone for good, an index that was lost: everything answers, and whoever asked is told where he asked.

Goal: queries too fall back on the registers when a segment does not come back; the status counts such segments; `max_staleness`
works from a rebuild on; warnings point at the line that called snapstore.
Method: segments removed from archives in memory and on a disk; metered lists; warnings recorded with their places.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import snapstore
from snapstore.archive import Archive
from snapstore.index import Index, IndexMissingWarning, IndexTailWarning, RowFilter, tail
from tests.unit.archives import World

COUNT = "SELECT count(*) AS n FROM snapshots"


def filled(archive: Archive, folds: int = 3) -> None:
    for fold in range(folds):
        for number in range(20):
            archive.save({"n": number}, run="r", graph="g", id=f"{fold}-{number}")
        archive.index.refresh()


def asked(archive: Archive) -> int:
    (row,) = archive.query(COUNT).rows()
    return int(row["n"])


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_query_answers_without_a_segment_that_is_gone_for_good(tmp_path: Path, place: str) -> None:
    """It failed for ever, while lists and tables answered."""
    opened = World().archive if place == "memory" else snapstore.open(tmp_path / "runs", create=True, index_after=None)
    with opened as archive:
        filled(archive)
        assert archive.index.status().missing == 0
        archive.storage.delete_many(archive.index.files()[:1])
        assert archive.index.status().missing == 1
        for _ in range(2):
            with pytest.warns(IndexMissingWarning, match="snapstore index rebuild"):
                assert asked(archive) == 60
        archive.index.rebuild()
        assert archive.index.status().missing == 0
        assert asked(archive) == 60


def test_lists_that_may_be_stale_need_no_listing_after_a_rebuild() -> None:
    """The time of the last fold was lost with the index, so every list looked for changes until something was folded."""
    world = World()
    filled(world.archive)
    world.memory.delete_many(world.keys("index/"))
    world.archive.save({}, run="r", graph="g", id="before")
    began = world.memory.now_ms()
    Index(world.memory).rebuild()
    world.archive.save({}, run="r", graph="g", id="after")
    index = Index(world.meter)
    assert index.status().folded_at >= began
    usage = world.cost(lambda: list(index.rows(RowFilter(graph="g"), max_staleness_s=60)))
    assert "list" not in usage.requests
    found = {row.id for row in index.rows(RowFilter(graph="g"), max_staleness_s=60)}
    assert "before" in found
    assert "after" not in found


WAYS: dict[str, Callable[[Archive], object]] = {
    "list": lambda archive: list(archive.list()),
    "page": lambda archive: list(archive.list("g", limit=5)),
    "query": asked,
    "table": lambda archive: list(archive.table().batches()),
}


@pytest.mark.parametrize("way", WAYS)
def test_warnings_point_at_the_line_that_asked(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """They pointed into snapstore, at the line that runs calls beside each other; queries did not warn of long tails at all."""
    monkeypatch.setattr(tail, "LONG_TAIL", 5)
    world = World()
    for number in range(12):
        world.archive.save({"n": number}, run="r", graph="g")
    with pytest.warns(IndexTailWarning, match="snapstore index compact") as told:
        WAYS[way](world.cold())
    assert [warning.filename for warning in told] == [__file__]
    world.archive.index.refresh()
    world.memory.delete_many(world.keys("index/"))
    with pytest.warns(IndexMissingWarning) as told:
        WAYS[way](world.cold())
    assert [warning.filename for warning in told] == [__file__]


def test_a_long_tail_is_told_of_once_by_each_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LONG_TAIL", 5)
    world = World()
    for number in range(12):
        world.archive.save({"n": number}, run="r", graph="g")
    with pytest.warns(IndexTailWarning):
        assert asked(world.archive) == 12
    assert asked(world.archive) == 12  # a second warning would be an error
