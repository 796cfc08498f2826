"""`snapstore export` writes what is asked for, where it is asked to, and nothing over anything.

Method: the command in this process on a small archive; the files read by Polars and the Delta library.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import polars
import pytest
from deltalake import DeltaTable

from snapstore import export
from snapstore.cli.commands import export as command
from tests.unit.cli.calls import SNAPSHOTS, call, filled


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "archive"
    with filled(folder):
        return folder


def test_the_index_is_exported_whole_or_by_graph(url: Path, tmp_path: Path) -> None:
    done = call(url, "export", "--to", str(tmp_path / "all.parquet"), "--json")
    document = json.loads(done.out)
    assert (document["type"], document["rows"], document["format"]) == ("export", SNAPSHOTS, "parquet")
    assert document["bytes_written"] == (tmp_path / "all.parquet").stat().st_size
    found = polars.read_parquet(tmp_path / "all.parquet")
    assert sorted(found["id"]) == sorted(row["id"] for row in call(url, "list", "--json").rows())
    call(url, "export", "--graph", "support", "--to", str(tmp_path / "one.csv"))
    assert polars.read_csv(tmp_path / "one.csv")["graph"].to_list() == ["support"] * 4


def test_edges_are_exported(url: Path, tmp_path: Path) -> None:
    assert call(url, "export", "--what", "edges", "--to", str(tmp_path / "edges.jsonl")).code == 0
    found = [json.loads(line) for line in (tmp_path / "edges.jsonl").read_text().splitlines()]
    parents = {row["id"]: row["parents"] for row in call(url, "list", "--json").rows()}
    assert len(found) == 9
    assert all(parents[row["snapshot"]][row["ordinal"]] == row["parent"] for row in found)


def test_a_scan_is_exported_and_added_to_a_delta_table(url: Path, tmp_path: Path) -> None:
    words = ["export", "cost", "messages[*].role", "--to", str(tmp_path / "lake"), "--format", "delta"]
    first = call(url, *words, "--run", "run-0")
    assert (first.code, first.err.startswith("scanning 4 snapshots")) == (0, True)
    refused = call(url, *words)
    assert (refused.code, "append" in refused.err) == (11, True)
    assert call(url, *words, "--run", "run-1", "--append").code == 0
    found = DeltaTable(tmp_path / "lake").to_pyarrow_table().to_pylist()
    assert sorted((row["run"], row["cost"], len(row["messages[*].role"])) for row in found) == [
        (run, step / 4, step + 1) for run in ("run-0", "run-1") for step in range(4)
    ]
    assert call(url, *words, "--force").code == 0
    assert DeltaTable(tmp_path / "lake").to_pyarrow_table().num_rows == SNAPSHOTS


def test_what_is_there_is_kept(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine.csv"
    target.write_text("mine")
    refused = call(url, "export", "--to", str(target))
    assert (refused.code, target.read_text()) == (11, "mine")
    assert call(url, "export", "--to", str(target), "--append").code == 2
    assert target.read_text() == "mine"
    assert call(url, "export", "--to", str(target), "--force").code == 0
    assert len(target.read_text().splitlines()) == 1 + SNAPSHOTS
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--to"),
        (["--to", "x"], 2, "format"),
        (["--to", "x.csv", "--force", "--append"], 2, "exclude"),
        (["--to", "x.csv", "--run", "run-0"], 2, "--graph alone"),
        (["--to", "x.csv", "--limit", "3"], 2, "--graph alone"),
        (["--to", "x.csv", "--what", "scan"], 2, "needs PATHs"),
        (["cost", "--to", "x.csv", "--what", "edges"], 2, "takes no PATHs"),
        (["--to", "nowhere/x.csv"], 5, "no such folder"),
        (["--to", "https://example.org/x.csv"], 2, "URL"),
    ],
)
def test_wrong_input_is_refused_with_what_to_do(url: Path, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    with contextlib.chdir(tmp_path):
        done = call(url, "export", *words)
    assert (done.code, done.data) == (code, b"")
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--to", "there.csv"], 11, "--force"),
        (["--to", "nowhere/x.csv"], 5, "no such folder"),
        (["--to", "x.pdf"], 2, "name the format"),
        (["--to", "there.csv", "--append"], 2, "--force replaces a file"),
        (["--to", "there.csv", "--format", "delta"], 11, "no Delta table"),
        (["--to", "s4://bucket/x.csv"], 2, "s3"),
    ],
)
def test_a_target_is_refused_before_the_archive_is_asked(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    """A scan of many snapshots takes a while to plan already; there is not even an archive here."""
    (tmp_path / "there.csv").write_text("theirs", encoding="utf-8")
    placed = [f"{tmp_path}/{word}" if word.startswith(("there", "nowhere")) else word for word in words]
    starts = [["export", "cost"], ["export"]] + ([] if "--append" in words else [["scan", "cost"]])
    for start in starts:
        done = call(tmp_path / "no archive", *start, *placed)
        assert (done.code, said in done.err, done.data) == (code, True, b""), done.err
        assert "scanning" not in done.err
    assert (tmp_path / "there.csv").read_text(encoding="utf-8") == "theirs"


def test_a_missing_deltalake_is_named(url: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    done = call(url, "export", "--to", str(tmp_path / "lake"), "--format", "delta")
    assert (done.code, "pip install 'snapstore[delta]'" in done.err) == (2, True)


def test_the_formats_are_those_of_the_library() -> None:
    assert set(command.FORMATS) == {*export.FORMATS, "delta"}
