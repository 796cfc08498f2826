"""The command line called in this process, on an archive in a folder that the tests of a module share."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snapstore
from snapstore.cli import main

SNAPSHOTS = 12


@dataclass(frozen=True, slots=True)
class Call:
    """How a command ended: its exit code, and what it printed."""

    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        """What it printed, as text."""
        return self.data.decode()

    def rows(self) -> list[dict[str, Any]]:
        """The JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


def call(url: str | Path, *words: str, stdin: str = "", terminal: bool = False) -> Call:
    """Run a command.

    Args:
        url: of the archive.
        words: the command.
        stdin: what it can read.
        terminal: whether a person seems to look at the output.
    """
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO(stdin)
    out.isatty = lambda: terminal  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(["-r", str(url), *words])
    finally:
        sys.stdin = before
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return Call(code, out.buffer.getvalue(), err.getvalue())


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[snapstore.Archive]:
    """An archive with three runs of four snapshots in two graphs; the last run is not in the index."""
    with snapstore.open(folder, create=True, durability="os") as archive:
        for number in range(3):
            run = archive.run(f"run-{number}", graph="größe" if number else "support")
            for step in range(4):
                if (number, step) == (2, 0):
                    archive.index.refresh()
                state = {
                    "cost": step / 4,
                    "messages": [{"role": "user", "n": n} for n in range(step + 1)],
                    "odd": [1, "a"][step % 2],
                }
                facts = {"model": "large" if step % 2 else "small", "step": step}
                run.save(state, node="plan" if step else "start", status="failed" if step == 3 else "completed", metadata=facts)
        yield archive
