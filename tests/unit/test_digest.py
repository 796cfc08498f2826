"""The digest is BLAKE3-256, whatever the bytes come in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snapstore import digest

# From the official test vectors: the input is the byte sequence 0, 1, 2, ... 250, 0, 1, ...
VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}


def test_it_is_blake3() -> None:
    for length, expected in VECTORS.items():
        data = bytes(i % 251 for i in range(length))
        assert digest.digest_hex(data) == expected
        assert digest.digest(data).hex() == expected
        assert len(digest.digest(data)) == digest.DIGEST_BYTES
        assert len(expected) == digest.DIGEST_HEX_CHARS


@given(st.binary(max_size=300), st.integers(0, 300))
def test_pieces_and_views_give_the_same(data: bytes, cut: int) -> None:
    hasher = digest.hasher()
    hasher.update(data[:cut])
    hasher.update(memoryview(data)[cut:])
    assert hasher.digest() == digest.digest(data) == digest.digest(bytearray(data)) == digest.digest(memoryview(data))
    assert hasher.hexdigest() == digest.digest_hex(data)
