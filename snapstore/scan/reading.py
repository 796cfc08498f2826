"""Read the paths of many snapshots at once: what they share is fetched and decoded once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format.closure import PackRef
from snapstore.format.node import LEAF, TREE, Entry
from snapstore.format.register import PreviousVersion, Register
from snapstore.history.heads import incomplete, read_head, wait_for_pack
from snapstore.scan.columns import Column
from snapstore.scan.pages import PAGE_BYTES, PageCache
from snapstore.scan.paths import Steps
from snapstore.scan.walk import ABSENT, Memo, Walk
from snapstore.storage.protocol import Storage

__all__ = ["Reader", "Target", "target_of"]

WINDOW: Final = 512
"""Snapshots read at the same time: at 16 requests in flight, 32 rounds of them."""

HELD_BYTES: Final = 32 * 1024 * 1024
"""What the snapshots that are read at the same time may hold of decoded values, in bytes of their encoding."""

AHEAD_BYTES: Final = 256 * 1024
"""A pack up to this size is read whole where lists are looked into: its nodes lead to chunks in it, most of the time, and at
80 MB/s it takes 3 ms, a second request to it 20 ms."""

AHEAD_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""The same for a pack that several snapshots need, a page more for each of them; a larger one is never read ahead."""


@dataclass(frozen=True, slots=True)
class Target:
    """One snapshot to read: its row, and where its state lies.

    Attributes:
        id, run, graph, node, status: of the snapshot.
        created_ms: its creation time, milliseconds since 1970 UTC.
        version: of the snapshot, when the scan was planned.
        size_bytes: the length of the encoded state.
        kind: LEAF or TREE, the kind of the root entry.
        digest: of the root, hex.
        place: where the root lies.
        main: ordinal of the pack that was written with this version.
        closure: its packs.
    """

    id: str
    run: str
    graph: str
    node: str | None
    status: str
    created_ms: int
    version: int
    size_bytes: int
    kind: int
    digest: str
    place: tuple[int, int, int, int, int]
    main: int
    closure: tuple[PackRef, ...]

    @property
    def row(self) -> tuple[Any, ...]:
        """What `columns.ROW_COLUMNS` names."""
        return self.id, self.run, self.graph, self.node, self.status, self.created_ms

    @property
    def packs(self) -> dict[int, PackRef]:
        """Its packs by ordinal."""
        return {ref.ordinal: ref for ref in self.closure}

    def root(self) -> Entry:
        """The root of its state's tree."""
        return Entry(self.kind, bytes.fromhex(self.digest), self.size_bytes, 1, place=(self.place,))


def target_of(register: Register, known: dict[tuple[int, str], PackRef], version: PreviousVersion | None = None) -> Target | None:
    """The target of a register, or of an earlier version in it; None for a tombstone.

    Args:
        register: of the snapshot.
        known: packs of other targets, added to: neighbours share almost all of theirs.
        version: the earlier version.
    """
    shown = register if version is None else version
    if shown.manifest is None:
        return None
    root = shown.manifest.root
    return Target(
        register.id,
        register.run,
        register.graph,
        shown.node,
        shown.status,
        register.created_at,
        shown.version,
        shown.size_bytes,
        LEAF if root.kind == "leaf" else TREE,
        root.digest,
        root.place,
        shown.manifest.pack,
        tuple(known.setdefault((ref.ordinal, ref.key), ref) for ref in shown.closure.values()),
    )


class _Reading:
    """One snapshot on its way: its walk, and what else may be read in its place."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.walk: Walk | None = None
        self.looks = 0
        self.others: list[Target] | None = None
        self.dropped = False
        self.done = False


class Reader:
    """Reads targets; what it fetched and decoded serves all that follow. For one thread at a time.

    Args:
        storage: the archive's.
        expected: all targets that are going to be read: a pack that many of them need is read whole.

    Attributes:
        pages: what was fetched, and how much that was.
        skipped: ids of the snapshots that were not there any more.
    """

    def __init__(self, storage: Storage, expected: Sequence[Target]) -> None:
        self.pages = PageCache(storage)
        self.skipped: list[str] = []
        self._storage = storage
        self._memo = Memo()
        self._ahead = _packs_ahead(expected)

    def read(self, targets: Sequence[Target], columns: Sequence[Column]) -> Iterator[tuple[Target, list[Any]]]:
        """The targets, in order, and what stands at the paths: a value, a list, or None where there is nothing.

        A snapshot that has been rewritten since, and whose packs are gone, comes as it is now; one that has been deleted and
        collected, or whose save never finished, is skipped.

        Raises:
            CorruptionError: what is stored is damaged; the context names the snapshot.
            NotFoundError: `snapshot_incomplete`: a pack is gone.
        """
        paths = [column.path.steps for column in columns]
        into_lists = any(column.path.into_lists for column in columns)
        self.pages.read_ahead(self._ahead if into_lists else ())
        for start in range(0, len(targets), WINDOW):
            waiting = deque(map(_Reading, targets[start : start + WINDOW]))
            while waiting:
                self._advance_all(waiting, paths)
                while waiting and waiting[0].done:
                    one = waiting.popleft()
                    if one.walk is None:
                        self.skipped.append(one.target.id)
                    else:
                        yield one.target, [None if found is ABSENT else found for found in one.walk.results]
                if waiting:
                    self.pages.fetch()

    def _advance_all(self, waiting: Iterable[_Reading], paths: Sequence[Steps]) -> None:
        """Go on with the snapshots in turn, as long as those before have not filled the memory with what they found."""
        held = 0
        for one in waiting:
            if not one.done:
                one.done = self._advance(one, paths)
            held += one.walk.held_bytes if one.walk is not None else 0
            if held > HELD_BYTES:
                return

    def _advance(self, one: _Reading, paths: Sequence[Steps]) -> bool:
        """Go on with one snapshot; whether that is finished."""
        target = one.target
        if one.walk is None:
            one.walk = Walk(self.pages, self._memo, target.root(), target.packs, paths)
        try:
            return one.walk.advance()
        except CorruptionError as error:
            error.context.setdefault("id", target.id)
            raise
        except NotFoundError as error:
            if error.code != "pack_missing":
                raise
            self._replace(one, error)
            return one.dropped

    def _replace(self, one: _Reading, missing: NotFoundError) -> None:
        """Choose what to read instead of a version that lacks a pack, as reading a single snapshot does."""
        target, one.walk = one.target, None
        if one.others is None:
            head = read_head(self._storage, target.id)
            if head is None or head.register.deleted:
                one.dropped = True
                return
            register = head.register
            if register.version == target.version and wait_for_pack(one.looks):
                one.looks += 1
                self.pages.lost.discard(str(missing.context.get("key")))
                return
            found = [target_of(register, {}), *(target_of(register, {}, version) for version in register.prevs)]
            one.others = [other for other in found if other is not None and other.version != target.version]
        if one.others:
            one.target = one.others.pop(0)
        elif missing.context.get("ordinal") == target.main:
            one.dropped = True  # the pack of a create that was never acknowledged
        else:
            raise incomplete(target.id, missing)


def _packs_ahead(targets: Sequence[Target]) -> list[str]:
    """The packs to read whole when anything of them is needed."""
    needed = Counter(ref.key for target in targets for ref in target.closure)
    sizes: Mapping[str, int] = {ref.key: ref.size for target in targets for ref in target.closure}
    return [key for key, count in needed.items() if sizes[key] <= min(AHEAD_LIMIT_BYTES, AHEAD_BYTES + PAGE_BYTES * count)]
