"""What is saved: the long session of the shared data folder, states of a given size, values of a gigabyte."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ormsgpack

from benchmarks.measure import ROOT

# The real histories lie beside the checkout where they are given at all; they are never part of the project.
LONG_SESSION = ROOT.parent / "shared" / "data" / "long_session.py"

Record = dict[str, Any]


def session_absent() -> str | None:
    """Return why the long session cannot be made here, or None."""
    return None if LONG_SESSION.exists() else "no ../shared/data/long_session.py beside the checkout"


def session_lines(count: int, seed: int = 1) -> list[bytes]:
    """Return the records of the long synthetic session, one JSON line each, without line ends."""
    command = [sys.executable, str(LONG_SESSION), "--records", str(count), "--seed", str(seed)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()


def session(count: int, seed: int = 1) -> list[Record]:
    """Return the records of the long session where its data is there, of similar made-up ones otherwise."""
    if session_absent() is None:
        return [json.loads(line) for line in session_lines(count, seed)]
    return made_up(count, seed)


def made_up(count: int, seed: int = 1) -> list[Record]:
    """Return records of about the same sizes and compressibility, made of invented words."""
    rng = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 11))) for _ in range(4000)]
    records = []
    for number in range(count):
        size = int(min(200_000, rng.lognormvariate(6.95, 1.6)))  # median 1 kB, as measured on real sessions
        text = " ".join(rng.choices(words, k=size // 7 + 1))
        records.append({"id": f"{rng.getrandbits(128):032x}", "role": ("user", "assistant", "tool")[number % 3], "content": text})
    return records


def state_of(size_bytes: int, seed: int = 1) -> dict[str, Any]:
    """Return a state whose MessagePack encoding has about this many bytes, at most one record more."""
    messages: list[Record] = []
    filled, block = 0, 0
    while filled < size_bytes:
        # 1,200 records are about 5 MB; each block has a seed of its own, so that none repeats.
        for record in session(1200, seed * 1000 + block):
            messages.append(record)
            filled += len(ormsgpack.packb(record))
            if filled >= size_bytes:
                break
        block += 1
    return {"messages": messages, "plan": {"goal": "settle the ticket", "step": 1}, "cost": 0.0}


def small_record(size_bytes: int, number: int) -> Record:
    """Return one record with this many bytes of text, different for each number."""
    pool = " ".join(json.dumps(record) for record in made_up(20, seed=number + 1))
    text = (pool * (size_bytes // len(pool) + 1))[:size_bytes]
    return {"id": f"appended-{number}", "role": "assistant", "content": text}


def write_value(path: Path, size_bytes: int, kind: str) -> None:
    """Write a file of text like a log of an agent's messages, or of bytes that cannot be compressed.

    Args:
        path: The file to make.
        size_bytes: Its exact size.
        kind: `"text"` or `"random"`.
    """
    left = size_bytes
    with path.open("wb") as file:
        for block in _text_blocks() if kind == "text" else _random_blocks():
            file.write(block[:left])
            left -= min(left, len(block))
            if not left:
                return


def _random_blocks() -> Iterator[bytes]:
    rng = random.Random(7)
    while True:
        yield rng.randbytes(1 << 20)


def _text_blocks() -> Iterator[bytes]:
    """Yield megabytes of pieces of records with marks between them, so that no two chunks are alike."""
    rng = random.Random(7)
    pool = "\n".join(json.dumps(record, ensure_ascii=False) for record in session(2000)).encode()
    while True:
        parts = []
        for _ in range(1024):
            start = rng.randrange(len(pool) - 1024)
            parts.append(pool[start : start + 1000] + b" [%016x]\n" % rng.getrandbits(64))
        yield b"".join(parts)
