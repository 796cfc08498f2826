"""Tables to export, some of which break off, for the tests of exports."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest

from snapstore.errors import InvalidInputError
from snapstore.export import edges
from tests.unit.archives import World

MOMENT = datetime.datetime(2026, 11, 20, 23, 6, 12, 345000, datetime.UTC)
FILE_FORMATS = ["parquet", "arrow", "csv", "json", "jsonl"]
STOPS: list[BaseException] = [
    KeyboardInterrupt(),
    SystemExit(143),
    InvalidInputError("broken"),
    OSError(28, "No space left on device"),
]


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
