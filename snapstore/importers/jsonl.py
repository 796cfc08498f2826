"""Plain JSON lines: each line is one record, and each snapshot is the list of the records so far.

A file whose first record has a `role` becomes `{"messages": [...]}`, any other `{"records": [...]}`. The id of a
snapshot is a digest of all lines up to it, so a file that grew continues where it ended, and a file that was rewritten
becomes a branch from the last line that it still shares with what was imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from snapstore.importers.records import read_lines
from snapstore.importers.step import Branches, Source, Step, content_id

SUFFIXES = (".jsonl", ".ndjson")
GRAPH = "jsonl"


def read(source: Source) -> Iterator[Step]:
    """Yield one step per line of the source."""
    branches = Branches()
    key = "records"
    parent: str | None = None
    for line in read_lines(source):
        record = line.value
        if parent is None and isinstance(record, dict) and "role" in record:
            key = "messages"
        id = content_id(parent or f"{GRAPH}/{source.base_name}", line.raw)
        branches.add(id, parent, record)
        yield Step(
            run=source.base_name,
            graph=GRAPH,
            id=id,
            parent_id=parent,
            node=_node(record),
            status="completed",  # the data does not say which line is the last
            build=partial(_state, branches, key, id),
            line=line.number,
            fraction=line.fraction,
        )
        parent = id


def _state(branches: Branches, key: str, id: str) -> dict[str, Any]:
    return {key: branches.records(id)}


def _node(record: Any) -> str | None:
    """Return what the record says about its maker: its role, type or name."""
    if isinstance(record, dict):
        for key in ("role", "type", "node", "name"):
            if isinstance(record.get(key), str) and record[key]:
                return str(record[key])
    return None
