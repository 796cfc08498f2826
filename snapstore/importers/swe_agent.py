"""SWE-agent trajectories (`.traj`): one snapshot per step, the state being the document as far as it had come.

Snapshot k holds `{"environment": ..., "trajectory": [the first k steps]}`; the last one holds the whole document,
with its history, exit status and statistics. A document without steps is read by its `history` messages instead.
Ids are digests of the content up to the step, so that a longer trajectory of the same name continues the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from snapstore.importers.records import malformed, read_document
from snapstore.importers.step import Branches, Source, Step, content_id, stable_bytes

SUFFIXES = (".traj",)
GRAPH = "swe-agent"

_MAX_NODE_CHARS = 40
"""The command of a step names its node; a longer first word is a path or a script, not a command."""


def read(source: Source) -> Iterator[Step]:
    """Yield one step per trajectory step, or per history message when there are no steps."""
    document = read_document(source)
    if not isinstance(document, dict):
        malformed(source, f"a trajectory must be an object, not {type(document).__name__}")
    key = next((key for key in ("trajectory", "history") if document.get(key)), None)
    if key is None:
        malformed(source, "neither trajectory nor history has entries")
    items = document[key]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        malformed(source, f"{key} must be a list of objects")
    early = {"environment": document["environment"]} if "environment" in document else {}
    rest = {name: value for name, value in document.items() if name != key and name not in early}
    branches = Branches()
    parent: str | None = None
    for number, item in enumerate(items, 1):
        last = number == len(items)
        # The last snapshot holds the rest too: a run that went on must not take it for a step on the way.
        id = content_id(parent or f"{GRAPH}/{source.base_name}", stable_bytes([item, rest] if last else item))
        branches.add(id, parent, item)
        yield Step(
            run=source.base_name,
            graph=GRAPH,
            id=id,
            parent_id=parent,
            node=_node(item),
            status="completed" if last else "running",
            build=partial(_state, branches, id, early, key, rest if last else {}),
            metadata=_metadata(document) if last else {},
            fraction=number / len(items),
        )
        parent = id


def _state(branches: Branches, id: str, early: dict[str, Any], key: str, rest: dict[str, Any]) -> dict[str, Any]:
    return {**early, key: branches.records(id), **rest}


def _node(item: dict[str, Any]) -> str | None:
    """Return the command of a step (`open`, `edit`, `submit`), or the role of a message."""
    action = item.get("action")
    words = action.split(maxsplit=1) if isinstance(action, str) else []
    if words and len(words[0]) <= _MAX_NODE_CHARS:
        return words[0]
    role = item.get("role")
    return role if isinstance(role, str) and role else None


def _metadata(document: dict[str, Any]) -> dict[str, Any]:
    info = document.get("info")
    if not isinstance(info, dict):
        return {}
    statistics = info.get("model_stats")
    facts = {"exit_status": info.get("exit_status"), **(statistics if isinstance(statistics, dict) else {})}
    return {key: fact for key, fact in facts.items() if isinstance(fact, str | int | float)}
