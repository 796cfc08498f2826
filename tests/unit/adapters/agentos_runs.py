"""Made AgentOS checkpoints, a model of the contract, and a small graph runtime that uses a store as AgentOS does."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from snapstore import clock
from snapstore.adapters.agentos import CheckpointStore

T = TypeVar("T")
Json = dict[str, Any]

NOW = 1_760_000_000_000
"""Where the time of `ticking` begins: milliseconds since 1970."""


def wait(call: Coroutine[Any, Any, T]) -> T:
    """The result of an async call."""
    return asyncio.run(call)


def checkpoint(id: str = "cp-1", **fields: Any) -> Json:
    """A checkpoint as AgentOS's runtime makes it; fields by their own names."""
    return {
        "id": id,
        "graphId": "graph-1",
        "runId": "run-1",
        "nodeId": "node-1",
        "timestamp": 1000,
        "state": {
            "input": {"prompt": "hello"},
            "scratch": {"step": 1, "draft": "a"},
            "artifacts": {},
            "diagnostics": {"totalTokensUsed": 0, "checkpointsSaved": 0},
        },
        "nodeResults": {},
        "visitedNodes": ["node-1"],
        "pendingEdges": [],
        **fields,
    }


def ids(rows: list[Json]) -> list[str]:
    """The ids of rows."""
    return [row["id"] for row in rows]


class Time:
    """A clock that stands still until it is told to go on; who sleeps wakes up at once, that much later.

    Attributes:
        ms: the time of day, milliseconds since 1970.
        slept_s: for how long somebody has slept, in seconds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = NOW
        self.slept_s = 0.0
        monkeypatch.setattr(clock, "now_ms", lambda: self.ms)
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.slept_s)
        monkeypatch.setattr(clock, "sleep", self._sleep)

    def _sleep(self, duration_s: float) -> None:
        self.slept_s += duration_s


class Model:
    """The contract in ten lines: checkpoints in the order of their saves."""

    def __init__(self) -> None:
        self.saved: dict[str, Json] = {}

    def save(self, checkpoint: Json) -> None:
        """Saved last, also under an id that is there already."""
        self.saved.pop(checkpoint["id"], None)
        self.saved[checkpoint["id"]] = copy.deepcopy(checkpoint)

    def newest_first(self, **wanted: str | None) -> list[Json]:
        """Those with the wanted fields; the sort is stable, so of equal timestamps the one saved last comes first."""
        found = [
            one
            for one in reversed(self.saved.values())
            if all(value is None or one[name] == value for name, value in wanted.items())
        ]
        return sorted(found, key=lambda one: -one["timestamp"])


class Runtime:
    """What AgentOS's GraphRuntime does with its store, for a line of nodes whose results are external effects.

    One checkpoint after each node. Every checkpoint of a run is given the same growing dict of results, and a resumed run
    takes the results in its checkpoint for effects that need not happen again.

    Attributes:
        executed: the nodes that were executed, in order.
    """

    def __init__(self, store: CheckpointStore, now_ms: Callable[[], int], nodes: str = "abcd") -> None:
        self.executed: list[str] = []
        self._store = store
        self._nodes = nodes
        self._now_ms = now_ms
        self._numbers: Iterator[int] = iter(range(10_000))

    async def invoke(self, run_id: str) -> None:
        """Run the whole graph."""
        await self._go(run_id, {"input": {"q": 1}, "scratch": {}, "artifacts": {}, "diagnostics": {}}, [], {}, {})

    async def resume(self, run_or_checkpoint_id: str) -> None:
        """Go on from the newest checkpoint of a run, or from exactly this checkpoint."""
        found = await self._store.latest(run_or_checkpoint_id) or await self._store.get(run_or_checkpoint_id)
        if found is None:
            raise LookupError(f"no checkpoint found for {run_or_checkpoint_id}")
        await self._go(found["runId"], found["state"], found["visitedNodes"], found["nodeResults"], dict(found["nodeResults"]))

    async def _go(self, run_id: str, state: Json, visited: list[str], recorded: Json, results: Json) -> None:
        done = list(visited)
        for node in [node for node in self._nodes if node not in visited]:
            done.append(node)
            if node in recorded:
                continue
            self.executed.append(node)
            results[node] = {"effectClass": "external", "output": f"{node} of {run_id}", "durationMs": 0}
            state["artifacts"][node] = results[node]["output"]
            await self._store.save(
                {
                    "id": f"{run_id}/{node}/{next(self._numbers)}",
                    "graphId": "line",
                    "runId": run_id,
                    "nodeId": node,
                    "timestamp": self._now_ms(),
                    "state": state,
                    "nodeResults": results,
                    "visitedNodes": list(done),
                    "skippedNodes": [],
                    "pendingEdges": [],
                }
            )
