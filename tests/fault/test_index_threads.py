"""Many writers, a folder, a compactor and readers at once: no reader misses, doubles or ages what was acknowledged.

Goal: read-your-own-writes and exact lists hold while segments come and go under the readers.
Method: 16 threads save, change and delete, each among its own ids, and after each change look for it in the list of its graph;
meanwhile others fold, merge, rebuild, read tables and query. In the end everything is compared with the registers. The same on S3
is in tests/e2e/test_index_on_s3_crowds.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import snapstore
from snapstore.archive import Archive
from snapstore.index import AutoFold, Index, RowFilter
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from tests.fault.index_crowd import work_at_once
from tests.unit.index.histories import listed, make_everything_small

CHANGES = 12
"""By each of 16 writers; the others go on until the last one has ended."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.slow), "local"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "memory":
        yield open_on(MemoryStorage(), create=True)
    else:
        with snapstore.open(tmp_path / "archive", create=True, durability="os") as opened:
            yield opened


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_stale_while_all_work_at_once(archive: Archive) -> None:
    work_at_once(archive, CHANGES, rounds=10_000)


def test_saves_start_a_fold_and_never_wait_for_it(archive: Archive) -> None:
    index = Index(archive.storage)
    folding = AutoFold(index, changes=10)
    for number in range(25):
        archive.save({"n": number}, run="r", graph="g")
        folding.changed()
    folding.close(60)
    assert index.problem is None
    assert 10 <= index.status().rows <= 25
    assert len(listed(index, RowFilter(graph="g"))) == 25
    before = index.status().generation
    folding.changed(100)  # closed: starts nothing
    folding.close(60)
    assert index.status().generation == before


def test_a_fold_in_the_background_that_fails_is_told_by_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_on(MemoryStorage(), create=True)
    index = Index(archive.storage)
    archive.save({}, run="r")

    def broken(*_: object) -> str:
        raise snapstore.errors.StorageError("the disk is full", code="storage_full")

    monkeypatch.setattr(archive.storage, "put", broken)
    folding = AutoFold(index, changes=1)
    folding.changed()
    folding.close(60)
    assert index.status().problem == "the disk is full"


def test_none_never_folds() -> None:
    archive = open_on(MemoryStorage(), create=True)
    index = Index(archive.storage)
    folding = AutoFold(index, changes=None)
    archive.save({}, run="r")
    folding.changed(10**9)
    folding.close()
    assert index.status().generation == 0
