"""An archive's own doors to its index: lists at any age of the index, tables, queries and scans.

Goal: what was acknowledged shows at once, whether it is folded or not; the filters of lists mean the same everywhere; tables
are read by engines of others; a scan takes the filters of lists.
Method: a small archive in memory, with folds in between.
"""

from __future__ import annotations

import datetime
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pytest

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError, StorageError
from snapstore.index.auto import AutoFold
from snapstore.opening import open_archive, open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import BytesLike
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.archives import World


@pytest.fixture
def archive() -> Archive:
    """Twelve snapshots of two graphs, the first eight of them folded; one of these is finished, one deleted afterwards."""
    archive = open_on(MemoryStorage("memory://analytics"), create=True)
    for number in range(12):
        if number == 8:
            archive.index.refresh()
        state = {"cost": number / 2, "messages": [{"role": "user"}] * number}
        archive.save(
            state,
            run=f"r{number % 3}",
            graph="even" if number % 2 == 0 else "odd",
            id=f"s{number:02}",
            node="plan" if number % 4 == 0 else "act",
            status="running",
            metadata={"model": "large" if number < 6 else "small", "n": number},
        )
    archive.update("s02", finished)
    archive.delete("s03")
    return archive


def finished(draft: Any) -> Any:
    draft.status = "done"
    return draft


def ids(rows: Any) -> list[str]:
    return [row.id for row in rows]


def numbers(*wanted: int) -> list[str]:
    return [f"s{number:02}" for number in wanted]


@pytest.mark.parametrize("step", [None, "refresh", "compact", "rebuild"])
def test_lists_are_the_same_at_any_age_of_the_index(archive: Archive, step: str | None) -> None:
    if step is not None:
        getattr(archive.index, step)()
    assert ids(archive.list()) == numbers(11, 10, 9, 8, 7, 6, 5, 4, 2, 1, 0)
    assert ids(archive.list("odd")) == numbers(11, 9, 7, 5, 1)
    assert ids(archive.list("even", "r1")) == numbers(10, 4)
    assert ids(archive.list(run="r2")) == numbers(11, 8, 5, 2)
    assert ids(archive.list("even", node="plan", limit=2)) == numbers(8, 4)
    assert ids(archive.list(status="done")) == numbers(2)
    assert ids(archive.list(metadata={"model": "small", "n": 7})) == numbers(7)
    assert ids(archive.list("odd", before="s07")) == numbers(5, 1)
    page = list(archive.list(limit=4))
    assert ids(archive.list(limit=3, before=page[-1])) == numbers(7, 6, 5)
    assert ids(archive.list("odd", since=archive["s07"].created_at, until=archive["s11"].created_at)) == numbers(9, 7)


def test_a_dashboard_may_do_without_the_last_changes(archive: Archive) -> None:
    hour = datetime.timedelta(hours=1)
    assert ids(archive.list(max_staleness=hour)) == numbers(7, 6, 5, 4, 3, 2, 1, 0)
    assert ids(archive.list(max_staleness=3600.0, limit=1)) == numbers(7)
    archive.index.refresh()
    assert ids(archive.list("even", max_staleness=hour)) == numbers(10, 8, 6, 4, 2, 0)


def test_metadata_is_filtered_by_value_and_kind(archive: Archive) -> None:
    archive.save({}, run="r", graph="g", id="one", metadata={"n": 1, "flag": True, "none": None, "text": "1"})
    for _ in range(2):
        assert ids(archive.list("g", metadata={"n": 1})) == ["one"]
        assert ids(archive.list("g", metadata={"n": "1"})) == []
        assert ids(archive.list("g", metadata={"flag": True, "none": None})) == ["one"]
        assert ids(archive.list("g", metadata={"flag": 1})) == []
        archive.index.refresh()
    with pytest.raises(InvalidInputError):
        list(archive.list("g", metadata={"n": [1]}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "2026-01-01"},
        {"until": 1.5},
        {"before": 5},
        {"limit": -1},
        {"limit": "5"},
        {"limit": -1, "run": "r"},
        {"max_staleness": "5m"},
        {"graph": 5},
        {"status": 5},
        {"node": ["plan"]},
        {"metadata": ["model"]},
        {"metadata": {1: 2}},
    ],
    ids=str,
)
def test_an_argument_that_is_none_is_refused_at_once(archive: Archive, wrong: dict[str, Any]) -> None:
    """Also by a list that nobody reads: an error in a later line would be hard to find."""
    with pytest.raises(InvalidInputError):
        archive.list(**wrong)


def test_a_table_is_of_a_graph_with_a_name(archive: Archive) -> None:
    with pytest.raises(InvalidInputError):
        archive.table(5)  # type: ignore[arg-type]


def test_paging_by_an_id_takes_its_place_as_it_is_now(archive: Archive) -> None:
    """Another process may have deleted it, and made it again at another place."""
    other = open_on(archive.storage)
    assert ids(other.list(limit=1)) == ["s11"]
    kept = other.save({}, run="r", graph="odd", id="mine")
    archive.delete("mine")
    with pytest.raises(NotFoundError):
        other.list(before="mine")
    assert ids(other.list(before=kept.info, limit=1)) == ["s11"]
    archive.save({}, run="r", graph="odd", id="later")
    archive.save({}, run="r", graph="odd", id="mine")
    assert ids(other.list(before="mine", limit=2)) == ["later", "s11"]
    assert ids(other.list(before=archive["mine"], limit=1)) == ["later"]


def test_a_table_is_read_by_engines_that_know_nothing_of_us(archive: Archive) -> None:
    every = archive.table()
    assert sorted(pa.table(every)["id"].to_pylist()) == sorted(ids(archive.list()))
    assert polars.DataFrame(every).filter(polars.col("graph") == "odd").height == 5
    counted = duckdb.sql("SELECT count(*) AS n FROM every")
    assert counted is not None
    assert counted.to_arrow_table().to_pylist() == [{"n": 11}]
    assert pa.table(archive.table("even"))["deleted"].to_pylist() == [False] * 6


def test_a_scan_takes_the_filters_of_lists(archive: Archive) -> None:
    plan = archive.scan(["cost", "messages[*].role"], graph="odd", where={"status": "running", "limit": 2})
    assert plan.estimate.snapshots == 2
    rows = pa.Table.from_batches(plan).to_pylist()
    assert {row["id"]: (row["cost"], len(row["messages[*].role"])) for row in rows} == {"s11": (5.5, 11), "s09": (4.5, 9)}
    assert sum(task.rows for task in archive.scan_tasks("cost")) == 11
    with pytest.raises(InvalidInputError, match="colour"):
        archive.scan("cost", where={"colour": "red"})


def test_a_scan_takes_a_condition_in_sql(archive: Archive) -> None:
    """What lists cannot express, such as comparisons; a comment at its end hides nothing of ours."""
    plan = archive.scan("cost", graph="odd", where="size_bytes > 0 AND id >= 's07' -- the newest")
    assert sorted(row["id"] for row in pa.Table.from_batches(plan).to_pylist()) == ["s07", "s09", "s11"]
    with pytest.raises(InvalidInputError) as caught:
        archive.scan("cost", where="colour = 'red'")
    assert caught.value.code == "query_failed"
    with pytest.raises(InvalidInputError, match="where takes"):
        archive.scan("cost", where=["red"])  # type: ignore[arg-type]


def test_what_the_sample_did_not_show_is_named_with_a_type_that_holds_it() -> None:
    """Types are found out from 64 of 200 snapshots; the 103rd, with its values of other kinds, is none of them."""
    archive = World().archive
    for number in range(200):
        state: dict[str, Any] = {"cost": number, "tools": [{"took": number}]}
        if number == 102:
            state = {"cost": 0.5, "tools": [{"took": "long"}], "rare": 7}
        archive.save(state, run="r", graph="g", id=f"s{number:03}")
    for path, type in (("cost", "float64"), ("tools[*].took", "json")):
        with pytest.raises(InvalidInputError) as caught:
            list(archive.scan(path))
        assert (caught.value.code, caught.value.context["id"], caught.value.context["path"]) == ("value_misfit", "s102", path)
        assert f'{{"{path}": "{type}"}}' in str(caught.value.hint)
        table = pa.Table.from_batches(archive.scan(path, types={path: type}))
        assert table[path][102].as_py() == (0.5 if path == "cost" else ['"long"'])
        assert pa.Table.from_batches(archive.scan(path, on_error="null"))[path][102].as_py() in (None, [None])
    assert pa.Table.from_batches(archive.scan("rare"))["rare"][102].as_py() == "7"
    assert pa.Table.from_batches(archive.scan("rare", types={"rare": "int64"}))["rare"][102].as_py() == 7


def test_an_empty_archive_gives_empty_answers() -> None:
    archive = World().archive
    assert pa.table(archive.scan("cost")).num_rows == 0
    assert archive.scan_tasks("cost") == ()
    assert [*archive.query("SELECT count(*) AS n FROM snapshots").rows()] == [{"n": 0}]
    assert pa.table(archive.query("SELECT * FROM edges")).column_names == ["snapshot", "parent", "ordinal"]


def test_many_short_processes_fold_as_well() -> None:
    """None of them makes enough changes, and all of them together do."""
    world = World()
    for number in range(60):
        archive = world.cold()
        folding = AutoFold(archive.index, changes=20)
        for change in range(5):
            archive.save({"n": number}, run="r", graph="g", id=f"{number}.{change}")
            folding.changed()
        folding.close(timeout_s=60)
    assert world.archive.index.status().rows >= 100


@pytest.mark.parametrize("wrong", ["x", 0, -1, 1.5, True])
def test_a_number_of_changes_that_is_none_is_refused_when_opening(wrong: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_archive("memory://wrong", create=True, index_after=wrong)
    assert caught.value.code == "invalid_index_after"


class _NoRoom(WrappedStorage):
    """Takes no segments."""

    def put(self, key: str, data: BytesLike) -> str:
        if key.startswith("index/"):
            raise StorageError("no space left", code="storage_full")
        return super().put(key, data)


def test_folding_that_fails_is_logged_and_hurts_no_save(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    archive = open_on(_NoRoom(world.memory))
    folding = AutoFold(archive.index, changes=1)
    for number in range(3):
        archive.save({"n": number}, run="r", graph="g")
        folding.changed()
    folding.close(timeout_s=60)
    assert "could not be folded" in caplog.text
    assert archive.index.problem is not None
    assert len(ids(world.cold().list("g"))) == 3


def test_a_writer_folds_by_itself_and_never_waits() -> None:
    world = World()
    index = world.archive.index
    folding = AutoFold(index, changes=10)
    for number in range(25):
        world.archive.save({"n": number}, run="r", graph="g")
        folding.changed()
    folding.close(timeout_s=60)
    assert index.problem is None
    assert index.status().rows >= 10
    assert len(ids(world.cold().list("g"))) == 25
