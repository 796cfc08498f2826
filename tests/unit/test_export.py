"""Tables become files and Delta tables that other programs read, whole or not at all.

Goal: what is exported comes back as it was, in every format, with memory for one row group; what is there already is safe; and
an export that fails or is stopped leaves nothing behind. Method: tables of all types and streams that break off in the middle,
read back by pyarrow, Polars and the standard library; an archive in memory for the table of edges and for scans; an S3 emulator
for objects.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from snapstore.errors import ConflictError, InvalidInputError, MissingExtraError, NotFoundError, StorageError
from snapstore.export import Existing, edges, export, read_rows, streams, write, writing
from snapstore.export.main import SUFFIXES
from tests.servers import Endpoint
from tests.unit.archives import World

MOMENT = datetime.datetime(2026, 11, 20, 23, 6, 12, 345000, datetime.UTC)
FILE_FORMATS = ["parquet", "arrow", "csv", "json", "jsonl"]
STOPS = [KeyboardInterrupt(), SystemExit(143), InvalidInputError("broken"), OSError(28, "No space left on device")]


def table(rows: int = 3, start: int = 0) -> pa.Table:
    numbers = range(start, start + rows)
    return pa.table(
        {
            "id": [f"s{number}" for number in numbers],
            "at": pa.array([MOMENT] * rows, pa.timestamp("ms", "UTC")),
            "digest": pa.array([bytes([number % 256]) * 32 for number in numbers], pa.binary(32)),
            "parents": pa.array([[f"s{number - 1}"] for number in numbers], pa.list_(pa.string())),
            "metadata": pa.array([[("model", 'größe, "x"')]] * rows, pa.map_(pa.string(), pa.string())),
            "cost": [number / 4 for number in numbers],
        }
    )


class Breaking:
    """A table of ours that breaks off after two batches; what it raises must come out as it is."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from table(2).to_batches()
        yield from table(2, 2).to_batches()
        raise self.failure


def breaking(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> Any:
    """The table of edges of an archive that fails while it is read."""
    found = edges(World().archive.table())
    source = Breaking(failure)
    monkeypatch.setattr(type(found), "schema", property(lambda _: table().schema))
    monkeypatch.setattr(found, "batches", source.batches, raising=True)
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------- formats


def test_binary_formats_keep_everything(tmp_path: Path) -> None:
    done = export(table(), tmp_path / "rows.parquet")
    assert (done.format, done.rows, done.bytes_written) == ("parquet", 3, (tmp_path / "rows.parquet").stat().st_size)
    assert pq.read_table(tmp_path / "rows.parquet").equals(table())
    export(table(), tmp_path / "rows.arrow")
    with pyarrow.ipc.open_stream(tmp_path / "rows.arrow") as reader:
        assert reader.read_all().equals(table())


def test_text_formats_say_the_same(tmp_path: Path) -> None:
    expected = {
        "id": "s1",
        "at": "2026-11-20T23:06:12.345Z",
        "digest": "01" * 32,
        "parents": ["s0"],
        "metadata": {"model": 'größe, "x"'},
        "cost": 0.25,
    }
    for name in ("rows.json", "rows.jsonl", "rows.csv"):
        assert export(table(), tmp_path / name).rows == 3
    assert json.loads((tmp_path / "rows.json").read_text("utf-8"))[1] == expected
    assert json.loads((tmp_path / "rows.jsonl").read_text("utf-8").splitlines()[1]) == expected
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        row = list(csv.DictReader(file))[1]
    assert {**row, "parents": json.loads(row["parents"]), "metadata": json.loads(row["metadata"])} == {
        **expected,
        "cost": "0.25",
    }


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_a_table_without_rows_is_a_file_with_its_columns(tmp_path: Path, format: Any) -> None:
    assert export(table(0), tmp_path / "rows", format).rows == 0
    data = (tmp_path / "rows").read_bytes()
    if format == "parquet":
        assert pq.read_schema(tmp_path / "rows").names == table().column_names
    elif format == "csv":
        assert data == b"id,at,digest,parents,metadata,cost\n"
    elif format in {"json", "jsonl"}:
        assert b"".join(data.split()) == (b"[]" if format == "json" else b"")


PLAIN: list[tuple[pa.Array, list[Any]]] = [
    (pa.array([1.5, math.nan, -math.inf, None]), [1.5, None, None, None]),
    (pa.array([decimal.Decimal(2**70), None], pa.decimal128(38, 0)), [2**70, None]),
    (pa.array([decimal.Decimal("1.5")]), [1.5]),
    (pa.array([b"\x00\xff", None]), ["00ff", None]),
    (pa.array([MOMENT], pa.timestamp("us", "UTC")), ["2026-11-20T23:06:12.345Z"]),
    (pa.array([MOMENT], pa.timestamp("us", "Asia/Tokyo")), ["2026-11-20T23:06:12.345Z"]),
    (pa.array([1, None], pa.timestamp("us")), ["1970-01-01T00:00:00.000001", None]),
    (pa.array([[MOMENT, None]], pa.list_(pa.timestamp("ms", "UTC"))), [["2026-11-20T23:06:12.345Z", None]]),
    (pa.array([MOMENT.date()]), ["2026-11-20"]),
    (pa.array([datetime.time(1, 2, 3)]), ["01:02:03"]),
    (pa.array([datetime.timedelta(seconds=90.5), -datetime.timedelta(seconds=1)]), ["PT90.5S", "PT-1S"]),
    (pa.array([pa.MonthDayNano([1, 2, 3_500_000_000]), pa.MonthDayNano([0, 0, 0])]), ["P1M2DT3.5S", "PT0S"]),
    (pa.array([{"a": b"\x01", "b": None}]), [{"a": "01", "b": None}]),
    (pa.array([[(True, 1.5), (False, None)]], pa.map_(pa.bool_(), pa.float64())), [{"true": 1.5, "false": None}]),
    (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    (pa.array([None, None]), [None, None]),
    (pa.array([True, None]), [True, None]),
]


@pytest.mark.parametrize(("array", "expected"), PLAIN, ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "")
def test_values_of_every_type_have_a_plain_form(array: pa.Array, expected: list[Any]) -> None:
    found, rows = read_rows(pa.table({"x": array}))
    assert (found, [row[0] for row in rows]) == (["x"], expected)
    file = io.BytesIO()
    write(pa.table({"x": array}), file, "jsonl")
    assert [json.loads(line)["x"] for line in file.getvalue().splitlines()] == expected


def test_tables_of_other_libraries_are_exported(tmp_path: Path) -> None:
    export(polars.DataFrame({"a": [1, 2], "b": ["x", None]}), tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl").read_text() == '{"a":1,"b":"x"}\n{"a":2,"b":null}\n'
    with pytest.raises(InvalidInputError, match="only a table"):
        export([1, 2], tmp_path / "none.csv")
    assert names(tmp_path) == ["rows.jsonl"]


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_memory_holds_one_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    """A scan of a large archive is written by a small machine: 64 MiB go through, never more than 8 are held."""
    monkeypatch.setattr(writing, "GROUP_BYTES", 2 * 1024 * 1024)
    before = pa.total_allocated_bytes()
    held: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(64):
            held.append(pa.total_allocated_bytes() - before)
            yield pa.record_batch({"n": pa.array([number] * 1024), "text": pa.array([f"{number:01024}"] * 1024)})

    schema = pa.schema({"n": pa.int64(), "text": pa.string()})
    done = export(pa.RecordBatchReader.from_batches(schema, batches()), tmp_path / "rows", format)
    assert done.rows == 64 * 1024
    assert max(held) < 8 * 1024 * 1024
    if format == "parquet":
        assert pq.ParquetFile(tmp_path / "rows").num_row_groups == 32


def test_small_batches_make_large_row_groups(tmp_path: Path) -> None:
    """Engines skip by row groups: a scan's batches of a few rows must not become one each."""
    reader = pa.RecordBatchReader.from_batches(table().schema, (table(1, n).to_batches()[0] for n in range(100)))
    seen: list[int] = []
    export(reader, tmp_path / "rows.parquet", progress=seen.append)
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 1
    assert seen == list(range(1, 101))


@pytest.mark.parametrize("format", ["parquet", "json", "jsonl", "delta"])
def test_columns_of_one_name_are_refused_where_names_count(tmp_path: Path, format: Any) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InvalidInputError, match="two columns"):
        export(twice, tmp_path / "rows", format)
    assert names(tmp_path) == []
    export(twice, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "a,a\n1,2\n"


# ------------------------------------------------------------------------------------------- targets


def test_the_ending_tells_the_format(tmp_path: Path) -> None:
    for suffix, format in SUFFIXES.items():
        assert export(table(), tmp_path / f"rows{suffix.upper()}").format == format
    assert export(table(), f"file://{tmp_path}/with%20blank.csv").format == "csv"
    assert (tmp_path / "with blank.csv").is_file()
    unknown: list[tuple[str, Any]] = [("rows", None), ("rows.txt", None), ("rows.csv", "excel")]
    for target, wrong in unknown:
        with pytest.raises(InvalidInputError, match="format") as caught:
            export(table(), tmp_path / target, wrong)
        assert caught.value.code == "unknown_format"
    with pytest.raises(InvalidInputError) as caught:
        export(table(), "https://example.org/rows.csv")
    assert caught.value.code == "unknown_format"


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_what_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path, format: Any) -> None:
    target = tmp_path / "rows"
    target.write_bytes(b"mine")
    with pytest.raises(ConflictError, match="the target exists"):
        export(table(), target, format)
    with pytest.raises(InvalidInputError) as caught:
        export(table(), target, format, existing="append")
    assert caught.value.code == "not_appendable"
    assert target.read_bytes() == b"mine"
    export(table(), target, format, existing="replace")
    assert target.read_bytes() != b"mine"
    assert names(tmp_path) == ["rows"]
    with pytest.raises(NotFoundError, match="no such folder"):
        export(table(), tmp_path / "nowhere" / "rows", format)


@pytest.mark.parametrize("failure", STOPS, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("format", [*FILE_FORMATS, "delta"])
def test_what_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any, failure: BaseException
) -> None:
    with pytest.raises(type(failure)) as caught:
        export(breaking(monkeypatch, failure), tmp_path / "rows", format)
    assert caught.value is failure
    assert names(tmp_path) == []


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_a_replacement_that_breaks_off_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    export(table(), tmp_path / "rows", format)
    before = (tmp_path / "rows").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        export(breaking(monkeypatch, KeyboardInterrupt()), tmp_path / "rows", format, existing="replace")
    assert (tmp_path / "rows").read_bytes() == before
    assert names(tmp_path) == ["rows"]


def test_an_object_on_s3_is_whole_or_absent(s3_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": s3_endpoint.url,
        "AWS_ACCESS_KEY_ID": s3_endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_endpoint.secret_key,
        "AWS_REGION": s3_endpoint.region,
    }.items():
        monkeypatch.setenv(key, value)
    client, bucket = s3_endpoint.client(), s3_endpoint.bucket
    url = f"s3://{bucket}/exports/rows.parquet"
    with pytest.raises(InvalidInputError, match="broken"):
        export(breaking(monkeypatch, InvalidInputError("broken")), url)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket, Prefix="exports/")
    assert export(table(), url).rows == 3
    with pytest.raises(ConflictError, match="the target exists"):
        export(table(5), url)
    export(table(5), url, existing="replace")
    (tmp_path / "rows").write_bytes(client.get_object(Bucket=bucket, Key="exports/rows.parquet")["Body"].read())
    assert pq.read_table(tmp_path / "rows").equals(table(5))
    with pytest.raises(StorageError, match="cannot be used"):
        export(table(), "s3://no-such-bucket-here/rows.parquet")


# ------------------------------------------------------------------------------------------- Delta


def delta_ids(place: Path) -> list[str]:
    return sorted(DeltaTable(place).to_pyarrow_table()["id"].to_pylist())


def test_a_delta_table_is_made_added_to_and_replaced(tmp_path: Path) -> None:
    place = tmp_path / "lake"
    assert export(table(), place, "delta").rows == 3
    found = DeltaTable(place).to_pyarrow_table()
    assert found["digest"].to_pylist() == [bytes([n]) * 32 for n in range(3)]
    assert found["at"].to_pylist() == [MOMENT] * 3
    assert found["metadata"].to_pylist()[0] == [("model", 'größe, "x"')]
    with pytest.raises(ConflictError, match="the target exists"):
        export(table(), place, "delta")
    export(table(2, 3), place, "delta", existing="append")
    assert delta_ids(place) == ["s0", "s1", "s2", "s3", "s4"]
    with pytest.raises(InvalidInputError) as caught:
        export(pa.table({"other": [1]}), place, "delta", existing="append")
    assert caught.value.code == "schema_differs"
    assert delta_ids(place) == ["s0", "s1", "s2", "s3", "s4"]
    export(pa.table({"id": ["only"], "new": [1]}), place, "delta", existing="replace")
    assert delta_ids(place) == ["only"]
    assert names(tmp_path) == ["lake"]


@pytest.mark.parametrize("existing", ["append", "replace"])
def test_a_delta_table_is_as_before_when_a_commit_breaks_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: Any
) -> None:
    export(table(), tmp_path / "lake", "delta")
    with pytest.raises(KeyboardInterrupt):
        export(breaking(monkeypatch, KeyboardInterrupt()), tmp_path / "lake", "delta", existing=existing)
    assert delta_ids(tmp_path / "lake") == ["s0", "s1", "s2"]
    assert DeltaTable(tmp_path / "lake").version() == 0


def test_a_folder_of_something_else_is_no_place_for_delta(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "mine").write_text("mine")
    ways: list[Existing] = ["error", "append", "replace"]
    for existing in ways:
        with pytest.raises(ConflictError, match="the target exists"):
            export(table(), tmp_path / "lake", "delta", existing=existing)
    assert names(tmp_path / "lake") == ["mine"]
    (tmp_path / "empty").mkdir()
    export(table(), tmp_path / "empty", "delta")
    assert delta_ids(tmp_path / "empty") == ["s0", "s1", "s2"]
    with pytest.raises(NotFoundError):
        export(table(), tmp_path / "nowhere" / "lake", "delta")


def test_types_that_delta_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        export(pa.table({"took": [datetime.timedelta(seconds=1)]}), tmp_path / "lake", "delta")
    assert (caught.value.code, caught.value.context["column"]) == ("type_refused", "took")
    assert names(tmp_path) == []
    export(pa.table({"a": pa.array([None], pa.null()), "d": pa.array(["x"]).dictionary_encode()}), tmp_path / "lake", "delta")
    assert DeltaTable(tmp_path / "lake").to_pyarrow_table().to_pylist() == [{"a": None, "d": "x"}]


# ------------------------------------------------------------------------------------------- what is exported


def test_edges_are_those_of_the_snapshots() -> None:
    archive = World().archive
    first = archive.save({}, run="r", graph="g", id="a")
    second = archive.save({}, run="r", graph="g", id="b", parent=first)
    archive.save({}, run="r", graph="h", id="c", parent=[second, first])
    archive.index.refresh()
    archive.save({}, run="r", graph="g", id="d", parent=second)
    found, rows = read_rows(edges(archive.table()))
    assert found == ["snapshot", "parent", "ordinal"]
    expected = [("b", "a", 0), ("c", "b", 0), ("c", "a", 1), ("d", "b", 0)]
    assert sorted(rows) == sorted(expected)
    assert sorted(archive.query("select * from edges").rows(), key=lambda row: (row["snapshot"], row["parent"])) == [
        dict(zip(found, row, strict=True)) for row in sorted(expected)
    ]
    assert pa.table(edges(archive.table("g"))).num_rows == 2


@pytest.mark.parametrize("format", ["jsonl", "delta"])
def test_errors_of_a_scan_or_query_keep_their_class(tmp_path: Path, format: Any) -> None:
    archive = World().archive
    archive.save({"cost": "odd"}, run="r", id="culprit")
    streams_of: list[tuple[Callable[[], Any], str]] = [
        (lambda: archive.scan("cost", types={"cost": "int64"}), "value_misfit"),
        (lambda: archive.query("select error('what') x from snapshots"), "query_failed"),
    ]
    for make, code in streams_of:
        with pytest.raises(InvalidInputError) as caught:
            export(make(), tmp_path / "rows", format)
        assert caught.value.code == code
    assert names(tmp_path) == []


@pytest.mark.parametrize(("package", "extra"), [("deltalake", "delta"), ("pyarrow", "index")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str) -> None:
    streams.arrow.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        export(World().archive.table(), tmp_path / "rows", "delta" if package == "deltalake" else "csv")
    assert f"snapstore[{extra}]" in str(caught.value.hint)
    assert names(tmp_path) == []


def test_ctrl_c_ends_an_export_to_delta(tmp_path: Path) -> None:
    """Delta's writer takes rows in threads of its own, where no signal arrives: without care, Ctrl-C would wait for the end."""
    pulled: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(20_000):
            pulled.append(number)
            if number == 3:
                os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.001)
            yield from table(1, number).to_batches()

    with pytest.raises(KeyboardInterrupt):
        export(pa.RecordBatchReader.from_batches(table().schema, batches()), tmp_path / "lake", "delta")
    assert 4 <= len(pulled) < 20_000
    assert names(tmp_path) == []
