"""The store of Genkit snapshots on plain camelCase dicts: synchronous, and without genkit.

Every snapshot is one of the archive, `genkit:<snapshotId>` in the run `genkit:<sessionId>`, continuing the one that its
`parentId` names if that exists. So the newest snapshot of a session is found from one listing, however long the session.
When a parent does not exist (yet), or a rewrite names another one, the archive's history and the snapshots' own words
differ: a mark says so for the session, and its snapshots are then read one by one.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable
from typing import Final

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
    spelled_like,
)
from snapstore.adapters.genkit.memory import Known, Memory
from snapstore.adapters.genkit.rewriting import Mutator, Rewrite, Shown, first_document, made_by
from snapstore.adapters.genkit.watching import Notice, Notices
from snapstore.adapters.naming import joined, parts_of
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.history.heads import read_head
from snapstore.snapshot import Snapshot, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["SnapshotCore"]

SYSTEM: Final = "genkit"

TRIES: Final = 20
"""How often a snapshot may be deleted and created again by others during one save."""


class SnapshotCore:
    """Snapshots of sessions in one archive. Safe to share between threads.

    Args:
        archive: where they lie.
        reject_branching: refuse to name the newest snapshot of a session that has several leaves.
        agent: the agent that the snapshots belong to; becomes part of their graph, the unit of `archive.list`.

    Attributes:
        archive: as given.
        notices: where saves are published.
    """

    def __init__(self, archive: Archive, *, reject_branching: bool = False, agent: str | None = None) -> None:
        self.archive = archive
        self.notices = Notices()
        self._reject_branching = reject_branching
        self._graph = SYSTEM if agent is None else joined(SYSTEM, agent)
        self._memory = Memory()

    # Reading ------------------------------------------------------------------------------------------------

    def get(self, *, snapshot_id: str | None = None, session_id: str | None = None) -> Json | None:
        """A snapshot by its id, or the newest one of a session that no other continues; None when there is none.

        Raises:
            InvalidInputError: `one_id_needed`: not exactly one id was given; an empty one is none.
            ConflictError: `branching_snapshots` or `no_leaf`: the session has no single newest snapshot.
        """
        if bool(snapshot_id) == bool(session_id):
            raise InvalidInputError(
                "getSnapshot requires exactly one of 'snapshotId' or 'sessionId' "
                f"(got snapshotId={snapshot_id!r}, sessionId={session_id!r}).",
                code="one_id_needed",
            )
        found = self.archive.get(joined(SYSTEM, snapshot_id)) if snapshot_id else self._newest(session_id or "")
        if found is None:
            return None
        self._memory.seen(_snapshot_id(found.info))
        snapshot = _whole(found)
        note = found.metadata.get("heartbeat")
        return snapshot if note is None else {**snapshot, "heartbeatAt": self._heartbeat(found.info, note)}

    def look(self, snapshot_id: str) -> Notice | None:
        """The version and the status of a snapshot: one small read."""
        head = read_head(self.archive.storage, joined(SYSTEM, snapshot_id))
        if head is None or head.register.deleted:
            return None
        return Notice(head.register.version, head.register.status)

    def _heartbeat(self, info: SnapshotInfo, note: Json) -> str:
        """The last heartbeat: the one stored, or the time of a later write that changed nothing else."""
        known = self._memory.recall(_snapshot_id(info))
        if known is not None and known.version == info.version and known.heartbeat is not None:
            return known.heartbeat
        given: str = note["at"]
        return spelled_like(info.updated_at, given) if note["ticks"] and info.version > 1 else given

    def _newest(self, session_id: str) -> Snapshot | None:
        run = joined(SYSTEM, session_id)
        leaves: list[Snapshot] = []
        marked: list[bool] = []
        parallel([lambda: leaves.extend(self.archive.leaves(run)), lambda: marked.append(self._is_marked(session_id))])
        rows = [leaf.info for leaf in leaves]
        # The mark may have come after it was looked for, together with such a snapshot.
        if marked[0] or not all(_is_ours(info) and self._is_regular(info) for info in rows):
            all_rows = [info for info in self.archive.list(run=run) if _is_ours(info)]
            rows = self._unnamed(all_rows)
            if all_rows and not rows:
                raise ConflictError(
                    f"Session '{session_id}' has no leaf snapshot (corrupt or cyclic history). Resume by snapshotId instead.",
                    code="no_leaf",
                )
        if not rows:
            return None
        if self._reject_branching and len(rows) > 1:
            raise ConflictError(
                f"Session '{session_id}' has branching snapshots ({len(rows)} leaves), so there is no single latest "
                "snapshot. This happens when a conversation is branched (e.g. regenerate). Resume by snapshotId instead.",
                code="branching_snapshots",
            )
        newest = max(rows, key=self._created)  # rows come the last saved first, and of equals the first counts
        return next((leaf for leaf in leaves if leaf.id == newest.id), None) or self.archive.get(newest.id)

    def _unnamed(self, rows: Iterable[SnapshotInfo]) -> list[SnapshotInfo]:
        """The rows that no other row names as its parent."""
        listed = list(rows)
        named: set[str] = set()
        for info in listed:
            parent = self._fields(info).get("parentId")
            if parent == _snapshot_id(info):
                named.update(info.parents)  # it names itself, and continues what it continued before
            elif isinstance(parent, str) and parent:
                named.add(joined(SYSTEM, parent))
        return [info for info in listed if info.id not in named]

    def _is_regular(self, info: SnapshotInfo) -> bool:
        """Whether the archive's history shows the parent that a row names."""
        parent = parent_of(self._fields(info), _snapshot_id(info))
        return parent is None or joined(SYSTEM, parent) in info.parents

    def _created(self, info: SnapshotInfo) -> datetime.datetime:
        moment = instant_of(self._fields(info).get("createdAt"))
        return moment if moment is not None else info.created_at

    def _fields(self, info: SnapshotInfo) -> Json:
        """The fields of a row; reads no state, unless some of them were too large for the metadata."""
        whole = self.archive.get(info.id) if info.metadata.get("beside") else None
        fields: Json = _whole(whole) if whole is not None else info.metadata["snapshot"]
        return fields

    # Writing ------------------------------------------------------------------------------------------------

    def save(self, snapshot_id: str | None, mutator: Mutator) -> Json | None:
        """Read a snapshot, change it, and write it back, atomically.

        Args:
            snapshot_id: the snapshot; without one the mutator gets None, and its result is saved under the result's own
                `snapshotId`, whatever lies there, or under a new one.
            mutator: gets a copy; what it returns replaces the whole snapshot. It may run more than once. What it raises
                passes through, and nothing is written.

        Returns:
            The snapshot as saved, the caller's own; None when the mutator left it.

        Raises:
            InvalidInputError: `async_mutator`, `not_a_snapshot`, `not_json`, or an id that cannot be kept.
            ConflictError: `other_session`: a snapshot stays in the session in which it was created.
        """
        if not snapshot_id:
            made = made_by(mutator, None)
            if made is None:
                return None
            own = made.get("snapshotId")
            return self.save(own if isinstance(own, str) and own else _new_id(), lambda _: made)
        name = joined(SYSTEM, snapshot_id)
        shown = Shown(
            lambda content: self._kept_state(snapshot_id, content),
            lambda note: self._last_heartbeat(snapshot_id, note),
            self._mark,
        )
        for _ in range(TRIES):
            if self._memory.recall(snapshot_id) is None:
                made = _guess(mutator)
                saved = self._create(snapshot_id, made) if made is not None else None
                if saved is not None:
                    return saved
            rewrite = Rewrite(snapshot_id, mutator, shown)
            found = self.archive.update(name, rewrite)
            if found is not None:
                return self._saved(snapshot_id, rewrite.made, found, rewrite.document)
            if not rewrite.wants_to_create:
                return None
            self._memory.forget(snapshot_id)
        raise ConflictError("the snapshot was deleted again and again", id=snapshot_id)

    def _create(self, snapshot_id: str, made: Json) -> Json | None:
        """Save a new snapshot; None when there is one with its id."""
        session, parent = session_of(made), parent_of(made, snapshot_id)
        document = first_document(made)
        while True:
            try:
                found = self.archive.save(
                    document.state,
                    # A snapshot without a session is a run of its own: it can be found by its id only.
                    run=joined(SYSTEM, session) if session is not None else joined(SYSTEM, "", snapshot_id),
                    graph=self._graph,
                    parent=joined(SYSTEM, parent) if parent is not None else None,
                    id=joined(SYSTEM, snapshot_id),
                    status=document.status,
                    metadata=document.metadata,
                    overwrite=False,
                )
            except NotFoundError:
                if parent is None:
                    raise
                self._mark(session)
                parent = None
            except ConflictError as error:
                if error.code != "already_exists":
                    raise
                self._memory.seen(snapshot_id)
                return None
            else:
                return self._saved(snapshot_id, made, found, document)

    def _saved(self, snapshot_id: str, made: Json, found: Snapshot, document: Document) -> Json:
        """Remember and publish what was saved."""
        beat = made.get("heartbeatAt")
        state = encoded(document.state) if found.status not in FINAL else None
        note, content = document.metadata.get("heartbeat"), document.metadata.get("content")
        beat = beat if isinstance(beat, str) else None
        self._memory.remember(snapshot_id, Known(found.version, beat, note, content, state))
        snapshot = {**made, "snapshotId": snapshot_id}
        self.notices.publish(snapshot_id, Notice(found.version, found.status, snapshot_copy(snapshot)))
        return snapshot

    def _kept_state(self, snapshot_id: str, content: str | None) -> str | None:
        known = self._memory.recall(snapshot_id)
        return known.state if known is not None and content is not None and known.content == content else None

    def _last_heartbeat(self, snapshot_id: str, note: Json) -> str:
        """The heartbeat that a mutator is shown: the draft of an update does not say when it was written."""
        known = self._memory.recall(snapshot_id)
        if known is not None and known.heartbeat is not None and known.note == note:
            return known.heartbeat
        head = read_head(self.archive.storage, joined(SYSTEM, snapshot_id)) if note["ticks"] else None
        if head is None or head.register.deleted:
            return str(note["at"])
        return self._heartbeat(SnapshotInfo.of(head.register), note)

    # Sessions whose parents the archive's history does not show ----------------------------------------------

    def _mark(self, session_id: str | None) -> None:
        """Note that the snapshots of a session name parents that the archive's history does not show.

        It is noted before the first such snapshot is there, so that no reader finds one without the mark.
        """
        if session_id is not None:
            name = joined(SYSTEM, "irregular", session_id)
            with contextlib.suppress(ConflictError):  # noted already
                self.archive.save(None, run=name, graph=joined(SYSTEM, "", "irregular"), id=name, overwrite=False)

    def _is_marked(self, session_id: str) -> bool:
        head = read_head(self.archive.storage, joined(SYSTEM, "irregular", session_id))
        return head is not None and not head.register.deleted


def _guess(mutator: Mutator) -> Json | None:
    """What a mutator makes of nothing, to try to create it: most saves are of new snapshots."""
    try:
        return made_by(mutator, None)
    except Exception:  # noqa: BLE001 - whether it counts is seen when the mutator runs on what is there
        return None


def _whole(found: Snapshot) -> Json:
    return from_document(_snapshot_id(found.info), Document(found.status, dict(found.metadata), found.state()))


def _snapshot_id(info: SnapshotInfo) -> str:
    return (parts_of(info.id, SYSTEM) or (info.id,))[0]


def _is_ours(info: SnapshotInfo) -> bool:
    """Whether it was saved here: anybody may fork into the run of a session."""
    parts = parts_of(info.id, SYSTEM)
    return parts is not None and len(parts) == 1 and "snapshot" in info.metadata


def _new_id() -> str:
    """A random UUID (RFC 9562, version 4), as Genkit's own stores draw it."""
    drawn = clock.random_hex()
    variant = "89ab"[int(drawn[16], 16) % 4]
    return f"{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-{variant}{drawn[17:20]}-{drawn[20:]}"
