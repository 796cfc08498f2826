"""Promises of the README that hold for an archive as a whole, and that no test of a part can show.

Goal: an incomplete snapshot is refused before a byte is written; nothing is known to a change marker alone, so that whatever
is derived from markers can be thrown away; an archive that nobody uses asks its storage for nothing.
Method: an archive in memory from which objects are taken away, and one behind a meter that is left alone for a while.
"""

from __future__ import annotations

import io
import random
import time
from pathlib import Path

import pytest

import snapstore
from snapstore import Archive
from snapstore.opening import open_on
from snapstore.storage import MemoryStorage, Meter, Usage
from tests.e2e.shell import Shell

# Above the size up to which an archive fetches all packs when a snapshot is opened: these are read while they are written out.
LARGE_BYTES = 20_000_000

IDLE_S = 0.5
"""Longer than any time a request of an archive takes on a storage in memory."""


def grown(archive: Archive, piece_bytes: int) -> str:
    """Save a run of three snapshots, each of which needs what the ones before it stored; return the id of the last."""
    chance = random.Random(1)
    run = archive.run("r", graph="g")
    state = {}
    for number in range(3):
        state[f"piece {number}"] = chance.randbytes(piece_bytes)
        run.save(state, id=f"s{number}")
    return "s2"


@pytest.mark.parametrize("piece_bytes", [50_000, LARGE_BYTES])
def test_an_incomplete_snapshot_is_refused_before_a_byte_is_written(piece_bytes: int) -> None:
    storage = MemoryStorage()
    last = grown(open_on(storage, create=True), piece_bytes)
    packs = [info.key for prefix in ("runs/", "packs/") for info in storage.list(prefix)]
    assert len(packs) >= 3
    for key in packs:
        kept = storage.get(key).data
        storage.delete_many([key])
        file = io.BytesIO()
        with pytest.raises(snapstore.NotFoundError):
            open_on(storage)[last].write_to(file)
        assert file.tell() == 0, f"without {key}"
        storage.put(key, kept)
    assert open_on(storage)[last].write_to(io.BytesIO()) > 3 * piece_bytes


def test_an_incomplete_snapshot_leaves_no_file(tmp_path: Path) -> None:
    with snapstore.open(tmp_path / "archive", create=True) as archive:
        last = grown(archive, 50_000)
    oldest = max((tmp_path / "archive" / "runs" / "r").iterdir(), key=lambda path: path.name)
    oldest.unlink()
    shell = Shell(tmp_path, str(tmp_path / "archive"))
    done = shell("restore", last, "--to", "state.json", "--format", "msgpack", ok=False)
    assert done.code == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_nothing_is_known_to_change_markers_alone() -> None:
    storage = MemoryStorage()
    archive = open_on(storage, create=True)
    grown(archive, 1_000)
    archive.fork("s1", run="other", new_id="fork", patch={"more": 1})
    archive.delete("s2")

    def known() -> object:
        again = open_on(storage)
        ids = [one.id for run in ("r", "other") for one in again.log(run)]
        return (
            ids,
            [again[id].state() for id in ids],
            [again.leaves(run) for run in ("r", "other")],
            [again.latest(run) for run in ("r", "other")],
            [list(again.list(run=run)) for run in ("r", "other")],
            again.get("s2"),
        )

    before = known()
    markers = [info.key for info in storage.list("changes/")]
    assert len(markers) >= 4
    storage.delete_many(markers)
    assert known() == before


def test_an_idle_archive_asks_for_nothing() -> None:
    meter = Meter(MemoryStorage())
    archive = open_on(meter, create=True)
    grown(archive, 1_000)
    watching = archive.watch(run="r")
    next(watching)
    meter.reset()
    time.sleep(IDLE_S)
    assert meter.reset() == Usage()
    next(archive.watch(run="r"))
    assert meter.reset().total > 0, "the meter counts what is asked for"
