"""Crowds and crashes on S3: many use one index at once there, and a process dies in the middle of its work on it.

Goal: on a server that speaks S3 no row is lost, doubled or stale, and no reader fails, whoever else is at work and wherever
somebody stopped. In memory and on a disk, tests/fault tries every call; here it is the server that keeps or breaks the rules.
Method: 16 writers beside folds, merges, rebuilds and readers, so many operations each; then one archive that lives on through
crash after crash of folds, merges and rebuilds, held against its registers after each. The server is the one that
`scripts/test.py --s3 KIND` names, else ministack.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import pyarrow as pa
import pytest

from snapstore.archive import Archive
from snapstore.index import Index, RowFilter
from snapstore.testing.faults import CrashAt, at
from tests.e2e.index_histories import GRAPHS, History, Place, of_columns, of_row, told
from tests.fault.index_crowd import work_at_once
from tests.servers import Endpoint
from tests.unit.index.histories import make_everything_small

pytestmark = pytest.mark.timeout(600)

OPERATIONS: dict[str, Callable[[Index], object]] = {
    "fold": lambda index: index.refresh(),
    "compact": lambda index: index.compact(),
    "rebuild": lambda index: index.rebuild(),
}


@pytest.fixture(scope="module")
def place(s3_endpoint: Endpoint) -> Place:
    return Place(s3_endpoint)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


def test_nothing_is_lost_doubled_or_stale_while_all_work_at_once(place: Place) -> None:
    with place.open("crowd") as archive:
        work_at_once(archive, 3, rounds=10)


@pytest.mark.slow
def test_a_crowd_that_works_longer(place: Place) -> None:
    with place.open("long crowd") as archive:
        work_at_once(archive, 12, rounds=50)


@pytest.mark.parametrize("name", ["fold", pytest.param("compact", marks=pytest.mark.slow)])
def test_a_crash_at_some_calls_changes_no_list(place: Place, name: str) -> None:
    with place.open(f"some crashes of {name}") as archive:
        assert live_on(archive, OPERATIONS[name], range(0, 30, 5)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_crash_at_many_calls_changes_no_list(place: Place, name: str) -> None:
    with place.open(f"many crashes of {name}") as archive:
        assert live_on(archive, OPERATIONS[name], [*range(25), *range(25, 300, 25)]) >= 12


def live_on(archive: Archive, operation: Callable[[Index], object], calls: Iterable[int]) -> int:
    """Change, crash at a call, look, finish the work and look again; with each of some calls.

    Returns:
        How often it crashed: calls that were not made any more are left out.
    """
    history = History(archive, 3)
    history.go_on(30)
    crashes = 0
    for number in calls:
        history.go_on(6)
        storage = CrashAt(archive.storage)
        storage.arm(at(number), after=number % 2 == 1)
        with contextlib.suppress(RuntimeError):
            operation(Index(storage, grace_s=0))
        crashes += storage.died
        check(archive)
        Index(archive.storage, grace_s=0).compact()
        check(archive)
    return crashes


def check(archive: Archive) -> None:
    """Hold lists and the table, of a handle that knows nothing, against the registers."""
    index = Index(archive.storage)
    rows = told(archive.storage)
    for graph in (None, GRAPHS[1]):
        listed = [of_row(row) for row in index.rows(RowFilter(graph=graph))]
        assert listed == [of_row(row) for row in rows if graph in (None, row.graph)]
    assert sorted(map(of_columns, pa.table(index.table()).to_pylist())) == sorted(map(of_row, rows))
