"""A state is written to a file as it was saved, in the form that was asked for, without being held in memory.

Goal: `restore --to FILE` of a state larger than memory works, and a damaged one never leaves a file that looks whole.
Method: every format on states of every shape; the memory of a process of its own, which writes a large one.
"""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from snapstore.errors import CorruptionError, InvalidInputError, NotFoundError
from snapstore.format import values
from snapstore.history import tree
from snapstore.snapshot import Snapshot
from tests.unit.archives import World, conversation, noise

LONG = noise(random.Random(1), 100_000)


def stored(state: Any) -> Snapshot:
    world = World()
    saved = world.archive.save(state, run="r")
    return world.cold()[saved.id]


def written(snap: Snapshot, **options: Any) -> bytes:
    """What `write_to` writes; the number it returns must be that of the bytes."""
    file = io.BytesIO()
    assert snap.write_to(file, **options) == len(file.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    "state", [{}, {"step": 1}, conversation(300), [1, 2], "text", LONG, LONG.encode(), 7, (1, {2})], ids=repr
)
def test_msgpack_is_the_encoding_of_the_state(state: Any) -> None:
    assert written(stored(state)) == values.encode(state)


def test_msgpack_of_a_state_that_is_streamed() -> None:
    """Above 64 MiB the packs are not held but read piece by piece: the limit is lowered here."""
    state = conversation(3000)
    with mock.patch.multiple(tree, HOLD_BYTES=1000, AHEAD_BYTES=50_000):
        snap = stored(state)
        assert written(snap) == values.encode(state)
        assert snap.state() == state


def test_msgpack_of_a_part() -> None:
    state = {**conversation(300), "text": LONG, "none": None}
    snap = stored(state)
    assert written(snap, path=["messages"]) == values.encode(state["messages"])
    assert written(snap, path=("messages", 5)) == values.encode(state["messages"][5])
    assert written(snap, path=["messages", -1, "content"]) == values.encode(state["messages"][-1]["content"])
    assert written(snap, path=["text"]) == values.encode(LONG)
    assert written(snap, path=["none"]) == values.encode(None)


def test_json_is_one_document() -> None:
    state = {**conversation(300), "text": LONG, "é": [None, True, 1.5]}
    snap = stored(state)
    assert json.loads(written(snap, format="json")) == state
    assert json.loads(written(snap, format="json", path=["messages", 2])) == state["messages"][2]
    assert json.loads(written(snap, format="json", path=["text"])) == LONG
    assert json.loads(written(snap, format="json", path=["messages"])) == state["messages"]
    assert "é".encode() in written(snap, format="json")


@pytest.mark.parametrize("state", [{"a": b"raw"}, {"a": math.nan}, {"a": {1, 2}}, {("b"): [math.inf]}, {b"k": 1}])
def test_json_refuses_what_it_cannot_hold(state: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        written(stored(state), format="json")
    assert caught.value.code == "not_json"
    assert "msgpack" in str(caught.value.hint)


def test_raw_is_the_text_or_the_bytes_themselves() -> None:
    snap = stored({"text": LONG, "data": LONG.encode() * 3, "short": "é", "bytes": b"\0", "list": [1], "many": [LONG] * 2})
    assert written(snap, path=["text"], format="raw") == LONG.encode()
    assert written(snap, path=["data"], format="raw") == LONG.encode() * 3
    assert written(snap, path=["short"], format="raw") == "é".encode()
    assert written(snap, path=["bytes"], format="raw") == b"\0"
    assert written(snap, path=["many", 1], format="raw") == LONG.encode()
    assert written(stored("plain"), format="raw") == b"plain"
    assert written(stored(LONG), format="raw") == LONG.encode()
    for path in ((), ("list",), ("many",)):
        with pytest.raises(InvalidInputError) as caught:
            written(snap, path=path, format="raw")
        assert caught.value.code == "not_raw"


def test_an_unknown_format_writes_nothing() -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidInputError) as caught:
        stored({"a": 1}).write_to(file, format="yaml")  # type: ignore[arg-type]
    assert (caught.value.code, file.getvalue()) == ("unknown_format", b"")


@pytest.mark.parametrize("path", [["nothing"], ["messages", 10**6], ["messages", "x"], ["cost", 0], ["agent", "x"], [3]], ids=str)
def test_a_path_that_is_not_there(path: list[Any]) -> None:
    file = io.BytesIO()
    with pytest.raises(NotFoundError) as caught:
        stored(conversation(300)).write_to(file, path=path)
    assert (caught.value.code, file.getvalue()) == ("path_not_found", b"")


def test_a_damaged_state_is_never_written_whole() -> None:
    """The last piece is held back until the whole has been proved, so that a reader of the file cannot take it for whole."""
    world = World()
    state = conversation(3000)
    saved = world.archive.save(state, run="r")
    (key,) = world.keys("runs/")
    data = bytearray(world.memory.get(key).data)
    data[len(data) // 2] ^= 1
    world.memory.put(key, bytes(data))
    file = io.BytesIO()
    with pytest.raises(CorruptionError):
        world.cold()[saved.id].write_to(file)
    encoded = values.encode(state)
    assert len(file.getvalue()) < len(encoded)
    assert encoded.startswith(file.getvalue())  # nothing wrong was written either


def test_a_digest_that_lies_is_found_out() -> None:
    """Chunks may all be right and yet not be the state: the register's digest of the whole has the last word."""
    snap = stored(conversation(3000))
    snap.tree.digest = "0" * 64
    file = io.BytesIO()
    for read in (lambda: snap.write_to(file), snap.state):
        with pytest.raises(CorruptionError) as caught:
            read()
        assert caught.value.code == "state_damaged"
    assert len(file.getvalue()) < snap.size_bytes


MEASURE = """
    import os, resource, sys
    import snapstore

    def peak_mb():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    archive = snapstore.open(sys.argv[1], create=True, durability="os")
    if sys.argv[2] == "save":
        archive.save({"blob": os.urandom(150_000_000), "note": "x"}, run="r", id="big")
    else:
        before = peak_mb()
        with open(os.devnull, "wb") as file:
            assert archive["big"].write_to(file, path=["blob"], format="raw") == 150_000_000
            assert archive["big"].write_to(file) > 150_000_000
        print(peak_mb() - before)
"""


def test_a_large_value_is_streamed_in_bounded_memory(tmp_path: Path) -> None:
    """150 MB in two packs and some: written to a file with less than half of it in memory at any time."""
    script = tmp_path / "measure.py"
    script.write_text(textwrap.dedent(MEASURE))

    def run(what: str) -> str:
        command = [sys.executable, str(script), str(tmp_path / "runs"), what]
        root = str(Path(__file__).parents[2])
        return subprocess.run(command, check=True, capture_output=True, text=True, env={"PYTHONPATH": root}).stdout

    run("save")
    assert int(run("restore")) < 75
