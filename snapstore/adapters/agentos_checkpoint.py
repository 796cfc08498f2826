"""What an AgentOS checkpoint is in the archive: its fields and facts, taken apart for saving and put together for reading.

`id`, `runId`, `graphId` and `nodeId` are the snapshot's own words, `timestamp` and what lists show lie in its metadata, and
everything else is its state. So a fork, which has another id, run and timestamp, shares the whole state of its source.
Pure: nothing here reads or writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapstore.adapters.agentos_order import SYSTEM, Row
from snapstore.adapters.naming import parts_of
from snapstore.adapters.plain import json_copy
from snapstore.errors import InvalidInputError
from snapstore.snapshot import Snapshot

__all__ = ["NewCheckpoint", "checked_patch", "checkpoint_of", "patched", "row_of"]

NAMES = ("id", "graphId", "runId", "nodeId")
PARTITIONS = ("input", "scratch", "artifacts", "diagnostics")

TIMESTAMP_LIMIT_MS = 8.64e15
"""The first and last moment of JavaScript's Date (ECMA-262, Time Values), so of any timestamp that AgentOS can make."""


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A checkpoint to be saved, nothing of it shared with the caller.

    Attributes:
        id, graph_id, run_id, node_id: as given.
        timestamp: milliseconds since 1970, whole or not.
        payload: everything else.
        state_size: length of `state` as JavaScript would write it, in UTF-16 code units; 0 when there is none.
    """

    id: str
    graph_id: str
    run_id: str
    node_id: str
    timestamp: int | float
    payload: dict[str, Any]
    state_size: int

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> NewCheckpoint:
        """Check and copy a checkpoint.

        Raises:
            InvalidInputError: `checkpoint_field`, `not_json`.
        """
        if not isinstance(checkpoint, Mapping):
            raise InvalidInputError("a checkpoint is a dict", code="checkpoint_field", type=type(checkpoint).__name__)
        id, graph_id, run_id, node_id = (_name(checkpoint, field) for field in NAMES)
        timestamp: Any = checkpoint.get("timestamp")
        if type(timestamp) not in (int, float) or not abs(timestamp) <= TIMESTAMP_LIMIT_MS:
            raise InvalidInputError(
                "a checkpoint needs a timestamp",
                code="checkpoint_field",
                hint="milliseconds since 1970, such as int(time.time() * 1000)",
                field="timestamp",
                found=timestamp,
            )
        given = {key: value for key, value in checkpoint.items() if key not in NAMES and key != "timestamp"}
        payload: dict[str, Any] = json_copy(given, "checkpoint")
        size = javascript_size(payload["state"]) if "state" in payload else 0
        return cls(id, graph_id, run_id, node_id, timestamp, payload, size)

    def metadata(self) -> dict[str, Any]:
        """What lists show without reading the state."""
        return {
            "timestamp": self.timestamp,
            "stateSize": self.state_size,
            "hasMemorySnapshot": "memorySnapshot" in self.payload,
        }


def checkpoint_of(snapshot: Snapshot) -> dict[str, Any]:
    """The checkpoint in a snapshot, the caller's own; reads the state."""
    return {
        "id": _own(snapshot.id),
        "graphId": _own(snapshot.graph),
        "runId": _own(snapshot.run),
        "nodeId": snapshot.node,
        "timestamp": snapshot.metadata["timestamp"],
        **snapshot.state(),
    }


def row_of(row: Row, *, links: bool = False) -> dict[str, Any]:
    """AgentOS's `CheckpointMetadata`; with `links` also `parentId` and `forkedFrom`."""
    facts: dict[str, Any] = {
        "id": _own(row.id),
        "runId": _own(row.run),
        "graphId": _own(row.graph),
        "nodeId": row.node,
        "timestamp": row.metadata["timestamp"],
        "stateSize": row.metadata["stateSize"],
        "hasMemorySnapshot": row.metadata["hasMemorySnapshot"],
    }
    if links:
        parent = _own(row.parents[0]) if row.parents else None
        facts |= {"parentId": parent, "forkedFrom": parent if "fork" in row.metadata else None}
    return facts


def checked_patch(patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of what a patch says of the parts that can be patched.

    Raises:
        InvalidInputError: `invalid_patch`, `not_json`.
    """
    if patch is None:
        return {}
    if not isinstance(patch, Mapping):
        raise InvalidInputError(
            "a patch is a dict", code="invalid_patch", hint=f"with any of {', '.join(PARTITIONS)}", type=type(patch).__name__
        )
    copy: dict[str, Any] = json_copy({name: patch[name] for name in PARTITIONS if name in patch}, "patch")
    return copy


def patched(payload: dict[str, Any], patch: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """A payload with a patch applied, and the size of its state."""
    old = payload.get("state")
    state = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        kept = state.get(name)
        if isinstance(kept, dict) and (value is None or isinstance(value, dict)):
            state[name] = {**kept, **(value or {})}
        else:
            state[name] = value
    return {**payload, "state": state}, javascript_size(state)


def javascript_size(value: Any) -> int:
    """The length of JavaScript's `JSON.stringify(value)`, in UTF-16 code units.

    Raises:
        InvalidInputError: `not_json`: an integer of thousands of digits, which Python does not write.
    """
    shorter = 0

    def measured(number: str) -> float:
        nonlocal shorter
        shorter += len(number) - javascript_number_size(float(number))
        return 0.0

    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except ValueError as error:
        raise InvalidInputError(f"the state does not fit into JSON: {error}", code="not_json") from error
    json.loads(text, parse_float=measured)
    return len(text.encode("utf-16-le")) // 2 - shorter


def javascript_number_size(number: float) -> int:
    """The length of a number as JavaScript writes it (ECMA-262, Number::toString); Python writes 1.0 and 1e-07 instead."""
    mantissa, _, power = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    significant = (whole + fraction).lstrip("0")
    point = len(whole) + int(power or 0) - (len(whole + fraction) - len(significant))
    count = len(significant.rstrip("0"))
    if count == 0:
        return 1
    if 0 < point <= 21:
        size = point if count <= point else count + 1
    elif -6 < point <= 0:
        size = 2 - point + count
    else:
        size = count + (count > 1) + 2 + len(str(abs(point - 1)))
    return size + (number < 0)


def _name(checkpoint: Mapping[str, Any], field: str) -> str:
    value = checkpoint.get(field)
    if not isinstance(value, str):
        raise InvalidInputError(
            f"a checkpoint needs {field}", code="checkpoint_field", hint="a text", field=field, type=type(value).__name__
        )
    return value


def _own(name: str) -> str | None:
    """The system's own id in a name; None for a name of another system."""
    parts = parts_of(name, SYSTEM)
    return parts[0] if parts is not None else None
