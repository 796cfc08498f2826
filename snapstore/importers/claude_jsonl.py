"""Coding-agent sessions as JSON lines: records with `uuid` and `parentUuid`, which may branch.

Each record is one snapshot, `{"messages": [the records from the root of its branch to itself]}`. Its id is the
record's uuid. A record without one (a summary, for example) gets an id from its content; it comes between the record
before it, or the one its `leafUuid` names, and what follows that. Records may stand before their parents. A parent
that the file does not hold starts a history of its own, with the fact in the metadata. A compaction starts with an
empty state, and its `logicalParentUuid` keeps the history connected. A uuid that returns with other content becomes a
sibling of the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from snapstore.errors import InvalidInputError
from snapstore.importers.records import Line, malformed, read_lines
from snapstore.importers.step import Branches, Source, Step, content_id

SUFFIXES = (".jsonl",)
GRAPH = "claude"


@dataclass(slots=True)
class _Record:
    """One record with its place in the history.

    Attributes:
        follows: Id of the parent in the history, or None.
        extends: Id of the record whose state it extends; None when it begins with an empty state.
        missing: The parent that it names and that the file does not hold.
    """

    id: str
    follows: str | None
    extends: str | None
    missing: str | None
    line: Line


def read(source: Source) -> Iterator[Step]:
    """Yield one step per record, parents first, otherwise in the order of the file."""
    records, problem = _records(source)
    run = _run(source, records)
    branches = Branches()
    for record in _parents_first(source, records):
        branches.add(record.id, record.extends, record.line.value)
        yield Step(
            run=run,
            graph=GRAPH,
            id=record.id,
            parent_id=record.follows,
            node=_text(record.line.value, "type"),
            status="completed",  # a session does not say that it has ended
            build=partial(_state, branches, record.id),
            metadata=_metadata(record),
            line=record.line.number,
            fraction=record.line.fraction,
        )
    if problem is not None:
        raise problem


def _state(branches: Branches, id: str) -> dict[str, Any]:
    return {"messages": branches.records(id)}


def _records(source: Source) -> tuple[list[_Record], InvalidInputError | None]:
    """Return the records in the file's order, up to the first malformed line, and the problem of that line."""
    lines: list[Line] = []
    problem: InvalidInputError | None = None
    try:
        for line in read_lines(source):
            _check(source, line)
            lines.append(line)
    except InvalidInputError as error:
        problem = error
    known = {line.value["uuid"] for line in lines if line.value.get("uuid")}
    records: list[_Record] = []
    seen: dict[str, bytes] = {}
    notes: dict[str | None, str] = {}
    previous: str | None = None
    for line in lines:
        if line.value.get("uuid"):
            record = _placed(line, known, notes)
        else:
            record = _note(source, line, known, previous)
            notes[record.follows] = record.id
        if record.id in seen:
            if seen[record.id] == line.raw:
                continue
            record.id = f"{record.id}.{content_id(record.id, line.raw)[:8]}"
            if record.id in seen:
                continue
        seen[record.id] = line.raw
        records.append(record)
        previous = record.id
    return records, problem


def _check(source: Source, line: Line) -> None:
    if not isinstance(line.value, dict):
        malformed(source, f"a record must be an object, not {type(line.value).__name__}", line.number)
    for key in ("uuid", "parentUuid", "logicalParentUuid", "leafUuid", "sessionId"):
        if line.value.get(key) is not None and not isinstance(line.value[key], str):
            malformed(source, f"{key} must be text or null", line.number)
    if line.value.get("uuid") == "":
        malformed(source, "uuid is empty", line.number)


def _note(source: Source, line: Line, known: set[str], previous: str | None) -> _Record:
    """Return the place of a record that has no uuid: after the one it names, or after the one before it."""
    leaf = line.value.get("leafUuid")
    parent = leaf if leaf in known else previous
    return _Record(content_id(parent or f"{GRAPH}/{source.base_name}", line.raw), parent, parent, None, line)


def _placed(line: Line, known: set[str], notes: dict[str | None, str]) -> _Record:
    """Return the place of a record with a uuid, as far as the file holds its parents.

    Records without a uuid that follow the parent come in between, before the parent's first child: left at the side,
    each of them would be a branch of one record.
    """
    value = line.value
    id, parent, logical = value["uuid"], value.get("parentUuid"), value.get("logicalParentUuid")
    if parent is not None and parent not in known:
        return _Record(id, None, None, parent, line)
    compacted = parent is None and logical in known
    follows = logical if compacted else parent
    while follows in notes:
        follows = notes.pop(follows)
    return _Record(id, follows, None if compacted else follows, None, line)


def _parents_first(source: Source, records: list[_Record]) -> Iterator[_Record]:
    """Yield every record after its parents; records that follow each other in a circle are an error."""
    given: set[str] = set()
    waiting: dict[str, list[_Record]] = {}
    for record in records:
        ready = [record]
        while ready:
            first = ready.pop()
            missing = next((p for p in (first.follows, first.extends) if p is not None and p not in given), None)
            if missing is not None:
                waiting.setdefault(missing, []).append(first)
                continue
            given.add(first.id)
            yield first
            ready += reversed(waiting.pop(first.id, []))
    if waiting:
        stuck = min((record for group in waiting.values() for record in group), key=lambda r: r.line.number)
        malformed(source, "records follow each other in a circle", stuck.line.number, uuid=stuck.id)


def _run(source: Source, records: list[_Record]) -> str:
    """Return the name that the user gave, else the session's id when the file holds one session, else the file's name."""
    if source.run:
        return source.run
    sessions = {session for record in records if (session := _text(record.line.value, "sessionId"))}
    return sessions.pop() if len(sessions) == 1 else source.base_name


def _metadata(record: _Record) -> dict[str, Any]:
    value = record.line.value
    facts = {
        "timestamp": value.get("timestamp"),
        "model": _text(value.get("message"), "model"),
        "sidechain": True if value.get("isSidechain") is True else None,
        "missing_parent": record.missing,
    }
    return {key: fact for key, fact in facts.items() if isinstance(fact, str | int)}


def _text(value: Any, key: str) -> str | None:
    """Return a text field of a record, or None when it is absent, blank or something else."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None
