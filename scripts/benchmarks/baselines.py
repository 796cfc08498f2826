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


def git_commits(records: int, folder: str, aggressive: bool) -> dict[str, Any]:
    """Return the cost of one commit per save of a JSON-lines file, then of packing, by the fastest way git has.

    fast-import writes a pack whose deltas a plain `git gc` keeps (12.3 MB for 1,100 records), where gc over the loose objects
    of ordinary commits looks for its own. `repack -f` with gc's window and depth makes it do so here.

    Returns:
        `bytes` of the whole `.git` after gc, `pack_bytes` of the packs alone, `loose_bytes` before gc, `cpu_s` of the
        commits, `gc_cpu_s` of the gc.
    """
    lines = session_lines(records)
    repository = Path(tempfile.mkdtemp(dir=folder))
    git = ["git", "-C", str(repository)]
    settings = {"HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    environment = {**os.environ, **settings}
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True, env=environment)
    with children_spending() as commits:
        importer = subprocess.Popen([*git, "fast-import", "--quiet"], stdin=subprocess.PIPE, env=environment)
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
    before = folder_bytes(repository)
    with children_spending() as collected:
        if not aggressive:
            subprocess.run([*git, "repack", "-a", "-d", "-f", "-q"], check=True, env=environment)
        command = [*git, "gc", "--quiet", "--prune=now", *(["--aggressive"] if aggressive else [])]
        subprocess.run(command, check=True, env=environment)
    packs = list((repository / ".git" / "objects" / "pack").glob("*.pack"))
    result = {
        "bytes": folder_bytes(repository),
        "pack_bytes": sum(path.stat().st_size for path in packs),
        "bytes_before_gc": before,
        "cpu_s": commits.cpu_s,
        "gc_cpu_s": collected.cpu_s,
    }
    shutil.rmtree(repository)
    return result


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
