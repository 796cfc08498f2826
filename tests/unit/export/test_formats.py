"""Tables become files that other programs read.

Goal: what is exported comes back as it was, in every format, with memory for one row group; what a format cannot hold is named.
Method: tables of all types, read back by pyarrow, DuckDB, Polars and the standard library.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from snapstore.errors import InvalidInputError
from snapstore.export import export, read_rows, write, writing
from tests.unit.export.tables import FILE_FORMATS, MOMENT, names, table


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


TEXTS = [
    "plain",
    "x\ry",
    "a\r\nb",
    'say "hi"',
    "1,5",
    "two\nlines",
    "",
    None,
    "null",
    "NULL",
    " padded ",
    "ünï😀",
    "\u2028",
    "=1+1",
    "'",
]


def texts() -> pa.Table:
    nested = pa.array([[text, "\r"] for text in TEXTS])
    return pa.table({"n": list(range(len(TEXTS))), "text": TEXTS, 'a "head"': TEXTS, "nested": nested})


def test_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Python's csv module writes a bare carriage return unquoted, and DuckDB and pyarrow refuse such a file."""
    place = tmp_path / "rows.csv"
    export(texts(), place)
    expected = [(n, text, text, json.dumps([text, "\r"], ensure_ascii=False).replace(", ", ",")) for n, text in enumerate(TEXTS)]
    options = {
        "parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True),
        "convert_options": pyarrow.csv.ConvertOptions(
            strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""], column_types={"text": pa.string()}
        ),
    }
    by_arrow = pyarrow.csv.read_csv(place, **options)
    assert by_arrow.column_names == texts().column_names
    assert list(zip(*by_arrow.to_pydict().values(), strict=True)) == expected
    with duckdb.connect() as connection:
        by_duckdb = connection.execute("select * from read_csv(?, header = true, allow_quoted_nulls = false)", [str(place)])
        assert by_duckdb.fetchall() == expected
    with place.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == texts().column_names
    assert rows == [[str(n), text or "", again or "", nested] for n, text, again, nested in expected]


def test_a_column_that_stands_alone_keeps_its_rows(tmp_path: Path) -> None:
    """To most readers an empty line is no row."""
    export(texts().select(["text"]), tmp_path / "rows.csv")
    found = pyarrow.csv.read_csv(tmp_path / "rows.csv", parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    assert found["text"].to_pylist() == [text or "" for text in TEXTS]


REFUSED: list[tuple[Any, pa.Array]] = [
    ("parquet", pa.array([pa.MonthDayNano([1, 2, 3])])),
    ("parquet", pa.array([[pa.MonthDayNano([1, 2, 3])]])),
    ("parquet", pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])),
    ("delta", pa.array([{"a": datetime.time(1)}])),
    ("delta", pa.array([1], pa.timestamp("ns"))),
    ("delta", pa.array([[1]], pa.list_(pa.timestamp("ns")))),
    ("delta", pa.array([2**64 - 1], pa.uint64())),
    ("delta", pa.array([pa.MonthDayNano([1, 2, 3])])),
    ("csv", pa.array([[1]], pa.list_(pa.timestamp("ns")))),
    ("jsonl", pa.array([2**31 - 1], pa.int32()).cast(pa.date32())),
]


@pytest.mark.parametrize(("format", "array"), REFUSED, ids=str)
def test_a_column_that_a_format_cannot_hold_is_named(tmp_path: Path, format: Any, array: pa.Array) -> None:
    with pytest.raises(InvalidInputError) as caught:
        export(pa.table({"fine": [1], "odd": array}), tmp_path / "rows", format)
    assert (caught.value.code, caught.value.context["column"]) == ("type_refused", "odd")
    assert "cast" in str(caught.value.hint)
    assert names(tmp_path) == []
