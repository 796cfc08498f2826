"""Frames come back whole or not at all, and never cost more than the caller allows.

Goal: damaged, truncated, hostile and foreign bytes give a CorruptionError before memory is spent.
Method: every cut and every single-bit change of a frame; frames of other writers made with the library itself.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import CorruptionError
from snapstore.format import frames

CONTENT = b'{"closure":{},"created_at":1700000000000}' * 20


@given(st.binary(max_size=3000), st.integers(1, 9))
def test_content_comes_back(content: bytes, level: int) -> None:
    frame = frames.compress(content, level)
    assert frames.decompress(frame, len(content)) == content
    assert frames.decompress(memoryview(frame), len(content)) == content


def test_every_cut_is_refused() -> None:
    frame = frames.compress(CONTENT)
    for length in range(len(frame)):
        with pytest.raises(CorruptionError):
            frames.decompress(frame[:length], len(CONTENT))


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=len)
def test_every_flipped_bit_is_refused_or_harmless(content: bytes) -> None:
    frame = bytearray(frames.compress(content))
    harmless = 0
    for bit in range(len(frame) * 8):
        frame[bit // 8] ^= 1 << bit % 8
        # One bit of the frame header is unused by RFC 8878, and tables have padding.
        with contextlib.suppress(CorruptionError):
            assert frames.decompress(bytes(frame), 1 << 20) == content
            harmless += 1
        frame[bit // 8] ^= 1 << bit % 8
    assert harmless < 4


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_a_frame(data: bytes) -> None:
    for candidate in (data, frames.MAGIC + data):
        try:
            content = frames.decompress(candidate, 1 << 16)
        except CorruptionError:
            continue
        assert len(content) <= 1 << 16


def test_the_declared_size_is_judged_before_anything_is_decompressed() -> None:
    bomb = frames.compress(bytes(64 << 20))
    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError, match="declares 67108864 bytes"):
            frames.decompress(bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def foreign(*, size: bool = True, checksum: bool = True) -> bytes:
    """Return a frame of another writer."""
    return zstandard.ZstdCompressor(write_content_size=size, write_checksum=checksum).compress(CONTENT)


def streamed() -> bytes:
    """Return a frame whose writer did not know the size beforehand."""
    writer = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return writer.compress(CONTENT) + writer.flush()


FOREIGN = {
    "no content size": foreign(size=False),
    "unknown size": streamed(),
    "no checksum": foreign(checksum=False),
    "two frames": frames.compress(CONTENT) * 2,
    "a byte behind": frames.compress(CONTENT) + b"\0",
    "a byte behind nothing": frames.compress(b"") + b"\0",
    "skippable": b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd",
    "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
    "json": CONTENT,
    "a huge window": frames.MAGIC + b"\xa4\xd8" + (1000).to_bytes(4, "little") + bytes(20),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_frames_of_another_kind_are_refused(name: str) -> None:
    with pytest.raises(CorruptionError) as caught:
        frames.decompress(FOREIGN[name], 1 << 20)
    assert caught.value.code == "frame_damaged"


def test_threads_do_not_share_contexts() -> None:
    contents = [bytes([index % 251]) * (1000 + index) for index in range(400)]
    with ThreadPoolExecutor(8) as pool:
        back = list(pool.map(lambda content: frames.decompress(frames.compress(content), 1 << 20), contents))
    assert back == contents
