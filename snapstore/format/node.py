"""Tree nodes: how the chunks of one state are listed, and where their bytes lie.

Purpose: encode and decode one node of the Merkle tree. A node lists entries in order; the concatenation of
what the entries stand for, behind the header of the node's kind, is the MessagePack encoding of one value.

Promises: a node's digest covers kinds, digests, lengths, counts and keys, never places, so bytes can be
moved between packs without changing any identity.

Does not: read storage, or decide where to cut (history does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from snapstore.digest import digest as blake3
from snapstore.errors import CorruptionError
from snapstore.format import values

__all__ = [
    "BYTES",
    "INLINE",
    "LEAF",
    "LIST",
    "MAP",
    "NODE",
    "OPAQUE",
    "SAME_FRAME",
    "TEXT",
    "TREE",
    "Entry",
    "Front",
    "Node",
    "Segment",
    "decode",
    "scan",
    "segments",
    "value_header",
]

LIST: Final = 0
MAP: Final = 1
TEXT: Final = 2
BYTES: Final = 3
OPAQUE: Final = 4
"""Node kinds. OPAQUE is any other large value: its MessagePack bytes are cut like raw bytes."""

LEAF: Final = 0
NODE: Final = 1
TREE: Final = 2
INLINE: Final = 3
"""Entry kinds: a chunk; a node one level below in the same sequence; one item that is a tree of its own; bytes here."""

SAME_FRAME: Final = 0
"""As a segment's ordinal: the bytes lie in the frame that holds this node."""

MAX_ENTRIES: Final = 4096
"""More entries than any writer makes (64); bounds what a damaged node can cost."""

Segment = tuple[int, int, int, int, int]
"""Where bytes lie: (pack ordinal, frame offset in the pack, frame size in bytes, offset in the decompressed frame, length)."""


class Entry:
    """One line of a node.

    Attributes:
        kind: LEAF, NODE, TREE or INLINE.
        digest: of the chunk or of the child node's identity; empty for INLINE.
        length: bytes of MessagePack this entry stands for, without `key`.
        count: items (LIST, MAP), 0 in nodes of the other kinds.
        key: the encoded key of a TREE entry in a MAP, else empty.
        payload: the bytes of an INLINE entry, else empty.
        place: segments whose concatenation is the chunk, or the one segment of the child node.
        node: the child node once it is loaded.
    """

    __slots__ = ("count", "digest", "key", "kind", "length", "node", "payload", "place")

    def __init__(
        self,
        kind: int,
        digest: bytes,
        length: int,
        count: int,
        *,
        key: bytes = b"",
        payload: bytes = b"",
        place: tuple[Segment, ...] = (),
        node: Node | None = None,
    ) -> None:
        self.kind = kind
        self.digest = digest
        self.length = length
        self.count = count
        self.key = key
        self.payload = payload
        self.place = place
        self.node = node

    @property
    def span(self) -> int:
        """Bytes that the entry covers in the encoding of its container: key and value."""
        return len(self.key) + self.length


class Front(NamedTuple):
    """In memory only: the level-0 entries below a root, and one digest for all of them but the last.

    Attributes:
        entries: every level-0 entry, the last one too.
        length: bytes that all but the last cover.
        digest: of those bytes.
    """

    entries: list[Entry]
    length: int
    digest: bytes


class Node:
    """One node: a kind, a level (0 lists chunks and items), and its entries.

    Attributes:
        length: bytes that the entries cover, without the container's header.
        count: items below this node.
        identity: the bytes whose digest names the node.
        usage, front: what writers remember of it; never stored.
        entry: the one `Entry` that refers to this node from above; TREE for the root of a value.
    """

    __slots__ = ("count", "digest", "entries", "entry", "front", "identity", "kind", "length", "level", "usage")

    def __init__(self, kind: int, level: int, entries: list[Entry], identity: bytes | None = None) -> None:
        self.kind = kind
        self.level = level
        self.entries = entries
        length = count = 0
        for entry in entries:
            length += entry.length + len(entry.key)
            count += entry.count
        self.length = length
        self.count = count
        self.identity = _identity(kind, level, entries) if identity is None else identity
        self.digest = blake3(self.identity)
        self.entry: Entry = Entry(NODE, self.digest, self.length, self.count, node=self)
        self.front: Front | None = None
        self.usage: dict[int, tuple[int, int, int]] | None = None

    def header(self) -> bytes:
        """The MessagePack header of the value whose root this node is."""
        return value_header(self.kind, self.count, self.length)

    def as_item(self, key: bytes = b"") -> Entry:
        """The TREE entry for this root as an item of another container."""
        return Entry(TREE, self.digest, len(self.header()) + self.length, 1, key=key, place=self.entry.place, node=self)

    def encode(self, locate: Callable[[Entry], tuple[Segment, ...]]) -> bytes:
        """The stored form: identity and places. `locate` gives an entry's final segments."""
        places = [[number for segment in locate(entry) for number in segment] for entry in self.entries]
        return values.encode([self.identity, places])

    def leaves(self) -> Iterator[Entry]:
        """The level-0 entries in order; every node of the sequence must be loaded."""
        if self.level == 0:
            yield from self.entries
            return
        for entry in self.entries:
            if entry.node is None:
                raise RuntimeError("a node of the sequence is not loaded")
            yield from entry.node.leaves()


def value_header(kind: int, count: int, length: int) -> bytes:
    """The MessagePack header of a value of a node kind with `count` items or `length` bytes."""
    if kind == LIST:
        return values.array_header(count)
    if kind == MAP:
        return values.map_header(count)
    if kind == TEXT:
        return values.text_header(length)
    return values.bytes_header(length) if kind == BYTES else b""


def scan(data: bytes | memoryview) -> tuple[int, list[list[Any]], list[list[int]]]:
    """Read a stored node without verifying it: its kind, its rows and their places, as they are stored.

    For readers of a whole state, whose digest proves everything at once; anything may be wrong in what is returned.
    """
    identity, places = values.decode(data)
    kind, _, rows = values.decode(identity)
    return kind, rows, places


def segments(flat: list[int], frame: Segment) -> tuple[Segment, ...]:
    """The segments of a stored place; `frame` is the segment that the node came from.

    Raises:
        ValueError: this is no place.
    """
    if len(flat) % 5 or not flat or min(flat) < 0:
        raise ValueError("impossible place")
    found: list[Segment] = []
    for start in range(0, len(flat), 5):
        ordinal, offset, size, inner, length = flat[start : start + 5]
        if ordinal == SAME_FRAME:
            ordinal, offset, size = frame[:3]
        found.append((ordinal, offset, size, inner, length))
    return tuple(found)


def decode(data: bytes | memoryview, digest: bytes, frame: Segment) -> Node:
    """Decode and verify one stored node.

    Args:
        data: the stored form.
        digest: the node's name.
        frame: the segment that `data` came from, to resolve SAME_FRAME places.

    Raises:
        CorruptionError: the bytes are not this node.
    """
    outer = values.decode(data)
    if not (isinstance(outer, list) and len(outer) == 2 and isinstance(outer[0], bytes)):
        raise _damaged("is not a pair of identity and places")
    identity, places = outer
    inner = values.decode(identity)
    try:
        kind, level, rows = inner
        if not (0 <= kind <= OPAQUE and 0 <= level < 64 and len(rows) == len(places) and 0 < len(rows) <= MAX_ENTRIES):
            raise ValueError("numbers out of range")
        node = Node(kind, level, [_entry(row, place, frame) for row, place in zip(rows, places, strict=True)], identity)
    except (ValueError, TypeError, IndexError) as error:
        raise _damaged(f"has a wrong shape: {error}") from error
    if node.digest != digest:
        raise _damaged(f"does not match its digest {digest.hex()}")
    return node


def _identity(kind: int, level: int, entries: list[Entry]) -> bytes:
    rows: list[list[Any]] = []
    for entry in entries:
        if entry.kind == INLINE:
            rows.append([INLINE, entry.payload, entry.count])
        elif entry.kind == TREE:
            rows.append([TREE, entry.digest, entry.length, entry.key])
        else:
            rows.append([entry.kind, entry.digest, entry.length, entry.count])
    return values.encode([kind, level, rows])


def _entry(row: list[Any], place: list[int], frame: Segment) -> Entry:
    kind = row[0]
    if kind == INLINE:
        return Entry(INLINE, b"", len(row[1]), row[2], payload=bytes(row[1]))
    where = segments(place, frame)
    if kind not in (LEAF, NODE, TREE) or type(row[1]) is not bytes or len(row[1]) != 32 or row[2] < 0:
        raise ValueError("unknown entry")
    if kind == TREE:
        return Entry(TREE, row[1], row[2], 1, key=bytes(row[3]), place=where)
    return Entry(kind, row[1], row[2], row[3], place=where)


def _damaged(what: str) -> CorruptionError:
    return CorruptionError(f"a tree node {what}", code="node_damaged")
