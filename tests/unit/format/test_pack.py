"""A pack can be read without its register, and says so itself when it is damaged.

Goal: the newest snapshot of a run is found from packs alone; a truncated or foreign object is never read as a pack.
Method: directories there and back, with near and far packs; trailers cut and damaged.
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.digest import digest
from snapstore.errors import CorruptionError
from snapstore.format import pack, values
from snapstore.format.node import SAME_FRAME
from snapstore.format.pack import MAGIC, MAX_FRAME_BYTES, TRAILER_BYTES, Directory, Near, Trailer
from snapstore.format.register import PackRef

RUN = "runs/a"
ROOT = ((7, 8, 90, 0, 40),)


def ref(ordinal: int, folder: str = RUN) -> PackRef:
    name = f"fffffffffffe-000000000001-000000000000-{ordinal:032x}" if folder.startswith("runs/") else f"ab{ordinal:030x}"
    return PackRef(ordinal, folder, name, 1000, 8, 900)


def there_and_back(directory: Directory, nodes: bytes = b"") -> Directory:
    return Directory.decode(directory.encode(nodes), 4000, 700)


# Directories ----------------------------------------------------------------------------------------------------------


def test_directories_come_back() -> None:
    directory = Directory(
        7, b'{"manifest":1}', ((7, 8, 90, 0, 40), (6, 8, 90, 1, 2)), {3: ref(3, "packs/ab"), 4: ref(4, "runs/b")}
    )
    assert there_and_back(directory) == directory
    assert there_and_back(directory, b"nodes" * 100) == directory


def test_a_root_in_the_meta_frame_is_found_where_that_lies() -> None:
    """The directory is written before its own frame is compressed: it cannot know the frame's place."""
    directory = Directory(7, b"m", ((SAME_FRAME, 0, 0, 5, 40),), {})
    assert there_and_back(directory).root == ((7, 4000, 700, 5, 40),)


def test_recent_packs_of_the_same_run_have_short_names() -> None:
    """Whoever reads a directory has the listing of the run: 8 digits of a name say which row of it."""
    closure = {1: ref(1), 700: ref(700), 800: ref(800, "packs/ab"), 900: ref(900, "runs/b")}
    directory = Directory.of(1000, b"m", ROOT, closure, RUN)
    assert directory.near == (Near(700, ref(700).name[-32:-24], 8, 900),)
    assert directory.far == {1: ref(1), 800: ref(800, "packs/ab"), 900: ref(900, "runs/b")}
    assert there_and_back(directory) == directory
    many = {n: ref(n) for n in range(1, 25)}
    near, far = (Directory.of(25, b"m", ROOT, many, folder).encode(b"") for folder in (RUN, "runs/z"))
    assert len(near) < 0.4 * len(far)


@pytest.mark.parametrize(
    "content",
    [
        [2, 1, 0, 0, [7, 8, 90, 0, 40], {}, []],
        [1, 1, 0, 0, [7, 8, 90, 0, 40], {}],
        [1, 1, 0, 0, [7, 8, 90], {}, []],
        [1, 1, 0, 0, [], {}, []],
        [1, 1, 0, 0, None, {}, []],
        [1, 1, 0, 0, [7, 8, 90, 0, 40], [], []],
        [1, 1, 0, 0, [7, 8, 90, 0, 40], {"runs/a": [[1, "x", 2]]}, []],
        [1, 1, 0, 0, [7, 8, 90, 0, 40], {}, [[1, None, 2, 3]]],
        [1, 1, "0", 0, [7, 8, 90, 0, 40], {}, []],
        7,
    ],
    ids=repr,
)
def test_a_directory_of_a_wrong_shape_is_a_corruption(content: object) -> None:
    data = values.encode(content)
    with pytest.raises(CorruptionError):
        Directory.decode(data + len(data).to_bytes(4), 8, 100)


@pytest.mark.parametrize("meta", [b"", b"\x00", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"abc\x00\x00\x00\x09"])
def test_a_directory_of_an_impossible_length_is_a_corruption(meta: bytes) -> None:
    with pytest.raises(CorruptionError) as caught:
        Directory.decode(meta, 8, 100)
    assert caught.value.code == "pack_damaged"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_directory_or_a_corruption(data: bytes) -> None:
    with contextlib.suppress(CorruptionError):
        Directory.decode(data + len(data).to_bytes(4), 8, 100)


# Trailers -------------------------------------------------------------------------------------------------------------


def sealed(content: bytes = b"frames", meta_offset: int = 8, meta_size: int = 6) -> bytes:
    body = bytearray(MAGIC + content)
    pack.seal(body, meta_offset, meta_size)
    return bytes(body)


def test_a_trailer_says_where_the_meta_frame_lies_and_what_stands_before() -> None:
    data = sealed()
    assert Trailer.decode(data) == Trailer.decode(data[-TRAILER_BYTES:]) == Trailer(8, 6, digest(data[:-36]))
    assert len(data) == len(MAGIC) + 6 + TRAILER_BYTES


def test_a_pack_that_is_cut_off_has_no_trailer() -> None:
    data = sealed(b"x" * 100)
    for end in range(len(data)):
        with pytest.raises(CorruptionError) as caught:
            Trailer.decode(data[:end])
        assert caught.value.code == "pack_damaged"


# Frames ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved_bytes", [0, 2_000_000, 100_000_000])
@pytest.mark.parametrize("size", [0, 1, 3000, 300_000])
def test_frames_come_back_at_every_level(saved_bytes: int, size: int) -> None:
    data = b"some words that repeat " * (size // 20 + 1)
    frame = pack.compress_frame(data[:size], saved_bytes)
    assert pack.decompress_frame(frame) == data[:size]


def test_a_piece_of_a_chunk_needs_what_stands_before_it() -> None:
    """Compressed against the beginning of its chunk, a message takes what is new in it."""
    before = bytes(range(256)) * 20
    piece = before[300:900]
    frame = pack.compress_frame(piece, 0, before)
    assert len(frame) < 60
    assert pack.decompress_frame(frame, before) == piece
    with pytest.raises(CorruptionError):
        pack.decompress_frame(frame, before[::-1])
    with pytest.raises(CorruptionError):
        pack.decompress_frame(frame)


def test_a_frame_has_a_limit() -> None:
    assert len(pack.decompress_frame(pack.compress_frame(bytes(MAX_FRAME_BYTES)))) == MAX_FRAME_BYTES
    with pytest.raises(CorruptionError):
        pack.decompress_frame(pack.compress_frame(bytes(MAX_FRAME_BYTES + 1)))
