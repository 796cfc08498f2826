"""The one door to BLAKE3: the digest that names every chunk, node, manifest and state.

The digest is BLAKE3-256 without a key. Measured on one core: 1.9 GB/s on 4 KiB pieces, 6.8 GB/s on 64 MiB.
More threads are never asked for: building a pool costs 50 µs a call, which is 20 times the hashing of a 4 KiB chunk.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import blake3

# Anything with contiguous bytes. Spelled out because `collections.abc.Buffer` needs Python 3.12.
BytesLike: TypeAlias = "bytes | bytearray | memoryview"

DIGEST_BYTES = 32
DIGEST_HEX_CHARS = 2 * DIGEST_BYTES


class Hasher(Protocol):
    """An incremental BLAKE3 computation."""

    def update(self, data: BytesLike, /) -> object:
        """Add bytes at the end of the hashed input."""
        ...

    def digest(self) -> bytes:
        """Return the 32 digest bytes of everything added so far; more can be added afterwards."""
        ...

    def hexdigest(self) -> str:
        """Return the digest as 64 lowercase hex digits."""
        ...


def digest(data: BytesLike) -> bytes:
    """Return the 32-byte BLAKE3 digest of `data`."""
    return blake3.blake3(data).digest()


def digest_hex(data: BytesLike) -> str:
    """Return the BLAKE3 digest of `data` as 64 lowercase hex digits."""
    return blake3.blake3(data).hexdigest()


def hasher() -> Hasher:
    """Return a new incremental hasher, for input that arrives in pieces."""
    return blake3.blake3()
