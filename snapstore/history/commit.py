"""Commit a snapshot: packs, register, change marker, in the order that loses nothing.

A new id is written in one round trip: pack, register (create) and change marker at the same time; it counts
only when all three are there. An existing id gets its new pack first and then, at the same time, the register
(compare-and-swap) and the marker, so that a visible register never replaces acknowledged data with something
that is not there. DESIGN and SPEC.md (Write order) give the reasons.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from snapstore import clock
from snapstore.digest import digest_hex
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from snapstore.format import names
from snapstore.format.limits import CLOSURE_LIMIT
from snapstore.format.manifest import Manifest, ParentRef, Root
from snapstore.format.node import LEAF, Entry
from snapstore.format.register import ManifestRef, PackRef, Register, RootRef
from snapstore.history.build import TreeBuilder
from snapstore.history.heads import Head, HeadCache, loaded_root, parents_of, read_head, root_entry
from snapstore.packs.builder import Finished, PackBuilder
from snapstore.packs.closure import choose_merges, usage_of_root
from snapstore.packs.uploads import Uploads
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["TAKEOVER_S", "Committer", "Description"]

BIG_PACK_BYTES = 8 * 1024 * 1024
"""Packs counted as full when the size of further packs is chosen."""

TAKEOVER_S = 5.0
"""How long a register without its pack is left alone by a writer who would decide as if it did not exist."""

UNDOUBTED_S = 2.0
"""A create that took longer looks whether it was taken for abandoned before it counts: less than TAKEOVER_S, which began
after its register was there, so no two clocks are compared."""

BORROWED_BYTES = 256 * 1024
"""A snapshot without parents shares what an unrelated one stores only if it is worth one more object to restore from."""


@dataclass(frozen=True, slots=True)
class Description:
    """Everything of a snapshot but its state.

    Attributes:
        id, run, graph, node, status: as in `Archive.save`.
        metadata: JSON text.
        parents: the snapshots it continues, the main line first.
        first: the head of the first of them: the new state is stored on top of its tree.
        after_ms: the creation time of the newest of them.
    """

    id: str
    run: str
    graph: str
    node: str | None
    status: str
    metadata: str
    parents: tuple[ParentRef, ...] = ()
    first: Head | None = None
    after_ms: int = -1

    def continuing(self, parents: Sequence[Head]) -> Description:
        """The same with these parents."""
        refs = []
        for parent in parents:
            if parent.register.manifest is None:
                raise NotFoundError("the parent snapshot is deleted", code="snapshot_deleted", id=parent.register.id)
            refs.append(ParentRef(parent.register.id, parent.register.manifest.digest))
        newest = max((parent.register.created_at for parent in parents), default=-1)
        return replace(self, parents=tuple(refs), first=next(iter(parents), None), after_ms=newest)


@dataclass(frozen=True, slots=True)
class _Content:
    """The packs of one save, ready to be written; further packs are uploaded already."""

    key: str
    body: bytearray
    closure: dict[int, PackRef]
    manifest: ManifestRef
    entry: Entry | None
    digest: str
    size_bytes: int
    stored_bytes: int


class Committer:
    """Writes snapshots of one archive. Safe to use from several threads.

    Args:
        storage: the archive's storage.
        heads: kept heads, used and filled.
    """

    def __init__(self, storage: Storage, heads: HeadCache) -> None:
        self._storage = storage
        self._heads = heads
        self._last_ms = 0
        self._lock = threading.Lock()

    def next_ms(self, after_ms: int = -1) -> int:
        """A time later than any this process gave before, and later than `after_ms`: ties follow save order."""
        with self._lock:
            self._last_ms = max(clock.now_ms(), self._last_ms + 1, after_ms + 1)
            return self._last_ms

    def create(self, what: Description, state: Any) -> Head:
        """Write a snapshot whose id is new.

        Raises:
            ConflictError: the id exists (`already_exists`); nothing of this save is visible.
        """
        created_ms = self.next_ms(what.after_ms)
        return self._write_new(what, self._first_content(what, created_ms, state), created_ms)

    def fork(self, what: Description, source: Head) -> Head:
        """Write the first snapshot of a new run with the source's state; reads and copies nothing of it."""
        created_ms = self.next_ms(what.after_ms)
        return self._write_new(what, self._shared_content(what, created_ms, source), created_ms)

    def overwrite(self, head: Head, what: Description, state: Any) -> Head:
        """Write new content over an existing id.

        Raises:
            ConflictError: another writer was first (`version_changed`); read again and decide anew.
        """
        old = head.register
        base = head if not old.deleted and (head.proven or head.root is not None) else self._readable(head)
        # A create that never finished has no place in the history to keep, like a tombstone.
        anew = old.deleted or (base is None and not old.prevs)
        created_ms = self.next_ms(max(what.after_ms, old.updated_at)) if anew else old.created_at
        if not anew and what.after_ms >= created_ms:
            raise InvalidInputError(
                "a snapshot cannot continue one that is newer than itself",
                code="parent_newer",
                hint="save under a new id, or leave the parent out to keep the old one",
                id=what.id,
            )
        if base is not None and not what.parents:
            what = replace(what, parents=parents_of(self._storage, base))
        content = self._content(what, created_ms, base or what.first, state)
        changed_ms = self.next_ms(old.updated_at)
        txid = clock.random_hex()
        register = self._with_content(
            old.successor(
                txid=txid,
                updated_at=changed_ms,
                prevs=old.successor_prevs(provably_valid=base is not None),
                created_at=created_ms,
                deleted=False,
            ),
            what,
            content,
        )
        edges = [partial(self._storage.put, edge, b"") for edge in _edges(what, created_ms)]
        parallel([partial(self._storage.put, content.key, content.body), *edges])
        return self._swap(replace(head, parents=what.parents), register, marker=True, root=content.entry)

    def touch(self, head: Head, *, node: str | None, status: str, metadata: str) -> Head:
        """Change what the register carries; writes no pack. A call that changes nothing is a heartbeat."""
        old = head.register
        marker = (old.node, old.status, old.metadata) != (node, status, metadata)
        register = old.successor(
            txid=clock.random_hex(),
            updated_at=self.next_ms(old.updated_at),
            node=node,
            status=status,
            metadata=metadata,
        )
        return self._swap(head, register, marker=marker, root=head.root)

    def bury(self, head: Head) -> None:
        """Replace the register by a tombstone."""
        register = head.register.tombstone(txid=clock.random_hex(), updated_at=self.next_ms(head.register.updated_at))
        self._swap(head, register, marker=True, root=None)
        self._heads.drop(register.id)

    # Writing ------------------------------------------------------------------------------------------------

    def _write_new(self, what: Description, content: _Content, created_ms: int) -> Head:
        txid = content.key[-32:]
        blank = Register(
            id=what.id,
            run=what.run,
            graph=what.graph,
            status=what.status,
            created_at=created_ms,
            updated_at=created_ms,
            txid=txid,
            recent=(txid,),
            digest=content.digest,
            size_bytes=0,
            stored_bytes=0,
            manifest=None,
            closure={},
        )
        register = self._with_content(blank, what, content)
        key = names.register_key(what.id)
        body = register.encode()
        writes: list[Callable[[], str]] = [
            partial(self._storage.put, content.key, content.body),
            partial(self._create_register, key, body, txid),
            partial(self._storage.put, names.change_key(what.graph, created_ms, txid, what.id), b""),
            *(partial(self._storage.put, edge, b"") for edge in _edges(what, created_ms)),
        ]
        started_s = clock.monotonic_s()
        tokens = parallel(writes)
        if clock.monotonic_s() - started_s > UNDOUBTED_S:
            self._check_not_taken_over(register)
        return self._heads.put(Head(register, tokens[1], content.entry, proven=True, parents=what.parents))

    def _check_not_taken_over(self, mine: Register) -> None:
        """Make sure that a slow create counts: others may have found its register without its pack.

        Raises:
            ConflictError: `already_exists`: another snapshot has the id now.
        """
        found = read_head(self._storage, mine.id)
        if found is None or not found.register.landed(mine.txid) or found.register.created_at != mine.created_at:
            if found is not None:
                self._heads.put(found)
            raise ConflictError("another writer has taken the id", code="already_exists", id=mine.id)

    def _create_register(self, key: str, body: bytes, txid: str) -> str:
        try:
            return self._storage.put_create(key, body)
        except (ConflictError, StorageError) as error:
            found = self._found_after(key, error)
            if found.register.landed(txid):
                return found.token
            self._heads.put(found)
            raise

    def _swap(self, head: Head, register: Register, *, marker: bool, root: Entry | None) -> Head:
        calls: list[Callable[[], str]] = [lambda: self._swap_register(head, register)]
        # Who lists the graph that a snapshot has left has to learn of it as well.
        for graph in dict.fromkeys((register.graph, head.register.graph)) if marker else ():
            key = names.change_key(graph, register.updated_at, register.txid, register.id)
            calls.append(partial(self._storage.put, key, b""))
        try:
            token = parallel(calls)[0]
        except ConflictError:
            self._heads.drop(register.id)
            raise
        return self._heads.put(Head(register, token, root, head.proven or root is not None, head.parents))

    def _swap_register(self, head: Head, register: Register) -> str:
        key = names.register_key(register.id)
        try:
            return self._storage.put_if(key, register.encode(), head.token)
        except (ConflictError, StorageError) as error:
            found = self._found_after(key, error)
            if found.register.landed(register.txid):
                # Ours, even if it has been overtaken since: an overtaken token makes the next swap read again.
                return found.token if found.register.txid == register.txid else head.token
            raise

    def _found_after(self, key: str, error: ConflictError | StorageError) -> Head:
        """The register after a write that met a conflict or got no answer: it may be ours.

        Raises:
            StorageError: what happened cannot be found out.
        """
        if isinstance(error, StorageError) and not error.retryable:
            raise error
        try:
            stored = self._storage.get(key)
        except (NotFoundError, StorageError) as unreadable:
            raise (error if isinstance(error, StorageError) else unreadable) from None
        return Head(Register.decode(stored.data), stored.version)

    def _with_content(self, register: Register, what: Description, content: _Content) -> Register:
        return replace(
            register,
            run=what.run,
            graph=what.graph,
            node=what.node,
            status=what.status,
            metadata=what.metadata,
            parents=tuple(parent.id for parent in what.parents),
            digest=content.digest,
            size_bytes=content.size_bytes,
            stored_bytes=content.stored_bytes,
            manifest=content.manifest,
            closure=content.closure,
        )

    # Content ------------------------------------------------------------------------------------------------

    def _first_content(self, what: Description, created_ms: int, state: Any) -> _Content:
        """The content of a new snapshot: on top of its parent, or of what this process saved last that may be alike."""
        if what.first is not None:
            return self._content(what, created_ms, what.first, state)
        alike = self._heads.alike(what.run, what.graph)
        content = self._content(what, created_ms, alike, state)
        if alike is None or content.entry is None:
            return content
        usage = usage_of_root(content.entry)
        borrowed = alike.register.closure.keys() & content.closure.keys()
        scraps = frozenset(ordinal for ordinal in borrowed if usage[ordinal][0] < BORROWED_BYTES)
        if not scraps or content.stored_bytes > len(content.body):
            return content
        base = alike if borrowed - scraps else None
        return self._content(what, created_ms, base, state, leave=scraps)

    def _content(
        self, what: Description, created_ms: int, base: Head | None, state: Any, leave: frozenset[int] = frozenset()
    ) -> _Content:
        old = loaded_root(self._storage, base) if base is not None else None
        closure = base.register.closure if base is not None else {}
        merged = choose_merges(usage_of_root(old), closure) | leave if old is not None else leave
        uploads = Uploads(self._storage)
        big = sum(1 for ref in closure.values() if ref.size >= BIG_PACK_BYTES)
        packs = PackBuilder(max(closure, default=0) + 1, uploads.add, big)
        built = TreeBuilder(packs, old, merged).build(state)
        if built.root.node is not None:
            packs.add_nodes(built.root.node)
        uploads.finish()
        known = {**closure, **uploads.packs}
        manifest = _manifest(what, created_ms, built.root, built.digest, built.size_bytes)
        main: dict[int, PackRef] = {}

        def others() -> dict[int, PackRef]:
            usage = usage_of_root(built.root, packs.used)
            main.update({o: replace(known[o], start=s, end=e) for o, (_, s, e) in usage.items() if o != packs.ordinal})
            return main

        finished = packs.finish(manifest, built.root, others, names.run_folder(what.run))
        start = usage_of_root(built.root).get(finished.ordinal, (0, finished.meta_offset, 0))[1]
        key = names.pack_key(what.run, created_ms, what.id, _first_parent(what), clock.random_hex())
        main[finished.ordinal] = _main_ref(finished.ordinal, key, len(finished.body), min(start, finished.meta_offset))
        if len(main) > CLOSURE_LIMIT:
            raise InvalidInputError(
                "the state needs more packs than one snapshot may have",
                code="state_too_large",
                hint="split the state over several runs",
                packs=len(main),
            )
        return _Content(
            key=key,
            body=finished.body,
            closure=main,
            manifest=_manifest_ref(manifest, finished, _root_ref(built.root)),
            entry=built.root,
            digest=built.digest,
            size_bytes=built.size_bytes,
            stored_bytes=len(finished.body) + sum(ref.size for ref in uploads.packs.values()),
        )

    def _shared_content(self, what: Description, created_ms: int, source: Head) -> _Content:
        old = source.register
        if old.root is None:
            raise NotFoundError("the snapshot is deleted", code="snapshot_deleted", id=old.id)
        root = Root(old.root.digest, old.root.kind, old.size_bytes)
        manifest = Manifest(
            what.id, what.run, what.graph, what.node, what.parents, created_ms, what.metadata, old.digest, root
        ).encode()
        packs = PackBuilder(max(old.closure) + 1, lambda _ordinal, _body: None)
        finished = packs.finish(manifest, root_entry(old.root, old.size_bytes), lambda: old.closure, names.run_folder(what.run))
        key = names.pack_key(what.run, created_ms, what.id, _first_parent(what), clock.random_hex())
        main = _main_ref(finished.ordinal, key, len(finished.body), finished.meta_offset)
        closure = {**old.closure, finished.ordinal: main}
        if len(closure) > CLOSURE_LIMIT:
            # The limit leaves no room for one more pack: write the state again, which merges its packs.
            raise ConflictError("the closure is full", code="closure_full", id=old.id)
        return _Content(
            key=key,
            body=finished.body,
            closure=closure,
            manifest=_manifest_ref(manifest, finished, old.root),
            entry=source.root,
            digest=old.digest,
            size_bytes=old.size_bytes,
            stored_bytes=len(finished.body),
        )

    def _readable(self, head: Head) -> Head | None:
        """The head with its tree, or None when its packs never arrived or it is a tombstone."""
        if head.register.deleted:
            return None
        try:
            return replace(head, root=loaded_root(self._storage, head), proven=True)
        except NotFoundError:
            return None

    def refresh(self, snapshot_id: str) -> Head | None:
        """Read a head again, keeping the loaded tree when the content has not changed."""
        found = read_head(self._storage, snapshot_id)
        if found is None:
            self._heads.drop(snapshot_id)
            return None
        known = self._heads.get(snapshot_id)
        if known is not None and known.has_content_of(found.register):
            found = replace(found, root=known.root, proven=known.proven, parents=known.parents)
        return self._heads.put(found)


def _manifest(what: Description, created_ms: int, root: Entry, digest: str, size_bytes: int) -> bytes:
    return Manifest(
        what.id,
        what.run,
        what.graph,
        what.node,
        what.parents,
        created_ms,
        what.metadata,
        digest,
        Root(root.digest.hex(), "leaf" if root.kind == LEAF else "node", size_bytes),
    ).encode()


def _first_parent(what: Description) -> str | None:
    return what.parents[0].id if what.parents else None


def _edges(what: Description, created_ms: int) -> list[str]:
    """Empty objects that name further parents, so that one listing of a run shows its whole graph."""
    return [names.pack_key(what.run, created_ms, what.id, parent.id, clock.random_hex()) for parent in what.parents[1:]]


def _main_ref(ordinal: int, key: str, size: int, start: int) -> PackRef:
    folder, _, name = key.rpartition("/")
    return PackRef(ordinal, folder, name, size, start, size)


def _root_ref(root: Entry) -> RootRef:
    return RootRef(root.digest.hex(), "leaf" if root.kind == LEAF else "node", root.place[0])


def _manifest_ref(manifest: bytes, finished: Finished, root: RootRef) -> ManifestRef:
    return ManifestRef(digest_hex(manifest), finished.ordinal, finished.meta_offset, finished.meta_size, root)
