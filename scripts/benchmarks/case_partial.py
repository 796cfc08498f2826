"""A state of 100 MB: reading its last ten messages, and comparing two neighbouring snapshots."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import states
from benchmarks.measure import in_child, spending
from benchmarks.report import Row, at_most, limit
from benchmarks.subject import costs, open_metered

STATE_BYTES = 100_000_000
QUICK_STATE_BYTES = 20_000_000


def build(folder: str, size_bytes: int) -> dict[str, Any]:
    """Save a large state and one that differs from it by one message and one number; runs in a child."""
    state = states.state_of(size_bytes)
    archive, meter = open_metered(str(Path(folder) / "archive"), create=True)
    run = archive.run("session", graph="bench")
    meter.reset()
    with spending() as spent:
        first = run.save(state)
    usage = meter.reset()
    state["messages"].append(states.small_record(4096, 1))
    state["cost"] = 1.5
    second = run.save(state)
    archive.close()
    return {"ids": [first.id, second.id], "size_bytes": second.size_bytes, "costs": costs(usage, spent.cpu_s, 1)}


def read_tail(folder: str, id: str) -> dict[str, Any]:
    """Read the last ten messages through a new handle; runs in a child."""
    archive, meter = open_metered(str(Path(folder) / "archive"))
    meter.reset()
    with spending() as spent:
        tail = list(archive[id]["messages"][-10:])
    usage = meter.reset()
    assert len(tail) == 10
    assert tail[-1] == states.small_record(4096, 1)
    return {"round_trips": usage.round_trips, "bytes": usage.bytes_read, "costs": costs(usage, spent.cpu_s, 1)}


def read_whole(folder: str, id: str) -> dict[str, Any]:
    """Restore the whole state through a new handle; runs in a child."""
    archive, meter = open_metered(str(Path(folder) / "archive"))
    meter.reset()
    with spending() as spent:
        archive[id].state()
    usage = meter.reset()
    return {"round_trips": usage.round_trips, "bytes": usage.bytes_read, "costs": costs(usage, spent.cpu_s, 1)}


def compare(folder: str, ids: list[str]) -> dict[str, Any]:
    """List the differences of the two snapshots through a new handle; runs in a child."""
    archive, meter = open_metered(str(Path(folder) / "archive"))
    meter.reset()
    with spending() as spent:
        changes = list(archive.diff(*ids))
    usage = meter.reset()
    assert len(changes) == 2, [str(change.path) for change in changes]
    return {"round_trips": usage.round_trips, "bytes": usage.bytes_read, "costs": costs(usage, spent.cpu_s, 1)}


def rows(quick: bool) -> list[Row]:
    """Return the figures of the state of 100 MB."""
    size = QUICK_STATE_BYTES if quick else STATE_BYTES
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        built = in_child("case_partial:build", folder=folder, size_bytes=size)
        tail = in_child("case_partial:read_tail", folder=folder, id=built["ids"][1])
        whole = in_child("case_partial:read_whole", folder=folder, id=built["ids"][1])
        diff = in_child("case_partial:compare", folder=folder, ids=built["ids"])
    name = f"{size // 1_000_000} MB"
    of = ("the state's bytes", built["size_bytes"])
    stored = f"of the bytes that a whole restore reads: {tail['bytes'] / whole['bytes']:.2%}"
    stored_diff = f"of the bytes that a whole restore reads: {diff['bytes'] / whole['bytes']:.2%}"
    return [
        Row(f"{name}: first save", built["costs"]["cpu_s"], "s of CPU", costs={**built["costs"], "peak_mb": built["peak_mb"]}),
        at_most(f"{name}: messages[-10:], read", tail["bytes"], "bytes", of, 0.01, costs=_held(tail), note=stored),
        limit(f"{name}: messages[-10:]", tail["round_trips"], "round trips", 5),
        at_most(f"{name}: diff of neighbours, read", diff["bytes"], "bytes", of, 0.01, costs=_held(diff), note=stored_diff),
        Row(f"{name}: whole restore, read", whole["bytes"], "bytes", built["size_bytes"], of[0], costs=_held(whole)),
    ]


def _held(got: dict[str, Any]) -> dict[str, float]:
    return {**got["costs"], "peak_mb": got["peak_mb"]}
