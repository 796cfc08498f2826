"""Where checkpoints lie: what threads, namespaces and checkpoints are called in the archive, and what a config names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from langchain_core.runnables import RunnableConfig

from snapstore.adapters.naming import joined, parts_of
from snapstore.errors import InvalidInputError

__all__ = ["CHECKPOINTS", "WRITES", "Place", "checkpoint_id_of", "configurable", "place_of", "spot_of", "writes_graph"]

CHECKPOINTS = "langgraph"
"""The system word of checkpoints: id `langgraph:<thread>/<namespace>/<checkpoint>`."""

WRITES = "langgraph-writes"
"""The system word of pending writes that are too large for the register of their checkpoint."""


@dataclass(frozen=True, slots=True)
class Place:
    """One namespace of one thread: a run of the archive.

    Attributes:
        thread: the thread id as text; frameworks pass integers as well.
        namespace: `checkpoint_ns`; empty for the graph itself, `node:task|node:task` for subgraphs.
    """

    thread: str
    namespace: str = ""

    @property
    def graph(self) -> str:
        """The graph of all namespaces of the thread."""
        return joined(CHECKPOINTS, self.thread)

    @property
    def run(self) -> str:
        """The run of this namespace."""
        return joined(CHECKPOINTS, self.thread, self.namespace)

    def snapshot(self, checkpoint_id: str) -> str:
        """The snapshot id of a checkpoint."""
        return joined(CHECKPOINTS, self.thread, self.namespace, checkpoint_id)

    def writes_run(self, checkpoint_id: str) -> str:
        """The run of a checkpoint's large pending writes: one snapshot per task."""
        return joined(WRITES, self.thread, self.namespace, checkpoint_id)

    def writes(self, checkpoint_id: str, task_id: str) -> str:
        """The snapshot id of one task's large pending writes."""
        return joined(WRITES, self.thread, self.namespace, checkpoint_id, task_id)

    def config(self, checkpoint_id: str) -> RunnableConfig:
        """The config that names a checkpoint."""
        return {"configurable": {"thread_id": self.thread, "checkpoint_ns": self.namespace, "checkpoint_id": checkpoint_id}}


def writes_graph(thread: str) -> str:
    """The graph of all large pending writes of a thread."""
    return joined(WRITES, thread)


@lru_cache(maxsize=8192)
def spot_of(snapshot_id: str) -> tuple[Place, str] | None:
    """The place and checkpoint id behind a snapshot id; None for snapshots of others."""
    parts = parts_of(snapshot_id, CHECKPOINTS)
    if parts is None or len(parts) != 3:
        return None
    return Place(parts[0], parts[1]), parts[2]


def configurable(config: RunnableConfig) -> Mapping[str, Any]:
    """The part of a config that names things.

    Raises:
        InvalidInputError: `thread_id_missing`; it is a ValueError.
    """
    named = config.get("configurable") or {}
    if named.get("thread_id") is None:
        raise InvalidInputError(
            "the config names no thread",
            code="thread_id_missing",
            hint='pass config={"configurable": {"thread_id": "..."}}',
        )
    return named


def place_of(config: RunnableConfig) -> Place:
    """The thread and namespace that a config names."""
    named = configurable(config)
    return Place(str(named["thread_id"]), str(named.get("checkpoint_ns") or ""))


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """The checkpoint that a config names, or None."""
    found = (config.get("configurable") or {}).get("checkpoint_id")
    return str(found) if found else None
