"""Packs: many chunks and tree nodes in one immutable object.

Purpose: the byte layout of a pack. In order: 8 bytes of magic; zstd frames (chunk segments, then nodes);
the meta frame (the last nodes, the manifest, the directory); a 48-byte trailer.

Promises: a pack is readable without its register: the directory names the manifest, the root and every
pack that the root needs (recent ones by a short name). No frame decompresses to more than `MAX_FRAME_BYTES`,
whatever its bytes say.

Does not: cut, deduplicate or move bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from snapstore.digest import BytesLike, digest
from snapstore.errors import CorruptionError
from snapstore.format import frames, values
from snapstore.format.node import Segment, segments
from snapstore.format.register import PackRef

__all__ = [
    "FRAME_BYTES",
    "MAGIC",
    "MAX_FRAME_BYTES",
    "TRAILER_BYTES",
    "Directory",
    "Near",
    "Trailer",
    "compress_frame",
    "decompress_frame",
    "seal",
]

MAGIC: Final = b"SNAPPCK1"
_END: Final = b"1KPS"
TRAILER_BYTES: Final = 48
"""Meta frame offset (8 bytes) and size (4), BLAKE3 of all bytes before the digest (32), end magic (4)."""

_LEVELS: Final = ((1024 * 1024, 9), (64 * 1024 * 1024, 3), (2**63, 1))
"""Up to so many bytes of one save, this level of zstd: 90, 350 and 460 MB/s on agents' text."""

FRAME_BYTES: Final = 256 * 1024
"""A chunk frame is closed once it holds this much. Alone, 4 KB chunks take 1.4 to 3 times the bytes."""

NEAR_ORDINALS: Final = 750
"""A pack so many saves back in its lineage is in the first page (1,000 names) of its run's listing, unless other
branches of the run are longer than a quarter of it; then finding it takes one more round trip."""

MAX_FRAME_BYTES: Final = 2 * 1024 * 1024
"""The largest decompressed frame: a full frame, one chunk over, and the largest directory fit well below."""


def compress_frame(data: BytesLike, saved_bytes: int = 0, prefix: BytesLike = b"") -> bytes:
    """One frame of a pack.

    Args:
        data: its content.
        saved_bytes: what the save has stored so far, which decides the level: most saves are small and stay for good,
            so 4 % fewer bytes are worth a millisecond; a large one has to be fast. Readers see no difference.
        prefix: the part of a chunk that stands before `data`, when the frame holds the rest of a growing chunk.
    """
    level = next(level for limit, level in _LEVELS if saved_bytes <= limit)
    return frames.compress(data, level, prefix=prefix)


def decompress_frame(data: BytesLike, prefix: BytesLike = b"") -> bytes:
    """The content of one frame of a pack; `CorruptionError` for anything else."""
    return frames.decompress(data, MAX_FRAME_BYTES, "pack frame", prefix=prefix)


def seal(body: bytearray, meta_offset: int, meta_size: int) -> None:
    """Append the trailer to a finished body (magic, frames); `meta_size` 0 when there is no meta frame."""
    body += meta_offset.to_bytes(8) + meta_size.to_bytes(4)
    body += digest(body)
    body += _END


@dataclass(frozen=True, slots=True)
class Trailer:
    """The end of a pack: where its meta frame lies, and the digest of all that stands before."""

    meta_offset: int
    meta_size: int
    digest: bytes

    @classmethod
    def decode(cls, tail: bytes | memoryview) -> Trailer:
        """Read the trailer from the last bytes of a pack."""
        end = bytes(tail[-TRAILER_BYTES:])
        if len(end) != TRAILER_BYTES or not end.endswith(_END):
            raise CorruptionError("pack has no trailer: it is truncated or no pack", code="pack_damaged")
        return cls(int.from_bytes(end[:8]), int.from_bytes(end[8:12]), end[12:44])


@dataclass(frozen=True, slots=True)
class Near:
    """A pack of the same run, named by the beginning of its transaction: the run's listing has the rest.

    A directory would else be mostly names, and nobody reads it without having listed the run.

    Attributes:
        ordinal: its number in the lineage.
        txid8: the first 8 hex digits of its transaction.
        start: where the bytes that the root needs begin, inclusive.
        end: where they end, exclusive.
    """

    ordinal: int
    txid8: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directory:
    """What the meta frame says of its pack.

    Attributes:
        ordinal: the number of this pack in its lineage.
        manifest: the manifest's canonical bytes.
        root: the segments of the root chunk or root node, places resolved.
        far: other packs that the root needs, by ordinal, with their whole names.
        near: other packs that the root needs, from the same run and about as new.
    """

    ordinal: int
    manifest: bytes
    root: tuple[Segment, ...]
    far: Mapping[int, PackRef]
    near: tuple[Near, ...] = ()

    @classmethod
    def of(
        cls, ordinal: int, manifest: bytes, root: tuple[Segment, ...], closure: Mapping[int, PackRef], folder: str
    ) -> Directory:
        """A directory for a pack in `folder` that lists `closure`, by short names where the listing will have them."""
        short = {o for o, ref in closure.items() if ref.folder == folder and ordinal - o < NEAR_ORDINALS}
        near = tuple(Near(o, closure[o].name[-32:-24], closure[o].start, closure[o].end) for o in sorted(short))
        far = {o: ref for o, ref in closure.items() if o not in short}
        return cls(ordinal, manifest, root, far, near)

    def encode(self, nodes: bytes | bytearray) -> bytes:
        """The content of the meta frame: nodes, manifest, directory, length of the directory (4 bytes)."""
        far: dict[str, list[list[Any]]] = {}
        for ref in self.far.values():
            far.setdefault(ref.folder, []).append([ref.ordinal, ref.name, ref.size, ref.start, ref.end])
        near = [[one.ordinal, bytes.fromhex(one.txid8), one.start, one.end] for one in self.near]
        flat = [number for segment in self.root for number in segment]
        directory = values.encode([1, self.ordinal, len(nodes), len(self.manifest), flat, far, near])
        return b"".join((nodes, self.manifest, directory, len(directory).to_bytes(4)))

    @classmethod
    def decode(cls, meta: bytes, offset: int, size: int) -> Directory:
        """Read a decompressed meta frame.

        Args:
            meta: the frame's content.
            offset: where the compressed frame begins in its pack.
            size: bytes of the compressed frame.
        """
        length = int.from_bytes(meta[-4:])
        if not 0 < length <= len(meta) - 4:
            raise CorruptionError("pack directory has an impossible length", code="pack_damaged")
        decoded = values.decode(meta[-4 - length : -4])
        try:
            version, ordinal, manifest_at, manifest_size, flat, folders, short = decoded
            if version != 1:
                raise ValueError(f"directory version {version}")
            root = segments(flat, (ordinal, offset, size, 0, 0))
            far = {row[0]: PackRef(row[0], folder, *row[1:]) for folder, rows in folders.items() for row in rows}
            near = tuple(Near(row[0], row[1].hex(), row[2], row[3]) for row in short)
            return cls(ordinal, meta[manifest_at : manifest_at + manifest_size], root, far, near)
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise CorruptionError(f"pack directory has a wrong shape: {error}", code="pack_damaged") from error
