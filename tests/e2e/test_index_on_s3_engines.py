"""Engines read an archive on S3: its segments with no code of ours, its tables and scans, and SQL without any extension.

Goal: whoever has an engine that reads S3 sees what the registers say, with the rule that SPEC.md (Index) gives; `query` needs
nothing that is not installed with DuckDB; the parts of a scan are read by other processes that were given keys, each pack once.
Method: an archive with changed and deleted snapshots on the server that `scripts/test.py --s3 KIND` names, else ministack; its
index in several segments. DuckDB reads S3 with an extension that would have to be fetched, so it is given s3fs instead.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pytest
import s3fs

import snapstore
from snapstore.archive import Archive
from snapstore.index import Row
from snapstore.scan.planning import ScanTask, scan
from snapstore.storage.protocol import Storage
from snapstore.testing.faults import FaultyStorage
from tests.e2e.index_histories import GRAPHS, History, Place, of_columns, of_row, told
from tests.servers import Endpoint
from tests.unit.archives import conversation, message

pytestmark = pytest.mark.timeout(300)

RULE = "QUALIFY row_number() OVER (PARTITION BY graph, created_at, id ORDER BY updated_at DESC) = 1 AND NOT deleted"
"""The live rows: the newest version at each place, unless it is a tombstone."""

PATHS = ["cost", "messages[*].role", "messages[-1].content"]


@pytest.fixture(scope="module")
def place(s3_endpoint: Endpoint) -> Place:
    return Place(s3_endpoint)


@pytest.fixture(scope="module")
def archive(place: Place) -> Iterator[Archive]:
    """Everything is folded, in several segments with versions of the same snapshots."""
    with place.open() as opened:
        history = History(opened, 2)
        for changes in (240, 30):  # so different in size that they are not merged at once
            history.go_on(changes)
            opened.index.refresh()
        assert len(opened.index.files()) > 1
        assert opened.index.status().rows > len(told(opened.storage))
        yield opened


@pytest.fixture(scope="module")
def rows(archive: Archive) -> list[Row]:
    return told(archive.storage)


@pytest.fixture(scope="module")
def expected(rows: list[Row]) -> list[tuple[Any, ...]]:
    return sorted(map(of_row, rows))


@pytest.fixture(scope="module")
def segments(archive: Archive, place: Place) -> list[str]:
    """The live segments, as bucket and key."""
    bucket, _, prefix = place.url.removeprefix("s3://").partition("/")
    return [f"{bucket}/{prefix}/{key}" for key in archive.index.files()]


# Segments, with no code of ours -----------------------------------------------------------------------------------------------


def test_pyarrow_reads_the_live_segments(segments: list[str], expected: list[tuple[Any, ...]], s3_endpoint: Endpoint) -> None:
    scheme, _, address = s3_endpoint.url.partition("://")
    bucket_fs = pyarrow.fs.S3FileSystem(
        endpoint_override=address,
        scheme=scheme,
        access_key=s3_endpoint.access_key,
        secret_key=s3_endpoint.secret_key,
        region=s3_endpoint.region,
    )
    table = pyarrow.dataset.dataset(segments, filesystem=bucket_fs).to_table()
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in table.sort_by([("updated_at", "descending")]).to_pylist():
        newest.setdefault((row["graph"], row["created_at"], row["id"]), row)
    assert sorted(of_columns(row) for row in newest.values() if not row["deleted"]) == expected


def test_polars_reads_the_live_segments(segments: list[str], expected: list[tuple[Any, ...]], s3_endpoint: Endpoint) -> None:
    options = {
        "aws_endpoint_url": s3_endpoint.url,
        "aws_access_key_id": s3_endpoint.access_key,
        "aws_secret_access_key": s3_endpoint.secret_key,
        "aws_region": s3_endpoint.region,
        "aws_allow_http": "true",
    }
    frame = polars.scan_parquet([f"s3://{path}" for path in segments], storage_options=options, hive_partitioning=False)
    newest = frame.sort("updated_at", descending=True).unique(["graph", "created_at", "id"], keep="first", maintain_order=True)
    found = newest.filter(~polars.col("deleted")).collect().to_dicts()
    assert sorted(map(of_columns, found)) == expected


def test_duckdb_reads_the_live_segments_through_s3fs(
    segments: list[str], expected: list[tuple[Any, ...]], s3_endpoint: Endpoint
) -> None:
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as connection:
        connection.register_filesystem(s3fs.S3FileSystem(**s3_endpoint.options))
        connection.execute("SET TimeZone = 'UTC'")
        listed = [f"s3://{path}" for path in segments]
        sql = f"SELECT * FROM read_parquet($listed, hive_partitioning = false) {RULE}"
        found = [row for batch in connection.sql(sql, params={"listed": listed}).to_arrow_reader() for row in batch.to_pylist()]
    assert sorted(map(of_columns, found)) == expected


# Tables and queries -----------------------------------------------------------------------------------------------------------


def test_a_table_is_read_by_engines_as_it_is(archive: Archive, expected: list[tuple[Any, ...]], rows: list[Row]) -> None:
    snapshots = archive.table()
    assert sorted(map(of_columns, pa.table(snapshots).to_pylist())) == expected
    assert sorted(map(of_columns, polars.DataFrame(snapshots).to_dicts())) == expected
    counted = duckdb.connect().execute("SELECT graph, count(*) FROM snapshots GROUP BY 1").fetchall()
    assert dict(counted) == Counter(row.graph for row in rows)
    assert polars.DataFrame(archive.table(GRAPHS[1])).height == sum(row.graph == GRAPHS[1] for row in rows)


ASK = """
import json, os, sys
import duckdb, snapstore
told = json.load(sys.stdin)
with snapstore.open(told["url"], read_only=True, storage_options=told["options"]) as archive:
    rows = [*archive.query("SELECT graph, count(*) AS n, max(created_at) AS newest FROM snapshots GROUP BY 1").rows()]
    edges = [*archive.query("SELECT count(*) AS n FROM edges").rows()]
fetched = "SELECT extension_name FROM duckdb_extensions() WHERE install_mode NOT IN ('STATICALLY_LINKED', 'NOT_INSTALLED')"
extensions = duckdb.sql(fetched).fetchall()
home = os.listdir(os.environ["HOME"])
print(json.dumps([{row["graph"]: row["n"] for row in rows}, edges[0]["n"], extensions, home]))
"""


def test_a_query_needs_no_extension(archive: Archive, rows: list[Row], place: Place, tmp_path: Path) -> None:
    variables = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(snapstore.__file__).parents[1])}
    told_url = json.dumps({"url": archive.url, "options": place.options})
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=told_url, capture_output=True, text=True, env=variables, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    counts, edges, extensions, home = json.loads(done.stdout)
    assert counts == Counter(row.graph for row in rows)
    assert edges == sum(len(row.parents) for row in rows)
    assert extensions == []
    assert home == []  # where DuckDB keeps what it fetches


# Scans ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conversations(place: Place) -> Iterator[Archive]:
    """Three runs that grow, in a graph with an awkward name."""
    with place.open("conversations/=") as opened:
        for number in range(3):
            run = opened.run(f"run {number}", graph=GRAPHS[3])
            state = conversation(20, seed=number)
            for step in range(15):
                state["messages"].append(message(step, seed=number))
                state["cost"] = step / 4
                run.save(state)
        opened.index.compact()
        yield opened


class PerPack(FaultyStorage):
    """Counts the requests for each pack."""

    def packs(self) -> Counter[str]:
        """How often each pack was asked for."""
        return Counter(call.key for call in self.calls if call.verb in {"get", "get_ranges"} and call.key.startswith("runs/"))


def restored(archive: Archive) -> list[dict[str, Any]]:
    """The same fields, from whole states."""
    found = []
    for row in archive.list(GRAPHS[3]):
        state = archive[row.id].state()
        values = [state["cost"], [one["role"] for one in state["messages"]], state["messages"][-1]["content"]]
        found.append({"id": row.id, **dict(zip(PATHS, values, strict=True))})
    return sorted(found, key=by_id)


def by_id(row: dict[str, Any]) -> str:
    return str(row["id"])


def fields(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({name: row[name] for name in ["id", *PATHS]} for row in found), key=by_id)


def test_a_scan_gives_what_restoring_gives_and_asks_for_each_pack_once(conversations: Archive) -> None:
    storage = PerPack(conversations.storage)
    scanned = scan(storage, conversations.list(GRAPHS[3]), PATHS)
    found = [row for batch in scanned for row in batch.to_pylist()]
    assert fields(found) == restored(conversations)
    assert len(storage.packs()) == scanned.estimate.packs == 45
    assert max(storage.packs().values()) == 1


def executed(task: ScanTask, options: dict[str, str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Execute a task in a process of its own, by its url and on a storage that counts: both rows, and the most per pack."""
    by_url = [row for batch in task.read(storage_options=options) for row in batch.to_pylist()]
    storage: Storage = snapstore.storage.connect(task.url, storage_options=options, read_only=True)
    counted = PerPack(storage)
    counted_rows = [row for batch in task.read(counted) for row in batch.to_pylist()]
    storage.close()
    return by_url, counted_rows, max(counted.packs().values())


def test_tasks_of_a_scan_are_read_in_other_processes(
    conversations: Archive, monkeypatch: pytest.MonkeyPatch, place: Place
) -> None:
    monkeypatch.setattr("snapstore.scan.planning.TASK_SNAPSHOTS", 25)
    tasks = conversations.scan_tasks(PATHS, graph=GRAPHS[3])
    assert len(tasks) == 2
    assert place.options["secret"] not in repr(tasks)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = [*pool.map(executed, tasks, [place.options] * len(tasks))]
    expected = restored(conversations)
    assert fields([row for by_url, _, _ in results for row in by_url]) == expected
    assert fields([row for _, counted, _ in results for row in counted]) == expected
    assert [most for _, _, most in results] == [1, 1]
