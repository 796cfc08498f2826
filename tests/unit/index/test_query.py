"""SQL over the index shows what lists show, whatever is folded, merged, changed or deleted meanwhile.

Goal: `snapshots` holds each live snapshot once, with its newest row; `edges` its parents; on a disk and on a storage that
DuckDB cannot read by itself; without anything being fetched that is not there.
Method: random histories with folds in between, held against `archive.list`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError
from snapstore.opening import open_archive, open_on
from snapstore.storage.memory import MemoryStorage
from tests.servers import Endpoint
from tests.unit.index.histories import Story

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
