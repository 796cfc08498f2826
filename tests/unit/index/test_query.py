"""SQL over the index shows what lists show, whatever is folded, merged, changed or deleted meanwhile.

Goal: `snapshots` holds each live snapshot once, with its newest row; `edges` its parents; on a disk and on a storage that
DuckDB cannot read by itself; without anything being fetched that is not there.
Method: random histories with folds in between, held against `archive.list`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, StorageError
from snapstore.index.generations import Generations
from snapstore.index.query import run_query
from snapstore.index.segments import Segments
from snapstore.index.view import View, look
from snapstore.opening import open_archive, open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Call, FaultyStorage, on
from tests.servers import Endpoint
from tests.unit.index.histories import Story

T = TypeVar("T")

COLUMNS = ["id", "run", "graph", "node", "status", "parents", "size_bytes", "stored_bytes", "version"]


@pytest.fixture(params=["memory", "local"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    if request.param == "memory":
        yield open_on(MemoryStorage("memory://query"), create=True)
    else:
        with open_archive(tmp_path / "runs", create=True, durability="os", index_after=None) as opened:
            yield opened


def asked(archive: Archive, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    return [*archive.query(sql, parameters or None).rows()]


@pytest.mark.parametrize("seed", range(4))
def test_a_query_shows_what_the_list_shows(archive: Archive, seed: int) -> None:
    story, rng = Story(archive, seed), random.Random(seed)
    steps: list[Callable[[], object]] = [archive.index.refresh, archive.index.compact, archive.index.rebuild]
    for _ in range(6):
        for _ in range(rng.randrange(1, 25)):
            story.change()
        if rng.random() < 0.7:
            rng.choice(steps)()
        rows = {row.id: row for row in archive.list()}
        found = {row["id"]: row for row in asked(archive, f"SELECT {', '.join(COLUMNS)}, metadata FROM snapshots")}
        assert len(asked(archive, "SELECT id FROM snapshots")) == len(rows)
        assert found.keys() == rows.keys()
        for id, row in rows.items():
            assert found[id]["parents"] == list(row.parents)
            assert [found[id][name] for name in ("run", "graph", "node", "status")] == [row.run, row.graph, row.node, row.status]
            assert dict(found[id]["metadata"]).get("model") == row.metadata.get("model")
        edges = asked(archive, "SELECT * FROM edges")
        assert sorted((edge["snapshot"], edge["parent"], edge["ordinal"]) for edge in edges) == sorted(
            (row.id, parent, place) for row in rows.values() for place, parent in enumerate(row.parents)
        )


def test_segments_on_object_storage_are_read_without_extensions(ministack: Endpoint) -> None:
    with open_archive(f"s3://{ministack.bucket}/query", create=True, storage_options=ministack.options) as archive:
        for number in range(20):
            archive.save({"n": number}, run="r", graph="odd" if number % 2 else "even", id=f"s{number}")
        archive.index.compact()
        archive.delete("s3")
        asking = "SELECT graph, count(*) AS n FROM snapshots GROUP BY 1 ORDER BY 1"
        assert asked(archive, asking) == [{"graph": "even", "n": 10}, {"graph": "odd", "n": 9}]
        archive.index.rebuild()
        assert asked(archive, asking) == [{"graph": "even", "n": 10}, {"graph": "odd", "n": 9}]


def test_a_lost_index_is_no_loss_of_answers(archive: Archive) -> None:
    for number in range(5):
        archive.save({"n": number}, run="r", graph="g", id=f"s{number}")
    archive.index.refresh()
    archive.storage.delete_many([info.key for info in archive.storage.list("index/")])
    with pytest.warns(UserWarning, match="snapstore index rebuild"):
        assert asked(archive, "SELECT count(*) AS n FROM snapshots") == [{"n": 5}]


def test_parameters_are_values_and_no_sql(archive: Archive) -> None:
    archive.save({}, run="r'; --", graph="g", id="x", metadata={"model": "large", "cost": 0.5})
    assert asked(archive, "SELECT id FROM snapshots WHERE run = ?", "r'; --") == [{"id": "x"}]
    assert asked(archive, "SELECT metadata['cost']::DOUBLE AS cost FROM snapshots") == [{"cost": 0.5}]


@pytest.mark.parametrize("sql", ["SELECT nothing FROM snapshots", "SELEKT 1", "", "SELECT 1/0 FROM no_such_table"])
def test_a_bad_query_says_what_is_wrong(archive: Archive, sql: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        asked(archive, sql)
    assert caught.value.code == "query_failed"


@pytest.mark.parametrize("parameters", ["x", b"x", 5, iter([1])])
def test_parameters_are_a_list_or_a_dict(archive: Archive, parameters: Any) -> None:
    with pytest.raises(InvalidInputError, match="list") as caught:
        archive.query("SELECT ? AS x", parameters)
    assert caught.value.code == "query_failed"


def test_names_of_python_variables_are_no_tables(archive: Archive) -> None:
    """DuckDB looks for unknown tables among the variables of whoever calls it: here, inside snapstore."""
    for name in ("view", "storage", "sources", "connection"):
        with pytest.raises(InvalidInputError, match="does not exist"):
            archive.query(f"SELECT * FROM {name}")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO snapshots SELECT * FROM snapshots",
        "DELETE FROM snapshots",
        "DROP VIEW snapshots",
        "CREATE TABLE kept AS SELECT 1",
        "COPY (SELECT 1) TO '{target}'",
        "COPY (PIVOT range(3) ON range) TO '{target}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{target}'",
        "COPY (SELECT 1) TO '{target}'; SELECT 1",
        "SELECT 1; COPY (SELECT 1) TO '{target}'",
        "ATTACH '{target}'",
        "EXPORT DATABASE '{target}'",
        "PRAGMA version",
        "SELECT 1; SELECT 2",
    ],
)
def test_nothing_but_one_query_runs(archive: Archive, tmp_path: Path, sql: str) -> None:
    target = tmp_path / "written"
    with pytest.raises(InvalidInputError, match="only one SELECT") as caught:
        archive.query(sql.format(target=target))
    assert caught.value.code == "query_failed"
    assert not target.exists()


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("WITH ids AS (SELECT id FROM snapshots) SELECT count(*) AS n FROM ids;", [{"n": 1}]),
        ("-- how many\nFROM snapshots SELECT count(*) AS n", [{"n": 1}]),
        ("/* turned */ PIVOT (SELECT run, status FROM snapshots) ON status", [{"run": "r", "completed": 1}]),
        ("SELECT * FROM (PIVOT (SELECT run, status FROM snapshots) ON status)", [{"run": "r", "completed": 1}]),
        ("SET TimeZone = 'Asia/Tokyo'; SELECT strftime('1970-01-01T00:00Z'::TIMESTAMPTZ, '%H') AS hour", [{"hour": "09"}]),
    ],
)
def test_everything_that_reads_runs(archive: Archive, sql: str, rows: list[dict[str, Any]]) -> None:
    archive.save({}, run="r", graph="g", status="completed")
    assert asked(archive, sql) == rows
    assert asked(archive, "EXPLAIN ANALYZE SELECT * FROM snapshots")


@pytest.mark.parametrize("name", ["a[1]", "every*", "which?", "it's", "größe {x}"])
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    """DuckDB takes paths for patterns: `a[1]` would read the segments of `a1`."""
    for folder, count in ((name, 3), ("a1", 1), ("everything", 1), ("which1", 1)):
        with open_archive(tmp_path / folder, create=True, durability="os", index_after=None) as archive:
            for number in range(count):
                archive.save({}, run="r", graph="g", id=f"s{number}")
            archive.index.compact()
    with open_archive(tmp_path / name, read_only=True) as archive:
        assert asked(archive, "SELECT count(*) AS n FROM snapshots") == [{"n": 3}]


def test_a_namespace_is_asked_alone(tmp_path: Path) -> None:
    for namespace, count in ((None, 1), ("tenant's/7", 3)):
        with open_archive(tmp_path / "runs", create=True, namespace=namespace, index_after=None) as archive:
            for _ in range(count):
                archive.save({}, run="r", graph="g")
            archive.index.refresh()
            archive.save({}, run="r", graph="g")
            assert asked(archive, "SELECT count(*) AS n FROM snapshots") == [{"n": count + 1}]


def test_segments_that_were_replaced_meanwhile_are_looked_for_again(archive: Archive) -> None:
    for number in range(5):
        archive.save({}, run="r", graph="g", id=f"s{number}")
    archive.index.compact()
    looks = 0

    def look_and_lose() -> View:
        nonlocal looks
        looks += 1
        view = look(archive.storage, Generations(archive.storage))
        if looks == 1:
            archive.storage.delete_many([file.key for file in view.files])
            archive.index.rebuild()
        return view

    found = run_query(Segments(archive.storage), look_and_lose, "SELECT count(*) AS n, max(size_bytes) > 0 AS big FROM snapshots")
    assert ([*found.rows()], looks) == ([{"n": 5, "big": True}], 2)


class Late(FaultyStorage):
    """A storage that does not answer the calls that were picked."""

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        if picked:
            raise StorageError("no answer", code="storage_timeout", retryable=True, key=call.key)
        return super().around(call, picked, perform)


def test_a_storage_that_fails_is_no_fault_of_the_query() -> None:
    """What the storage says goes through Arrow and DuckDB, which make texts of it; callers try a StorageError again."""
    inner = MemoryStorage("memory://stubborn")
    archive = open_on(inner, create=True)
    archive.save({}, run="r", graph="g")
    archive.index.compact()
    late = open_on(Late(inner, on("get_ranges", "index/snapshots/*")))
    with pytest.raises(StorageError) as caught:
        asked(late, "SELECT max(size_bytes) AS most FROM snapshots")
    assert (caught.value.code, caught.value.retryable) == ("storage_timeout", True)


def test_what_only_the_data_shows_is_an_error_of_the_query_too(archive: Archive) -> None:
    archive.save({}, run="r", graph="g", metadata={"model": "large"})
    with pytest.raises(InvalidInputError) as caught:
        asked(archive, "SELECT metadata['model']::INTEGER FROM snapshots")
    assert caught.value.code == "query_failed"


def test_the_result_is_a_table_for_other_engines(archive: Archive) -> None:
    pa = pytest.importorskip("pyarrow")
    archive.save({}, run="r", graph="g")
    table = pa.table(archive.query("SELECT graph, count(*) AS n FROM snapshots GROUP BY 1"))
    assert table.to_pylist() == [{"graph": "g", "n": 1}]
