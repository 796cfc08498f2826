"""What goes into packs comes out again, from anywhere in them, and nothing that is damaged does.

Goal: the two sides of the pack format agree; a read asks for what it needs and no more; memory stays bounded.
Method: chunks and nodes through a builder into a metered storage in memory and back through a reader.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from unittest import mock

import pytest

from snapstore.digest import digest
from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format.node import LEAF, LIST, TREE, Entry, Node
from snapstore.format.pack import FRAME_BYTES, MAGIC, TRAILER_BYTES, Trailer
from snapstore.format.register import PackRef
from snapstore.packs import builder as builders
from snapstore.packs import reader as readers
from snapstore.packs.builder import Finished, PackBuilder
from snapstore.packs.reader import TAIL_BYTES, PackReader, read_tail
from snapstore.packs.uploads import Uploads
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.meter import Meter

MAIN = f"runs/a/fffffffffffe-000000000001-000000000000-{'0' * 32}"


def chunks(count: int, size: int = 6000, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(size) for _ in range(count)]


def leaf(data: bytes) -> Entry:
    return Entry(LEAF, digest(data), len(data), 1)


class Written:
    """Chunks in a pack (or several), with one node above them, and what it takes to read them."""

    def __init__(self, parts: Iterable[bytes], manifest: bytes = b"{}") -> None:
        self.parts = list(parts)
        self.meter = Meter(MemoryStorage())
        uploads = Uploads(self.meter)
        packs = PackBuilder(1, uploads.add)
        self.leaves = [leaf(data) for data in self.parts]
        for entry, data in zip(self.leaves, self.parts, strict=True):
            packs.add(entry, data)
        root = Node(LIST, 0, self.leaves)
        packs.add_nodes(root)
        uploads.finish()
        self.root = root.as_item()
        self.done: Finished = packs.finish(manifest, self.root, lambda: uploads.packs, "runs/a")
        self.meter.put(MAIN, self.done.body)
        folder, _, name = MAIN.rpartition("/")
        size = len(self.done.body)
        self.closure = {**uploads.packs, self.done.ordinal: PackRef(self.done.ordinal, folder, name, size, 8, size)}
        self.meter.reset()

    def reader(self) -> PackReader:
        return PackReader(self.meter, self.closure)

    def damage(self, key: str, position: int) -> None:
        data = bytearray(self.meter.inner.get(key).data)
        data[position] ^= 4
        self.meter.inner.put(key, bytes(data))


# Packs ----------------------------------------------------------------------------------------------------------------


def test_chunks_and_nodes_come_back_in_any_order() -> None:
    written = Written(chunks(100))
    reader = written.reader()
    for number in (99, 0, 50, 51, 50):
        assert reader.chunk(written.leaves[number]) == written.parts[number]
    found = reader.node(Entry(TREE, written.root.digest, written.root.length, 1, place=written.root.place))
    assert [entry.place for entry in found.entries] == [entry.place for entry in written.leaves]


def test_a_pack_is_magic_frames_and_a_trailer() -> None:
    written = Written(chunks(100), b'{"manifest":"here"}')
    body = bytes(written.done.body)
    assert body.startswith(MAGIC)
    trailer = Trailer.decode(body)
    assert trailer.digest == digest(body[: -TRAILER_BYTES + 12])
    assert (trailer.meta_offset, trailer.meta_size) == (written.done.meta_offset, written.done.meta_size)
    tail = read_tail(written.meter, MAIN, len(body))
    assert tail.directory.manifest == b'{"manifest":"here"}'
    assert tail.directory.root == written.root.place
    assert tail.data == body[tail.start :]


def test_chunks_are_compressed_together() -> None:
    """Alone, small chunks of text take 1.4 to 3 times the bytes."""
    text = [f"message {n}: the quick brown fox jumps over the lazy dog and is not seen again".encode() for n in range(500)]
    assert len(Written(text).done.body) < 0.6 * len(b"".join(text))
    frames = {(place[1], place[2]) for entry in Written(chunks(100)).leaves for place in entry.place}
    assert len(frames) == -(-100 * 6000 // FRAME_BYTES)


def test_a_large_save_goes_to_further_packs_which_hold_chunks_only() -> None:
    with mock.patch.object(builders, "PACK_BYTES", 500_000):
        written = Written(chunks(400))
    assert len(written.closure) > 3
    reader = written.reader()
    assert [bytes(reader.chunk(entry)) for entry in written.leaves] == written.parts
    for ordinal, ref in written.closure.items():
        if ordinal != written.done.ordinal:
            data = written.meter.inner.get(ref.key).data
            assert Trailer.decode(data).meta_size == 0
            assert 500_000 <= len(data) < 500_000 + 2 * FRAME_BYTES
            with pytest.raises(CorruptionError):
                read_tail(written.meter, ref.key, ref.size)


def test_growth_is_compressed_against_the_beginning_of_its_chunk() -> None:
    first, more = chunks(1)[0], chunks(1)[0][1000:2000] + b"new"
    storage = MemoryStorage()
    packs = PackBuilder(1, lambda *_: None)
    old = leaf(first)
    packs.add(old, first)
    storage.put("runs/a/1", packs.finish(b"", old, dict).body)
    grown = leaf(first + more)
    later = PackBuilder(2, lambda *_: None)
    later.add_growth(grown, first + more, old)
    done = later.finish(b"", grown, dict)
    storage.put("runs/a/2", done.body)
    assert len(done.body) < 250  # the thousand repeated bytes cost a reference
    assert len(grown.place) == 2
    closure = {n: PackRef(n, "runs/a", str(n), len(storage.get(f"runs/a/{n}").data), 0, 1) for n in (1, 2)}
    for held in (False, True):
        reader = PackReader(storage, closure)
        if held:
            for ref in closure.values():
                reader.hold(ref.ordinal, 0, storage.get(ref.key).data)
        assert reader.chunk(grown) == first + more
        assert reader.chunk(old) == first


# Requests -------------------------------------------------------------------------------------------------------------


def test_frames_of_one_pack_are_one_request() -> None:
    written = Written(chunks(400))
    reader = written.reader()
    reader.load_frames(written.leaves[number].place for number in (0, 100, 399, 101))
    assert written.meter.snapshot().requests == {"get_ranges": 1}
    assert written.meter.reset().bytes_read < 0.5 * len(written.done.body)
    for number in (0, 100, 399, 101):
        assert reader.chunk(written.leaves[number]) == written.parts[number]
    reader.load_frames([written.leaves[0].place])
    assert written.meter.reset().total == 0


def test_a_pack_is_read_in_part_when_under_half_of_it_is_needed() -> None:
    written = Written(chunks(400))
    (ref,) = written.closure.values()
    for start, end, verb in ((0, ref.size, "get"), (ref.size // 2, ref.size, "get"), (ref.size // 2 + 9, ref.size, "get_ranges")):
        needed = PackRef(1, ref.folder, ref.name, ref.size, start, end)
        reader = PackReader(written.meter, {1: needed})
        assert reader.needed_bytes == end - start
        reader.load_packs()
        usage = written.meter.reset()
        assert usage.requests == {verb: 1}
        assert usage.bytes_read == (ref.size if verb == "get" else end - start)
        assert reader.chunk(written.leaves[-1]) == written.parts[-1]
        reader.load_packs()
        assert written.meter.reset().total == 0


def test_what_is_not_held_is_read_when_it_is_wanted() -> None:
    written = Written(chunks(400))
    (ref,) = written.closure.values()
    reader = written.reader()
    reader.hold(1, ref.size - 100_000, bytes(written.done.body[-100_000:]))
    assert reader.chunk(written.leaves[-1]) == written.parts[-1]
    assert written.meter.reset().total == 0
    assert reader.chunk(written.leaves[0]) == written.parts[0]
    assert written.meter.reset().requests == {"get_ranges": 1}


def test_packs_are_taken_over_only_from_the_same_closure() -> None:
    """Ordinals are numbers within a lineage: pack 1 of another lineage is another pack."""
    written, other = Written(chunks(3)), Written(chunks(3, seed=1))
    holder = written.reader()
    holder.load_packs()
    same, foreign = written.reader(), PackReader(other.meter, {1: PackRef(1, "runs/b", *_rest(other.closure[1]))})
    same.take(holder)
    foreign.take(holder)
    written.meter.reset()
    assert same.chunk(written.leaves[0]) == written.parts[0]
    assert written.meter.reset().total == 0
    other.meter.inner.put(foreign.closure[1].key, other.done.body)
    assert foreign.chunk(other.leaves[0]) == other.parts[0]


def _rest(ref: PackRef) -> tuple[str, int, int, int]:
    return ref.name, ref.size, ref.start, ref.end


def test_decompressed_frames_are_kept_up_to_a_limit() -> None:
    written = Written(chunks(400))
    with mock.patch.object(readers, "FRAME_CACHE_BYTES", 600_000):
        reader = written.reader()
        for entry, data in zip(written.leaves, written.parts, strict=True):
            assert reader.chunk(entry) == data
        assert written.meter.reset().total == -(-400 * 6000 // FRAME_BYTES)  # in order, each frame once
        assert reader.chunk(written.leaves[-1]) == written.parts[-1]
        assert written.meter.reset().total == 0
        assert reader.chunk(written.leaves[0]) == written.parts[0]
        assert written.meter.reset().total == 1  # the oldest had to go


def test_the_end_of_a_pack_with_a_large_directory_takes_one_more_request() -> None:
    written = Written(chunks(3), manifest=random.Random(1).randbytes(2 * TAIL_BYTES))
    tail = read_tail(written.meter, MAIN, len(written.done.body))
    assert len(tail.directory.manifest) == 2 * TAIL_BYTES
    assert written.meter.reset().requests == {"get_ranges": 2}


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_no_flipped_bit_goes_unnoticed(held: bool) -> None:
    written = Written(chunks(4, 500))
    size = len(written.done.body)
    for position in range(8, written.done.meta_offset, 7):
        written.damage(MAIN, position)
        reader = written.reader()
        if held:
            reader.load_packs()
        with pytest.raises(CorruptionError):
            list(map(reader.chunk, written.leaves))
        written.damage(MAIN, position)
    assert written.reader().chunk(written.leaves[0]) == written.parts[0]
    assert len(written.meter.inner.get(MAIN).data) == size


def test_a_truncated_pack_is_a_corruption() -> None:
    written = Written(chunks(40))
    written.meter.inner.put(MAIN, written.done.body[:-1])
    with pytest.raises(CorruptionError) as caught:
        written.reader().load_packs()
    assert caught.value.code == "pack_damaged"
    with pytest.raises(CorruptionError):
        read_tail(written.meter, MAIN, len(written.done.body))
    written.meter.inner.put(MAIN, written.done.body[:1000])
    with pytest.raises(CorruptionError):
        written.reader().chunk(written.leaves[-1])


def test_a_missing_pack_is_named() -> None:
    written = Written(chunks(3))
    written.meter.inner.delete_many([MAIN])
    for read in (PackReader.load_packs, lambda reader: reader.chunk(written.leaves[0])):
        with pytest.raises(NotFoundError) as caught:
            read(written.reader())
        assert (caught.value.code, caught.value.context["key"]) == ("pack_missing", MAIN)


def test_places_that_lead_nowhere_are_a_corruption() -> None:
    written = Written(chunks(3))
    entry = written.leaves[0]
    ordinal, offset, size, inner, length = entry.place[0]
    for place in (
        ((ordinal + 1, offset, size, inner, length),),
        ((ordinal, offset, size, inner, length + 10**9),),
        ((ordinal, offset + 1, size, inner, length),),
        ((ordinal, offset, size + 10**9, inner, length),),
        ((ordinal, offset, size, inner + 1, length),),
        ((ordinal, offset, size, inner, length - 1),),
        (entry.place[0], entry.place[0]),
        (),
    ):
        for held in (False, True):
            reader = written.reader()
            if held:
                reader.load_packs()
            with pytest.raises(CorruptionError):
                reader.chunk(Entry(LEAF, entry.digest, entry.length, 1, place=place))


def test_a_node_that_says_other_than_its_parent_is_a_corruption() -> None:
    """The digest of a node does not cover what its parent says of its length: the parent's digest does."""
    written = Written(chunks(3))
    for length, kind in ((written.root.length + 1, TREE), (written.root.length, LEAF + 1)):
        wrong = Entry(kind, written.root.digest, length, 1, place=written.root.place)
        with pytest.raises(CorruptionError) as caught:
            written.reader().node(wrong)
        assert caught.value.code == "node_damaged"
    with pytest.raises(CorruptionError):
        written.reader().node(Entry(TREE, written.root.digest, written.root.length, 1, place=written.root.place * 2))
