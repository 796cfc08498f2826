"""Many writers, a folder, a compactor and readers at once: no reader misses, doubles or ages what was acknowledged.

Goal: read-your-own-writes and exact lists hold while segments come and go under the readers.
Method: 16 threads save, change and delete, each among its own ids, and after each change look for it in the list of its graph;
meanwhile others fold, merge without grace and read tables. In the end everything is compared with the registers.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import snapstore
from snapstore.archive import Archive
from snapstore.errors import ConflictError
from snapstore.index import AutoFold, Index, RowFilter
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage
from tests.servers import Endpoint
from tests.unit.index.histories import listed, make_everything_small, timeless, truth

WRITERS = 16
CHANGES = 12
GRAPHS = ["support", "a/b", "größe"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


@pytest.fixture(params=["memory", "local"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "memory":
        yield open_on(MemoryStorage(), create=True)
    else:
        with snapstore.open(tmp_path / "archive", create=True, durability="os") as opened:
            yield opened


def write(archive: Archive, number: int) -> None:
    """Change snapshots and look for each change right away, through an index of its own as another process has it."""
    rng = random.Random(number)
    index = Index(archive.storage)
    graph = GRAPHS[number % len(GRAPHS)]
    live: dict[str, str] = {}
    for step in range(CHANGES):
        id = f"{number}-{rng.randrange(4)}"
        status = f"status-{step}"
        if id in live and rng.random() < 0.4:
            archive.delete(id)
            del live[id]
        else:
            archive.save({"step": step}, run=f"run-{number}", graph=graph, id=id, status=status)
            live[id] = status
        rows = [row for row in index.rows(RowFilter(graph=graph)) if row.id.startswith(f"{number}-")]
        assert {row.id: row.status for row in rows} == live
        assert len(rows) == len(live)


def until(done: threading.Event, call: Callable[[], object]) -> None:
    while not done.wait(0.005):
        call()


def fold(storage: Storage) -> None:
    Index(storage, grace_s=5).refresh()


def compact(storage: Storage) -> None:
    Index(storage, grace_s=5).compact()


def rebuild(storage: Storage) -> None:
    with contextlib.suppress(ConflictError):  # another fold was the first one of the archive
        Index(storage, grace_s=5).rebuild()


def read_table(storage: Storage) -> None:
    ids = pa.table(Index(storage).table())["id"].to_pylist()
    assert len(ids) == len(set(ids))


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_stale_while_all_work_at_once(archive: Archive) -> None:
    work_at_once(archive)


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_stale_on_s3(ministack: Endpoint) -> None:
    with snapstore.open(f"s3://{ministack.bucket}/at-once", create=True, storage_options=ministack.options) as archive:
        work_at_once(archive)


def work_at_once(archive: Archive) -> None:
    """Let everybody work, and compare what they saw and what is left with the registers."""
    done = threading.Event()
    failures: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - shown in the main thread
                failures.append(error)

        return run

    storage = archive.storage
    work = (fold, fold, compact, rebuild, read_table)
    helpers = [guarded(lambda job=job: until(done, lambda: job(storage))) for job in work]  # type: ignore[misc]
    writers = [guarded(lambda n=n: write(archive, n)) for n in range(WRITERS)]  # type: ignore[misc]
    started = [threading.Thread(target=call) for call in [*helpers, *writers]]
    for thread in started:
        thread.start()
    for thread in started[len(helpers) :]:
        thread.join()
    done.set()
    for thread in started:
        thread.join()
    assert not failures, failures[0]
    index = Index(storage, grace_s=0)
    for wanted in (RowFilter(), *(RowFilter(graph=graph) for graph in GRAPHS)):
        assert timeless(listed(index, wanted)) == timeless(truth(storage, wanted))
    index.compact()
    assert index.status().tail == 0
    for wanted in (RowFilter(), *(RowFilter(graph=graph) for graph in GRAPHS)):
        assert timeless(listed(index, wanted)) == timeless(truth(storage, wanted))


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
