"""Build the packs of one save: chunk frames first, then nodes, then the meta frame.

Places are promises until their frame is compressed: `Pending` segments turn into plain tuples once the pack
is finished, because only then are the frame's offset and size known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from snapstore.config import PACK_BYTES, PACKS_PER_SIZE
from snapstore.format.node import NODE, SAME_FRAME, TREE, Entry, Node, Segment
from snapstore.format.pack import FRAME_BYTES, MAGIC, Directory, compress_frame, seal
from snapstore.format.register import PackRef

__all__ = ["Finished", "PackBuilder"]

NODE_FRAME_BYTES = 32 * 1024
"""Nodes are read one path at a time: small frames keep a partial read small, and digests do not compress anyway."""


class _Frame:
    """A frame of the pack under construction; `size` stays 0 until it is compressed."""

    __slots__ = ("offset", "ordinal", "size")

    def __init__(self) -> None:
        self.ordinal = self.offset = self.size = 0


class _Pending:
    """A segment in a frame that may not be compressed yet."""

    __slots__ = ("frame", "inner", "length")

    def __init__(self, frame: _Frame, inner: int, length: int) -> None:
        self.frame, self.inner, self.length = frame, inner, length


@dataclass(frozen=True, slots=True)
class Finished:
    """The main pack of a save.

    Attributes:
        ordinal: its number in the lineage.
        body: its bytes.
        meta_offset: where the meta frame begins.
        meta_size: bytes of the compressed meta frame.
    """

    ordinal: int
    body: bytearray
    meta_offset: int
    meta_size: int


class PackBuilder:
    """Collects chunks and nodes into frames, and frames into packs.

    Args:
        next_ordinal: the first free pack number of the lineage.
        emit: takes (ordinal, body) of each further pack, as soon as it is full.
        big_packs: packs of the lineage that are full already; pack sizes grow with their number, so that
            64 packs hold any state.
    """

    def __init__(self, next_ordinal: int, emit: Callable[[int, bytearray], None], big_packs: int = 0) -> None:
        self._ordinal = next_ordinal
        self._emit = emit
        self._big_packs = big_packs
        self._body = bytearray(MAGIC)
        self._frame = _Frame()
        self._parts: list[bytes | memoryview] = []
        self._filled = 0
        self._touched: list[Entry] = []
        self.added_bytes = 0

    def add(self, entry: Entry, data: bytes | memoryview) -> None:
        """Store the bytes of a chunk and set the entry's place."""
        self._place(entry, (), data)
        if self._filled >= FRAME_BYTES:
            self._close_frame()
            self._close_full_pack()

    def add_growth(self, entry: Entry, data: bytes | memoryview, tail: Entry) -> None:
        """Store what a chunk has more than `tail`, which it begins with, in a frame of its own.

        The frame is compressed with the beginning of the chunk as its dictionary: whoever reads the chunk has it.
        """
        if self._filled:
            self._close_frame()
        self._place(entry, tail.place, data[tail.length :])
        self._close_frame(data[: tail.length])

    def _place(self, entry: Entry, before: Iterable[Segment], data: bytes | memoryview) -> None:
        entry.place = (*before, cast("Segment", _Pending(self._frame, self._filled, len(data))))
        self._touched.append(entry)
        self._append(data)
        self.added_bytes += len(data)

    def add_nodes(self, root: Node) -> None:
        """Store every node below `root` that has no place yet, children first. Call after the last chunk."""
        if self._filled:
            self._close_frame()
        self._add_node(root)

    def finish(self, manifest: bytes, root: Entry, closure: Callable[[], Mapping[int, PackRef]], folder: str = "") -> Finished:
        """Close the main pack.

        Args:
            manifest: canonical bytes.
            root: the entry of the root chunk or node.
            closure: gives the other packs that the root needs; called once all earlier frames have places.
            folder: where the main pack will lie.
        """
        if root.node is not None:
            root.place = root.node.entry.place
            self._touched.append(root)
        directory = Directory.of(self._ordinal, manifest, self._locate(root), closure(), folder)
        nodes = b"".join(self._parts)
        meta = compress_frame(directory.encode(nodes))
        offset = len(self._body)
        self._settle_frame(meta)
        for entry in self._touched:
            entry.place = tuple(self._resolve(segment) for segment in entry.place)
        self._touched.clear()
        seal(self._body, offset, len(meta))
        return Finished(self._ordinal, self._body, offset, len(meta))

    @property
    def ordinal(self) -> int:
        """The number of the pack under construction; at the end, of the main pack."""
        return self._ordinal

    def used(self, entry: Entry) -> Iterable[tuple[int, int, int, int, int]]:
        """An entry's segments as far as they are known; those of the open frame count to this pack."""
        for segment in entry.place:
            resolved = self._resolve(segment)
            yield (self._ordinal, *resolved[1:]) if resolved[0] == SAME_FRAME else resolved

    def _add_node(self, node: Node) -> None:
        for entry in node.entries:
            if entry.kind in (NODE, TREE) and not entry.place:
                child = cast("Node", entry.node)
                if not child.entry.place:
                    self._add_node(child)
                entry.place = child.entry.place
                self._touched.append(entry)
        if self._filled >= NODE_FRAME_BYTES:
            self._close_frame()
        data = node.encode(self._locate)
        node.entry.place = (cast("Segment", _Pending(self._frame, self._filled, len(data))),)
        self._touched.append(node.entry)
        self._append(data)

    def _append(self, data: bytes | memoryview) -> None:
        self._parts.append(data)
        self._filled += len(data)

    def _locate(self, entry: Entry) -> tuple[Segment, ...]:
        return tuple(self._resolve(segment) for segment in entry.place)

    def _resolve(self, segment: Segment | _Pending) -> Segment:
        if not isinstance(segment, _Pending):
            return segment
        frame = segment.frame
        if not frame.size:
            return (SAME_FRAME, 0, 0, segment.inner, segment.length)
        return (frame.ordinal, frame.offset, frame.size, segment.inner, segment.length)

    def _close_frame(self, prefix: bytes | memoryview = b"") -> None:
        self._settle_frame(compress_frame(b"".join(self._parts), self.added_bytes, prefix))

    def _settle_frame(self, compressed: bytes) -> None:
        frame = self._frame
        frame.ordinal, frame.offset, frame.size = self._ordinal, len(self._body), len(compressed)
        self._body += compressed
        self._frame, self._parts, self._filled = _Frame(), [], 0

    def _close_full_pack(self) -> None:
        if len(self._body) >= PACK_BYTES << (self._big_packs // PACKS_PER_SIZE):
            seal(self._body, 0, 0)
            self._emit(self._ordinal, self._body)
            self._ordinal += 1
            self._big_packs += 1
            self._body = bytearray(MAGIC)
