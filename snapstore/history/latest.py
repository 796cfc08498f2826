"""The newest snapshot of a run, in three round trips: listing, newest pack, register beside the other packs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice

from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.manifest import Manifest
from snapstore.format.register import PackRef
from snapstore.history.heads import EAGER_BYTES, Head, read_head
from snapstore.history.walks import RunEntry, counts, entries_of, live_heads
from snapstore.packs.reader import PackReader, Tail, read_tail
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
        found = _look(storage, run, entry, node, page)
        if found is not None and (node is None or found[0].register.node == node):
            return found
    return None


def _look(
    storage: Storage, run: str, entry: RunEntry, node: str | None, page: dict[str, ObjectInfo]
) -> tuple[Head, PackReader | None] | None:
    """The head behind an entry if it counts, with a reader if its pack says that it may be the one."""
    # Every version of a rewritten snapshot left a pack: the one written last is most likely the current one.
    written = sorted((page[key[-32:-24]] for key in entry.packs), key=lambda info: -info.modified_ms)
    for info in written:
        try:
            tail = read_tail(storage, info.key, info.size)
            manifest = Manifest.decode(tail.directory.manifest)
        except (NotFoundError, CorruptionError):
            continue
        if names.short_digest(manifest.id) == entry.id12:
            wanted = node is None or manifest.node == node
            return _with_register(
                storage, run, entry, manifest.id, _reader(storage, info, tail, page) if wanted else None, info.key
            )
    # An older snapshot must not pass for the newest because its packs are damaged: the register has the last word.
    head = live_heads(storage, run, [entry])[0]
    return (head, None) if head is not None else None


def _reader(storage: Storage, info: ObjectInfo, tail: Tail, page: dict[str, ObjectInfo]) -> PackReader | None:
    """A reader of what the directory of a pack lists; None when that is too much to read without being asked."""
    folder, _, name = info.key.rpartition("/")
    others = dict(tail.directory.far)
    for near in tail.directory.near:
        known = page.get(near.txid8)
        if known is not None and near.end <= known.size:
            others[near.ordinal] = PackRef(near.ordinal, folder, known.key[len(folder) + 1 :], known.size, near.start, near.end)
    main = PackRef(tail.directory.ordinal, folder, name, info.size, 0, info.size)
    reader = PackReader(storage, {**others, main.ordinal: main})
    if tail.start == 0:
        reader.hold(main.ordinal, 0, tail.data)
    return reader if reader.needed_bytes <= EAGER_BYTES else None


def _with_register(  # noqa: PLR0917 - what is known of the entry, part by part
    storage: Storage, run: str, entry: RunEntry, id: str, reader: PackReader | None, key: str
) -> tuple[Head, PackReader | None] | None:
    """The head of a snapshot if it counts, and a reader that holds its packs if `reader` reads from them."""
    heads: list[Head | None] = []
    loaded: list[PackReader] = []

    def load(reader: PackReader) -> None:
        # What the directory names may be damaged or gone; whoever reads the state will be told.
        with contextlib.suppress(NotFoundError, CorruptionError):
            reader.load_packs()
            loaded.append(reader)

    calls: list[Callable[[], None]] = [lambda: heads.append(read_head(storage, id))]
    parallel(calls if reader is None else [*calls, partial(load, reader)])
    head = heads[0]
    if head is None or not counts(head, run, entry):
        return None
    manifest = head.register.manifest
    # The pack may be that of an earlier version, or the snapshot may have been rewritten since it was listed.
    if not loaded or manifest is None or head.register.closure[manifest.pack].key != key:
        return head, None
    known = PackReader(storage, head.register.closure)
    known.take(loaded[0])
    return replace(head, proven=True), known
