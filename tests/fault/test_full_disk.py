"""A disk fills up in the middle of a save.

Goal: the save fails with a clear error, everything acknowledged before is whole, what failed is absent or whole, and
once there is room the same save succeeds.
Method: a real file system of a few megabytes, filled by real saves; once with whole states that fit into one pack and
once with a state of several packs, of which some are written before the disk is full.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snapstore

ROOM_KB = 4096
BALLAST_BYTES = 600_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A tmpfs of 4 MiB, half a megabyte of it taken by a file that can be removed."""
    with tempfile.TemporaryDirectory() as folder:
        options = f"size={ROOM_KB}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
        try:
            (Path(folder) / "ballast").write_bytes(bytes(BALLAST_BYTES))
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(archive: snapstore.Archive, size_bytes: int) -> tuple[dict[str, Any], str, Any]:
    """Save until the disk is full; returns what was acknowledged, and the id and state of the save that failed."""
    kept: dict[str, Any] = {}
    for number in range(10_000):
        id, state = f"s{number}", {"number": number, "blob": os.urandom(size_bytes)}
        try:
            archive.save(state, run="r", id=id)
        except snapstore.StorageError as error:
            failure = error
            break
        kept[id] = state
    assert (failure.code, failure.retryable) == ("storage_full", False)
    assert failure.hint
    return kept, id, state


@pytest.mark.parametrize("size_bytes", [300, 40_000])
def test_a_full_disk_loses_nothing_and_leaves_nothing_half(small_disk: Path, size_bytes: int) -> None:
    archive = snapstore.open(small_disk / "archive", create=True)
    kept, failed, state = fill(archive, size_bytes)
    assert kept
    later = snapstore.open(small_disk / "archive", read_only=True)
    for id, before in kept.items():
        assert later[id].state() == before
    half = later.get(failed)
    assert half is None or half.state() == state
    assert {one.id for one in later.log("r")} - {failed} == set(kept)

    (small_disk / "ballast").unlink()
    again = snapstore.open(small_disk / "archive")
    assert again.save(state, run="r", id=failed).state() == state
    assert again[failed].state() == state


def test_a_save_of_several_packs_that_does_not_fit_leaves_only_garbage(small_disk: Path) -> None:
    archive = snapstore.open(small_disk / "archive", create=True)
    first = archive.save({"plan": "small"}, run="r")
    with pytest.raises(snapstore.StorageError) as caught:
        archive.save({"blob": os.urandom(40_000_000)}, run="r", id="large", parent=first)
    assert caught.value.code == "storage_full"
    later = snapstore.open(small_disk / "archive")
    assert later.get("large") is None
    assert [one.id for one in later.log("r")] == [first.id]
    assert [row.id for row in later.list()] == [first.id]
    assert later[first.id].state() == {"plan": "small"}
