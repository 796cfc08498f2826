"""How things are measured: CPU time, peak memory, disk bytes, and child processes that do one thing each."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOOR = ROOT / "scripts" / "bench.py"

# No case takes longer on two cores, aggressive gc of 10,000 records excepted, which is not run.
CHILD_TIMEOUT_S = 3600


class CaseError(Exception):
    """A case did not run to its end; the message is the last words of its process."""


@dataclass
class Spent:
    """CPU and wall seconds between entering and leaving `spending()`."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def spending() -> Iterator[Spent]:
    """Measure a block: user and system time of all threads of this process, and wall time."""
    spent = Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield spent
    finally:
        spent.cpu_s, spent.wall_s = time.process_time() - cpu, time.perf_counter() - wall


@contextmanager
def children_spending() -> Iterator[Spent]:
    """Measure a block's child processes that have ended when it ends, for programs such as git."""
    spent = Spent()
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        yield spent
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.wall_s = time.perf_counter() - wall


def repeat_cpu(call: Callable[[], object], times: int) -> float:
    """Return the smallest CPU time in seconds of several calls: what the work takes when nothing disturbs it."""
    best = float("inf")
    for _ in range(times):
        with spending() as spent:
            call()
        best = min(best, spent.cpu_s)
    return best


def forget_peak() -> None:
    """Start the measuring of peak memory anew, where the kernel can: Linux's `clear_refs` (proc(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes() -> int:
    """Return the largest resident size of this process in bytes, since its start or `forget_peak()`.

    `ru_maxrss` survives fork and exec on Linux, so that a child would report its parent's size: the kernel's own
    high-water mark comes first.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def folder_bytes(folder: Path) -> int:
    """Return the sum of the sizes of all files below a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def in_child(function: str, **arguments: Any) -> dict[str, Any]:
    """Run `module:function` of this package in a process of its own and return its result with `peak_mb` added.

    Args:
        function: Such as `"case_session:replay"`; takes and returns what JSON holds.
        **arguments: Its keyword arguments.

    Raises:
        CaseError: The process failed; the message holds its last line.
    """
    command = [sys.executable, str(DOOR), "--child", function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise CaseError(lines[-1] if lines else f"exit code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def be_child(function: str, arguments: str) -> None:
    """Be the process that `in_child` started: run the function, print its result as one line of JSON."""
    module, name = function.split(":")
    result = getattr(importlib.import_module(f"benchmarks.{module}"), name)(**json.loads(arguments))
    print(json.dumps({"peak_mb": round(peak_bytes() / 1e6, 1), **result}), flush=True)
    # Threads of libraries must not hold up the end, and what they would clean up is thrown away.
    os._exit(0)
