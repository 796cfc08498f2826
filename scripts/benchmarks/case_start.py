"""Starting: `import snapstore` and `snapstore --help` against a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.report import Row, limit

# The smallest of this many starts, taken in turns: what starting takes when nothing disturbs it.
STARTS = 20

# Packages that neither may load.
HEAVY = ("pyarrow", "boto3", "fsspec", "s3fs")

COMMANDS = {
    "bare": "pass",
    "import": "import snapstore",
    "open": "import snapstore; snapstore.open",
    "help": "import sys; sys.argv = ['snapstore', '--help']; from snapstore.cli.main import main; main()",
}
MAXIMUM_S = {"import": 0.060, "help": 0.150}


def start_s(code: str) -> float:
    """Return the wall seconds that a new interpreter takes to run this code."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return time.perf_counter() - started


def loaded(code: str) -> list[str]:
    """Return which of the heavy packages this code loads."""
    ask = f"import atexit, sys; atexit.register(lambda: print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{ask}\n{code}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.stderr.split()


def rows(quick: bool) -> list[Row]:
    """Return what starting takes above a bare interpreter."""
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(5 if quick else STARTS):
        for name, code in COMMANDS.items():
            best[name] = min(best[name], start_s(code))
    words = {"import": "import snapstore", "open": "import snapstore and look up open", "help": "snapstore --help"}
    found = []
    for name, what in words.items():
        heavy = loaded(COMMANDS[name])
        note = f"loads {', '.join(heavy)}" if heavy else f"loads none of {', '.join(HEAVY)}"
        label, above = f"{what}: wall time above a bare start", best[name] - best["bare"]
        more: dict[str, Any] = {"baseline": best["bare"], "baseline_name": "a bare start", "note": note}
        if name in MAXIMUM_S:
            found.append(limit(label, above, "s", MAXIMUM_S[name], **more))
        else:
            found.append(Row(label, above, "s", **more))
    return found
