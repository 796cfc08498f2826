"""The archive: everything a user does with snapshots, by id, run and graph.

An `Archive` is safe to share between threads and needs no closing, though `close` frees connections early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from snapstore import clock
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from snapstore.format import names
from snapstore.format.config_document import ArchiveConfig
from snapstore.format.limits import PARENTS_LIMIT, STATUS_LIMIT_BYTES
from snapstore.format.metadata import metadata_from_text, metadata_to_text
from snapstore.history import walks
from snapstore.history.commit import Committer, Description
from snapstore.history.diff import Change, compare
from snapstore.history.heads import EAGER_BYTES, Head, HeadCache, Reading, read_head, tree_of, wait_for_pack
from snapstore.history.latest import latest_of_run
from snapstore.history.swaps import until_swapped
from snapstore.listing import Filter, Moment, Position, milliseconds, rows
from snapstore.run import Run
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["Archive"]

T = TypeVar("T")

DEFAULT_GRAPH = "default"
"""The graph of a save that names none."""

Parent = str | Snapshot | SnapshotInfo


class Archive:
    """An open archive; see `snapstore.open`.

    Attributes:
        storage: where the bytes lie (see `snapstore.storage`).
        url: printable address, without secrets.
        id: 32 hex digits, drawn when the archive was created.
    """

    def __init__(self, storage: Storage, config: ArchiveConfig, *, read_only: bool = False) -> None:
        self.storage = storage
        self.config = config
        self.url = storage.url
        self.id = config.id
        self.read_only = read_only
        self._heads = HeadCache()
        self._committer = Committer(storage, self._heads)

    def __repr__(self) -> str:
        return f"<Archive {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free connections and handles."""
        self.storage.close()

    # Writing ------------------------------------------------------------------------------------------------

    def save(
        self,
        state: Any,
        *,
        run: str,
        graph: str = DEFAULT_GRAPH,
        node: str | None = None,
        parent: Parent | Sequence[Parent] | None = None,
        id: str | None = None,
        status: str = "completed",
        metadata: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Store a state as a snapshot.

        Args:
            state: nested dicts, lists, text, bytes, numbers, and the types of SPEC.md's extension table.
            run: the execution history it belongs to.
            graph: the agent or workflow definition.
            node: the step that produced it.
            parent: the snapshot it continues, or several (the main line first). What the first parent already stores is
                not stored again. None starts a new history, or keeps the parents of an existing id.
            id: the snapshot's id; drawn when None. An existing id gets this as its new content and keeps its place in
                the history; the last writer wins.
            status: free text.
            metadata: a small JSON object, at most 8 KiB, shown in lists.

        Returns:
            The snapshot, once it is durable.

        Raises:
            InvalidInputError: the state, an id or the metadata cannot be stored; nothing was written.
            NotFoundError: a parent does not exist.
            StorageError: the storage failed; the snapshot may or may not be there, saving again with its id is safe.
        """
        self._check_writable()
        what = self._description(id, run, graph, node, status, metadata, self._parents(parent))
        if id is None:
            return self._snapshot(self._committer.create(what, state))
        return self._snapshot(self._save_over(what, state))

    def _save_over(self, what: Description, state: Any) -> Head:
        known = self._heads.get(what.id)
        if known is None:
            try:
                return self._committer.create(what, state)
            except ConflictError:
                known = self._heads.get(what.id)  # read by the refused create

        def attempt(head: Head | None) -> Head:
            return self._committer.create(what, state) if head is None else self._committer.overwrite(head, what, state)

        return self._until_swapped(what.id, known, attempt)

    def update(
        self,
        id: str,
        mutator: Callable[[SnapshotDraft | None], SnapshotDraft | None],
        *,
        run: str | None = None,
        graph: str = DEFAULT_GRAPH,
        parent: Parent | Sequence[Parent] | None = None,
    ) -> Snapshot | None:
        """Read a snapshot, change it, and write it back, atomically.

        Args:
            id: the snapshot.
            mutator: gets the draft (None when there is no such snapshot), changes it in place or makes another, and
                returns it; None leaves everything as it is. It may run again when another writer was faster, so it
                must have no side effects. What it raises passes through, and nothing is written.
            run: the run of a snapshot that this call creates; its id when None.
            graph: the graph of a snapshot that this call creates.
            parent: the parents of a snapshot that this call creates.

        Returns:
            The snapshot as it is now; None when the mutator skipped. An untouched state writes no pack: a change of
            status, node or metadata is one small conditional write.

        Raises:
            ConflictError: others kept being faster for a minute.
        """
        self._check_writable()
        names.name_bytes(id, "snapshot id")

        def attempt(head: Head | None) -> Head | None:
            live = head if head is not None and not head.register.deleted else None
            reading = Reading(self.storage, live) if live is not None else None
            try:
                changed = mutator(SnapshotDraft.lazy(reading.head().register, reading.state) if reading is not None else None)
            except NotFoundError:
                if reading is None or not reading.missing:
                    raise
                # Its create never finished, so there is no such snapshot.
                reading, changed = None, mutator(None)
            if changed is None:
                return None
            if reading is None:
                what = self._description(
                    id, run or id, graph, changed.node, changed.status, changed.metadata, self._parents(parent)
                )
                if head is None:
                    return self._committer.create(what, changed.state)
                return self._committer.overwrite(head, what, changed.state)
            return self._apply(reading.head(), changed)

        head = self._until_swapped(id, self._heads.get(id), attempt, check_skip=True)
        return self._snapshot(head) if head is not None else None

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
        run: str | None = None,
        patch: Mapping[Any, Any] | Callable[[Any], Any] | None = None,
        *,
        new_id: str | None = None,
        node: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Begin a new run from any snapshot; copies nothing.

        Args:
            id: the snapshot to continue from.
            run: the new run; drawn when None.
            patch: what differs in the new state: a dict whose pairs replace those of the state, or a function from
                the state to the new state.
            new_id: the new snapshot's id; drawn when None. As in `save`, an existing id gets this as its new content.
            node: as in `save`; the source's when None.
            status: as in `save`; the source's when None.
            metadata: as in `save`; the source's when None.
        """
        self._check_writable()
        source = self._committer.refresh(id)  # not a kept one: a fork begins at what the snapshot is now
        if source is None or source.register.deleted:
            raise _not_found(id)
        old = source.register
        what = self._description(
            new_id,
            run or clock.random_hex(),
            old.graph,
            old.node if node is None else node,
            old.status if status is None else status,
            metadata_from_text(old.metadata) if metadata is None else metadata,
            (source,),
        )
        if patch is None:
            try:
                return self._snapshot(self._committer.fork(what, source))
            except ConflictError as error:
                if error.code not in {"closure_full", "already_exists"}:
                    raise
        reading = Reading(self.storage, source)
        state = reading.state()
        self._heads.put(reading.head())
        what = what.continuing([reading.head()])
        if callable(patch):
            state = patch(state)
        elif patch is not None:
            if not isinstance(state, dict):
                raise InvalidInputError("a patch needs a state that is a dict", code="patch_needs_dict")
            state = {**state, **patch}
        return self._snapshot(self._save_over(what, state))

    def delete(self, id: str) -> None:
        """Delete a snapshot; silent when it is absent. Its children keep everything; gc frees the space."""
        self._check_writable()
        names.register_key(id)

        def attempt(head: Head | None) -> None:
            if head is not None and not head.register.deleted:
                self._committer.bury(head)

        self._until_swapped(id, self._committer.refresh(id), attempt)

    def run(self, run: str, graph: str = DEFAULT_GRAPH) -> Run:
        """A handle that appends to one run."""
        names.encode_name(run, "run")
        return Run(self, run, graph)

    # Reading ------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Snapshot | None:
        """The snapshot with this id, or None."""
        for attempt in range(10):
            head = read_head(self.storage, id)
            if head is None or head.register.deleted:
                return None
            found = self._opened(head)
            if found is not None:
                return found
            if not wait_for_pack(attempt):
                break
        return None

    def __getitem__(self, id: str) -> Snapshot:
        """The snapshot with this id.

        Raises:
            NotFoundError: `snapshot_not_found`.
        """
        found = self.get(id)
        if found is None:
            raise _not_found(id)
        return found

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def latest(self, run: str, node: str | None = None) -> Snapshot | None:
        """The newest leaf of a run, or its newest snapshot that `node` produced; None when there is none."""
        found = latest_of_run(self.storage, run, node)
        if found is None:
            return None
        head, reader = found
        snapshot = self._snapshot(head)
        if reader is not None:
            snapshot.tree.reader.take(reader)
        return snapshot

    def leaves(self, run: str) -> list[Snapshot]:
        """Every snapshot of a run that none continues, newest first."""
        heads = walks.leaf_heads(self.storage, run)
        return [self._snapshot(head) for head in sorted(heads, key=lambda head: -head.register.created_at)]

    def log(self, run: str, limit: int | None = None) -> list[Snapshot]:
        """The snapshots of a run, newest first."""
        if limit == 0:
            return []
        return [self._snapshot(head) for head in walks.run_heads(self.storage, run, limit)]

    def list(  # noqa: PLR0917 - the order is that of the documented API
        self,
        graph: str | None = None,
        run: str | None = None,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        before: str | SnapshotInfo | None = None,
    ) -> Iterator[SnapshotInfo]:
        """Rows of snapshots, newest first by creation.

        Args:
            graph: only snapshots of this graph.
            run: only snapshots of this run.
            status: only snapshots with this status.
            since: created at this moment or later (datetime, or milliseconds since 1970).
            until: created before this moment.
            limit: at most so many rows.
            before: a row or id to continue after, for paging.
        """
        chosen = Filter(graph, run, status, milliseconds(since), milliseconds(until), self._position(before))
        return islice(rows(self.storage, chosen, limit), limit)

    def diff(self, a: str | Snapshot, b: str | Snapshot) -> Iterator[Change]:
        """The changes from the state of `a` to the state of `b`; reads only what differs."""
        old = a if isinstance(a, Snapshot) else self[a]
        new = b if isinstance(b, Snapshot) else self[b]
        return compare(old.tree, new.tree)

    def watch(
        self, id: str | None = None, run: str | None = None, *, interval_s: float = 1.0, timeout_s: float | None = None
    ) -> Iterator[Snapshot]:
        """Snapshots as they change: the current one first, then each new version as it is noticed.

        Args:
            id: watch this snapshot, or
            run: watch the newest snapshot of this run.
            interval_s: how often the storage is asked, in seconds.
            timeout_s: end after so many seconds; None for never.
        """
        if (id is None) == (run is None):
            raise InvalidInputError("watch needs either an id or a run", code="watch_needs_one")
        end = None if timeout_s is None else clock.monotonic_s() + timeout_s
        seen: tuple[str, int] | None = None
        while True:
            snapshot = self.get(id) if id is not None else self.latest(str(run))
            if snapshot is not None and (snapshot.id, snapshot.info.version) != seen:
                seen = (snapshot.id, snapshot.info.version)
                yield snapshot
            elif end is not None and clock.monotonic_s() + interval_s > end:
                return
            else:
                clock.sleep(interval_s)

    # Inside -------------------------------------------------------------------------------------------------

    def _snapshot(self, head: Head) -> Snapshot:
        return Snapshot(head.register, tree_of(self.storage, head.register))

    def _opened(self, head: Head) -> Snapshot | None:
        """A snapshot from its register; None when its save never finished."""
        register = head.register
        snapshot = self._snapshot(head)
        reader = snapshot.tree.reader
        kept = self._heads.get(register.id)
        proven = kept is not None and kept.proven and kept.has_content_of(register)
        # Only creates write register and pack at once, and a heartbeat may follow without a look at the pack.
        if proven or reader.needed_bytes > EAGER_BYTES:
            return snapshot
        try:
            reader.load_packs()
        except NotFoundError:
            for version in register.prevs:
                earlier = Snapshot(register, tree_of(self.storage, version), version)
                try:
                    earlier.tree.reader.load_packs()
                except NotFoundError:
                    continue
                return earlier
            return None
        return snapshot

    def _head(self, id: str) -> Head | None:
        """A live head: the kept one, else read."""
        head = self._heads.get(id) or self._committer.refresh(id)
        return head if head is not None and not head.register.deleted else None

    def _required_head(self, id: str) -> Head:
        head = self._head(id)
        if head is None:
            raise _not_found(id)
        return head

    def _parents(self, parent: Parent | Sequence[Parent] | None) -> tuple[Head, ...]:
        if parent is None:
            return ()
        several = [parent] if isinstance(parent, (str, Snapshot, SnapshotInfo)) else list(parent)
        ids = dict.fromkeys(one if isinstance(one, str) else one.id for one in several)
        if len(ids) > PARENTS_LIMIT:
            raise InvalidInputError("a snapshot has too many parents", code="too_many_parents", limit=PARENTS_LIMIT)
        return tuple(parallel([partial(self._required_head, one) for one in ids]))

    def _description(  # noqa: PLR0917 - one place for what every save says
        self,
        id: str | None,
        run: str,
        graph: str,
        node: str | None,
        status: str,
        metadata: Mapping[str, Any] | None,
        parents: tuple[Head, ...],
    ) -> Description:
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

    def _position(self, before: str | SnapshotInfo | None) -> Position | None:
        if isinstance(before, str):
            register = self._required_head(before).register
            return -register.created_at, register.id
        return (-(milliseconds(before.created_at) or 0), before.id) if before is not None else None

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("the archive is open for reading only", code="read_only", url=self.url)


def _not_found(id: str) -> NotFoundError:
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
