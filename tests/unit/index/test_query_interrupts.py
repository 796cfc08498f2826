"""Ctrl-C ends a query, wherever it is, and a result that nobody wants any more holds nothing.

Goal: DuckDB, which looks for no signals, never keeps a person waiting; what is interrupted leaves no thread, no file and an
archive that answers.
Method: a process of its own runs queries that would take hours, in each of the ways to take rows, and gets a real SIGINT once
DuckDB works; threads that are not the main one, which get no signals, in this process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import snapstore
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage

ROOT = Path(snapstore.__file__).parents[1]

TIMEOUT_S = 90.0
"""Far above what it takes, and far below what the queries would take."""

SCRIPT = """
import sys, threading, time
from pathlib import Path

import pyarrow as pa
from snapstore.export import export
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage

ENDLESS = "select count(*) from range(1000000000000) a where a.range % 7 = 1"
LATE = "select * from range(40000) union all select * from range(1000000000000) a where a.range % 7 = 8"

def working():
    return any(thread.name == "snapstore-query" for thread in threading.enumerate())

def watch():
    seen = 0
    while seen < 20:  # batches come and go; the one that never comes stays
        time.sleep(0.05)
        seen = seen + 1 if working() else 0
    print("working", flush=True)

def batches():
    for batch in archive.query(LATE).batches():
        assert batch.num_rows

archive = open_on(MemoryStorage("memory://interrupts"), create=True)
archive.save({}, run="r")
ways = {
    "query": lambda: archive.query(ENDLESS),
    "batches": batches,
    "rows": lambda: sum(1 for _ in archive.query(LATE).rows()),
    "export": lambda: export(archive.query(LATE), Path(sys.argv[2]) / "rows.csv"),
    "table": lambda: pa.table(archive.query(LATE)),
}
threading.Thread(target=watch, daemon=True).start()
try:
    ways[sys.argv[1]]()
    ended = "never began"
except BaseException as error:
    ended = type(error).__name__
assert not working()
assert [*archive.query("select count(*) as n from snapshots").rows()] == [{"n": 1}]
print(ended, flush=True)
"""


def interrupted(way: str, folder: Path) -> str:
    """Interrupt a process while DuckDB works in it; returns the name of the error that it saw."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, way, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        return out.strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("way", ["query", *(pytest.param(way, marks=pytest.mark.slow) for way in ("batches", "rows")), "export"])
def test_ctrl_c_ends_a_query_and_leaves_nothing(tmp_path: Path, way: str) -> None:
    assert interrupted(way, tmp_path) == "KeyboardInterrupt"
    assert [*tmp_path.iterdir()] == []


def test_ctrl_c_ends_an_engine_that_reads_the_stream(tmp_path: Path) -> None:
    """The C interface carries no exceptions of Python: what is interrupted between batches ends with the engine's own."""
    assert interrupted("table", tmp_path) in {"ArrowInvalid", "OSError", "KeyboardInterrupt"}


@pytest.fixture
def archive() -> Iterator[Archive]:
    with open_on(MemoryStorage("memory://results"), create=True) as opened:
        opened.save({}, run="r", graph="g")
        yield opened


def test_other_threads_ask_as_well(archive: Archive) -> None:
    """Signals are for the main thread alone; a thread of a server asks without any."""
    found: list[Any] = []

    def ask() -> None:
        found.append([*archive.query("select graph from snapshots").rows()])
        found.append(pa.table(archive.query("select * from range(50000)")).num_rows)
        with pytest.raises(InvalidInputError):
            archive.query("select error('no')")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(TIMEOUT_S)
    assert found == [[{"graph": "g"}], 50_000]


LATE = "select * from range(40000) union all select * from range(1000000000000) a where a.range % 7 = 8"


@pytest.mark.parametrize("way", ["closed", "left", "begun", "unused"])
def test_a_result_that_is_let_go_stops_at_once(archive: Archive, way: str) -> None:
    """DuckDB works ahead: when it is only let go, it finishes its part first, and whoever lets go waits for it."""
    result = archive.query(LATE)
    if way == "begun":
        begun = result.batches()
        assert next(begun).num_rows
        del begun
    elif way == "left":
        for _ in result.rows():
            break
    elif way == "closed":
        result.close()
    del result
    assert "snapstore-query" not in {thread.name for thread in threading.enumerate()}
    assert [*archive.query("select count(*) as n from snapshots").rows()] == [{"n": 1}]


def test_a_process_ends_with_a_result_at_hand() -> None:
    lines = (
        "from snapstore.opening import open_on",
        "from snapstore.storage.memory import MemoryStorage",
        "archive = open_on(MemoryStorage('memory://end'), create=True)",
        f"result = archive.query({LATE!r})",
        "kept = result.batches()",
        "print(next(kept).num_rows > 0)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, cwd=ROOT, timeout=TIMEOUT_S, check=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_closed_result_gives_no_rows_and_says_so(archive: Archive) -> None:
    with archive.query("select 1 as one") as result:
        assert result.columns == ["one"]
    result.close()
    with pytest.raises(InvalidInputError, match="closed") as caught:
        next(result.batches())
    assert caught.value.code == "query_read"


def test_rows_that_were_taken_are_not_given_as_none(archive: Archive) -> None:
    """A second reading of a stream would find nothing: an empty table that looks like an answer."""
    result = archive.query("select graph from snapshots")
    assert [*result.rows()] == [{"graph": "g"}]
    with pytest.raises(InvalidInputError, match="read already"):
        next(result.rows())
    table = archive.query("select graph from snapshots")
    for _ in range(2):  # engines may ask for the stream more than once before they take anything
        stream = pa.RecordBatchReader.from_stream(table)
    assert stream.read_all().to_pylist() == [{"graph": "g"}]
