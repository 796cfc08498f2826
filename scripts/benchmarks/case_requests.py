"""What each operation asks of the storage: requests by kind, sequential round trips, bytes. The tests assert the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import states
from benchmarks.measure import in_child, spending
from benchmarks.report import Row
from benchmarks.subject import Counted, open_metered

# Operation -> (writes, sequential round trips at most), as DESIGN section 5 has them. The handle knows the register of
# what it wrote itself; a fork reads none for the same reason.
AGREED: dict[str, tuple[int, int]] = {
    "save, new id": (3, 1),
    "save, tiny state": (3, 1),
    "save over an existing id": (3, 2),
    "update with new content": (3, 2),
    "update of the status": (2, 1),
    "heartbeat": (1, 1),
    "restore by id": (0, 2),
    "latest of a run": (0, 3),
    "fork": (3, 2),
    "list a graph, newest 50": (0, 2),
}

# Saves before the operations are measured, so that closures have several packs.
SAVES = 30

STATE_BYTES = 300_000


def operations() -> dict[str, Any]:
    """Perform each operation once on a metered archive in memory; runs in a child."""
    url = "memory://bench-requests"
    archive, meter = open_metered(url, create=True)
    state = states.state_of(STATE_BYTES)
    run = archive.run("session", graph="bench")
    run.save(state)
    for number in range(SAVES):
        state["messages"].append(states.small_record(2000, number))
        snap = run.save(state)
    other = archive.save(state, run="other", graph="bench", id="other-1")

    def content(draft: Any) -> Any:
        draft.state = {"messages": state["messages"][:10]}
        return draft

    def status(draft: Any) -> Any:
        draft.status = "running" if draft.status != "running" else "completed"
        return draft

    calls: dict[str, Callable[[], object]] = {
        "save, new id": lambda: run.save(state),
        "save, tiny state": lambda: archive.save({"answer": 42}, run="tiny", graph="bench"),
        "save over an existing id": lambda: archive.save(state, run="other", graph="bench", id=other.id),
        "update with new content": lambda: archive.update(other.id, content),
        "update of the status": lambda: archive.update(other.id, status),
        "heartbeat": lambda: archive.update(other.id, lambda draft: draft),
        "fork": lambda: archive.fork(snap.id, run="forked"),
    }
    # A fresh handle for what only reads, so that nothing is answered from memory.
    reading: dict[str, Callable[[Any], object]] = {
        "restore by id": lambda fresh: fresh[snap.id].state(),
        "latest of a run": lambda fresh: fresh.latest("session").state(),
        "list a graph, newest 50": lambda fresh: list(fresh.list(graph="bench", limit=50)),
    }
    results = {name: _counted(call, meter) for name, call in calls.items()}
    for name, read in reading.items():
        fresh, fresh_meter = open_metered(url)
        results[name] = _counted(partial(read, fresh), fresh_meter)
        fresh.close()
    return {"operations": results}


def _counted(call: Callable[[], object], meter: Any) -> dict[str, Any]:
    meter.reset()
    with spending() as spent:
        call()
    usage: Counted = meter.reset()
    return {
        "requests": dict(usage.requests),
        "writes": usage.writes,
        "round_trips": usage.round_trips,
        "bytes_read": usage.bytes_read,
        "bytes_written": usage.bytes_written,
        "cpu_s": spent.cpu_s,
    }


def rows(quick: bool) -> list[Row]:
    """Return one row per operation: its round trips, with its requests below."""
    del quick  # it takes a second
    got = in_child("case_requests:operations")["operations"]
    found = []
    for name, (writes, round_trips) in AGREED.items():
        used = got[name]
        by_kind = ", ".join(f"{count} {verb}" for verb, count in sorted(used["requests"].items()))
        found.append(
            Row(
                name,
                used["round_trips"],
                "round trips",
                target=f"{writes} writes, <= {round_trips} round trips",
                met=used["writes"] == writes and used["round_trips"] <= round_trips,
                note=by_kind,
                costs={key: used[key] for key in ("bytes_read", "bytes_written", "cpu_s")},
            )
        )
    return found
