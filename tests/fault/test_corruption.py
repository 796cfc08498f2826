"""Bits flip and objects get cut short, in every kind of object and at every place that matters.

Goal: whoever reads a damaged archive gets a `SnapstoreError` or the right data; never wrong data, never another exception,
never a hang, and never more memory than an undamaged archive takes.
Method: one archive with everything in it: small and large snapshots, growing chunks, merged packs, several parents, forks,
rewritten and deleted ones. Everything that can be read of it is written down once. Then each of its objects is read
damaged, in many ways, and everything is read again.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.errors import CorruptionError, FormatError, SnapstoreError
from snapstore.format.frames import MAGIC as FRAME_MAGIC
from snapstore.format.pack import TRAILER_BYTES, Trailer, compress_frame, decompress_frame
from snapstore.opening import open_on
from snapstore.snapshot import Snapshot
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Corrupt, flip, truncate
from tests.fault.witness import copied, empty, messages, same

Damage = Callable[[bytes], bytes]


@functools.cache
def pristine() -> MemoryStorage:
    """The archive that gets damaged."""
    storage = empty()
    archive = open_on(storage)
    run = archive.run("r", graph="g")
    state: dict[str, Any] = {"log": messages(40), "text": "a long text, " * 900, "step": 0}
    for number in range(13):
        state["log"] = [*state["log"], *messages(2, seed=number + 1)]
        state["step"] = number
        run.save(state, id=f"s{number}")
    archive.save({"tiny": 1}, run="t", graph="g", id="tiny", metadata={"a": 1})
    archive.save({"tiny": 2}, run="t", graph="g", id="tiny")
    archive.save({"joined": True}, run="t", graph="h", id="joined", parent=["tiny", "s3"])
    archive.fork("s5", run="f", new_id="forked", patch={"step": "x"})
    archive.fork("s6", run="f", new_id="shared")
    archive.save({"gone": 1}, run="t", id="gone")
    archive.delete("gone")
    archive.save(["i" * 200] * 50, run="long " + "name" * 60, graph="long " + "graph" * 50, id="long " + "id" * 100)
    return storage


SHOWN = ["s0", "s7", "s11", "s12", "tiny", "joined", "forked", "shared", "gone", "long " + "id" * 100]


def looks(archive: Archive) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Everything that one can ask of the archive, by name."""
    for id in SHOWN:
        yield f"state of {id:.10}", partial(_state, archive, id)
    yield "end of the log", lambda: archive["s12"]["log"][-3:]
    yield "a message", lambda: archive["s11"]["log"][5]["content"]
    yield "text", lambda: archive["s12"]["text"]
    yield "keys", lambda: list(archive["s7"])
    for run in ("r", "t", "f", "long " + "name" * 60):
        yield f"log of {run:.10}", partial(_ids, archive.log, run)
        yield f"leaves of {run:.10}", partial(_ids, archive.leaves, run)
        yield f"latest of {run:.10}", partial(_latest, archive, run)
    yield "list", lambda: [(row.id, row.status, dict(row.metadata)) for row in archive.list()]
    yield "list of a graph", lambda: [row.id for row in archive.list(graph="g")]
    yield "first of a graph", lambda: [row.id for row in archive.list(graph="g", limit=3)]
    yield "diff", lambda: [(str(one), one.old, one.new) for one in archive.diff("s11", "s12")]


def _state(archive: Archive, id: str) -> Any:
    found = archive.get(id)
    return found and found.state()


def _ids(walk: Callable[[str], list[Snapshot]], run: str) -> list[str]:
    return [snapshot.id for snapshot in walk(run)]


def _latest(archive: Archive, run: str) -> Any:
    found = archive.latest(run)
    return found and (found.id, found.state())


@functools.cache
def truth() -> dict[str, Any]:
    """What is read of the undamaged archive."""
    return {name: look() for name, look in looks(open_on(pristine()))}


def check_damaged(pattern: str, damage: Damage) -> int:
    """Read everything with the objects of a pattern damaged; returns how many of the readings failed."""
    failed = 0
    try:
        archive = open_on(Corrupt(pristine(), pattern, damage))
    except SnapstoreError:
        return 1
    for name, look in looks(archive):
        try:
            found = look()
        except SnapstoreError:
            failed += 1
        else:
            assert same(found, truth()[name]), f"the {name} is wrong"
    return failed


def keys(pattern: str) -> list[str]:
    """The keys of the archive that match a regular expression."""
    return [row.key for row in pristine().list("") if re.match(pattern, row.key)]


def bits(key: str, count: int, places: list[int] = []) -> list[int]:  # noqa: B006 - never changed
    """Bits of an object to flip: one in each of these bytes, and so many drawn ones."""
    size = len(pristine().get(key).data)
    drawn = random.Random(key)
    chosen = {8 * place + drawn.randrange(8) for place in places if 0 <= place < size}
    return sorted(chosen | {drawn.randrange(8 * size) for _ in range(count if size else 0)})


def instead(data: bytes) -> Damage:
    """Damage: other bytes altogether."""
    return lambda _: data


def frames(pack: bytes) -> list[int]:
    """Where the frames of a pack begin: the magic number of zstd, which the compressed bytes hold nowhere else by chance."""
    return [match.start() for match in re.finditer(re.escape(FRAME_MAGIC), pack)]


def test_the_archive_has_everything_in_it() -> None:
    archive = open_on(pristine())
    assert truth()["log of r"] == [f"s{number}" for number in range(12, -1, -1)]
    assert truth()["state of gone"] is None
    grown = [len(entry.place) for entry in _leaves(archive["s9"])]
    assert max(grown) > 2, "a chunk that grew"
    assert len(archive["s12"].register.closure) < len(archive["s9"].register.closure), "a merge"
    assert archive["tiny"].register.prevs
    assert any(not pristine().get(key).data for key in keys("runs/")), "a marker of a further parent"


def _leaves(snapshot: Any) -> Iterator[Any]:
    tree = snapshot.tree
    tree.reader.load_tree(tree.root)
    level = [tree.root]
    while level:
        yield from (entry for entry in level if entry.kind == 0)
        level = [entry for above in level if above.node is not None for entry in above.node.entries]


@pytest.mark.parametrize("key", ["snapstore.json", keys("probes/")[0]])
def test_a_damaged_config_or_probe_record(key: str) -> None:
    size = len(pristine().get(key).data)
    # Without a readable record the storage is probed again, which takes a tenth of a second.
    step = 2 if key == "snapstore.json" else 40
    for bit in bits(key, 0, list(range(0, size, step))):
        check_damaged_open(key, flip(bit))
    for length in range(0, size, 4 * step):
        check_damaged_open(key, truncate(length))


def check_damaged_open(key: str, damage: Damage) -> None:
    """Open with one object damaged, and read a little."""
    try:
        archive = open_on(Corrupt(copied(pristine()), key, damage))
        found = archive["tiny"].state()
    except SnapstoreError:
        assert key == "snapstore.json"
    else:
        assert found == {"tiny": 2}


@pytest.mark.parametrize("id", ["s12", "tiny", "gone", "joined"])
def test_a_damaged_register(id: str) -> None:
    key = next(key for key in keys("snapshots/") if key.endswith(f"/{id}"))
    size = len(pristine().get(key).data)
    failed = [check_damaged(key, flip(bit)) for bit in bits(key, 6, [0, 3, 4, 5, 6, 7, size - 5, size - 1])]
    failed += [check_damaged(key, truncate(length)) for length in (0, 1, 4, 9, size // 2, size - 5, size - 1)]
    # One bit of the header of a zstd frame has no meaning, and a decoder passes over it.
    assert failed.count(0) <= 1, "flipped bits are noticed"


@pytest.mark.parametrize("id", ["s0", "s12", "tiny", "joined", "forked", "shared", "gone"])
def test_a_damaged_pack(id: str) -> None:
    archive = open_on(pristine())
    pack_keys = keys("runs/") if id == "gone" else [archive[id].register.closure[archive[id].register.manifest.pack].key]  # type: ignore[union-attr]
    for key in pack_keys[:1]:
        data = pristine().get(key).data
        trailer = Trailer.decode(data)
        start = len(data) - TRAILER_BYTES
        places = [0, 7, start, start + 7, start + 8, start + 11, start + 12, len(data) - 1, trailer.meta_offset]
        for offset in frames(data):
            places += [offset, offset + 3, offset + 4, offset + 5, offset + 6, offset + 12, offset - 1, offset - 4]
        for bit in bits(key, 5, places):
            check_damaged(key, flip(bit))
        for length in (0, 1, 8, 20, trailer.meta_offset, start - 1, start, start + 20, len(data) - 1):
            check_damaged(key, truncate(length))


@pytest.mark.parametrize("position", range(0, 13, 3))
def test_a_damaged_pack_in_the_middle_of_a_chain(position: int) -> None:
    key = sorted(keys("runs/r/"))[position]
    data = pristine().get(key).data
    for offset in frames(data):
        for place in (offset, offset + 4, offset + 8):
            check_damaged(key, flip(8 * place + position % 8))
    for length in (0, len(data) // 2, len(data) - TRAILER_BYTES):
        check_damaged(key, truncate(length))


def test_a_damaged_change_marker() -> None:
    """Markers are empty: what counts is their name. One with something in it is still one."""
    for damage in (lambda _: b"\0", lambda _: b"x" * 1000):
        assert check_damaged("changes/*", damage) == 0


def test_a_damaged_marker_of_a_further_parent() -> None:
    key = next(key for key in keys("runs/") if not pristine().get(key).data)
    for damage in (lambda _: b"\0", lambda _: b"x" * 100):
        check_damaged(key, damage)


def test_objects_that_took_each_other_s_place() -> None:
    """Whole, valid objects under wrong names: a careless copy, or a server that mixes up answers."""
    for kind in ("snapshots/", "runs/r/"):
        chosen = sorted(keys(kind))
        for key, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
            check_damaged(key, instead(pristine().get(other).data))


def test_all_packs_damaged_at_once() -> None:
    for bit in (0, 8 * 60 + 3, 8 * 300 + 1):
        check_damaged("runs/*", flip(bit))
    assert check_damaged("runs/*", truncate(-1)) > 5
    assert check_damaged("*", truncate(0)) == 1


def test_damage_that_passes_the_checksum_of_its_frame() -> None:
    """The checksum of zstd has 32 bits and no secret: what is behind it is verified once more, by BLAKE3."""
    drawn = random.Random(5)
    tried = failed = 0
    for key in sorted(keys("runs/"))[::2]:
        data = pristine().get(key).data
        for start, end in itertools.pairwise([*frames(data), len(data) - TRAILER_BYTES]):
            try:
                content = decompress_frame(data[start:end])
            except CorruptionError:
                continue  # the rest of a grown chunk, which needs the beginning as its dictionary
            for _ in range(12):
                place = drawn.randrange(len(content))
                other = content[:place] + bytes([drawn.randrange(256)]) + content[place + 1 :]
                frame = compress_frame(other)
                if len(frame) == end - start and other != content:
                    tried += 1
                    failed += check_damaged(key, instead(data[:start] + frame + data[end:])) > 0
    assert tried > 10
    assert failed > tried // 4  # the rest hit what only walks use, or nobody


# Hostile bytes --------------------------------------------------------------------------------------------------------


def bomb(size: int, content: int, *, declared: int | None = None) -> bytes:
    """A zstd frame of exactly `size` bytes that unpacks to about `content` zeros, made of run-length blocks.

    Args:
        size: of the frame.
        content: what it unpacks to, at most 128 KiB for each 4 bytes of the frame.
        declared: the content size it states; the true one when None.
    """
    blocks = bytearray()
    left, room = content, size - 4 - 1 - 8 - 4
    while left:
        run = min(left, 128 * 1024)
        left -= run
        blocks += ((run << 3) | (1 << 1)).to_bytes(3, "little") + b"\0"
    # What is left over is filled with one block of raw bytes, which is the last.
    raw = room - len(blocks) - 3
    assert 0 <= raw <= 128 * 1024, "the bomb does not fit"
    blocks += ((raw << 3) | 1).to_bytes(3, "little") + bytes(raw)
    stated = (content + raw if declared is None else declared).to_bytes(8, "little")
    return FRAME_MAGIC + bytes([0b1110_0100]) + stated + bytes(blocks) + bytes(4)


@pytest.mark.parametrize("declared", [None, 5, 100_000, 2**62], ids=["honest", "small", "middle", "absurd"])
def test_a_frame_that_unpacks_to_a_gigabyte_costs_nothing(declared: int | None) -> None:
    archive = open_on(pristine())
    register = archive["s12"].register
    assert register.manifest is not None
    pack = register.closure[register.manifest.pack]
    data = pristine().get(pack.key).data
    bounds = [*frames(data), len(data) - TRAILER_BYTES]
    start, end = max(itertools.pairwise(bounds), key=lambda both: both[1] - both[0])
    content = (end - start - 40) // 4 * 128 * 1024
    frame = bomb(end - start, content, declared=declared)
    assert content > 20_000_000  # ten times the largest frame there may be

    def damage(whole: bytes) -> bytes:
        return whole[:start] + frame + whole[end:]

    truth()
    tracemalloc.start()
    try:
        assert check_damaged(pack.key, damage) > 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("declared", [None, 5, 100_000, 2**62], ids=["honest", "small", "middle", "absurd"])
def test_a_register_that_unpacks_to_a_gigabyte_costs_nothing(declared: int | None) -> None:
    key = next(key for key in keys("snapshots/") if key.endswith("/s12"))
    frame = bomb(40_000, 1_000_000_000, declared=declared)
    truth()
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError):
            open_on(Corrupt(pristine(), key, lambda _: frame)).get("s12")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


# Newer archives -------------------------------------------------------------------------------------------------------


def test_an_archive_of_a_newer_format_is_refused_with_a_hint() -> None:
    for version in (2, 99):
        config = pristine().get("snapstore.json").data.replace(b'"format":1', b'"format":%d' % version)
        with pytest.raises(FormatError) as caught:
            open_on(Corrupt(pristine(), "snapstore.json", instead(config)))
        assert caught.value.code == "newer_format"
        assert caught.value.hint is not None
        assert "upgrade" in caught.value.hint


def test_an_archive_with_an_unknown_feature_is_refused_as_far_as_needed() -> None:
    def with_feature(kind: bytes) -> Corrupt:
        return Corrupt(
            pristine(),
            "snapstore.json",
            lambda data: data.replace(b'"%s":[]' % kind, b'"%s":["holograms"]' % kind),
        )

    for kind in (b"read", b"write"):
        with pytest.raises(FormatError) as caught:
            open_on(with_feature(kind)).save({}, run="r")
        assert caught.value.code == "unknown_feature"
        assert "holograms" in str(caught.value)
    open_on(with_feature(b"gc")).get("s12")
