"""`snapstore query` gives what DuckDB gives, in the form that was asked for.

Method: the command in this process on a small archive, partly in the index and partly not; its output read as a user's
programs would: csv, json, Arrow.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.ipc
import pytest

from snapstore import export
from snapstore.cli import results
from snapstore.index import query as index_query
from tests.unit.cli.calls import SNAPSHOTS, call, filled

COUNTS = "select graph, count(*) as n from snapshots group by 1 order by 1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query") / "archive"
    with filled(folder):
        return folder


def test_pipes_get_csv_and_terminals_a_table(url: Path) -> None:
    assert call(url, "query", COUNTS).out == "graph,n\ngröße,8\nsupport,4\n"
    assert call(url, "query", COUNTS, "--color", "never", terminal=True).out.splitlines() == [
        "graph    n",
        "größe    8",
        "support  4",
    ]
    assert call(url, "query", COUNTS, "--format", "table").out.splitlines()[0] == "graph    n"


def test_every_format_says_the_same(url: Path) -> None:
    expected = [{"graph": "größe", "n": 8}, {"graph": "support", "n": 4}]
    assert json.loads(call(url, "query", COUNTS, "--format", "json").out) == expected
    assert call(url, "query", COUNTS, "--format", "jsonl").rows() == expected
    documents = call(url, "query", COUNTS, "--json").rows()
    assert [(one["schema_version"], one["type"], one["values"]) for one in documents] == [(1, "row", row) for row in expected]
    with pyarrow.ipc.open_stream(call(url, "query", COUNTS, "--format", "arrow").data) as reader:
        assert reader.read_all().to_pylist() == expected


def test_rows_are_printed_so_that_programs_read_them(url: Path) -> None:
    found = list(csv.DictReader(io.StringIO(call(url, "query", "select * from snapshots order by created_at").out)))
    assert len(found) == SNAPSHOTS
    last = found[-1]
    assert (last["run"], last["node"], last["status"]) == ("run-2", "plan", "failed")
    assert last["created_at"].endswith("Z")
    assert len(last["created_at"]) == len("2026-11-20T23:06:12.345Z")
    assert len(bytes.fromhex(last["digest"])) == 32
    assert json.loads(last["metadata"]) == {"model": "large", "step": "3"}
    assert json.loads(last["parents"]) == [found[-2]["id"]]
    assert last["created_at"] == call(url, "list", "-n", "1", "--json").rows()[0]["created_at"]


def test_edges_are_a_table_of_their_own(url: Path) -> None:
    assert call(url, "query", "select count(*) as n, max(ordinal) as most from edges").out == "n,most\n9,0\n"


def test_parameters_are_values_and_never_sql(url: Path) -> None:
    assert call(url, "query", "select ? as a, ? as b", "-p", "x' or 1", "-p", "3").out == "a,b\nx' or 1,3\n"
    named = "select count(*) as n from snapshots where run = $run and size_bytes > $least"
    assert call(url, "query", named, "--param", "run=run-1", "--param", "least=10").out == "n\n4\n"
    mixed = call(url, "query", named, "-p", "run=run-1", "-p", "3")
    assert (mixed.code, "all with names or none" in mixed.err) == (2, True)
    assert call(url, "query", named, "-p", "run=run-1").code == 2


def test_sql_comes_from_a_file_or_standard_input(url: Path, tmp_path: Path) -> None:
    (tmp_path / "counts.sql").write_text(COUNTS, encoding="utf-8")
    expected = call(url, "query", COUNTS).data
    assert call(url, "query", "--file", str(tmp_path / "counts.sql")).data == expected
    assert call(url, "query", "-", stdin=COUNTS).data == expected
    for words in (["query"], ["query", COUNTS, "--file", "x"], ["query", "--file", "nowhere.sql"], ["query", " "]):
        done = call(url, *words)
        assert (done.code, done.data) == (2, b""), words


def test_no_rows_are_no_error(url: Path) -> None:
    nothing = "select id, run from snapshots where false"
    assert (call(url, "query", nothing).code, call(url, "query", nothing).out) == (0, "id,run\n")
    assert json.loads(call(url, "query", nothing, "--format", "json").out) == []
    shown = call(url, "query", nothing, "--color", "never", terminal=True)
    assert (shown.code, shown.out.strip(), shown.err) == (0, "id  run", "no rows\n")


def test_wrong_sql_ends_with_what_duckdb_says(url: Path) -> None:
    wrong = call(url, "query", "select nothing_like_it from snapshots")
    assert (wrong.code, wrong.data) == (2, b"")
    assert "nothing_like_it" in wrong.err
    assert "tables: snapshots, edges" in wrong.err
    late = call(url, "query", "select error('too ' || 'late') from snapshots", "--json")
    assert (late.code, json.loads(late.err)["code"]) == (2, "query_failed")
    assert "too late" in late.err


def test_nothing_from_outside_steers_a_terminal(url: Path) -> None:
    shown = call(url, "query", "select 'a' || chr(27) || '[2J' as \"b\x1b[2J\"", "--color", "never", terminal=True)
    assert "\x1b" not in shown.out
    assert "a\\x1b[2J" in shown.out


def test_a_long_table_is_cut_and_says_so(url: Path) -> None:
    shown = call(url, "query", "select * from range(5000)", terminal=True)
    assert len(shown.out.splitlines()) == 1 + results.MAX_TABLE_ROWS
    assert "the first 1,000 rows" in shown.err
    assert len(call(url, "query", "select * from range(5000)").out.splitlines()) == 5001


def test_arrow_is_not_for_terminals(url: Path) -> None:
    done = call(url, "query", COUNTS, "--format", "arrow", terminal=True)
    assert (done.code, done.data) == (2, b"")
    assert call(url, "query", COUNTS, "--format", "csv", "--json").code == 2


def test_columns_of_one_name_are_refused_in_json_only(url: Path) -> None:
    twice = "select 1 as a, 2 as a"
    assert call(url, "query", twice).out == "a,a\n1,2\n"
    for words in (["--json"], ["--format", "jsonl"]):
        assert (call(url, "query", twice, *words).code, call(url, "query", twice, *words).data) == (2, b"")


def test_a_missing_duckdb_is_named(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_query._duckdb.cache_clear()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = call(url, "query", COUNTS)
    assert (done.code, "pip install 'snapstore[query]'" in done.err) == (2, True)
    index_query._duckdb.cache_clear()


def test_ctrl_c_ends_a_query_that_would_take_for_ever_like_any_other_command(url: Path) -> None:
    """DuckDB looks for no signals: without care, it would work on until it is killed."""
    words = [sys.executable, "-m", "snapstore.cli", "-r", str(url), "query"]
    endless = "select count(*) from range(1000000000000) a where a.range % 7 = 1"
    late = "select * from range(40000) union all select * from range(1000000000000) a where a.range % 7 = 8"
    environment = {**os.environ, "PYTHONPATH": str(Path(export.__file__).parents[2])}
    for sql, first in ((endless, b""), (late, b"range\n0\n")):
        process = subprocess.Popen([*words, sql], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        try:
            assert process.stdout is not None
            begun = process.stdout.read(len(first))
            if not first:
                _until_it_uses_duckdb(process.pid)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            assert (process.returncode, begun, err) == (130, first, b"snapstore: interrupted\n")
        finally:
            process.kill()
            process.communicate()


def _until_it_uses_duckdb(pid: int) -> None:
    """Wait: Ctrl-C before that is nothing special."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        pytest.skip("this system does not show which libraries a process has loaded")
    for _ in range(600):
        if "duckdb" in maps.read_text():
            break
        time.sleep(0.05)
    time.sleep(0.5)


def test_the_formats_are_those_of_exports() -> None:
    assert set(results.FORMATS) - {"table"} == set(export.FORMATS) - {"parquet"}
