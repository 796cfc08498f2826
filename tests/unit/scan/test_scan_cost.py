"""A scan costs what it shows, and what neighbours share costs once.

Goal: one field over all snapshots of long runs stays below 2 % of the bytes that restoring them takes, every pack is fetched
once, memory does not follow the number of snapshots, and the estimate beforehand holds.
Method: a meter, and a count per pack, around a storage in memory; runs of growing conversations; budgets made small, to see
that they bound something.
"""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from snapstore.scan import pages, planning, reading, walk
from snapstore.scan.pages import PAGE_BYTES
from snapstore.scan.planning import Scan, scan
from snapstore.snapshot import Snapshot
from snapstore.storage.protocol import Storage
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.archives import State, World, conversation, message, noise

SCALARS = ["cost", "agent"]
DEEP = ["messages[*].role", "messages[-1].content", "messages[-3:].index"]


class PerPack(WrappedStorage):
    """Counts the ranges asked of each object, and notices a byte that is asked for twice."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.bytes_read = 0
        self.again = 0
        self._seen: dict[str, set[int]] = {}

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Count."""
        seen = self._seen.setdefault(key, set())
        for start, length in ranges:
            blocks = set(range(start // PAGE_BYTES, -(-(start + length) // PAGE_BYTES)))
            self.again += len(blocks & seen)
            seen |= blocks
            self.requests[key] += 1
            self.bytes_read += length
        return self.inner.get_ranges(key, ranges)


@pytest.fixture(scope="module")
def long_runs() -> tuple[World, list[Snapshot]]:
    """Two runs of 520 saves that start with 300 messages."""
    world = World()
    snaps: list[Snapshot] = []
    for name in ("a", "b"):
        run = world.archive.run(name, graph="g")
        state = conversation(300, 700, seed=ord(name))
        for step in range(520):
            state["messages"].append(message(1000 + step, 700, seed=ord(name)))
            state["cost"] = step / 4
            snaps.append(run.save(state))
    return world, snaps


def restoring_bytes(snaps: Sequence[Snapshot]) -> int:
    """What restoring them one by one reads: the needed part of a pack, or all of it when that is half of it or more."""
    return sum(
        ref.size if (ref.end - ref.start) * 2 >= ref.size else ref.end - ref.start
        for snap in snaps
        for ref in snap.register.closure.values()
    )


def run_through(scanned: Scan) -> int:
    return sum(batch.num_rows for batch in scanned)


@pytest.mark.parametrize("paths", [SCALARS, DEEP], ids=["scalars", "lists"])
def test_a_field_of_long_runs_takes_a_fiftieth_of_restoring_and_every_pack_once(
    long_runs: tuple[World, list[Snapshot]], paths: list[str]
) -> None:
    world, snaps = long_runs
    counted = PerPack(world.memory)
    scanned = scan(counted, [snap.register for snap in snaps], paths)
    assert run_through(scanned) == len(snaps)
    assert max(counted.requests.values()) == 1
    assert counted.bytes_read <= 0.02 * restoring_bytes(snaps)
    estimate = scanned.estimate
    assert estimate.snapshots == len(snaps)
    assert estimate.bytes_least <= counted.bytes_read <= estimate.bytes_most
    assert estimate.requests_least <= counted.requests.total() <= estimate.requests_most


def test_each_task_alone_asks_for_no_byte_twice_and_stays_below_its_bound(long_runs: tuple[World, list[Snapshot]]) -> None:
    world, snaps = long_runs
    tasks = scan(world.memory, [snap.register for snap in snaps], DEEP).tasks
    assert len(tasks) == 2
    for task in tasks:
        counted = PerPack(world.memory)
        assert sum(batch.num_rows for batch in task.read(counted)) == task.rows
        assert max(counted.requests.values()) == 1
        assert counted.bytes_read <= task.bytes_most


def test_planning_and_estimating_read_registers_and_nothing_else(long_runs: tuple[World, list[Snapshot]]) -> None:
    world, snaps = long_runs
    world.meter.reset()
    assert scan(world.meter, [snap.id for snap in snaps], SCALARS).estimate.packs >= len(snaps)
    usage = world.meter.reset()
    assert usage.requests == {"get": len(snaps)}
    assert usage.round_trips == -(-len(snaps) // planning.REGISTERS)


def test_types_that_are_given_save_the_sample(long_runs: tuple[World, list[Snapshot]]) -> None:
    world, snaps = long_runs
    world.meter.reset()
    assert scan(world.meter, [snap.register for snap in snaps], ["cost"], types={"cost": "float64"}).tasks
    assert world.meter.reset().requests == {}
    assert scan(world.meter, [snap.register for snap in snaps], ["cost"]).tasks
    assert world.meter.reset().requests == {"get_ranges": planning.SAMPLE_SNAPSHOTS}


def test_a_small_field_of_a_large_state_reads_a_few_pages() -> None:
    world = World()
    state: State = {"big": [noise_text(n) for n in range(100)], "cost": 1, "last": [{"x": n} for n in range(10)]}
    snap = world.archive.save(state, run="r")
    counted = PerPack(world.memory)
    assert run_through(scan(counted, [snap.register], ["cost", "last[-1].x", "big[7]"])) == 1
    assert counted.again == 0
    assert counted.bytes_read < 0.1 * snap.stored_bytes


def noise_text(number: int) -> str:
    """40 KB that compress to half."""
    return noise(random.Random(number), 40_000)


def test_small_budgets_give_the_same_rows(long_runs: tuple[World, list[Snapshot]], monkeypatch: pytest.MonkeyPatch) -> None:
    world, snaps = long_runs
    some = [snap.register for snap in snaps[::20]]
    paths = [*DEEP, "cost", "messages"]
    expected = [row for batch in scan(world.memory, some, paths) for row in batch.to_pylist()]
    monkeypatch.setattr(pages, "WAVE_BYTES", 3 * PAGE_BYTES)
    monkeypatch.setattr(pages, "KEPT_BYTES", 2 * PAGE_BYTES)
    monkeypatch.setattr(walk, "MEMO_BYTES", 50_000)
    monkeypatch.setattr(reading, "HELD_BYTES", 50_000)
    monkeypatch.setattr(reading, "WINDOW", 7)
    monkeypatch.setattr(planning, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(planning, "TASK_BYTES", 300_000)
    scanned = scan(world.memory, some, paths)
    batches = list(scanned)
    assert [row for batch in batches for row in batch.to_pylist()] == expected
    assert len(batches) > 10
    assert len(scanned.tasks) > 3
    assert [row for task in scanned.tasks for batch in task.read(world.memory) for row in batch.to_pylist()] == expected


def test_memory_does_not_follow_the_number_of_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    registers = [world.archive.save({"messages": [noise_text(n)] * 9, "n": n}, run=f"r{n}").register for n in range(64)]
    for module, name in ((pages, "WAVE_BYTES"), (pages, "KEPT_BYTES"), (walk, "MEMO_BYTES"), (reading, "HELD_BYTES")):
        monkeypatch.setattr(module, name, 1024 * 1024)
    monkeypatch.setattr(planning, "BATCH_BYTES", 1024 * 1024)

    def peak(some: list[Any]) -> int:
        tracemalloc.start()
        assert run_through(scan(world.memory, some, ["messages"], types={"messages": "json"})) == len(some)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(registers) < 2 * peak(registers[:16])
