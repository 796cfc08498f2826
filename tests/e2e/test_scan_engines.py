"""Spark, Ray and Daft execute the tasks of a scan.

Goal: a batch job that outgrows one machine runs on the engine that is there, and gets what a scan here gives.
Method: an archive in a folder, read by each engine with its own workers, beside the same scan executed by us; what engines ask
for in their own way (a filter, a column, a second query on the same frame) beside the same in plain Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.scan.planning import scan
from tests.unit.archives import conversation, message

pytestmark = [
    pytest.mark.engines,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # engines warn about pandas, sockets and environments; none of it is ours
]

PATHS = ["cost", "messages[*].role", "messages[-1].content"]
ROWS = 60


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs of one graph, and one of another."""
    folder = tmp_path_factory.mktemp("engines") / "runs"
    with snapstore.open(folder, create=True, durability="os") as archive:
        for number in range(4):
            run = archive.run(f"run-{number}", graph="support" if number else "other")
            state = conversation(3)
            for step in range(20):
                state["messages"].append(message(step))
                state["cost"] = step / 4
                run.save(state, node="plan")
        archive.index.compact()
    return str(folder)


@pytest.fixture(scope="module")
def segments(url: str) -> list[str]:
    """The files of its index, which engines read with no code of ours."""
    with snapstore.open(url, read_only=True) as archive:
        return [str(Path(url) / key) for key in archive.index.files()]


COUNTS = {"support": ROWS, "other": 20}


@pytest.fixture(scope="module")
def expected(url: str) -> list[dict[str, Any]]:
    """What a scan gives here."""
    with snapstore.open(url, read_only=True) as archive:
        found = [row for batch in scan(archive.storage, archive.list(graph="support"), PATHS) for row in batch.to_pylist()]
    assert len(found) == ROWS
    return found


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks, so that they have to be put together."""
    monkeypatch.setattr("snapstore.scan.planning.TASK_SNAPSHOTS", 25)


def by_id(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: str(row["id"]))


def test_spark(url: str, segments: list[str], expected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    from snapstore.adapters.spark import register

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(snapstore.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    try:
        rows = spark.read.parquet(*segments).where("not deleted").groupBy("graph").count().collect()
        assert {row["graph"]: row["count"] for row in rows} == COUNTS
        register(spark)
        frame = spark.read.format("snapstore").options(url=url, graph="support", paths=json.dumps(PATHS)).load()
        assert by_id(frame.toArrow().to_pylist()) == by_id(expected)
        frame.createOrReplaceTempView("states")
        spent = spark.sql("select run, max(cost) as cost from states where cost > 1 group by 1 order by 1").toArrow().to_pylist()
        assert spent == [{"run": f"run-{number}", "cost": 4.75} for number in (1, 2, 3)]
        assert frame.count() == ROWS
        one = spark.read.format("snapstore").options(url=url, run="run-0", paths="cost", types='{"cost": "string"}').load()
        assert sorted(row.cost for row in one.collect()) == sorted(str(step / 4) for step in range(20))
        with pytest.raises(Exception, match="an option is missing or unknown"):
            spark.read.format("snapstore").options(url=url, path="cost").load()
        with pytest.raises(Exception, match="not a whole number"):
            spark.read.format("snapstore").options(url=url, paths="cost", since="yesterday").load()
    finally:
        spark.stop()


def test_ray(url: str, segments: list[str], expected: list[dict[str, Any]]) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from snapstore.adapters.ray import SnapstoreDatasource

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(snapstore.__file__).parents[1])}},
    )
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        counted = ray.data.read_parquet(segments, columns=["graph"]).groupby("graph").count().take_all()
        assert {row["graph"]: row["count()"] for row in counted} == COUNTS
        found = ray.data.read_datasource(SnapstoreDatasource(url, PATHS, graph="support"))
        assert found.count() == ROWS
        rows = [row for table in found.iter_batches(batch_format="pyarrow", batch_size=None) for row in table.to_pylist()]
        assert by_id(rows) == by_id(expected)
    finally:
        ray.shutdown()


def test_daft(url: str, segments: list[str], expected: list[dict[str, Any]]) -> None:
    daft = pytest.importorskip("daft", reason="daft is not installed")
    from snapstore.adapters.daft import SnapstoreSource

    counted = daft.read_parquet(segments).groupby("graph").agg(daft.col("id").count()).to_pydict()
    assert dict(zip(counted["graph"], counted["id"], strict=True)) == COUNTS
    frame = SnapstoreSource(url, PATHS, graph="support").read()
    assert by_id(frame.to_arrow().to_pylist()) == by_id(expected)
    assert frame.where(daft.col("cost") > 4).select("cost").count_rows() == sum(row["cost"] > 4 for row in expected)
