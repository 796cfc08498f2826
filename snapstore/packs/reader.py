"""Read chunks and nodes out of packs: few requests, every byte verified, memory bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from snapstore.digest import digest
from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import node as nodes
from snapstore.format.node import Entry, Node, Segment
from snapstore.format.pack import TRAILER_BYTES, Directory, Trailer, decompress_frame
from snapstore.format.register import PackRef
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

__all__ = ["PackReader", "Tail", "read_tail"]

FRAME_CACHE_BYTES = 32 * 1024 * 1024
"""Decompressed frames kept per reader: a node's worth of the largest chunks, read in one go."""

TAIL_BYTES = 32 * 1024
"""What is read from the end of a pack to get its meta frame: most saves are read whole by it."""

_FrameKey = tuple[int, int, int]
_NOWHERE: Segment = (0, 0, 0, 0, 0)
"""In place of the first segment of a chunk when only a later one is wanted."""


class PackReader:
    """Reads from the packs of one closure. Safe to use from several threads.

    Args:
        storage: where the packs lie.
        closure: the packs by ordinal.
    """

    def __init__(self, storage: Storage, closure: Mapping[int, PackRef]) -> None:
        self._storage = storage
        self.closure = closure
        self._held: dict[int, tuple[int, bytes]] = {}
        self._frames: OrderedDict[_FrameKey, bytes] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.RLock()

    @property
    def needed_bytes(self) -> int:
        """Bytes of all packs that the snapshot needs."""
        return sum(ref.end - ref.start for ref in self.closure.values())

    def hold(self, ordinal: int, start: int, data: bytes) -> None:
        """Keep bytes of a pack that somebody else has read: `data` stands at `start` in it."""
        self._held[ordinal] = (start, data)

    def take(self, other: PackReader) -> None:
        """Take over the packs that another reader holds, as far as they are the same."""
        for ordinal, (start, data) in other._held.items():
            mine = self.closure.get(ordinal)
            theirs = other.closure.get(ordinal)
            if mine is not None and theirs is not None and mine.key == theirs.key:
                self.hold(ordinal, start, data)

    def load_packs(self) -> None:
        """Read the needed part of every pack that is not held yet, all at the same time."""
        missing = [ref for ref in self.closure.values() if ref.ordinal not in self._held]
        for ref, (start, data) in zip(missing, parallel([partial(self._needed, ref) for ref in missing]), strict=True):
            self.hold(ref.ordinal, start, data)

    def release_packs(self) -> None:
        """Let go of the packs that `load_packs` and `hold` kept."""
        self._held.clear()

    def load_frames(self, places: Iterable[Iterable[Segment]]) -> None:
        """Read the frames of these segments that are not at hand yet, one request per pack at the same time."""
        wanted: dict[int, set[tuple[int, int]]] = {}
        growth: set[_FrameKey] = set()
        with self._lock:
            for place in places:
                for index, (ordinal, offset, size, _, _) in enumerate(place):
                    if ordinal and (ordinal, offset, size) not in self._frames and not self._is_held(ordinal, offset, size):
                        wanted.setdefault(ordinal, set()).add((offset, size))
                    if index:
                        growth.add((ordinal, offset, size))
        if not wanted:
            return
        plan = [(self._ref(ordinal), sorted(ranges)) for ordinal, ranges in sorted(wanted.items())]
        read = parallel([partial(self._ranges, ref, ranges) for ref, ranges in plan])
        for (ref, ranges), parts in zip(plan, read, strict=True):
            for (offset, size), data in zip(ranges, parts, strict=True):
                key = (ref.ordinal, offset, size)
                self._keep(key, data if key in growth else decompress_frame(data))

    def chunk(self, entry: Entry) -> bytes | memoryview:
        """The verified bytes of a LEAF entry."""
        data = self.unverified_chunk(entry.place)
        if len(data) != entry.length or digest(data) != entry.digest:
            raise CorruptionError(
                "a chunk does not match its digest",
                code="chunk_damaged",
                hint="restore this snapshot from a replica, or an older one; `snapstore doctor` tests the storage",
                digest=entry.digest.hex(),
                packs=sorted({self._ref(segment[0]).key for segment in entry.place}),
            )
        return data

    def unverified_chunk(self, place: tuple[Segment, ...]) -> bytes | memoryview:
        """The bytes at a place, for a caller who verifies a whole that contains them."""
        data = self._segment(place[0]) if place else b""
        for segment in place[1:]:
            data = self._grown(data, segment)
        return data

    def node(self, entry: Entry) -> Node:
        """The verified node that a NODE or TREE entry names; loaded once."""
        if entry.node is None:
            if len(entry.place) != 1:
                raise CorruptionError("a tree node lies in pieces", code="node_damaged")
            child = nodes.decode(self._segment(entry.place[0]), entry.digest, entry.place[0])
            covered = child.length + (len(child.header()) if entry.kind == nodes.TREE else 0)
            if covered != entry.length or (entry.kind == nodes.NODE and child.count != entry.count):
                raise CorruptionError("a tree node covers other bytes than its parent says", code="node_damaged")
            if entry.kind == nodes.NODE:
                child.entry = entry
            else:
                child.entry.place = entry.place
            entry.node = child
        return entry.node

    def loaded_node(self, entry: Entry) -> Node:
        """The node of an entry, read first if it is not at hand."""
        self.load_nodes([entry])
        return self.node(entry)

    def load_nodes(self, entries: Iterable[Entry]) -> None:
        """Load the child nodes of several entries in one round trip."""
        missing = [entry for entry in entries if entry.kind in (nodes.NODE, nodes.TREE) and entry.node is None]
        self.load_frames(entry.place for entry in missing)
        for entry in missing:
            self.node(entry)

    def load_tree(self, root: Entry) -> None:
        """Load every node of a tree, a level at a time."""
        level = [root]
        while level:
            self.load_nodes(level)
            level = [e for parent in level if parent.node is not None for e in parent.node.entries]

    def _segment(self, segment: Segment) -> bytes | memoryview:
        ordinal, offset, size, inner, length = segment
        frame = self._frame((ordinal, offset, size))
        if inner + length > len(frame):
            raise CorruptionError("a segment reaches beyond its frame", code="frame_damaged", pack=self._ref(ordinal).key)
        return frame if length == len(frame) else memoryview(frame)[inner : inner + length]

    def _grown(self, before: bytes | memoryview, segment: Segment) -> bytes:
        """What a chunk became with one more segment, whose frame needs the chunk so far as its dictionary."""
        ordinal, offset, size, inner, length = segment
        with self._lock:
            if self._is_held(ordinal, offset, size):
                frame = self._held_bytes(ordinal, offset, size)
            else:
                if (ordinal, offset, size) not in self._frames:
                    self.load_frames([[_NOWHERE, segment]])
                frame = memoryview(self._frames[ordinal, offset, size])
        more = decompress_frame(frame, before)
        if inner or length != len(more):
            raise CorruptionError("a segment does not fill its frame", code="frame_damaged", pack=self._ref(ordinal).key)
        return b"".join((before, more))

    def _frame(self, key: _FrameKey) -> bytes:
        with self._lock:
            frame = self._frames.get(key)
            if frame is not None:
                self._frames.move_to_end(key)
                return frame
            if not self._is_held(*key):
                self.load_frames([[(*key, 0, 0)]])
                return self._frames[key]
            frame = decompress_frame(self._held_bytes(*key))
            self._keep(key, frame)
            return frame

    def _held_bytes(self, ordinal: int, offset: int, size: int) -> memoryview:
        start, data = self._held[ordinal]
        return memoryview(data)[offset - start : offset - start + size]

    def _keep(self, key: _FrameKey, frame: bytes) -> None:
        with self._lock:
            self._frames[key] = frame
            self._cached_bytes += len(frame)
            while self._cached_bytes > FRAME_CACHE_BYTES and len(self._frames) > 1:
                self._cached_bytes -= len(self._frames.popitem(last=False)[1])

    def _is_held(self, ordinal: int, offset: int, size: int) -> bool:
        held = self._held.get(ordinal)
        return held is not None and held[0] <= offset and offset + size <= held[0] + len(held[1])

    def _ref(self, ordinal: int) -> PackRef:
        ref = self.closure.get(ordinal)
        if ref is None:
            raise CorruptionError("the tree names a pack outside its closure", code="closure_damaged", ordinal=ordinal)
        return ref

    def _needed(self, ref: PackRef) -> tuple[int, bytes]:
        """The part of a pack that the snapshot needs, and where it begins; the whole when that is half of it or more."""
        if (ref.end - ref.start) * 2 < ref.size:
            return ref.start, self._ranges(ref, [(ref.start, ref.end - ref.start)])[0]
        try:
            data = self._storage.get(ref.key).data
        except NotFoundError as error:
            raise _missing(ref) from error
        if len(data) != ref.size:
            raise CorruptionError(
                "a pack has another size than it was written with",
                code="pack_damaged",
                key=ref.key,
                size_bytes=len(data),
                expected_bytes=ref.size,
            )
        return 0, data

    def _ranges(self, ref: PackRef, ranges: list[tuple[int, int]]) -> list[bytes]:
        try:
            return self._storage.get_ranges(ref.key, ranges)
        except NotFoundError as error:
            raise _missing(ref) from error


def _missing(ref: PackRef) -> NotFoundError:
    return NotFoundError("a pack is missing", code="pack_missing", key=ref.key, ordinal=ref.ordinal)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a pack.

    Attributes:
        directory: what its meta frame says.
        start: where `data` begins in the pack.
        data: the last bytes of the pack: the meta frame, the trailer, and what stands before them.
    """

    directory: Directory
    start: int
    data: bytes


def read_tail(storage: Storage, key: str, size: int) -> Tail:
    """Read the meta frame of a pack of `size` bytes whose register is not at hand: one request, rarely two."""
    data = storage.get_ranges(key, [(-1, TAIL_BYTES)])[0]
    trailer = Trailer.decode(data)
    wanted = trailer.meta_size + TRAILER_BYTES
    if wanted > len(data):
        data = storage.get_ranges(key, [(-1, wanted)])[0]
    start = size - len(data)
    if start < 0 or trailer.meta_offset + wanted != size or not trailer.meta_size:
        raise CorruptionError("pack has another size than its trailer says", code="pack_damaged", key=key, size_bytes=size)
    meta = data[trailer.meta_offset - start : -TRAILER_BYTES]
    return Tail(Directory.decode(decompress_frame(meta), trailer.meta_offset, trailer.meta_size), start, data)
