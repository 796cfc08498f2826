"""A save over an existing snapshot: the caller's mutator on what is there, and what that means for the archive.

An unchanged state must not be written again, and a heartbeat must be nothing but the time of its write. A heartbeat that is
close to the clock is therefore not stored: the register is written with no other change, and readers take the time of that
write for it. `heartbeat` in the metadata says so: `{"at": the last one stored, "ticks": whether later writes are beats}`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from snapstore import clock
from snapstore.adapters.genkit.documents import (
    FINAL,
    Document,
    Json,
    encoded,
    from_document,
    instant_of,
    parent_of,
    session_of,
    snapshot_copy,
    to_document,
)
from snapstore.errors import ConflictError, InvalidInputError
from snapstore.snapshot import SnapshotDraft, instant

__all__ = ["Mutator", "Rewrite", "Shown", "first_document", "made_by"]

Mutator = Callable[[Json | None], Any]
"""From the current snapshot (None when there is none) to the one to save, or None to leave everything as it is."""

NEAR_CLOCK_S: Final = 10.0
"""A heartbeat this close to the clock is represented by the time of its write."""


def made_by(mutator: Mutator, current: Json | None) -> Json | None:
    """A copy of what a mutator makes.

    Raises:
        InvalidInputError: `async_mutator`, `not_a_snapshot` or `not_json`.
    """
    made = mutator(current)
    if made is None:
        return None
    if inspect.isawaitable(made):
        if inspect.iscoroutine(made):
            made.close()
        raise InvalidInputError(
            "save mutator must be a synchronous function; got a coroutine - remove 'async' from the mutator",
            code="async_mutator",
        )
    if not isinstance(made, dict):
        raise InvalidInputError("a mutator returns a snapshot or None", code="not_a_snapshot", type=type(made).__name__)
    copied: Json = snapshot_copy(made)
    return copied


def first_document(made: Json) -> Document:
    """A new snapshot in the archive's words."""
    document = to_document(made)
    return replace(document, metadata={**document.metadata, "content": clock.random_hex(8), **_note(made)})


@dataclass(frozen=True, slots=True)
class Shown:
    """What the store knows of the snapshot under the draft.

    Attributes:
        state: gives the archive's state as JSON text for a mark of content, or None when it is not kept.
        heartbeat: gives the last heartbeat for a note.
        mark: is called before a write after which the archive's history does not show the snapshot's parent any more.
    """

    state: Callable[[str | None], str | None]
    heartbeat: Callable[[Json], str]
    mark: Callable[[str | None], None]


class Rewrite:
    """The mutator that `Archive.update` calls for one save.

    Attributes:
        made: the snapshot that is there after the update.
        document: the same in the archive's words.
        wants_to_create: there was no snapshot, and the mutator made one.
    """

    def __init__(self, snapshot_id: str, mutator: Mutator, shown: Shown) -> None:
        self.made: Json = {}
        self.document = Document("", {}, None)
        self.wants_to_create = False
        self._id = snapshot_id
        self._mutator = mutator
        self._shown = shown

    def __call__(self, draft: SnapshotDraft | None) -> SnapshotDraft | None:
        """Run the mutator on what is there."""
        self.wants_to_create = False
        if draft is None:
            self.wants_to_create = made_by(self._mutator, None) is not None
            return None
        kept = self._shown.state(draft.metadata.get("content"))
        return self._on_state(draft, kept if kept is not None else encoded(draft.state))

    def _on_state(self, draft: SnapshotDraft, state: str) -> SnapshotDraft | None:
        current = from_document(self._id, Document(draft.status, draft.metadata, json.loads(state)))
        note = draft.metadata.get("heartbeat")
        if note is not None:
            current["heartbeatAt"] = self._shown.heartbeat(note)
        made = made_by(self._mutator, snapshot_copy(current))
        if made is None:
            return None
        self._check_session(current, made)
        document = to_document(made)
        same_state = encoded(document.state) == state
        if not same_state and encoded(draft.state) != state:
            # What is kept is not what is there: somebody changed the state in the archive, past this store.
            return self._on_state(draft, encoded(draft.state))
        if made.get("parentId") != self._id and parent_of(made, self._id) != parent_of(current, self._id):
            self._shown.mark(session_of(current))
        metadata = {**document.metadata, "content": draft.metadata.get("content") if same_state else clock.random_hex(8)}
        beat = {"heartbeat": note} if same_state and self._only_beats(draft, document, metadata, made) else _note(made)
        self.made, self.document = made, replace(document, metadata={**metadata, **beat})
        kind = _SameState if same_state else SnapshotDraft
        return kind(document.state, document.status, draft.node, self.document.metadata)

    def _only_beats(self, draft: SnapshotDraft, document: Document, metadata: Json, made: Json) -> bool:
        """Whether nothing is new but a heartbeat, which the time of the write can stand for."""
        note = draft.metadata.get("heartbeat")
        return (
            note is not None
            and note["ticks"]
            and _note(made).get("heartbeat", note)["ticks"]
            and isinstance(made.get("heartbeatAt"), str)
            and encoded([draft.status, draft.metadata]) == encoded([document.status, {**metadata, "heartbeat": note}])
        )

    def _check_session(self, current: Json, made: Json) -> None:
        old, new = session_of(current), session_of(made)
        if new is None or new == old:
            return
        belongs = f"belongs to session '{old}'" if old is not None else "was saved without a session"
        raise ConflictError(
            f"Snapshot '{self._id}' {belongs} and cannot be rewritten by session '{new}'. "
            "Use ids that are unique across sessions.",
            code="other_session",
        )


class _SameState(SnapshotDraft):
    """A draft whose state is that of the snapshot: only the register is written."""

    def state_if_touched(self) -> tuple[bool, Any]:
        return False, None


def _note(made: Json) -> Json:
    """What the metadata say of a heartbeat that is stored."""
    beat = made.get("heartbeatAt")
    if not isinstance(beat, str):
        return {}
    moment = instant_of(beat)
    near = moment is not None and abs((moment - instant(clock.now_ms())).total_seconds()) <= NEAR_CLOCK_S
    status = made.get("status", "completed")
    return {"heartbeat": {"at": beat, "ticks": near and status not in FINAL}}
