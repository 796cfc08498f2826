"""The command line as a user runs it: its own process, an empty environment, an archive in a fresh folder."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-W", "error", "-m", "snapstore.cli"]

TIMEOUT_S = 60.0
"""Limit for one command: the slowest takes a hundredth of it on an idle machine."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Return the one document that it printed."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        assert document["schema_version"] == 1
        return document

    def rows(self) -> list[dict[str, Any]]:
        """Return the JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self) -> dict[str, Any]:
        """Return the JSON object on the last line of stderr."""
        document = json.loads(self.err.splitlines()[-1])
        assert isinstance(document, dict)
        return document


@dataclass(slots=True)
class Shell:
    """A user in a folder.

    Attributes:
        folder: Where commands run.
        archive: URL that SNAPSTORE_REPOSITORY holds; None for a user who has not set it.
        variables: Further environment variables.
    """

    folder: Path
    archive: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, stdin: str | bytes = b"", ok: bool = True) -> Done:
        """Run a command to its end; with `ok` it must succeed."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*COMMAND, *words],
            input=data,
            capture_output=True,
            cwd=self.folder,
            env=self.environment(),
            timeout=TIMEOUT_S,
            check=False,
        )
        result = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in result.err, result.err
        assert not ok or result.code == 0, result.err
        return result

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and return its process."""
        return subprocess.Popen([*COMMAND, *words], cwd=self.folder, env=self.environment(), **options)

    def environment(self) -> Mapping[str, str]:
        """Return the environment of commands: nothing of the caller's but the way to Python."""
        mine = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if key in os.environ}
        mine |= {"PYTHONPATH": str(ROOT), "HOME": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        if self.archive is not None:
            mine["SNAPSTORE_REPOSITORY"] = self.archive
        return mine | self.variables

    def on_terminal(
        self, *words: str, columns: int = 80, act: Callable[[subprocess.Popen[bytes], str], None] | None = None
    ) -> tuple[int, str]:
        """Run a command on a terminal; return its exit code and everything that the screen got.

        Args:
            words: The command.
            columns: Width of the terminal.
            act: Called after each piece of output with the process and all output so far.
        """
        screen, theirs = pty.openpty()
        variables = {"COLUMNS": str(columns), "LINES": "24", "TERM": "xterm-256color"}
        environment = {**variables, **self.environment()}
        process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        shown = b""
        try:
            while select.select([screen], [], [], TIMEOUT_S)[0]:
                try:
                    piece = os.read(screen, 65536)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                shown += piece
                if act is not None:
                    act(process, shown.decode(errors="replace"))
            return process.wait(TIMEOUT_S), shown.decode().replace("\r\n", "\n")
        finally:
            os.close(screen)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
