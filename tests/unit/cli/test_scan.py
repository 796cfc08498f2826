"""`snapstore scan` says what it will cost, reads that, and gives the fields as they are.

Method: the command in this process on a small archive, beside what the states are known to hold.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars
import pytest
from deltalake import DeltaTable

from tests.unit.cli.calls import SNAPSHOTS, call, filled


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan") / "archive"
    with filled(folder):
        return folder


def scanned(url: Path, *words: str) -> list[dict[str, Any]]:
    done = call(url, "scan", *words, "--format", "jsonl")
    assert done.code == 0, done.err
    return done.rows()


def test_fields_come_by_run_oldest_first(url: Path) -> None:
    found = scanned(url, "cost", "messages[*].role", "messages[-1].n", "--run", "run-1")
    assert [(row["cost"], len(row["messages[*].role"]), row["messages[-1].n"]) for row in found] == [
        (step / 4, step + 1, step) for step in range(4)
    ]
    assert {row["graph"] for row in found} == {"größe"}


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], SNAPSHOTS),
        (["--graph", "support"], 4),
        (["--graph", "größe", "--run", "run-2"], 4),
        (["--node", "start"], 3),
        (["--status", "failed"], 3),
        (["--metadata", "model=large"], 6),
        (["--metadata", "step=2", "--metadata", "model=small"], 3),
        (["--metadata", 'step="2"'], 0),
        (["--since", "1h"], SNAPSHOTS),
        (["--until", "2020-01-01"], 0),
        (["--limit", "5"], 5),
    ],
)
def test_filters_choose_the_snapshots(url: Path, words: list[str], count: int) -> None:
    """The same options mean the same to `list`."""
    assert len(scanned(url, "cost", *words)) == count
    assert len(call(url, "list", *words, "--json").rows()) == count


def test_the_cost_is_said_before_and_after(url: Path) -> None:
    done = call(url, "scan", "cost")
    before, after = done.err.splitlines()
    assert before.startswith("scanning 12 snapshots in 12 packs: ")
    assert after.startswith("read ")
    assert len(list(csv.DictReader(io.StringIO(done.out)))) == SNAPSHOTS
    only = call(url, "scan", "cost", "--estimate")
    assert (only.code, only.err) == (0, "")
    assert only.out.splitlines()[0].split() == ["snapshots", "12"]
    document = json.loads(call(url, "scan", "cost", "--estimate", "--json").out)
    assert (document["type"], document["snapshots"], document["packs"]) == ("estimate", 12, 12)
    assert document["bytes_least"] <= document["bytes_most"]


def test_types_are_given_or_found_out(url: Path) -> None:
    found = scanned(url, "odd", "cost", "--type", "odd=json", "--type", "cost=string", "--run", "run-0")
    assert [(row["odd"], row["cost"]) for row in found] == [("1", "0.0"), ('"a"', "0.25"), ("1", "0.5"), ('"a"', "0.75")]
    misfit = call(url, "scan", "odd", "--type", "odd=int64")
    assert misfit.code == 2
    assert "--type COLUMN=json" in misfit.err
    null = scanned(url, "odd", "--type", "odd=int64", "--on-error", "null", "--run", "run-0")
    assert [row["odd"] for row in null] == [1, None, 1, None]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["messages["], "not a path"),
        (["cost", "--type", "cost"], "COLUMN=TYPE"),
        (["cost", "--type", "cost=number"], "no such type"),
        (["cost", "--type", "other=json"], "no column"),
        (["id"], "$.NAME"),
        (["cost", "cost"], "same name"),
        (["cost", "--metadata", "x=[1]"], "filtered by"),
        (["cost", "--metadata", "x"], "KEY=VALUE"),
        (["cost", "--since", "yesterday"], "is no time"),
        (["cost", "--format", "parquet"], "--to"),
        (["cost", "--format", "table", "--to", "x"], "screen"),
        ([], "PATH"),
    ],
)
def test_wrong_input_is_refused_with_what_to_do(url: Path, words: list[str], said: str) -> None:
    done = call(url, "scan", *words)
    assert (done.code, done.data) == (2, b"")
    assert said in done.err


def test_a_terminal_gets_a_table(url: Path) -> None:
    shown = call(url, "scan", "cost", "--run", "run-0", "--format", "table").out.splitlines()
    assert shown[0].split() == ["id", "cost", "run", "graph", "node", "status", "created_at"]
    assert len(shown) == 5


def test_what_was_asked_for_has_the_width_of_a_terminal(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and times are known from lists: they go first where there is no room, and that is said."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda: SimpleNamespace(columns=80, lines=24))
    words = ["scan", "cost", "messages", "--run", "run-1", "--color", "never", "--type", "messages=json"]
    done = call(url, *words, terminal=True)
    lines = done.out.splitlines()
    assert lines[0].split() == ["id", "cost", "messages"]
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[1] for line in lines[1:]] == ["0.0", "0.25", "0.5", "0.75"]
    assert lines[1].endswith('[{"role":"user","n":0}]')
    assert lines[4].endswith("…")
    assert "--json shows all; no room for run, graph, node, status, created_at" in done.err
    monkeypatch.setattr("shutil.get_terminal_size", lambda: SimpleNamespace(columns=300, lines=24))
    wide = call(url, *words, terminal=True)
    assert wide.out.splitlines()[0].split()[3:] == ["run", "graph", "node", "status", "created_at"]
    assert "no room" not in wide.err


def test_a_scan_goes_into_a_file(url: Path, tmp_path: Path) -> None:
    target = tmp_path / "costs.parquet"
    done = call(url, "scan", "cost", "--to", str(target))
    assert (done.code, done.out.startswith("exported 12 rows to ")) == (0, True)
    assert polars.read_parquet(target)["cost"].sum() == 4.5
    again = call(url, "scan", "cost", "--to", str(target))
    assert (again.code, "--force" in again.err) == (11, True)
    assert call(url, "scan", "cost", "--limit", "1", "--to", str(target), "--force").code == 0
    assert polars.read_parquet(target).height == 1
    assert call(url, "scan", "cost", "--to", str(tmp_path / "lake"), "--format", "delta").code == 0
    assert DeltaTable(tmp_path / "lake").to_pyarrow_table().num_rows == SNAPSHOTS
    misfit = call(url, "scan", "odd", "--type", "odd=int64", "--to", str(tmp_path / "odd.csv"))
    assert (misfit.code, (tmp_path / "odd.csv").exists()) == (2, False)
