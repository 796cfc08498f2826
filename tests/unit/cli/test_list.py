"""`snapstore list` gives the same rows to people and programs: a table, CSV, JSON, Arrow.

Method: the command in this process on a small archive with odd names; its output read as a user's programs would.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv
import pyarrow.ipc
import pytest

import snapstore
from snapstore.cli.commands import list_
from snapstore.index import arrow
from tests.unit.cli.calls import call

ODD = ["plain", 'a "quoted", one', "two\nlines", "carriage\rreturn", "größe 漢字", "-", "=1+1", "'", " blank "]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose nodes are odd, half of it in the index."""
    folder = tmp_path_factory.mktemp("list") / "archive"
    with snapstore.open(folder, create=True, durability="os") as archive:
        run = archive.run("run", graph="graph")
        for number, name in enumerate(ODD):
            if number == len(ODD) // 2:
                archive.index.refresh()
            facts = {"name": name, "number": number, "a=b": number % 2, 'quote"': "x", "deep": {"list": [1.5, None]}}
            run.save({"n": number}, id=f"id-{number}", node=name if number else None, metadata=facts)
    return folder


def documents(url: Path, *words: str) -> list[dict[str, Any]]:
    rows = call(url, "list", *words, "--json").rows()
    for row in rows:
        assert (row.pop("schema_version"), row.pop("type")) == (1, "snapshot")
    return rows


def test_pipes_get_csv_and_terminals_a_table(url: Path) -> None:
    """As with `query` and `scan`: a table is cut and aligned for eyes, and cells of a program must not depend on it."""
    assert call(url, "list").out == call(url, "list", "--format", "csv").out
    assert call(url, "list").out.startswith("id,run,graph,node,status,parents,created_at,")
    shown = call(url, "list", "--color", "never", terminal=True).out.splitlines()
    assert shown[0].split()[:3] == ["ID", "CREATED", "STATUS"]
    assert len(shown) == len(ODD) + 1
    assert call(url, "list", "--format", "table").out.splitlines()[0].split()[-1] == "STORED"


def test_json_in_each_form_says_what_the_documents_say(url: Path) -> None:
    expected = documents(url)
    assert len(expected) == len(ODD)
    assert call(url, "list", "--format", "jsonl").rows() == expected
    assert json.loads(call(url, "list", "--format", "json").out) == expected
    assert json.loads(call(url, "list", "--run", "nowhere", "--format", "json").out) == []


def test_csv_is_read_by_three_readers_as_it_was(url: Path, tmp_path: Path) -> None:
    """Quotes, line ends of every kind and nothing at all are where readers disagree."""
    expected = documents(url)
    data = call(url, "list").data
    found = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert [row["node"] or None for row in found] == [row["node"] for row in expected]
    for row, document in zip(found, expected, strict=True):
        assert (json.loads(row["metadata"]), json.loads(row["parents"])) == (document["metadata"], document["parents"])
        assert (row["created_at"], int(row["size_bytes"])) == (document["created_at"], document["size_bytes"])
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    conversion = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    table = pyarrow.csv.read_csv(io.BytesIO(data), parse_options=options, convert_options=conversion)
    assert table["node"].to_pylist() == [row["node"] for row in expected]
    (tmp_path / "rows.csv").write_bytes(data)
    with duckdb.connect() as connection:
        read = connection.execute(f"select node from read_csv('{tmp_path / 'rows.csv'}', header = true)").fetchall()
    assert [node for (node,) in read] == [row["node"] for row in expected]


def test_arrow_has_the_columns_and_values_of_queries(url: Path) -> None:
    """One program reads both; the schema is that of SPEC.md."""
    with pyarrow.ipc.open_stream(call(url, "list", "--format", "arrow").data) as reader:
        listed = reader.read_all()
    query = "select * from snapshots order by created_at desc, id"
    with pyarrow.ipc.open_stream(call(url, "query", query, "--format", "arrow").data) as reader:
        queried = reader.read_all()
    assert listed.column_names == queried.column_names
    assert listed.to_pylist() == [{**row, "digest": bytes(row["digest"])} for row in queried.to_pylist()]
    refused = call(url, "list", "--format", "arrow", terminal=True)
    assert (refused.code, refused.data) == (2, b"")
    assert call(url, "list", "--format", "csv", "--json").code == 2


def test_a_limit_of_nothing_is_no_limit(url: Path) -> None:
    some = call(url, "list", "-n", "4", "--format", "jsonl")
    assert (len(some.rows()), "--before id-5" in some.err) == (4, True)
    whole = call(url, "list", "-n", "0", "--format", "jsonl")
    assert (len(whole.rows()), whole.err) == (len(ODD), "")
    assert call(url, "list", "-n", "-1").code == 2


def test_rows_are_written_as_they_come(url: Path) -> None:
    """A list of a million rows must not be held in memory: an endless one gives its first rows."""
    with snapstore.open(url, read_only=True) as archive:
        row = next(archive.list())
    for format in ("csv", "json", "jsonl"):
        texts = list_._texts(itertools.repeat(row), format)
        assert len(list(itertools.islice(texts, 100))) == 100


def test_text_needs_no_package_that_an_archive_without_index_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts list in pipes on machines that only save."""
    with snapstore.open(tmp_path / "archive", create=True, durability="os") as archive:
        archive.save({"n": 1}, run="r", id="one")
    arrow.arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert call(tmp_path / "archive", "list").out.splitlines()[1].startswith("one,r,default,,completed,[],")
    missing = call(tmp_path / "archive", "list", "--format", "arrow")
    assert (missing.code, "pip install 'snapstore[index]'" in missing.err) == (2, True)


@pytest.mark.parametrize(
    ("fact", "count"),
    [
        ('"a=b"=1', len(ODD) // 2),
        ("'a=b'=1", len(ODD) // 2),
        ("'quote\"'=x", len(ODD)),
        ('"quote\\""=x', len(ODD)),
        ('quote"=x', len(ODD)),
        ("number=3", 1),
        ('"number"=3', 1),
        ("name==1+1", 1),
        ("a=b=1", 0),
    ],
)
def test_a_key_with_an_equals_sign_stands_in_quotes(url: Path, fact: str, count: int) -> None:
    assert len(documents(url, "--metadata", fact)) == count


def test_wrong_words_are_two(url: Path) -> None:
    for words in (["--metadata", "=1"], ["--metadata", '""=1'], ["--metadata", "x"], ["--format", "parquet"], ["-n", "many"]):
        done = call(url, "list", *words)
        assert (done.code, done.data) == (2, b""), words
