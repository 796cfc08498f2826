"""Heads: what is known of one snapshot's current version, and how to get it from storage.

A head is a register together with its version token for compare-and-swap, and, once it is needed, the tree.
Writers keep the heads of their last saves, so that the next save starts without reading anything.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

from snapstore import clock
from snapstore.digest import digest_hex
from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.manifest import Manifest, ParentRef
from snapstore.format.node import LEAF, TREE, Entry
from snapstore.format.pack import Directory, decompress_frame
from snapstore.format.register import PreviousVersion, Register, RootRef
from snapstore.history.rows import RowCache
from snapstore.history.tree import EAGER_BYTES, Tree
from snapstore.packs.reader import PackReader
from snapstore.storage.protocol import Storage

__all__ = [
    "EAGER_BYTES",
    "Head",
    "HeadCache",
    "Reading",
    "incomplete",
    "loaded_root",
    "parents_of",
    "read_head",
    "root_entry",
    "tree_of",
    "wait_for_pack",
]

HEADS_KEPT = 64
"""Heads that a process keeps; neighbours share their nodes, so this is a few megabytes at most."""

RETRY_MISSING_S = (0.05, 0.2)
"""A register may become visible a moment before its pack, since both are written at once."""


@dataclass(frozen=True, slots=True)
class Head:
    """One snapshot's register, as it was read or written.

    Attributes:
        register: the document.
        token: the storage's version of it, for the next compare-and-swap.
        root: the root of the state's tree with every node loaded, or None when it has not been needed yet.
        proven: whether its packs are known to exist: written and acknowledged, or read, by this process.
        parents: as its manifest names them, once they are known.
    """

    register: Register
    token: str
    root: Entry | None = None
    proven: bool = False
    parents: tuple[ParentRef, ...] | None = None

    def has_content_of(self, other: Register) -> bool:
        """Whether the other version has the same content in the same places: status and metadata may differ.

        The packs are compared too: the same state saved twice has the same root at the same offsets of other packs.
        """
        mine = self.register
        return mine.manifest is not None and (mine.manifest, mine.closure) == (other.manifest, other.closure)


class HeadCache:
    """The most recently used heads of an archive, by snapshot id.

    Attributes:
        rows: what lists show of these and many more.
    """

    def __init__(self) -> None:
        self.rows = RowCache()
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, snapshot_id: str) -> Head | None:
        """The head if it is kept; it may have been overtaken by another writer."""
        with self._lock:
            head = self._heads.get(snapshot_id)
            if head is not None:
                self._heads.move_to_end(snapshot_id)
            return head

    def put(self, head: Head) -> Head:
        """Keep a head and return it."""
        self.rows.keep(head.register)
        with self._lock:
            self._heads[head.register.id] = head
            self._heads.move_to_end(head.register.id)
            while len(self._heads) > HEADS_KEPT:
                self._heads.popitem(last=False)
        return head

    def alike(self, run: str, graph: str) -> Head | None:
        """The last used head with a loaded tree of the same run, or else of the same graph."""
        with self._lock:
            heads = [head for head in self._heads.values() if head.root is not None and head.proven]
        same_run = [head for head in heads if head.register.run == run]
        same_graph = [head for head in heads if head.register.graph == graph]
        found = same_run or same_graph
        return found[-1] if found else None

    def drop(self, snapshot_id: str) -> None:
        """Forget a head."""
        with self._lock:
            self._heads.pop(snapshot_id, None)


def read_head(storage: Storage, snapshot_id: str) -> Head | None:
    """Read a register: one request. None when there never was one; a tombstone is returned as it is."""
    try:
        stored = storage.get(names.register_key(snapshot_id))
    except NotFoundError:
        return None
    register = Register.decode(stored.data)
    if register.id != snapshot_id:
        raise CorruptionError(
            "a register belongs to another snapshot", code="register_misplaced", id=snapshot_id, found=register.id
        )
    return Head(register, stored.version)


def root_entry(root: RootRef, size_bytes: int) -> Entry:
    """The entry to start reading a tree from; `size_bytes` is the length of the encoded state."""
    kind = LEAF if root.kind == "leaf" else TREE
    return Entry(kind, bytes.fromhex(root.digest), size_bytes, 1, place=(root.place,))


def tree_of(storage: Storage, version: Register | PreviousVersion) -> Tree:
    """The tree of a version that is no tombstone, to read from; reads nothing yet."""
    if version.manifest is None:
        raise NotFoundError("the snapshot is deleted", code="snapshot_deleted")
    entry = root_entry(version.manifest.root, version.size_bytes)
    return Tree(PackReader(storage, version.closure), entry, version.digest)


def loaded_root(storage: Storage, head: Head) -> Entry:
    """The head's root with every node below it loaded, as a base for the next save.

    Raises:
        NotFoundError: `snapshot_deleted`, or `snapshot_incomplete`: its packs never arrived, so nothing may refer to them.
    """
    if head.root is not None:
        return head.root
    register = head.register
    if register.root is None:
        raise NotFoundError("the snapshot is deleted", code="snapshot_deleted", id=register.id)
    entry = root_entry(register.root, register.size_bytes)
    reader = PackReader(storage, register.closure)
    try:
        if entry.kind == TREE:
            reader.load_tree(entry)
        elif not head.proven:
            reader.chunk(entry)
    except NotFoundError as error:
        raise incomplete(register.id, error) from error
    return entry


def incomplete(id: str, missing: NotFoundError) -> NotFoundError:
    """The error for a snapshot that needs a pack which is not there."""
    return NotFoundError(
        "the snapshot is not complete: a pack that it needs is missing",
        code="snapshot_incomplete",
        hint="its save never finished, or the pack was removed; restore a parent or use a replica",
        id=id,
        key=missing.context.get("key"),
    )


def parents_of(storage: Storage, head: Head) -> tuple[ParentRef, ...]:
    """The parents as the manifest of a live snapshot names them; reads it if they are not known."""
    register = head.register
    if head.parents is not None or not register.parents or register.manifest is None:
        return head.parents or ()
    place = register.manifest
    key = register.closure[place.pack].key
    meta = decompress_frame(storage.get_ranges(key, [(place.offset, place.size)])[0])
    manifest = Directory.decode(meta, place.offset, place.size).manifest
    if digest_hex(manifest) != place.digest:
        raise CorruptionError("a manifest does not match its digest", code="manifest_damaged", id=register.id, key=key)
    return Manifest.decode(manifest).parents


class Reading:
    """A stored state that is read at most once, and the head that a write over it starts from.

    Args:
        storage: the archive's storage.
        head: of a live snapshot.
    """

    def __init__(self, storage: Storage, head: Head) -> None:
        self._head = head
        self._tree = tree_of(storage, head.register)
        self._read = False
        self.missing = False

    def state(self) -> Any:
        """The whole state.

        Raises:
            NotFoundError: `snapshot_incomplete`: its save never finished; `missing` tells from then on.
        """
        try:
            state = self._tree.state()
        except NotFoundError as error:
            self.missing = True
            raise incomplete(self._head.register.id, error) from error
        self._read = True
        return state

    def head(self) -> Head:
        """The head, with the nodes of its tree if the state has been read."""
        if not self._read or self._head.root is not None:
            return self._head
        # Their frames have just been read: this asks for nothing.
        self._tree.reader.load_tree(self._tree.root)
        return replace(self._head, root=self._tree.root, proven=True)


def wait_for_pack(attempt: int) -> bool:
    """Wait before looking again for a pack that a register names; False when it is time to give up."""
    if attempt >= len(RETRY_MISSING_S):
        return False
    clock.sleep(RETRY_MISSING_S[attempt])
    return True
