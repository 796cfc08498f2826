"""Read a state from its tree: whole, streamed, or only the part that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from snapstore.digest import digest_hex, hasher
from snapstore.errors import CorruptionError
from snapstore.format import values
from snapstore.format.node import INLINE, LEAF, TREE, Entry, Node, Segment, scan, segments, value_header
from snapstore.packs.reader import PackReader

__all__ = ["EAGER_BYTES", "Tree"]

EAGER_BYTES = 4 * 1024 * 1024
"""A closure up to this size is read together with the snapshot, because its state is wanted in most cases."""

HOLD_BYTES = 64 * 1024 * 1024
"""Closures up to this size are read whole in one round trip; larger ones are streamed, a node at a time."""


class Tree:
    """The tree of one state.

    Args:
        reader: reads the packs of the closure.
        root: LEAF or TREE entry.
        digest: BLAKE3 of the whole encoding, hex.
    """

    def __init__(self, reader: PackReader, root: Entry, digest: str) -> None:
        self.reader = reader
        self.root = root
        self.digest = digest

    def state(self) -> Any:
        """The whole state, verified."""
        return values.decode(self._whole() if self.reader.needed_bytes <= HOLD_BYTES else b"".join(self.stream()))

    def _whole(self) -> bytes:
        """The encoding of the whole state, read in one round trip and verified as one.

        The digest of the whole is the proof here: checking every node and chunk besides would double the time. Only
        when it does not match they are checked one by one, to name the one that is damaged.
        """
        self.reader.load_packs()
        parts: list[bytes | memoryview] = []
        try:
            self._gather(self.root.kind, self.root.place, parts)
        except (CorruptionError, ValueError, TypeError, IndexError):
            parts = []
        data = b"".join(parts)
        if digest_hex(data) != self.digest:
            for _ in self.stream():
                pass
            raise self._wrong_state()
        self._let_go()
        return data

    def _gather(self, kind: int, place: tuple[Segment, ...], parts: list[bytes | memoryview]) -> None:
        """Append the bytes below one entry, unverified."""
        if kind == LEAF:
            parts.append(self.reader.unverified_chunk(place))
            return
        frame = place[0]
        of_value, rows, places = scan(self.reader.unverified_chunk(place[:1]))
        header = len(parts)
        if kind == TREE:
            parts.append(b"")
        count = length = 0
        for row, flat in zip(rows, places, strict=True):
            entry_kind = row[0]
            if entry_kind == INLINE:
                parts.append(row[1])
                count += row[2]
                length += len(row[1])
                continue
            if entry_kind == TREE and row[3]:
                parts.append(row[3])
                length += len(row[3])
            self._gather(entry_kind, segments(flat, frame), parts)
            count += 1 if entry_kind == TREE else row[3]
            length += row[2]
        if kind == TREE:
            parts[header] = value_header(of_value, count, length)

    def _let_go(self) -> None:
        # Small closures stay at hand for partial reads that may follow.
        if self.reader.needed_bytes > EAGER_BYTES:
            self.reader.release_packs()

    def _wrong_state(self) -> CorruptionError:
        return CorruptionError("the state does not match its digest", code="state_damaged", expected_digest=self.digest)

    def stream(self) -> Iterator[bytes | memoryview]:
        """The encoding of the whole state, piece by piece; the last piece comes only if the whole is right."""
        if self.reader.needed_bytes <= HOLD_BYTES:
            self.reader.load_packs()
        whole = hasher()
        last: bytes | memoryview = b""
        for piece in self.pieces(self.root):
            yield last
            whole.update(piece)
            last = piece
        self._let_go()
        if whole.digest().hex() != self.digest:
            raise self._wrong_state()
        yield last

    def pieces(self, entry: Entry) -> Iterator[bytes | memoryview]:
        """The verified encoding of what an entry stands for, without its key."""
        if entry.kind == LEAF:
            yield self.reader.chunk(entry)
        elif entry.kind == INLINE:
            yield entry.payload
        else:
            node = self.reader.node(entry)
            if entry.kind == TREE:
                yield node.header()
            yield from self.content(node)

    def content(self, node: Node) -> Iterator[bytes | memoryview]:
        """The verified encoding of all entries of a node."""
        self.reader.load_frames(entry.place for entry in node.entries if entry.node is None)
        for entry in node.entries:
            if entry.key:
                yield entry.key
            yield from self.pieces(entry)

    def value(self, entry: Entry) -> Any:
        """The decoded value of a LEAF root or TREE entry."""
        return values.decode(b"".join(self.pieces(entry)))

    # Parts ------------------------------------------------------------------------------------------------

    def items(self, root: Node, start: int, stop: int) -> Iterator[Any]:
        """Items `start` to `stop` of a list whose root is `root`; large ones as entries, others decoded.

        Reads only the chunks that hold them.
        """
        chosen = self._level_zero(root, start, stop)
        self.reader.load_frames(entry.place for entry, _ in chosen if entry.kind != INLINE and entry.node is None)
        for entry, first in chosen:
            if entry.kind == TREE:
                yield entry
                continue
            decoded = self.leaf_items(entry)
            yield from decoded[max(0, start - first) : stop - first]

    def leaf_items(self, entry: Entry) -> list[Any]:
        """The decoded items of a LEAF or INLINE entry of a list."""
        data = entry.payload if entry.kind == INLINE else self.reader.chunk(entry)
        return cast("list[Any]", values.decode(values.array_header(entry.count) + bytes(data)))

    def _level_zero(self, root: Node, start: int, stop: int) -> list[tuple[Entry, int]]:
        """The level-0 entries that hold items in [start, stop), each with the index of its first item."""
        level = [(root.entry, 0)]
        root.entry.node = root
        while True:
            below: list[tuple[Entry, int]] = []
            self.reader.load_nodes(entry for entry, _ in level)
            for parent, position in level:
                first = position
                for entry in cast("Node", parent.node).entries:
                    if first < stop and first + entry.count > start:
                        below.append((entry, first))
                    first += entry.count
            if not below or cast("Node", level[0][0].node).level == 0:
                return below
            level = below

    def pairs(self, root: Node) -> Iterator[tuple[Any, Any]]:
        """All pairs of a dict, in order; large values as entries."""
        for entry, _ in self._level_zero(root, 0, root.count):
            if entry.kind == TREE:
                yield values.decode(entry.key), entry
            else:
                data = entry.payload if entry.kind == INLINE else self.reader.chunk(entry)
                yield from values.decode(values.map_header(entry.count) + bytes(data)).items()

    def find(self, root: Node, key: Any) -> Any:
        """The value of one key: an entry when it is large. `KeyError` when it is not there."""
        chosen = [entry for entry, _ in self._level_zero(root, 0, root.count)]
        wanted = values.encode_key(key, ())
        for entry in chosen:
            if entry.kind == TREE and entry.key == wanted:
                return entry
        self.reader.load_frames(entry.place for entry in chosen if entry.kind == LEAF)
        for entry in chosen:
            if entry.kind != TREE:
                data = entry.payload if entry.kind == INLINE else self.reader.chunk(entry)
                pairs = values.decode(values.map_header(entry.count) + bytes(data))
                if key in pairs:
                    return pairs[key]
        raise KeyError(key)
