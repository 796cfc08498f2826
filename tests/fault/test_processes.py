"""Processes write at the same time, and processes are killed.

Goal: 8 writers of one id lose nothing, on a local folder with fsync and on S3; whatever a killed writer was told is done
is there for the next process.
Method: real processes. Writers count under one id through `update`, and the sum must come out. A reaper lets children
save, overwrite, fork and delete on a local archive and kills them with SIGKILL at random moments; after each, a fresh
child compares the archive with the journal of acknowledgements.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import snapstore
from tests.servers import Endpoint

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).resolve().parents[2]

WRITERS = 8


def start(verb: str, **arguments: Any) -> subprocess.Popen[str]:
    """Start a worker process."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(WORKER), verb, json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def count_together(url: str, options: dict[str, str] | None, updates: int, folder: Path) -> None:
    """Let all writers update one counter, and check the sum."""
    archive = snapstore.open(url, storage_options=options, create=True)
    archive.save({"n": 0, "by": []}, run="r", id="counter")
    ready = folder / "ready"
    workers = [
        start("count", url=url, options=options, updates=updates, ready=str(ready), number=number) for number in range(WRITERS)
    ]
    try:
        end = time.monotonic() + 60
        while sum(Path(f"{ready}.{number}").exists() for number in range(WRITERS)) < WRITERS:
            assert time.monotonic() < end, "a writer did not start"
            assert all(worker.poll() in (None, 0) for worker in workers), workers[0].stderr and workers[0].stderr.read()
            time.sleep(0.01)
        ready.touch()
        for worker in workers:
            _, errors = worker.communicate(timeout=90)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    found = archive["counter"]
    state = found.state()
    assert Counter(state["by"]) == dict.fromkeys(range(WRITERS), updates)
    assert state["n"] == WRITERS * updates == found.metadata["n"]
    assert found.version == 1 + WRITERS * updates
    assert [snapshot.id for snapshot in archive.log("r")] == ["counter"]
    archive.close()


def test_eight_processes_on_one_id_of_a_local_archive_lose_nothing(tmp_path: Path) -> None:
    count_together(str(tmp_path / "archive"), None, 12, tmp_path)


@pytest.mark.slow
def test_eight_processes_on_one_id_on_s3_lose_nothing(moto: Endpoint, tmp_path: Path) -> None:
    count_together(f"s3://{moto.bucket}/processes", moto.options, 4, tmp_path)


def reaped(tmp_path: Path, *, rounds: int, seed: int, seconds: float) -> dict[str, int]:
    """Let a reaper run and return what it did."""
    root = str(tmp_path / "archive")
    snapstore.open(root, create=True).close()
    worker = start("reap", root=root, rounds=rounds, seed=seed, seconds=seconds)
    try:
        output, errors = worker.communicate(timeout=seconds + 60)
    finally:
        worker.kill()
        worker.wait()
    assert worker.returncode == 0, errors
    done: dict[str, int] = json.loads(output)
    return done


def test_what_a_killed_process_was_told_is_there(tmp_path: Path) -> None:
    done = reaped(tmp_path, rounds=12, seed=1, seconds=20)
    assert done["killed"] > 3
    assert done["acknowledged"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_what_many_killed_processes_were_told_is_there(tmp_path: Path, seed: int) -> None:
    done = reaped(tmp_path, rounds=200, seed=seed, seconds=40)
    assert done["killed"] > 30
    assert done["acknowledged"] > 100
