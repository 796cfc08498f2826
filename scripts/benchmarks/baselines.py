"""What snapstore is held against: the ways in which such states are kept otherwise."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ormsgpack
import zstandard

from benchmarks.measure import children_spending, folder_bytes, spending
from benchmarks.states import session_lines

# The level everybody's default is; the targets are in it.
ZSTD_LEVEL = 3


def git_absent() -> str | None:
    """Return why git cannot be compared with, or None."""
    return None if shutil.which("git") else "no git on the PATH"


def record_copies(records: int) -> dict[str, Any]:
    """Return the cost of the increments alone: each record encoded and compressed by itself, stored nowhere."""
    lines = session_lines(records)
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    stored = 0
    with spending() as spent:
        for line in lines:
            stored += len(compressor.compress(line))
    return {"bytes": stored, "cpu_s": spent.cpu_s}


def full_copies(records: int, every: int) -> dict[str, Any]:
    """Return the cost of one whole compressed MessagePack state per save.

    Args:
        records: Saves, one record more each.
        every: Encode and compress only each `every`-th state and count it as often: 10,000 whole states would be
            170 GB of work.
    """
    import json

    messages: list[Any] = []
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    stored, cpu_s = 0, 0.0
    for number, line in enumerate(session_lines(records), 1):
        messages.append(json.loads(line))
        if number % every == 0:
            with spending() as spent:
                stored += every * len(compressor.compress(ormsgpack.packb({"messages": messages})))
            cpu_s += every * spent.cpu_s
    return {"bytes": stored, "cpu_s": cpu_s}


def sqlite_rows(records: int, folder: str) -> dict[str, Any]:
    """Return the cost of a checkpoint table as frameworks have it: one row per save that holds the whole state."""
    import json

    path = Path(folder) / "checkpoints.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode = wal")
    connection.execute(
        "create table checkpoints (thread_id text, checkpoint_id text, parent_checkpoint_id text, type text,"
        " checkpoint blob, metadata blob, primary key (thread_id, checkpoint_id))"
    )
    messages: list[Any] = []
    cpu_s = 0.0
    for number, line in enumerate(session_lines(records), 1):
        messages.append(json.loads(line))
        with spending() as spent:
            row = (f"{number:08}", f"{number - 1:08}", ormsgpack.packb({"messages": messages}), b"{}")
            connection.execute("insert into checkpoints values ('t', ?, ?, 'msgpack', ?, ?)", row)
            connection.commit()
        cpu_s += spent.cpu_s
    connection.close()
    size = path.stat().st_size
    path.unlink()
    return {"bytes": size, "cpu_s": cpu_s}


def git_commits(records: int, folder: str) -> dict[str, Any]:
    """Return the cost of one commit per save of a JSON-lines file, by the fastest way git has, and of packing it.

    A plain `git gc` keeps the deltas that fast-import found; `repack -f` finds new ones, as gc does over loose objects.

    Returns:
        `cpu_s` and `bytes` of the commits, then size of the pack and CPU seconds of each way of packing, one after the
        other on the same repository: `gc`, `repack`, `aggressive`, each `[bytes, cpu_s]`.
    """
    lines = session_lines(records)
    repository = Path(tempfile.mkdtemp(dir=folder))
    git = ["git", "-C", str(repository)]
    environment = {**os.environ, "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run([*git, "init", "-q"], check=True, env=environment)
    with children_spending() as commits:
        _fast_import([*git, "fast-import", "--quiet"], lines, environment)
    result: dict[str, Any] = {"cpu_s": commits.cpu_s, "bytes": folder_bytes(repository)}
    ways = {
        "gc": ["gc", "--quiet", "--prune=now"],
        "repack": ["repack", "-a", "-d", "-f", "-q"],
        "aggressive": ["gc", "--quiet", "--prune=now", "--aggressive"],
    }
    for name, words in ways.items():
        with children_spending() as packing:
            subprocess.run([*git, *words], check=True, env=environment)
        packs = (repository / ".git" / "objects" / "pack").glob("*.pack")
        result[name] = [sum(path.stat().st_size for path in packs), packing.cpu_s]
    shutil.rmtree(repository)
    return result


def _fast_import(command: list[str], lines: list[bytes], environment: dict[str, str]) -> None:
    """Commit a file once per line, one line longer each time."""
    importer = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    assert importer.stdin is not None
    content = b""
    for number, line in enumerate(lines):
        content += line + b"\n"
        importer.stdin.write(
            b"commit refs/heads/main\ncommitter a <a@example.org> %d +0000\ndata 1\nx\n" % (1_790_000_000 + number)
            + b"M 100644 inline session.jsonl\ndata %d\n" % len(content)
        )
        importer.stdin.write(content)
        importer.stdin.write(b"\n")
    importer.stdin.close()
    if importer.wait() != 0:
        raise RuntimeError("git fast-import failed")


def encode_and_compress(states: Sequence[Any]) -> tuple[float, float]:
    """Return the smallest CPU seconds to encode one whole state, and to compress it with zstd besides."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    encode = compress = float("inf")
    for state in states:
        with spending() as spent:
            whole = ormsgpack.packb(state)
        encode = min(encode, spent.cpu_s)
        with spending() as spent:
            compressor.compress(whole)
        compress = min(compress, spent.cpu_s)
    return encode, compress
