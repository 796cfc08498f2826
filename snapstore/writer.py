"""What a save, update, fork or delete decides: which version it stands on, and what it does when others were faster.

The archive is the door, this is the room behind it: everything here ends in one call of the committer, which does the
writing. Decisions are made on heads that this process keeps and made again on fresh ones when they turn out to be overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from snapstore import clock
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.format import names
from snapstore.format.limits import PARENTS_LIMIT, STATUS_LIMIT_BYTES
from snapstore.format.metadata import metadata_from_text, metadata_to_text
from snapstore.format.register import PreviousVersion, Register
from snapstore.history.commit import TAKEOVER_S, Committer, Description
from snapstore.history.heads import EAGER_BYTES, Head, HeadCache, Reading, read_head, tree_of
from snapstore.history.swaps import until_swapped
from snapstore.history.tree import Tree
from snapstore.index import Row
from snapstore.index.of_run import Found
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["Parent", "Writer", "snapshot_not_found"]

T = TypeVar("T")

Parent = str | Snapshot | SnapshotInfo
"""How a caller names a snapshot to continue."""


class Writer:
    """Decides and writes for one archive; arguments and errors are those of `Archive`. Safe to use from several threads.

    Args:
        storage: the archive's storage.

    Attributes:
        heads: what this process knows of the snapshots it wrote or read last.
    """

    def __init__(self, storage: Storage) -> None:
        self.heads = HeadCache()
        self._storage = storage
        self._committer = Committer(storage, self.heads)

    def save(self, what: Description, state: Any, *, overwrite: bool) -> Head:
        """Write a snapshot whose id may exist."""
        return self._save_over(what, state) if overwrite else self._save_new(what, state)

    def create(self, what: Description, state: Any) -> Head:
        """Write a snapshot whose id has just been drawn."""
        return self._committer.create(what, state)

    def _save_new(self, what: Description, state: Any) -> Head:
        known = self.heads.get(what.id)
        if known is None:
            try:
                return self._committer.create(what, state)
            except ConflictError:
                known = self.heads.get(what.id)

        def attempt(head: Head | None) -> Head:
            if head is None:
                return self._committer.create(what, state)
            if not head.register.deleted and not self._abandoned(head):
                raise ConflictError("the snapshot exists already", code="snapshot_exists", id=what.id)
            return self._committer.overwrite(head, what, state)

        try:
            return self._until_swapped(what.id, known, attempt, check_skip=True)
        except ConflictError as error:
            if error.code != "snapshot_exists":
                raise
            raise ConflictError(error.message, code="already_exists", id=what.id) from None

    def _abandoned(self, head: Head) -> bool:
        """Whether nobody will acknowledge a create any more, whose register is there: waits for its pack.

        Raises:
            ConflictError: `version_changed`: it became another version meanwhile.
        """
        register = head.register
        if head.proven or register.manifest is None:
            return False
        key, place = register.closure[register.manifest.pack].key, register.manifest
        end_s = clock.monotonic_s() + TAKEOVER_S
        while True:
            try:
                self._storage.get_ranges(key, [(place.offset, place.size)])
            except NotFoundError:
                if clock.monotonic_s() > end_s:
                    return True
            else:
                return False
            clock.sleep(clock.jitter(0.05, 0.2))
            found = read_head(self._storage, register.id)
            if found is None or found.register.txid != register.txid:
                raise ConflictError("the snapshot changed meanwhile", code="version_changed", id=register.id)

    def _save_over(self, what: Description, state: Any) -> Head:
        known = self.heads.get(what.id)
        if known is None:
            try:
                return self._committer.create(what, state)
            except ConflictError:
                known = self.heads.get(what.id)  # read by the refused create

        def attempt(head: Head | None) -> Head:
            return self._committer.create(what, state) if head is None else self._committer.overwrite(head, what, state)

        return self._until_swapped(what.id, known, attempt)

    def update(
        self,
        id: str,
        mutator: Callable[[SnapshotDraft | None], SnapshotDraft | None],
        run: str,
        graph: str,
        parent: Parent | Sequence[Parent] | None,
    ) -> Head | None:
        """Read, change and write back, atomically."""
        waited_for: set[str] = set()

        def attempt(head: Head | None) -> Head | None:
            live = head if head is not None and not head.register.deleted else None
            reading = Reading(self._storage, live) if live is not None else None
            try:
                changed = mutator(SnapshotDraft.lazy(reading.head().register, reading.state) if reading is not None else None)
            except NotFoundError:
                if reading is None or not reading.missing:
                    raise
                txid = reading.head().register.txid
                if not self._abandoned(reading.head()):
                    if txid in waited_for:
                        raise
                    waited_for.add(txid)
                    raise ConflictError("the snapshot is complete now", code="version_changed", id=id) from None
                # Its create never finished, so there is no such snapshot.
                reading, changed = None, mutator(None)
            if changed is None:
                return None
            if reading is None:
                parents = self.parents(parent)
                what = self.description(id, run, graph, changed.node, changed.status, changed.metadata, parents)
                if head is None:
                    return self._committer.create(what, changed.state)
                return self._committer.overwrite(head, what, changed.state)
            return self._apply(reading.head(), changed)

        return self._until_swapped(id, self.heads.get(id), attempt, check_skip=True)

    def _apply(self, live: Head, draft: SnapshotDraft) -> Head:
        old = live.register
        metadata = metadata_to_text(draft.metadata)
        _check_words(draft.node, draft.status)
        touched, state = draft.state_if_touched()
        if not touched:
            return self._committer.touch(live, node=draft.node, status=draft.status, metadata=metadata)
        what = Description(old.id, old.run, old.graph, draft.node, draft.status, metadata)
        return self._committer.overwrite(live, what, state)

    def fork(
        self,
        id: str,
        *,
        run: str,
        graph: str | None,
        patch: Mapping[Any, Any] | Callable[[Any], Any] | None,
        new_id: str | None,
        node: str | None,
        status: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> Head:
        """Begin a new run from any snapshot."""
        source = self._committer.refresh(id)  # not a kept one: a fork begins at what the snapshot is now
        if source is None or source.register.deleted:
            raise snapshot_not_found(id)
        old = source.register
        what = self.description(
            new_id,
            run,
            old.graph if graph is None else graph,
            old.node if node is None else node,
            old.status if status is None else status,
            metadata_from_text(old.metadata) if metadata is None else metadata,
            (source,),
        )
        if patch is None:
            try:
                return self._committer.fork(what, source)
            except ConflictError as error:
                if error.code not in {"closure_full", "already_exists"}:
                    raise
        reading = Reading(self._storage, source)
        state = reading.state()
        self.heads.put(reading.head())
        what = what.continuing([reading.head()])
        if callable(patch):
            state = patch(state)
        elif patch is not None:
            if not isinstance(state, dict):
                raise InvalidInputError("a patch needs a state that is a dict", code="patch_needs_dict")
            state = {**state, **patch}
        return self._save_over(what, state)

    def delete(self, id: str) -> None:
        """Bury a snapshot; silent when it is absent."""

        def attempt(head: Head | None) -> None:
            if head is not None and not head.register.deleted:
                self._committer.bury(head)

        self._until_swapped(id, self._committer.refresh(id), attempt)

    # What the archive asks for besides ----------------------------------------------------------------------

    def snapshot(self, head: Head) -> Snapshot:
        """What the user gets for a head."""
        return self._shown(head.register)

    def found(self, found: Found) -> Snapshot:
        """What the user gets for a snapshot of a run."""
        if isinstance(found, Head):
            return self.snapshot(found)
        return Snapshot(SnapshotInfo.of(found), lambda: self._source_of(found))

    def _shown(self, register: Register, version: PreviousVersion | None = None) -> Snapshot:
        source = register, tree_of(self._storage, version or register)
        return Snapshot(SnapshotInfo.of(register, version), lambda: source)

    def _source_of(self, row: Row) -> tuple[Register, Tree]:
        """The documents behind a row, which was seen a while ago.

        Raises:
            ConflictError: `snapshot_changed`: the state that the row speaks of has been replaced.
            NotFoundError: `snapshot_not_found`.
        """
        head = read_head(self._storage, row.id)
        if head is None or head.register.deleted:
            raise snapshot_not_found(row.id)
        register = head.register
        versions: tuple[Register | PreviousVersion, ...] = (register, *register.prevs)
        for version in versions:
            if version.digest == row.digest and register.created_at == row.created_at:
                return register, tree_of(self._storage, version)
        raise ConflictError(
            "the snapshot has been replaced since it was listed", code="snapshot_changed", hint="get it again", id=row.id
        )

    def opened(self, head: Head) -> Snapshot | None:
        """A snapshot from its register; None when its save never finished."""
        register = head.register
        snapshot = self.snapshot(head)
        reader = snapshot.tree.reader
        kept = self.heads.get(register.id)
        proven = kept is not None and kept.proven and kept.has_content_of(register)
        # Only creates write register and pack at once, and a heartbeat may follow without a look at the pack.
        if proven or reader.needed_bytes > EAGER_BYTES:
            return snapshot
        try:
            reader.load_packs()
        except NotFoundError:
            for version in register.prevs:
                earlier = self._shown(register, version)
                try:
                    earlier.tree.reader.load_packs()
                except NotFoundError:
                    continue
                return earlier
            return None
        return snapshot

    def _head(self, id: str) -> Head | None:
        """A live head: the kept one, else read."""
        head = self.heads.get(id)
        if head is None or head.register.deleted:  # others may have made again what was seen deleted
            head = self._committer.refresh(id)
        return head if head is not None and not head.register.deleted else None

    def required_head(self, id: str) -> Head:
        """The head of a live snapshot.

        Raises:
            NotFoundError: `snapshot_not_found`.
        """
        head = self._head(id)
        if head is None:
            raise snapshot_not_found(id)
        return head

    def parents(self, parent: Parent | Sequence[Parent] | None) -> tuple[Head, ...]:
        """The heads of the snapshots to continue; a snapshot named twice counts once."""
        if parent is None:
            return ()
        several = [parent] if isinstance(parent, (str, Snapshot, SnapshotInfo)) else list(parent)
        ids = dict.fromkeys(one if isinstance(one, str) else one.id for one in several)
        if len(ids) > PARENTS_LIMIT:
            raise InvalidInputError("a snapshot has too many parents", code="too_many_parents", limit=PARENTS_LIMIT)
        return tuple(parallel([partial(self.required_head, one) for one in ids]))

    def description(  # noqa: PLR0917 - one place for what every save says
        self,
        id: str | None,
        run: str,
        graph: str,
        node: str | None,
        status: str,
        metadata: Mapping[str, Any] | None,
        parents: tuple[Head, ...],
    ) -> Description:
        """Everything of a new snapshot but its state, checked; an id is drawn when none is given."""
        id = clock.random_hex() if id is None else id
        names.name_bytes(id, "snapshot id")
        names.name_bytes(run, "run")
        names.name_bytes(graph, "graph")
        _check_words(node, status)
        if any(head.register.id == id for head in parents):
            raise InvalidInputError("a snapshot cannot be its own parent", code="own_parent", id=id)
        return Description(id, run, graph, node, status, metadata_to_text(metadata)).continuing(parents)

    def _until_swapped(self, id: str, head: Head | None, attempt: Callable[[Head | None], T], *, check_skip: bool = False) -> T:
        return until_swapped(lambda: self._committer.refresh(id), head, attempt, check_skip=check_skip)


def snapshot_not_found(id: str) -> NotFoundError:
    """The error for an id that stands for nothing, or for something deleted."""
    return NotFoundError("no such snapshot", code="snapshot_not_found", hint="`snapstore list` shows what there is", id=id)


def _check_words(node: str | None, status: str) -> None:
    if node is not None and node != "":
        names.name_bytes(node, "node")
    try:
        size_bytes = len(status.encode())
    except (AttributeError, UnicodeEncodeError):
        size_bytes = STATUS_LIMIT_BYTES + 1
    if size_bytes > STATUS_LIMIT_BYTES:
        raise InvalidInputError("a status is a short text", code="invalid_status", limit_bytes=STATUS_LIMIT_BYTES)
