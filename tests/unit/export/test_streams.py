"""Everything that is a table can be exported, and its errors come out as they are.

Goal: edges are those of the snapshots; whoever exports a scan or a query catches the errors that iterating them raises.
Method: an archive in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest

from snapstore.errors import InvalidInputError, MissingExtraError
from snapstore.export import edges, export, read_rows, streams
from tests.unit.archives import World
from tests.unit.export.tables import names


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
