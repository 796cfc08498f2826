"""A segment whose bytes have changed gives right rows or an error, and never wrong ones.

Goal: lists, tables and queries notice damage wherever it is: in pages, in their headers, in the footer. Flipped bits came out as
other names, times and metadata before.
Method: one segment with everything in it; a bit is flipped at many places, or the object is cut or replaced; each reading starts
cold. On a local disk DuckDB reads the pages itself and looks at no checksums, so only what it cannot decode is asked for there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import snapstore
from snapstore.errors import CorruptionError
from snapstore.index import Index, segments
from snapstore.index.rows import from_table
from snapstore.storage.memory import MemoryStorage
from tests.unit.archives import World

ROWS = 120


def filled(archive: snapstore.Archive) -> str:
    """Save, fold, and return the key of the only segment."""
    for number in range(ROWS):
        archive.save(
            {"n": number},
            run=f"run-{number % 7}",
            graph=f"graph-{number % 3}",
            id=f"snapshot-{number}",
            node=f"node-{number % 4}" if number % 5 else None,
            metadata={"text": f"value {number}", "count": number, "list": [number]},
        )
    archive.index.compact()
    (key,) = archive.index.files()
    return key


READINGS: dict[str, Callable[[Index], list[Any]]] = {
    "list": lambda index: [*index.rows()],
    "table": lambda index: sorted(from_table(pa.Table.from_batches(index.table().batches())), key=lambda row: row.id),
    "query": lambda index: [*index.query("SELECT * FROM snapshots ORDER BY id").rows()],
}


def outcome(storage: MemoryStorage, name: str, expected: list[Any]) -> str:
    """What a reading says; fails when it says anything wrong."""
    code = None
    try:
        found = READINGS[name](Index(storage))
    except CorruptionError as error:
        code = error.code
    if code is None:
        assert found == expected
        return "right"
    assert code == "segment_damaged"
    return "damaged"


@pytest.mark.parametrize("whole", [True, False], ids=["fetched-whole", "in-parts"])
@pytest.mark.parametrize(("name", "flips"), [("list", 500), ("table", 300), pytest.param("query", 60, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_noticed_wherever_it_is(monkeypatch: pytest.MonkeyPatch, name: str, flips: int, whole: bool) -> None:
    monkeypatch.setattr(segments, "WHOLE_BYTES", 10**6 if whole else 0)
    world = World()
    key = filled(world.archive)
    good = world.memory.get(key).data
    expected = READINGS[name](Index(world.memory))
    rng = random.Random(flips)
    found = []
    for _ in range(flips):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        world.memory.put(key, bytes(bad))
        found.append(outcome(world.memory, name, expected))
    assert found.count("damaged") > flips * 0.8  # what engines of others want to know lies between pages and footer


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize(
    "damage",
    [lambda good: good[: len(good) // 2], lambda good: b"junk" * 50, lambda good: good[:-8] + b"x" * 8, lambda _: b""],
    ids=["half", "junk", "tail", "empty"],
)
def test_what_is_no_segment_any_more_is_noticed(name: str, damage: Callable[[bytes], bytes]) -> None:
    world = World()
    key = filled(world.archive)
    expected = READINGS[name](Index(world.memory))
    world.memory.put(key, damage(world.memory.get(key).data))
    assert outcome(world.memory, name, expected) == "damaged"
    Index(world.memory).rebuild()
    assert outcome(world.memory, name, expected) == "right"


def test_a_run_is_shown_from_its_registers_beside_a_damaged_segment() -> None:
    world = World()
    key = filled(world.archive)
    for number in range(100):
        world.archive.save({"n": number}, run="long", graph="graph-0", id=f"long-{number}")
    world.memory.put(key, b"junk")
    assert [snapshot.id for snapshot in world.cold().log("long")] == [f"long-{number}" for number in reversed(range(100))]


@pytest.mark.parametrize("place", ["footer", "pages"])
def test_a_query_on_a_local_disk_notices_damaged_footers_and_what_cannot_be_decoded(tmp_path: Path, place: str) -> None:
    with snapstore.open(tmp_path / "runs", create=True, durability="os", index_after=None) as archive:
        path = tmp_path / "runs" / filled(archive)
        bad = bytearray(path.read_bytes())
        if place == "footer":
            bad[-200] ^= 1
        else:
            bad[4:2000] = b"\xff" * 1996
        path.write_bytes(bad)
        with pytest.raises(CorruptionError) as caught:
            list(archive.query("SELECT * FROM snapshots").rows())
        assert caught.value.code == "segment_damaged"
