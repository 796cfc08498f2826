"""Starting: `import snapstore` and `snapstore --help` against a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.measure import Spent, children_spending
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


def start(code: str) -> Spent:
    """Return the time that a new interpreter takes to run this code."""
    with children_spending() as spent:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return spent


def loaded(code: str) -> list[str]:
    """Return which of the heavy packages this code loads."""
    ask = f"import atexit, sys; atexit.register(lambda: print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{ask}\n{code}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.stderr.split()


def rows(quick: bool) -> list[Row]:
    """Return what starting takes above a bare interpreter."""
    best = {name: Spent(float("inf"), float("inf")) for name in COMMANDS}
    for _ in range(5 if quick else STARTS):
        for name, code in COMMANDS.items():
            took = start(code)
            best[name] = Spent(min(best[name].cpu_s, took.cpu_s), min(best[name].wall_s, took.wall_s))
    bare = best["bare"]
    words = {"import": "import snapstore", "open": "import snapstore and look up open", "help": "snapstore --help"}
    found = []
    for name, what in words.items():
        heavy = loaded(COMMANDS[name])
        note = f"loads {', '.join(heavy)}" if heavy else f"loads none of {', '.join(HEAVY)}"
        label, above = f"{what}: above a bare start", best[name].cpu_s - bare.cpu_s
        note += f"; wall time {1000 * (best[name].wall_s - bare.wall_s):.0f} ms above {1000 * bare.wall_s:.0f} ms"
        more: dict[str, Any] = {"baseline": bare.cpu_s, "baseline_name": "a bare start", "note": note}
        if name in MAXIMUM_S:
            found.append(limit(label, above, "s of CPU", MAXIMUM_S[name], **more))
        else:
            found.append(Row(label, above, "s of CPU", **more))
    return found
