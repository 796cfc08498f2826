"""Many writers change one thing through an adapter at the same time, and none of their changes is lost.

Goal: each read-modify-write of each contract is atomic at 40 writers, and the writers make way for each other instead of trying
again at once; of an abort and a completion that race exactly one wins, for good; the same between processes.
Method: threads that start together, on several handles of one archive in memory, around a meter that counts attempts; and real
processes on one folder, through the drivers that the exported suite uses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.adapters.genkit import SessionStore
from snapstore.opening import open_on
from snapstore.storage.meter import Meter
from snapstore.testing import AdapterDriver
from snapstore.testing.adapter_handles import together
from tests.contract.adapter_drivers import DRIVERS, SYSTEMS, wait
from tests.fault.witness import empty

WRITERS = 40
HANDLES = 8

ATTEMPTS = 7
"""Conditional writes for each change, at most. Measured: 1.4 to 4.3; 8 when nobody waits before trying again."""

WORKER = Path(__file__).with_name("adapter_worker.py")
ROOT = Path(__file__).resolve().parents[2]


def _named(driver: type[AdapterDriver]) -> str:
    return driver.__name__.removesuffix("Driver")


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one.can("set_field")], ids=_named)
def test_forty_writers_of_one_thing_lose_nothing_and_make_way(driver: type[AdapterDriver]) -> None:
    storage = Meter(empty())
    adapters = [driver(open_on(storage)) for _ in range(HANDLES)]
    adapters[0].write("x", {"n": 1})
    storage.reset()
    together([partial(adapters[number % HANDLES].set_field, "x", f"f{number}", number) for number in range(WRITERS)])
    usage = storage.snapshot()
    assert driver(open_on(storage)).fields("x") == {f"f{number}": number for number in range(WRITERS)}
    assert driver(open_on(storage)).read("x") == {"n": 1}
    assert usage.requests.get("put_if", 0) + usage.requests.get("put_create", 0) <= ATTEMPTS * WRITERS


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one.can("increment")], ids=_named)
def test_forty_increments_lose_nothing_and_make_way(driver: type[AdapterDriver]) -> None:
    storage = Meter(empty())
    adapters = [driver(open_on(storage)) for _ in range(HANDLES)]
    adapters[0].write("x", {"n": 0})
    storage.reset()
    together([partial(adapters[number % HANDLES].increment, "x") for number in range(WRITERS)])
    usage = storage.snapshot()
    assert driver(open_on(storage)).read("x") == {"n": WRITERS}
    assert usage.requests.get("put_if", 0) + usage.requests.get("put_create", 0) <= ATTEMPTS * WRITERS


def test_of_an_abort_and_a_completion_exactly_one_wins_for_good() -> None:
    """As Genkit's runtime does it: whoever finds a final status leaves it."""
    storage = empty()
    stores = [SessionStore(open_on(storage)) for _ in range(2)]

    def finish(store: SessionStore, id: str, status: str) -> None:
        def change(current: Any) -> Any:
            if current["status"] != "pending":
                return None
            return {**current, "status": status, "state": {"custom": {"by": status}}}

        if wait(store.saveSnapshot(id, change)) is not None:
            winners.append(status)

    for number in range(20):
        id = f"turn {number}"
        first = {"createdAt": "2026-01-01T00:00:00.000Z", "status": "pending", "state": {"custom": {"by": None}}}
        wait(stores[0].saveSnapshot(id, lambda _: first))  # noqa: B023
        winners: list[str] = []
        together([partial(finish, stores[0], id, "completed"), partial(finish, stores[1], id, "aborted")])
        assert len(winners) == 1
        for store in (*stores, SessionStore(open_on(storage))):
            found = wait(store.getSnapshot({"snapshotId": id}))
            assert found is not None
            assert (found["status"], found["state"]) == (winners[0], {"custom": {"by": winners[0]}})
        finish(stores[0], id, "completed")
        assert len(winners) == 1


def _start(folder: Path, number: int, times: int) -> subprocess.Popen[str]:
    arguments = {"folder": str(folder / "archive"), "number": number, "times": times, "ready": str(folder / "ready")}
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_processes_on_one_folder_lose_nothing(tmp_path: Path) -> None:
    times = 5
    archive = snapstore.open(tmp_path / "archive", create=True, durability="os")
    for driver in SYSTEMS:
        driver(archive).write("x", {"n": 0})
    workers = [_start(tmp_path, number, times) for number in range(2)]
    try:
        end = time.monotonic() + 60
        while sum((tmp_path / f"ready.{number}").exists() for number in range(2)) < 2:
            assert time.monotonic() < end, "a process did not start"
            assert all(worker.poll() is None for worker in workers), "a process ended before its time"
            time.sleep(0.01)
        (tmp_path / "ready").touch()
        for worker in workers:
            _, errors = worker.communicate(timeout=60)
            assert worker.returncode == 0, errors
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    for driver in SYSTEMS:
        adapter = driver(archive)
        if driver.can("set_field"):
            wanted = {f"{number} {step}": step for number in range(2) for step in range(times)}
            assert adapter.fields("x") == wanted, driver
        if driver.can("increment"):
            assert adapter.read("x") == {"n": 2 * times}, driver
        if driver.can("append"):
            assert adapter.latest("group") in [{"by": 0}, {"by": 1}], driver
    assert len([*archive.list(run="agentos:group")]) == 2 * times
    archive.close()
