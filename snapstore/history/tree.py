"""Read a state from its tree: whole, streamed, or only the part that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from snapstore.digest import digest_hex, hasher
from snapstore.errors import CorruptionError
from snapstore.format import values
from snapstore.format.node import INLINE, LEAF, LIST, MAP, TREE, Entry, Node, Segment, scan, segments, value_header
from snapstore.packs.reader import PackReader

__all__ = ["EAGER_BYTES", "Tree"]

EAGER_BYTES = 4 * 1024 * 1024
"""A closure up to this size is read together with the snapshot, because its state is wanted in most cases."""

HOLD_BYTES = 64 * 1024 * 1024
"""Closures up to this size are read whole in one round trip; larger ones are streamed, `AHEAD_BYTES` at a time."""

AHEAD_BYTES = 8 * 1024 * 1024
"""What is read together when more follows. The reader's cache holds four times as much, since the frames that these
bytes lie in hold other things too."""

_CHUNKS, _ITEMS, _WHOLE = 0, 1, 2
"""How much of the trees among a container's items is read ahead: nothing; what tells texts from containers, and the
texts; everything."""


class _Parts(list["bytes | memoryview"]):
    """Pieces of an encoding that is not verified yet, with a bound on what damaged nodes can make of it.

    Args:
        size: bytes that the whole should have.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        # Every node covers bytes, so the nodes of a true tree are fewer than its bytes.
        self._left = 2 * size + 1024

    def append(self, piece: bytes | memoryview) -> None:
        """Append one piece; `CorruptionError` when there is more than there can be."""
        self.spend(len(piece))
        super().append(piece)

    def spend(self, amount: int) -> None:
        """Count towards the bound."""
        self._left -= amount
        if self._left < 0:
            raise CorruptionError("a tree holds more than it should", code="state_damaged")


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
        parts = _Parts(self.root.length)
        try:
            self._gather(self.root.kind, self.root.place, parts)
            data = b"".join(parts)
        except (CorruptionError, ValueError, TypeError, IndexError, RecursionError, OverflowError):
            data = b""
        if digest_hex(data) != self.digest:
            for _ in self.stream():
                pass
            raise self._wrong_state()
        self._let_go()
        return data

    def _gather(self, kind: int, place: tuple[Segment, ...], parts: _Parts) -> None:
        """Append the bytes below one entry, unverified."""
        if kind == LEAF:
            parts.append(self.reader.unverified_chunk(place))
            return
        parts.spend(1)
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

    def pieces(self, entry: Entry, *, fetched: bool = False) -> Iterator[bytes | memoryview]:
        """The verified encoding of what an entry stands for, without its key."""
        if entry.kind == LEAF:
            yield self.reader.chunk(entry)
        elif entry.kind == INLINE:
            yield entry.payload
        else:
            node = self.reader.node(entry)
            if entry.kind == TREE:
                yield node.header()
            yield from self.content(node, fetched=fetched)

    def content(self, node: Node, *, fetched: bool = False) -> Iterator[bytes | memoryview]:
        """The verified encoding of all entries of a node; `fetched` when all below it has been read."""
        for entry in node.entries if fetched else self._ahead(node.entries, _WHOLE):
            if entry.key:
                yield entry.key
            yield from self.pieces(entry, fetched=fetched or entry.length <= AHEAD_BYTES)

    def value(self, entry: Entry) -> Any:
        """The decoded value of a LEAF root or TREE entry."""
        return values.decode(b"".join(self.pieces(entry)))

    def loaded(self, item: Any) -> Any:
        """An item as `items` gives it, as a plain value."""
        return self.value(item) if isinstance(item, Entry) else item

    # Parts ------------------------------------------------------------------------------------------------

    def items(self, root: Node, start: int, stop: int, *, whole: bool = False) -> Iterator[Any]:
        """Items `start` to `stop` of a list whose root is `root`; large ones as entries, others decoded.

        Reads only the chunks that hold them, and with `whole` what is below the large ones, all together.
        """
        chosen, first = self._level_zero(root, start, stop)
        for entry in self._ahead(chosen, _WHOLE if whole else _ITEMS):
            if entry.kind == TREE:
                yield entry
            else:
                yield from self._decoded(entry)[max(0, start - first) : stop - first]
            first += entry.count

    def all_items(self, entries: Sequence[Entry]) -> Iterator[Any]:
        """The items that level-0 entries of a list hold; large ones as entries, others decoded."""
        for entry in self._ahead(entries, _CHUNKS):
            if entry.kind == TREE:
                yield entry
            else:
                yield from self._decoded(entry)

    def _decoded(self, entry: Entry) -> list[Any]:
        return cast("list[Any]", values.decode(values.array_header(entry.count) + self.reader.chunk(entry)))

    def _decoded_pairs(self, entry: Entry) -> dict[Any, Any]:
        data = entry.payload if entry.kind == INLINE else self.reader.chunk(entry)
        return cast("dict[Any, Any]", values.decode(values.map_header(entry.count) + data))

    def _ahead(self, entries: Sequence[Entry], depth: int) -> Iterator[Entry]:
        """The entries one by one; what they need has been read, several at a time."""
        start = 0
        while start < len(entries):
            end, size = start + 1, entries[start].length
            while end < len(entries) and size + entries[end].length <= AHEAD_BYTES:
                size += entries[end].length
                end += 1
            batch = entries[start:end]
            if depth == _ITEMS:
                self.reader.load_nodes(batch)
            if size <= AHEAD_BYTES:
                self._fetch([entry for entry in batch if depth == _WHOLE or entry.kind == LEAF or _is_raw(entry)])
            yield from batch
            start = end

    def _fetch(self, entries: Sequence[Entry]) -> None:
        """Read everything below these entries: the nodes a level at a time, then all chunks together."""
        chunks: list[tuple[Segment, ...]] = []
        level = entries
        while level:
            self.reader.load_nodes(level)
            chunks += [entry.place for entry in level if entry.kind == LEAF]
            level = [child for entry in level if entry.node is not None for child in entry.node.entries]
        self.reader.load_frames(chunks)

    def _level_zero(self, root: Node, start: int, stop: int) -> tuple[list[Entry], int]:
        """The level-0 entries that hold items in [start, stop), and the index of the first item in the first of them."""
        root.entry.node = root
        level, position = [root.entry], 0
        while True:
            below: list[Entry] = []
            self.reader.load_nodes(level)
            first = start_of_below = position
            for entry in (entry for parent in level for entry in cast("Node", parent.node).entries):
                if first < stop and first + entry.count > start:
                    if not below:
                        start_of_below = first
                    below.append(entry)
                first += entry.count
            if not below or cast("Node", level[0].node).level == 0:
                return below, start_of_below
            level, position = below, start_of_below

    def pairs(self, root: Node, *, whole: bool = False) -> Iterator[tuple[Any, Any]]:
        """All pairs of a dict, in order; large values as entries.

        Args:
            root: of the dict.
            whole: whether the values are going to be looked at, not only the keys.
        """
        chosen, _ = self._level_zero(root, 0, root.count)
        return self.all_pairs(chosen, whole=whole)

    def all_pairs(self, entries: Sequence[Entry], *, whole: bool = False) -> Iterator[tuple[Any, Any]]:
        """The pairs that level-0 entries of a dict hold, as in `pairs`."""
        for entry in self._ahead(entries, _ITEMS if whole else _CHUNKS):
            if entry.kind == TREE:
                yield values.decode(entry.key), entry
            else:
                yield from self._decoded_pairs(entry).items()

    def find(self, root: Node, key: Any, near: Entry | None = None) -> tuple[Any, Entry | None]:
        """Look a key up in a dict: `KeyError` when it is not there.

        Args:
            root: of the dict.
            key: the key.
            near: the chunk of an earlier find. It is looked at first: whoever goes through all keys then decodes each
                chunk once per key, and not all chunks before it too.

        Returns:
            The value, an entry when it is large, and the chunk to pass to the next find.
        """
        if near is not None:
            pairs = self._decoded_pairs(near)
            if key in pairs:
                return pairs[key], near
        chosen, _ = self._level_zero(root, 0, root.count)
        for entry in chosen:
            if entry.kind == TREE and values.decode(entry.key) == key:
                return entry, near
        for entry in self._ahead([entry for entry in chosen if entry.kind != TREE], _CHUNKS):
            pairs = self._decoded_pairs(entry)
            if key in pairs:
                return pairs[key], entry
        raise KeyError(key)


def _is_raw(entry: Entry) -> bool:
    """Whether an entry is a tree that is known to be no container: a text, for example."""
    return entry.node is not None and entry.node.kind not in (LIST, MAP)
