"""One Genkit snapshot as the archive keeps it: the conversation as the state, everything small beside the register.

A snapshot is a dict of about ten fields, of which `state` is large and changes once per turn; the others change without it.
So `state` becomes the archive's state and the others its metadata, which is read without the state and changed without
writing a pack. Fields too large for metadata (the details of an error) lie with the state. Nothing here does I/O.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from snapstore.adapters.plain import json_copy
from snapstore.errors import InvalidInputError

__all__ = [
    "FINAL",
    "Document",
    "Json",
    "encoded",
    "from_document",
    "instant_of",
    "parent_of",
    "session_of",
    "snapshot_copy",
    "spelled_like",
    "to_document",
]

Json = dict[str, Any]

FINAL: Final = frozenset({"completed", "failed", "aborted"})
"""Statuses after which nothing happens any more. Any other, known or not, may be followed by another."""

FIELD_BYTES: Final = 1024
ROW_BYTES: Final = 6 * 1024
ROW_DEPTH: Final = 16
"""What lies in the metadata: a field of at most 1 KiB of JSON in 16 levels, 6 KiB in all. Metadata may have 8 KiB and 32."""

INTEGERS: Final = range(-(2**63), 2**64)
"""Integers that JSON parsers keep, those of 64 bits at least."""


@dataclass(frozen=True, slots=True)
class Document:
    """A snapshot in the words of the archive.

    Attributes:
        status: the snapshot's, "completed" when it has none.
        metadata: `snapshot` holds the small fields; `absent` and `beside` say what to take away and what to add.
        state: the conversation, or with large fields `{"state": …, "fields": {…}}`.
    """

    status: str
    metadata: Json
    state: Any


def to_document(snapshot: Json) -> Document:
    """Split a snapshot. Its `snapshotId` is not kept, since the archive's id says it, nor a `heartbeatAt` that is text."""
    fields = {name: value for name, value in snapshot.items() if name not in {"snapshotId", "state"}}
    status = fields.pop("status") if isinstance(fields.get("status"), str) else "completed"
    if isinstance(fields.get("heartbeatAt"), str):
        del fields["heartbeatAt"]
    small: Json = {}
    left = ROW_BYTES
    for name, value in sorted(fields.items()):  # the runtimes do not keep their order, and it must not look like a change
        size = len(json.dumps({name: value}).encode())
        if size <= min(FIELD_BYTES, left) and _shallow(value, ROW_DEPTH):
            small[name] = value
            left -= size
    metadata: Json = {"snapshot": small}
    absent = [name for name in ("state", "status") if name not in snapshot]
    if absent:
        metadata["absent"] = absent
    large = {name: value for name, value in fields.items() if name not in small}
    if not large:
        return Document(status, metadata, snapshot.get("state"))
    return Document(status, {**metadata, "beside": True}, {"state": snapshot.get("state"), "fields": large})


def from_document(snapshot_id: str, document: Document) -> Json:
    """The snapshot that was split; its values are those of the document, not copies."""
    metadata, state = document.metadata, document.state
    snapshot: Json = {"snapshotId": snapshot_id, **(metadata.get("snapshot") or {})}
    if metadata.get("beside"):
        snapshot.update(state["fields"])
        state = state["state"]
    absent = metadata.get("absent", ())
    # Not if it was no text, and then lies among the fields, or was not given and nobody changed it in the archive since.
    if "status" not in snapshot and ("status" not in absent or document.status != "completed"):
        snapshot["status"] = document.status
    if "state" not in absent:
        snapshot["state"] = state
    return snapshot


def session_of(snapshot: Json) -> str | None:
    """The session that a snapshot belongs to; an empty id is none.

    Raises:
        InvalidInputError: the id is no text.
    """
    session = snapshot.get("sessionId")
    if session is None and isinstance(snapshot.get("state"), dict):
        session = snapshot["state"].get("sessionId")
    if session is not None and not isinstance(session, str):
        raise InvalidInputError("a sessionId is text", code="invalid_session_id", type=type(session).__name__)
    return session or None


def parent_of(snapshot: Json, snapshot_id: str) -> str | None:
    """The snapshot that this one continues: its own id and the empty one are none."""
    parent = snapshot.get("parentId")
    return parent if isinstance(parent, str) and parent not in {"", snapshot_id} else None


def encoded(value: Any) -> str:
    """JSON text that is equal exactly when the values are: 1, 1.0 and true differ."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def snapshot_copy(value: Any, convert: Callable[[Any], Any] | None = None) -> Any:
    """A deep copy of a snapshot.

    Args:
        value: made of dicts with text keys, lists, text, numbers, booleans and None.
        convert: makes a JSON value of anything else, or raises; when None, text of Genkit's enums is taken for text.

    Raises:
        InvalidInputError: `not_json`: NaN, an infinity, an integer of more than 64 bits, half a surrogate pair, or a
            type that JSON does not have.
    """
    return json_copy(value, "snapshot", convert=convert or _plain_text, integers=INTEGERS)


def _plain_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("its keys are not all text" if isinstance(value, dict) else "a snapshot is plain JSON")
    return str.__str__(value)


def _shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    return levels > 0 and all(_shallow(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def instant_of(text: Any) -> datetime.datetime | None:
    """The moment that an RFC 3339 text names, UTC when it names no offset; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def spelled_like(moment: datetime.datetime, text: str) -> str:
    """A moment in the spelling of another text: its offset, its digits, its Z."""
    example = instant_of(text)
    offset = example.tzinfo if example is not None else datetime.UTC
    digits = "microseconds" if example is not None and example.microsecond % 1000 else "milliseconds"
    spelled = moment.astimezone(offset).isoformat(timespec=digits)
    return spelled.removesuffix("+00:00") + "Z" if text[-1:] in {"Z", "z"} else spelled
