"""Delta tables are made, added to and replaced, one commit at a time.

Goal: an export is one version of the table or none; types that Delta lacks are named before anything is written.
Method: tables and streams that break off, read back by the Delta library.
"""

from __future__ import annotations

import datetime
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pytest
from deltalake import DeltaTable

from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.export import Existing, export
from tests.unit.export.tables import MOMENT, breaking, names, table


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


def test_a_delta_table_goes_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "lake").symlink_to("far")
    export(table(), tmp_path / "lake", "delta")
    assert (tmp_path / "lake").is_symlink()
    assert delta_ids(tmp_path / "far") == ["s0", "s1", "s2"]


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
