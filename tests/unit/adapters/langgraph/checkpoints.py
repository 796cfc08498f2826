"""Checkpoints made by hand, and savers to put them into, for the tests of the LangGraph adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointMetadata

from snapstore.adapters.langgraph import SnapstoreSaver
from tests.unit.archives import World


class SaverWorld(World):
    """One archive on a metered storage in memory, and a checkpointer on it."""

    def __init__(self) -> None:
        super().__init__()
        self.saver = SnapstoreSaver(self.archive)

    def another(self) -> SnapstoreSaver:
        """A checkpointer as another process would have it: it knows nothing yet."""
        return SnapstoreSaver(self.cold())


def config(thread: Any = "t", checkpoint_id: str | None = None, ns: str | None = "") -> RunnableConfig:
    """The config of a thread, a namespace (None names none) and a checkpoint."""
    named: dict[str, Any] = {"thread_id": thread}
    if ns is not None:
        named["checkpoint_ns"] = ns
    if checkpoint_id is not None:
        named["checkpoint_id"] = checkpoint_id
    return {"configurable": named}


def checkpoint(id: str, values: Mapping[str, Any] | None = None, **other: Any) -> Checkpoint:
    """A checkpoint with these channel values, each at version 1."""
    made: Any = {
        "v": 4,
        "id": id,
        "ts": "2026-11-21T03:08:52.145169+00:00",
        "channel_values": dict(values or {}),
        "channel_versions": dict.fromkeys(values or {}, 1),
        "versions_seen": {"node": {"start": 1}},
        "updated_channels": None,
        **other,
    }
    return made  # type: ignore[no-any-return]


def metadata(step: int = 0, **other: Any) -> CheckpointMetadata:
    """LangGraph's metadata of a step."""
    made: Any = {"source": "loop", "step": step, "parents": {}, **other}
    return made  # type: ignore[no-any-return]


def put(
    saver: BaseCheckpointSaver[Any],
    id: str,
    values: Mapping[str, Any] | None = None,
    *,
    parent: str | None = None,
    thread: Any = "t",
    ns: str = "",
    **more: Any,
) -> RunnableConfig:
    """Put a checkpoint; further arguments are its metadata."""
    made = checkpoint(id, values)
    return saver.put(config(thread, parent, ns), made, metadata(**more), made["channel_versions"])


def ids(tuples: Any) -> list[str]:
    """The checkpoint ids of listed tuples."""
    return [one.config["configurable"]["checkpoint_id"] for one in tuples]
