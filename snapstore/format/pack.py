"""Packs: many chunks and tree nodes in one immutable object.

Purpose: the byte layout of a pack. In order: 8 bytes of magic; zstd frames (chunk segments, then nodes);
the meta frame (the last nodes, the manifest, the directory); a 48-byte trailer.

Promises: a pack is readable without its register: the directory names the manifest, the root and every
pack that the root needs. No frame decompresses to more than `MAX_FRAME_BYTES`, whatever its bytes say.

Does not: cut, deduplicate or move bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from snapstore.digest import digest
from snapstore.errors import CorruptionError
from snapstore.format import frames, values
from snapstore.format.node import SAME_FRAME, Segment
from snapstore.format.register import PackRef

__all__ = [
    "FRAME_BYTES",
    "MAGIC",
    "MAX_FRAME_BYTES",
    "TRAILER_BYTES",
    "Directory",
    "Trailer",
    "compress_frame",
    "decompress_frame",
    "seal",
]

MAGIC: Final = b"SNAPPCK1"
_END: Final = b"1KPS"
TRAILER_BYTES: Final = 48
"""Meta frame offset (8 bytes) and size (4), BLAKE3 of all bytes before the digest (32), end magic (4)."""

_DENSE_LEVEL: Final = 9

FRAME_BYTES: Final = 256 * 1024
"""A chunk frame is closed once it holds this much. Alone, 4 KB chunks take 1.4 to 3 times the bytes."""

MAX_FRAME_BYTES: Final = 2 * 1024 * 1024
"""The largest decompressed frame: a full frame, one chunk over, and the largest directory fit well below."""



def compress_frame(data: bytes | bytearray | memoryview, *, dense: bool) -> bytes:
    """One frame of a pack: `dense` trades time for 4 % fewer bytes. Readers see no difference."""
    return frames.compress(data, _DENSE_LEVEL if dense else frames.LEVEL)


def decompress_frame(data: bytes | memoryview) -> bytes:
    """The content of one frame of a pack; `CorruptionError` for anything else."""
    return frames.decompress(data, MAX_FRAME_BYTES, "pack frame")


def seal(body: bytearray, meta_offset: int, meta_size: int) -> bytes:
    """Append the trailer to a finished body (magic, frames); `meta_size` 0 when there is no meta frame."""
    body += meta_offset.to_bytes(8) + meta_size.to_bytes(4)
    body += digest(body)
    body += _END
    return bytes(body)


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
class Directory:
    """What the meta frame says of its pack.

    Attributes:
        ordinal: the number of this pack in its lineage.
        manifest: the manifest's canonical bytes.
        root: the segments of the root chunk or root node, places resolved.
        closure: every other pack that the root needs, by ordinal.
    """

    ordinal: int
    manifest: bytes
    root: tuple[Segment, ...]
    closure: Mapping[int, PackRef]

    def encode(self, nodes: bytes | bytearray) -> bytes:
        """The content of the meta frame: nodes, manifest, directory, length of the directory (4 bytes)."""
        folders: dict[str, list[list[Any]]] = {}
        for ref in self.closure.values():
            folders.setdefault(ref.folder, []).append([ref.ordinal, ref.name, ref.size, ref.start, ref.end])
        flat = [number for segment in self.root for number in segment]
        directory = values.encode([1, self.ordinal, len(nodes), len(self.manifest), flat, folders])
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
            version, ordinal, manifest_at, manifest_size, flat, folders = decoded
            if version != 1:
                raise ValueError(f"directory version {version}")
            root = []
            for start in range(0, len(flat), 5):
                segment = tuple(flat[start : start + 5])
                root.append((ordinal, offset, size, *segment[3:]) if segment[0] == SAME_FRAME else segment)
            closure = {row[0]: PackRef(row[0], folder, *row[1:]) for folder, rows in folders.items() for row in rows}
            return cls(ordinal, meta[manifest_at : manifest_at + manifest_size], tuple(root), closure)
        except (ValueError, TypeError, IndexError) as error:
            raise CorruptionError(f"pack directory has a wrong shape: {error}", code="pack_damaged") from error
