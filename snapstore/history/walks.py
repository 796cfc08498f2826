"""Walks: find the snapshots of a run or a graph from listings alone.

One listing of a run's packs shows its whole DAG: the names carry time, snapshot and parent. Registers decide
what counts: a pack whose register is missing, deleted or of another run was never acknowledged or is history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.manifest import Manifest
from snapstore.format.register import Register
from snapstore.history.heads import Head, read_head
from snapstore.packs.reader import read_tail
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import ObjectInfo, Storage

__all__ = ["RunEntry", "counts", "entries_of", "live_heads", "run_entries", "written_ids"]


@dataclass(slots=True)
class RunEntry:
    """One snapshot of a run, as the listing of its packs shows it.

    Attributes:
        id12: first 12 hex digits of the digest of its id.
        created_ms: its creation time.
        parents: id12 of its parents, also of those that only an earlier or an unfinished version had.
        firsts: the first parent of each pack, None where there is none.
        packs: keys of its packs, one per version written (or attempted).
        sizes: their sizes in bytes.
        empties: keys without content: the edges to further parents, or what is left of a damaged pack.
    """

    id12: str
    created_ms: int
    parents: set[str] = field(default_factory=set)
    firsts: set[str | None] = field(default_factory=set)
    packs: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    empties: list[str] = field(default_factory=list)

    @property
    def unsure(self) -> bool:
        """Whether its parents may have changed: the listing shows those of all versions, its register the right ones."""
        return len(self.firsts) > 1 or (len(self.packs) > 1 and bool(self.empties))


def run_entries(storage: Storage, run: str) -> Iterator[RunEntry]:
    """The snapshots of a run, newest first; reads the listing a page at a time."""
    return entries_of(storage.list(names.run_prefix(run)))


def entries_of(rows: Iterable[ObjectInfo]) -> Iterator[RunEntry]:
    """The snapshots behind the rows of a run's listing."""
    current: RunEntry | None = None
    for info in rows:
        name = names.parse_pack_key(info.key)
        if name is None or name.id12 is None or name.created_ms is None:
            continue
        if current is None or (current.id12, current.created_ms) != (name.id12, name.created_ms):
            if current is not None:
                yield current
            current = RunEntry(name.id12, name.created_ms)
        if name.parent12 is not None:
            current.parents.add(name.parent12)
        if info.size:
            current.packs.append(info.key)
            current.sizes.append(info.size)
            current.firsts.add(name.parent12)
        else:
            current.empties.append(info.key)
    if current is not None:
        yield current


def live_heads(storage: Storage, run: str, entries: Iterable[RunEntry]) -> list[Head | None]:
    """The heads behind entries of a run, None for what does not count: two round trips for all."""
    listed = list(entries)
    ids = parallel([partial(snapshot_id, storage, entry) for entry in listed])
    found = parallel([partial(_head_of, storage, one) for one in ids])
    return [head if head is not None and counts(head, run, entry) else None for head, entry in zip(found, listed, strict=True)]


def _head_of(storage: Storage, id: str | None) -> Head | None:
    return read_head(storage, id) if id is not None else None


def snapshot_id(storage: Storage, entry: RunEntry) -> str | None:
    """The id behind an entry, from the manifest in one of its packs; None when it has none."""
    for key, size in zip(entry.packs, entry.sizes, strict=True):
        try:
            id = Manifest.decode(read_tail(storage, key, size).directory.manifest).id
        except (NotFoundError, CorruptionError):
            continue
        if names.short_digest(id) == entry.id12:
            return id
    return _registered_id(storage, entry.id12)


def _registered_id(storage: Storage, id12: str) -> str | None:
    """The id with this digest among all registers: a damaged pack must not hide that there is a snapshot."""
    for info in storage.list(f"{names.SNAPSHOTS_PREFIX}{id12[:2]}/"):
        name = names.parse_register_key(info.key)
        if name is None:
            continue
        if name.snapshot_id is None and name.encoded_id[1:].startswith(id12):
            return Register.decode(storage.get(info.key).data).id
        if name.snapshot_id is not None and names.short_digest(name.snapshot_id) == id12:
            return name.snapshot_id
    return None


def counts(head: Head, run: str, entry: RunEntry) -> bool:
    """Whether the register confirms that the entry is a snapshot of the run now."""
    register = head.register
    if register.deleted or register.run != run or register.manifest is None:
        return False
    # Its main pack need not be among those of the listing: it may have been rewritten since. But a create whose pack never
    # arrived has no pack at all, at most the edges to further parents.
    main = register.closure[register.manifest.pack]
    return register.created_at == entry.created_ms and (bool(entry.packs) or main.key in entry.empties)


def written_ids(storage: Storage, run: str) -> set[str]:
    """Of which snapshots of a run there are packs, by the first 12 hex digits of the digests of their ids: one listing."""
    return {entry.id12 for entry in run_entries(storage, run) if entry.packs}
