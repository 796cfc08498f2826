"""Cuts a state into a tree as SPEC.md says, with nothing of the code that it is compared with.

Slow, plain, and written from the text alone: FastCDC byte by byte, nodes through another MessagePack library. Only the
encoding of values is ours, which has tests of its own.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import blake3
import msgpack  # type: ignore[import-untyped]

from snapstore.format import values

GEAR = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8]) for byte in range(256)]
SMALL = (2048, 8192, 32768, 0x0000D90313530000, 0x0000D90103530000)
LARGE = (16384, 65536, 262144, 0x0000D90703537000, 0x0000D90F03530000)
ALL_BITS = (1 << 64) - 1

LIST, MAP, TEXT, BYTES, OPAQUE = range(5)
LEAF, NODE, TREE, INLINE = range(4)


@dataclass(frozen=True)
class Entry:
    """An entry of a node: its row, what it covers with its key, and its items."""

    row: tuple[Any, ...]
    span: int
    count: int


@dataclass(frozen=True)
class Tree:
    """A value that has become a tree: the digest of its root node and the length of its encoding."""

    digest: bytes
    length: int
    first_digests: tuple[bytes, ...]
    """The digests of the first entries of the level-0 nodes; empty for an inline one."""


def blake(data: bytes) -> bytes:
    return blake3.blake3(data).digest()


def cut_ends(data: bytes, parameters: tuple[int, int, int, int, int]) -> list[int]:
    """Return where the chunks of raw bytes end."""
    minimum, mean, maximum, short_mask, long_mask = parameters
    ends: list[int] = []
    start = 0
    while start < len(data):
        left = len(data) - start
        start += left if left <= minimum else _chunk(data[start : start + maximum], minimum, mean, (short_mask, long_mask))
        ends.append(start)
    return ends


def _chunk(data: bytes, minimum: int, mean: int, masks: tuple[int, int]) -> int:
    n, h = len(data), 0
    for p in range(minimum, n - 1, 2):
        mask = masks[0] if p + 1 < min(mean, n) else masks[1]
        h = (4 * h + 2 * GEAR[data[p]]) & ALL_BITS
        if not h & (2 * mask & ALL_BITS):
            return p
        h = (h + GEAR[data[p + 1]]) & ALL_BITS
        if not h & mask:
            return p + 1
    return n


def chunks_of_items(items: Iterable[bytes | Tree]) -> Iterator[list[bytes] | Tree]:
    """Group the items of a container into chunks; trees stand alone."""
    chunk: list[bytes] = []
    size = 0
    for item in items:
        if chunk and (isinstance(item, Tree) or size + len(item) > 32768):
            yield chunk
            chunk, size = [], 0
        if isinstance(item, Tree):
            yield item
            continue
        chunk.append(item)
        size += len(item)
        if size >= 16384 or (size >= 2048 and zlib.crc32(item) * 6144 < len(item) << 32):
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def grouped(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Group the entries of a level into nodes."""
    group: list[Entry] = []
    for entry in entries:
        group.append(entry)
        ends = len(group) >= 2 and entry.row[0] != INLINE and entry.row[1][0] < 0b01000000
        if ends or len(group) == 64:
            yield group
            group = []
    if group:
        yield group


def assembled(kind: int, entries: list[Entry], header: int) -> Tree:
    """Build the nodes of one value; `header` is the length of the value's header."""
    level = 0
    first: tuple[bytes, ...] = ()
    while True:
        groups = list(grouped(entries))
        if level == 0:
            first = tuple(b"" if group[0].row[0] == INLINE else group[0].row[1] for group in groups)
        nodes = []
        for group in groups:
            name = blake(msgpack.packb([kind, level, [entry.row for entry in group]]))
            length, count = sum(entry.span for entry in group), sum(entry.count for entry in group)
            nodes.append(Entry((NODE, name, length, count), length, count))
        if len(nodes) == 1:
            return Tree(nodes[0].row[1], header + nodes[0].span, first)
        entries, level = nodes, level + 1


def cut_raw(kind: int, data: bytes, header: int) -> Tree:
    """Cut a text, bytes or opaque value."""
    ends = cut_ends(data, LARGE if len(data) > 67108864 else SMALL)
    chunks = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return assembled(kind, [Entry((LEAF, blake(chunk), len(chunk), 0), len(chunk), 0) for chunk in chunks], header)


def cut(value: Any, limit: int = 1024) -> bytes | Tree:
    """Return a value's encoding if it is at most `limit` bytes, else its tree."""
    encoded = values.encode(value)
    if len(encoded) <= limit:
        return encoded
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        return cut_raw(TEXT if isinstance(value, str) else BYTES, content, len(encoded) - len(content))
    if not isinstance(value, list | dict):
        return cut_raw(OPAQUE, encoded, 0)
    entries = _list_entries(value) if isinstance(value, list) else _map_entries(value)
    tree = assembled(MAP if isinstance(value, dict) else LIST, entries, _header(len(value)))
    assert tree.length == len(encoded)
    return tree


def _header(count: int) -> int:
    return 1 if count < 16 else 3 if count < 65536 else 5


def _list_entries(value: list[Any]) -> list[Entry]:
    entries = []
    for chunk in chunks_of_items(cut(item, 32768) for item in value):
        if isinstance(chunk, Tree):
            entries.append(Entry((TREE, chunk.digest, chunk.length, b""), chunk.length, 1))
        else:
            data = b"".join(chunk)
            entries.append(Entry((LEAF, blake(data), len(data), len(chunk)), len(data), len(chunk)))
    return entries


def _map_entries(value: dict[Any, Any]) -> list[Entry]:
    limit = 1024 if len(value) <= 64 else 32768
    parts = [(values.encode_key(key, ()), cut(item, limit)) for key, item in value.items()]
    keys = iter([key for key, part in parts if isinstance(part, Tree)])
    entries = []
    for chunk in chunks_of_items(part if isinstance(part, Tree) else key + part for key, part in parts):
        if isinstance(chunk, Tree):
            key = next(keys)
            entries.append(Entry((TREE, chunk.digest, chunk.length, key), len(key) + chunk.length, 1))
            continue
        data = b"".join(chunk)
        row = (INLINE, data, len(chunk)) if len(data) <= 512 else (LEAF, blake(data), len(data), len(chunk))
        entries.append(Entry(row, len(data), len(chunk)))
    return entries
