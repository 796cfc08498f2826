"""The index of a golden archive is read for ever, by this program and by engines that know nothing of it.

Goal: segments and the root that were written once give the rows that they gave then, with the changes that wait to be folded put
in place of theirs.
Method: the lists, tables and queries of the golden archive with an index are compared with what is written down beside it, also
where the registers of everything that has not changed since are gone; its folder is read by DuckDB, with the SQL of SPEC.md.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import snapstore
from snapstore.format import names
from tests.format import examples

GOLDEN = examples.MANIFESTS / "archives" / "format-1-index"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_bytes())
CHANGED = {"id 7", "id 8", "new"}
"""Snapshots with changes that are not folded."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy in which only the index can know of what has not changed since the last fold."""
    folder = Path(shutil.copytree(GOLDEN / "archive", tmp_path / "archive"))
    for row in EXPECTED["folded"]:
        if row["id"] not in CHANGED:
            (folder / names.register_key(row["id"])).unlink()
    return folder


def shown(value: Any) -> Any:
    """A value as it is written down."""
    return (
        value.astimezone(UTC).isoformat() if isinstance(value, datetime) else list(value) if isinstance(value, tuple) else value
    )


def of_infos(infos: Any) -> list[dict[str, Any]]:
    fields = EXPECTED["snapshots"][0]
    return [{name: shown(getattr(info, name)) for name in fields} for info in infos]


def of_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the index, as far as a table says the same as a list."""
    plain = [{name: shown(row[name]) for name in EXPECTED["snapshots"][0] if name not in {"metadata", "digest"}} for row in rows]
    return [{**one, "digest": row["digest"].hex()} for one, row in zip(plain, rows, strict=True)]


def without_metadata(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = [{name: value for name, value in row.items() if name != "metadata"} for row in rows]
    return sorted(plain, key=lambda row: row["id"])


def test_lists_show_what_was_written_down(copy: Path) -> None:
    with snapstore.open(str(copy), read_only=True) as archive:
        assert of_infos(archive.list()) == EXPECTED["snapshots"]
        for graph in ("support", "größe/1"):
            assert of_infos(archive.list(graph)) == [row for row in EXPECTED["snapshots"] if row["graph"] == graph]
        assert of_infos(archive.list(max_staleness=10**12)) == EXPECTED["folded"]
        status = archive.index.status()
        assert (status.files, status.retired, status.missing, status.tail, status.lost) == (2, 2, 0, 3, False)
        assert archive.index.files() == EXPECTED["live"]


READINGS: dict[str, Callable[[snapstore.Archive], list[dict[str, Any]]]] = {
    "table": lambda archive: pa.table(archive.table()).sort_by("id").to_pylist(),
    "query": lambda archive: [*archive.query("SELECT * FROM snapshots ORDER BY id").rows()],
}


@pytest.mark.parametrize("name", READINGS)
def test_tables_and_queries_hold_what_was_written_down(copy: Path, name: str) -> None:
    with snapstore.open(str(copy), read_only=True) as archive:
        assert of_table(READINGS[name](archive)) == without_metadata(EXPECTED["snapshots"])


def test_the_sql_of_the_specification_reads_the_folder() -> None:
    text = (examples.MANIFESTS / "SPEC.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.sql(sql.replace("index/snapshots/", f"{GOLDEN}/archive/index/snapshots/")).to_arrow_table()
    assert of_table(found.sort_by("id").to_pylist()) == without_metadata(EXPECTED["folded"])


def test_the_index_can_be_continued(copy: Path) -> None:
    with snapstore.open(str(copy), index_after=None) as archive:
        assert archive.index.refresh().rows == len(CHANGED)
        archive.index.compact()
        assert of_infos(archive.list()) == EXPECTED["snapshots"]
        assert archive.index.status().revised == 0
