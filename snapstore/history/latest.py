"""The newest snapshot of a run, in three round trips: listing, newest pack, register beside the other packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.manifest import Manifest
from snapstore.format.register import PackRef
from snapstore.history.heads import EAGER_BYTES, Head, read_head
from snapstore.history.walks import RunEntry, counts, entries_of, live_heads
from snapstore.packs.reader import PackReader, read_tail
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import PAGE_KEYS, ObjectInfo, Storage

__all__ = ["latest_of_run"]


def latest_of_run(storage: Storage, run: str, node: str | None = None) -> tuple[Head, PackReader | None] | None:
    """The newest live snapshot of a run; it never has children, since those would be newer.

    Args:
        storage: the archive's storage.
        run: the run.
        node: if given, the newest snapshot that this node produced.

    Returns:
        Its head, and a reader that holds its packs when they are small.
    """
    page: dict[str, ObjectInfo] = {}

    def rows() -> Iterator[ObjectInfo]:
        for info in storage.list(names.run_prefix(run)):
            page[info.key[-32:-24]] = info
            yield info

    # The listing is read a page ahead: the packs that the newest one needs are looked up in the same page.
    listed = rows()
    first_page = list(islice(listed, PAGE_KEYS))
    for entry in entries_of(chain(first_page, listed)):
        damaged = not entry.packs
        for key, size in zip(entry.packs, entry.sizes, strict=True):
            try:
                found = _look(storage, run, entry, key, size, node, page)
            except CorruptionError:
                damaged = True
                continue
            if found is not None:
                return found
        # An older snapshot must not pass for the newest because a pack of that is damaged: its register has the last word.
        head = live_heads(storage, run, [entry])[0] if damaged else None
        if head is not None and (node is None or head.register.node == node):
            return head, None
    return None


def _look(  # noqa: PLR0917 - what the listing told, part by part
    storage: Storage, run: str, entry: RunEntry, key: str, size: int, node: str | None, page: dict[str, ObjectInfo]
) -> tuple[Head, PackReader | None] | None:
    try:
        tail = read_tail(storage, key, size)
    except NotFoundError:
        return None
    manifest = Manifest.decode(tail.directory.manifest)
    if names.short_digest(manifest.id) != entry.id12:
        raise CorruptionError("a pack lies under a wrong name", code="pack_misplaced", key=key, found=manifest.id)
    if node is not None and manifest.node != node:
        return None
    folder, _, name = key.rpartition("/")
    others = dict(tail.directory.far)
    for near in tail.directory.near:
        info = page.get(near.txid8)
        if info is not None and near.end <= info.size:
            others[near.ordinal] = PackRef(near.ordinal, folder, info.key[len(folder) + 1 :], info.size, near.start, near.end)
    main = PackRef(tail.directory.ordinal, folder, name, size, 0, size)
    reader = PackReader(storage, {**others, main.ordinal: main})
    if tail.start == 0:
        reader.hold(main.ordinal, 0, tail.data)
    heads: list[Head | None] = []
    calls: list[Callable[[], None]] = [lambda: heads.append(read_head(storage, manifest.id))]
    small = reader.needed_bytes <= EAGER_BYTES
    if small:
        calls.append(reader.load_packs)
    parallel(calls)
    head = heads[0]
    if head is None or not counts(head, run, entry):
        return None
    register = head.register
    if register.manifest is None or register.closure[register.manifest.pack].key != key:
        return None
    if not small:
        return head, None
    known = PackReader(storage, register.closure)
    known.take(reader)
    return replace(head, proven=True), known
