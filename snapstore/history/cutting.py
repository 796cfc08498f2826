"""Where sequences are cut: items into chunks, bytes into chunks, entries into nodes.

All three are content-defined: a boundary depends on what stands around it, never on a position, so an
insertion moves nothing but itself. SPEC.md (Chunking) is normative, with test vectors.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from pyfastcdc import FastCDC

from snapstore.config import (
    CHUNK_CLOSE_BYTES,
    CHUNK_MEAN_BYTES,
    CHUNK_MIN_BYTES,
    NODE_MAX_ENTRIES,
    NODE_MIN_ENTRIES,
)
from snapstore.format.node import INLINE, Entry

__all__ = ["BIG_BYTES", "closes_chunk", "cut_bytes", "group_entries"]

BIG_BYTES = 64 * 1024 * 1024
"""A value larger than this is cut into larger chunks: its list of chunks would otherwise outweigh its edits."""


def closes_chunk(item: bytes, chunk_bytes: int) -> bool:
    """Whether a chunk ends after `item`, being `chunk_bytes` long with it."""
    if chunk_bytes >= CHUNK_CLOSE_BYTES:
        return True
    return chunk_bytes >= CHUNK_MIN_BYTES and zlib.crc32(item) * CHUNK_MEAN_BYTES < len(item) << 32


def cut_bytes(data: memoryview, whole_bytes: int) -> Iterator[memoryview]:
    """Cut raw bytes with FastCDC 2020 (normalised level 1, seed 0).

    Args:
        data: the bytes from a chunk boundary on.
        whole_bytes: the size of the whole value, which decides the chunk sizes.
    """
    if whole_bytes > BIG_BYTES:
        chunker = FastCDC(64 * 1024, min_size=16 * 1024, max_size=256 * 1024, normalized_chunking=1, seed=0)
    else:
        chunker = FastCDC(8 * 1024, min_size=2 * 1024, max_size=32 * 1024, normalized_chunking=1, seed=0)
    for chunk in chunker.cut_buf(data):
        yield data[chunk.offset : chunk.offset + chunk.length]


def group_entries(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Group the entries of one level into nodes."""
    start = 0
    for index, entry in enumerate(entries):
        count = index + 1 - start
        closed = count >= NODE_MIN_ENTRIES and entry.kind != INLINE and entry.digest[0] < 64
        if closed or count == NODE_MAX_ENTRIES:
            yield entries[start : index + 1]
            start = index + 1
    if start < len(entries):
        yield entries[start:]
