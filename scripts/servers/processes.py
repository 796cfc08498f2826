"""The launcher's child processes: started with a clean environment, watched, and stopped by process id.

A child gets its own session, so that Ctrl-C reaches the launcher alone, which then stops its children in reverse order. On
Linux the kernel also kills a child whose launcher died, even by SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

# A server that has not ended this long after SIGTERM is killed: its data is thrown away anyway.
STOP_TIMEOUT_S = 2.0

# The slowest server (Ceph) is ready within 15 s on an idle machine; a busy one gets six times that.
READY_TIMEOUT_S = 90.0

READY_INTERVAL_S = 0.1

# Lines of a dead server's log that go into the error message.
LOG_LINES = 15

# Linux, <linux/prctl.h>: the signal a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """A server did not start or died; the message holds the end of its log."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# Loaded here and not in the child: between fork and exec a child may not take the loader's locks.
_LIBC = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """Run in the child before its program: ask Linux to kill it when the launcher dies."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Processes:
    """Children of this launcher, with their logs and data in one folder.

    Args:
        folder: an existing private folder; logs go to `folder/log`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._logs = folder / "log"
        self._logs.mkdir(exist_ok=True)
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the children's environment: nothing of the user's settings, HOME inside the folder."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
        return {**kept, "HOME": str(self.folder), "TMPDIR": str(self.folder), **(extra or {})}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a server that stays in the foreground; its output goes to its log."""
        with open(self._logs / f"{name}.out", "ab") as log:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The launcher's one other thread only waits for standard input, and the child makes one system call.
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
            )
        self._children.append((name, child))

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> str:
        """Run a helper command to its end and return what it printed.

        Raises:
            ServerError: it failed or took longer than `timeout_s` seconds.
        """
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerError(f"{' '.join(command)!r} took longer than {timeout_s:.0f} s") from error
        if done.returncode != 0:
            raise ServerError(f"{' '.join(command)!r} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def check(self) -> None:
        """Raise ServerError when a child has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                raise ServerError(f"{name} ended with code {child.returncode}; its last lines:\n{self.log_tail(name)}")

    def log_tail(self, name: str) -> str:
        """Return the last lines a child wrote, to its output or to its own log file."""
        lines: list[str] = []
        for path in (self._logs / f"{name}.log", self._logs / f"{name}.out"):
            if path.exists():
                lines += path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join(lines) or "(nothing)"

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Call `ready` until it is true.

        Raises:
            ServerError: a child ended, or `timeout_s` seconds passed.
        """
        end = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > end:
                logs = "\n".join(f"{name}: {self.log_tail(name)}" for name, _ in self._children)
                raise ServerError(f"{what} not ready after {timeout_s:.0f} s; last lines:\n{logs}")
            time.sleep(READY_INTERVAL_S)

    def stop(self) -> None:
        """End every child, the last started first; returns when all are gone."""
        for _, child in reversed(self._children):
            if child.poll() is None:
                child.terminate()
        end = time.monotonic() + STOP_TIMEOUT_S
        for _, child in reversed(self._children):
            try:
                child.wait(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()
