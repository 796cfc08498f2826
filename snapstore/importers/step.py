"""What a reader takes and gives: `Source`, `Step`, and `Branches`, which shares records between states.

A reader never copies a state. The state of a step is built when it is asked for, from one list that grows along a
branch and is cut back where another branch starts, so a history of n records costs n list operations, not n².
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from snapstore.digest import digest_hex

STEP_ID_CHARS = 32
"""Hex digits of an id made from content: 128 bits, as random ids have."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file or stream to read.

    Attributes:
        label: How messages name it: a path as the user gave it, or `<stdin>`.
        name: What runs are named after when the data does not name them; no suffix, `/` between folders.
        size_bytes: Its size when known, for progress.
        open: Opens it for reading from the start; a stream can be opened once.
        run: The name that the user gave, which goes before what the data says; or None.
    """

    label: str
    name: str
    size_bytes: int | None
    open: Callable[[], BinaryIO]
    run: str | None = None

    @property
    def base_name(self) -> str:
        """The name for runs that the data does not name."""
        return self.run or self.name


@dataclass(frozen=True, slots=True)
class Step:
    """One snapshot to be: where it belongs, and how to build its state.

    Attributes:
        run: Name of the run.
        graph: Name of the graph.
        id: Id of the snapshot; follows from the data alone.
        parent_id: Id of the step it follows, which the reader gave before; None for the start of a history.
        node: What produced it, for example a role or a tool; None when the data does not say.
        status: `running` for a step on the way, `completed` or `failed` for the last one of a branch.
        build: Returns the state. The containers in it are shared with other steps: it is valid until another step's
            `build` is called, and nobody may change it.
        metadata: Small facts about the step, JSON types only.
        line: Line in the source, counted from 1, or None when the source is one document.
        fraction: How much of the source has been read with this step, 0 to 1; None when unknown.
    """

    run: str
    graph: str
    id: str
    parent_id: str | None
    node: str | None
    status: str
    build: Callable[[], dict[str, Any]]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    line: int | None = None
    fraction: float | None = None


class Branches:
    """The records of one history, a tree, and the list of those from its root to any one of them."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[str | None, Any]] = {}
        self._path: list[str] = []
        self._place: dict[str, int] = {}
        self._records: list[Any] = []

    def add(self, id: str, parent_id: str | None, record: Any) -> None:
        """Put a record after its parent, which must be known; the record itself is kept, not a copy."""
        assert parent_id is None or parent_id in self._nodes
        self._nodes[id] = (parent_id, record)

    def __contains__(self, id: object) -> bool:
        return id in self._nodes

    def records(self, id: str) -> list[Any]:
        """Return the records from the root to `id`, in order: always the same list, changed by the next call.

        Costs what differs from the previous call's branch: one append when `id` follows it.
        """
        missing: list[str] = []
        step: str | None = id
        while step is not None and step not in self._place:
            missing.append(step)
            step = self._nodes[step][0]
        kept = 0 if step is None else self._place[step] + 1
        for gone in self._path[kept:]:
            del self._place[gone]
        del self._path[kept:]
        del self._records[kept:]
        for new in reversed(missing):
            self._place[new] = len(self._path)
            self._path.append(new)
            self._records.append(self._nodes[new][1])
        return self._records


def content_id(parent: str, record: bytes) -> str:
    """Return the id of a record that has none: a digest of everything up to and including it.

    Args:
        parent: Id of the record before, or the name of the run for the first one.
        record: The record's bytes, always written the same way.
    """
    return digest_hex(b"%d:%s%s" % (len(parent.encode()), parent.encode(), record))[:STEP_ID_CHARS]


def stable_bytes(record: Any) -> bytes:
    """Return bytes that two equal JSON values share, to take digests of; never stored."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
