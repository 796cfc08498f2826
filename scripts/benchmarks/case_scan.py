"""One scalar field over the history of long runs, against the bytes that restoring the same snapshots takes."""

from __future__ import annotations

import importlib.util
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import snapstore
from benchmarks import states
from benchmarks.measure import in_child, spending
from benchmarks.report import Row, at_most, limit, skipped
from benchmarks.subject import PACK_FOLDERS, open_metered
from snapstore.archive import Archive
from snapstore.storage.meter import Meter
from snapstore.storage.protocol import Storage, Stored
from snapstore.storage.wrapper import WrappedStorage

# Runs of 1,000 saves: each begins with a history and adds one message per save.
RUNS, QUICK_RUNS = 10, 1
SAVES = 1_000
FIRST_MESSAGES = 300

PATH = "cost"

# Restored for the baseline, each by a handle that knows nothing; the other snapshots lie between them.
RESTORED = 100


class Packs(WrappedStorage):
    """Counts the requests for each pack, and the bytes that were asked for before."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.again_bytes = 0
        self._seen: dict[str, list[tuple[int, int]]] = {}

    def get(self, key: str) -> Stored:
        """Count a whole pack."""
        stored = self.inner.get(key)
        self._add(key, 0, len(stored.data))
        return stored

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Count one request for each range: a scan has joined those that lie together."""
        for start, length in ranges:
            self._add(key, start, start + length)
        return self.inner.get_ranges(key, ranges)

    def _add(self, key: str, start: int, end: int) -> None:
        if key.startswith(PACK_FOLDERS):
            seen = self._seen.setdefault(key, [])
            self.again_bytes += sum(max(0, min(end, high) - max(start, low)) for low, high in seen)
            seen.append((start, end))
            self.requests[key] += 1


def archive_url(folder: str) -> str:
    """Return where the archive of the runs lies."""
    return str(Path(folder) / "archive")


def build(folder: str, runs: int) -> dict[str, Any]:
    """Save the runs; runs in a child."""
    archive = snapstore.open(archive_url(folder), create=True, durability="os", index_after=None)
    ids: list[str] = []
    for number in range(runs):
        records = states.made_up(FIRST_MESSAGES + SAVES, seed=number)
        run = archive.run(f"run-{number}", graph="bench")
        state: dict[str, Any] = {"messages": records[:FIRST_MESSAGES], "plan": {"step": 0}, PATH: 0.0}
        rng = random.Random(number)
        for step in range(SAVES):
            state["messages"].append(records[FIRST_MESSAGES + step])
            state["plan"]["step"] = step
            state[PATH] += rng.random()
            snap = run.save(state)
            ids.append(snap.id)
    archive.index.refresh()
    archive.close()
    return {"ids": ids, "last_bytes": snap.size_bytes}


def restore(folder: str, ids: list[str]) -> dict[str, Any]:
    """Restore a sample of the snapshots, each through a new handle; runs in a child."""
    size, cpu_s, requests, found = 0, 0.0, 0, {}
    for id in ids:
        archive, meter = open_metered(archive_url(folder))
        meter.reset()
        with spending() as spent:
            found[id] = archive[id].state()[PATH]
        usage = meter.reset()
        size += usage.bytes_read
        requests += sum(usage.requests.values())
        cpu_s += spent.cpu_s
    return {"values": found, "bytes": size / len(ids), "cpu_s": cpu_s / len(ids), "requests": requests / len(ids)}


def scan(folder: str, values: dict[str, float]) -> dict[str, Any]:
    """Read the field of all snapshots, without being told its type; runs in a child."""
    opened = snapstore.open(archive_url(folder), index_after=None)
    packs = Packs(opened.storage)
    meter = Meter(packs)
    archive = Archive(meter, opened.config)
    with spending() as spent:
        planned = archive.scan([PATH], graph="bench")
    planning = meter.reset()
    with spending() as spent_reading:
        found = {id: cost for batch in planned for id, cost in zip(batch["id"].to_pylist(), batch[PATH].to_pylist(), strict=True)}
    usage = meter.reset()
    assert all(found[id] == value for id, value in values.items())
    return {
        "snapshots": len(found),
        "bytes": usage.bytes_read,
        "planning_bytes": planning.bytes_read,
        "planning_s": spent.cpu_s,
        "packs": len(packs.requests),
        "pack_requests": packs.requests.total(),
        "again_bytes": packs.again_bytes,
        "costs": {
            "requests": usage.total,
            "round_trips": usage.round_trips,
            "bytes_read": usage.bytes_read,
            "cpu_s": spent_reading.cpu_s,
        },
    }


def rows(quick: bool) -> list[Row]:
    """Return the figures of the scan."""
    if importlib.util.find_spec("pyarrow") is None:
        return [skipped("scan of one field", "not installed: pyarrow")]
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        built = in_child("case_scan:build", folder=folder, runs=QUICK_RUNS if quick else RUNS)
        ids = built["ids"]
        restored = in_child("case_scan:restore", folder=folder, ids=ids[:: max(1, len(ids) // RESTORED)])
        got = in_child("case_scan:scan", folder=folder, values=restored["values"])
    count = got["snapshots"]
    assert count == len(ids)
    label = f"scan of one field of {count:,} snapshots"
    restoring = ("restoring them", restored["bytes"] * count)
    plan = f"planning reads {got['planning_bytes'] / 1e6:.1f} MB of registers and index besides, {got['planning_s']:.2f} s of CPU"
    note = f"{plan}; states of up to {built['last_bytes'] / 1e6:.1f} MB, {restored['requests']:.1f} requests to restore one"
    held = {**got["costs"], "peak_mb": got["peak_mb"]}
    whole = got["bytes"] + got["planning_bytes"]
    return [
        at_most(f"{label}, read", got["bytes"], "bytes", restoring, 0.02, costs=held, note=note),
        Row(f"{label}, read with planning", whole, "bytes", restoring[1], restoring[0]),
        at_most(
            f"{label}: requests for packs",
            got["pack_requests"],
            "requests",
            ("touched", got["packs"]),
            1.0,
            baseline_unit="packs",
        ),
        limit(f"{label}: bytes fetched twice", got["again_bytes"], "bytes", 0),
        Row(label, got["costs"]["cpu_s"], "s of CPU", restored["cpu_s"] * count, restoring[0]),
    ]
