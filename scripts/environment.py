"""Make a virtual environment with this project in it, with the standard library alone.

The scripts that a person runs on a fresh machine (`test.py`, `demo.py`) call `make()` and go on with the interpreter
that it returns.
An environment is made once and reused as long as `pyproject.toml`, the extras and the Python version stay the same.
It is never the user's own: it lies in a `.venv-*` folder of the checkout, or where `$SNAPSTORE_VENV` says.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)

# Written last into a finished environment; holds the fingerprint of what was installed.
STAMP = "snapstore-installed"

# An index that does not answer is given up after this many seconds and attempts, instead of pip's 15 s x 5 per package.
PIP_PATIENCE = ["--timeout", "15", "--retries", "2"]

# Lines of a failed installer's output that are shown: enough to hold pip's reason.
SHOWN_LINES = 15

# What pip says when the trouble is the way to the index, not the project.
UNREACHABLE = (
    "Could not find a version that satisfies",
    "No matching distribution found",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Read timed out",
    "ConnectTimeoutError",
    "ProxyError",
    "SSLError",
    "403 Client Error",
)


def fail(message: str) -> NoReturn:
    """End the script with a message and exit code 1."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


def require_python() -> None:
    """Go on in a Python that is new enough: this one, or the newest on the PATH; end with a message otherwise."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return
    for minor in range(20, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        # A version manager's shim may exist without the version behind it, so it is asked.
        if newer and subprocess.run([newer, "-c", ""], capture_output=True, check=False).returncode == 0:
            os.execv(newer, [newer, *sys.argv])
    wanted = ".".join(map(str, OLDEST_PYTHON))
    fail(f"Python {wanted} or later is needed, this is {sys.version.split()[0]}, and the PATH has no newer one")


def make(name: str, extras: str = "") -> Path:
    """Return the Python of an environment with this project installed in editable form; make it when needed.

    Args:
        name: Which of the checkout's environments: it lies in `.venv-<name>` unless `$SNAPSTORE_VENV` names a folder.
        extras: Optional dependencies to install, comma separated, such as `"test"`; none when empty.
    """
    folder = Path(os.environ.get("SNAPSTORE_VENV") or ROOT / f".venv-{name}").resolve()
    python = folder / "bin" / "python"
    wanted = _fingerprint(extras)
    with _one_at_a_time(folder):
        stamp = folder / STAMP
        if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return python
        print(f"making the environment {folder} (once; a minute or two)", flush=True)
        stamp.unlink(missing_ok=True)
        if not _is_ours(python):
            _make_venv(folder)
        _install(python, extras)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _fingerprint(extras: str) -> str:
    """Return what an environment depends on, as one line."""
    settings = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:16]
    return f"{settings} {sys.version_info[0]}.{sys.version_info[1]} [{extras}] {ROOT}"


def _is_ours(python: Path) -> bool:
    """Tell whether an environment's interpreter runs and has this interpreter's version."""
    if not python.exists():
        return False
    ask = "import sys, pip; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.split() == [str(part) for part in sys.version_info[:2]]


def _make_venv(folder: Path) -> None:
    """Make an empty environment; Debian splits the module off into a package, which virtualenv can stand in for."""
    done = _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    if done.returncode == 0:
        return
    if shutil.which("virtualenv") and _run(["virtualenv", "--clear", "-p", sys.executable, str(folder)]).returncode == 0:
        return
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    fail(
        f"no virtual environment could be made in {folder}:\n{_last_lines(done.stdout)}\n"
        f"On Debian and Ubuntu: apt-get install python{version}-venv (or python3-venv)"
    )


def _install(python: Path, extras: str) -> None:
    """Install the project and what it needs; end with pip's reason and what to do when that fails."""
    project = f"{ROOT}[{extras}]" if extras else str(ROOT)
    options = ["--quiet", "--disable-pip-version-check", "--no-input", *PIP_PATIENCE]
    done = _run([str(python), "-m", "pip", "install", *options, "--editable", project])
    if done.returncode == 0:
        return
    hint = ""
    if any(words in done.stdout for words in UNREACHABLE):
        hint = (
            "\nIt looks as if pip cannot reach a package index. Check the network, or name a mirror: "
            "PIP_INDEX_URL=https://... (and HTTPS_PROXY=... behind a proxy)."
        )
    fail(f"pip could not install {project}:\n{_last_lines(done.stdout)}{hint}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run an installer silently; its output and errors come back together."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


def _last_lines(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-SHOWN_LINES:])


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock beside the environment, so that two scripts do not install into it at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
