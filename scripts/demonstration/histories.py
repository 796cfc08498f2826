"""What the demonstration imports: real agent histories when they lie beside the project, else the one that is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import ROOT

# Where real histories are looked for; they are not ours to ship.
DATA = ROOT.parent / "shared" / "data"
SAMPLE = ROOT / "scripts" / "sample_session.jsonl"

# Tasks of tau-bench whose four trials end differently: enough to see branches, a tenth of the file.
TASKS = (1, 5, 16, 40, 41, 48)
SHOWN_TASK = 48

# 300 records with a branch at every 60th: 1.7 MB, whose full copies would take 213 MiB.
LONG_SESSION = ("--records", "300", "--fork-every", "60")


@dataclass(frozen=True)
class History:
    """One thing to import.

    Attributes:
        title: What it is, in a few words.
        format: Format that `snapstore import` knows.
        path: A file, or a folder of files.
        run: Name for the run; None where the data names its runs.
        shown: The run of it whose branches are worth a look, or None.
    """

    title: str
    format: str
    path: Path
    run: str | None = None
    shown: str | None = None


def found(workspace: Path, data: Path = DATA) -> list[History]:
    """Return what there is to import, the one with the best branches first.

    Args:
        workspace: A folder for files that are made for this.
        data: Where real histories may lie.
    """
    real = [history for history in (_tau_bench(workspace, data), _swe_agent(data), _long_session(workspace, data)) if history]
    return real or [History("a coding agent's session", "claude-jsonl", SAMPLE, run="tide-tables", shown="tide-tables")]


def _tau_bench(workspace: Path, data: Path) -> History | None:
    path = data / "tau-bench" / "gpt-4o-airline.json"
    if not path.is_file():
        return None
    chosen = [trial for trial in json.loads(path.read_text(encoding="utf-8")) if trial["task_id"] in TASKS]
    part = workspace / path.name
    part.write_text(json.dumps(chosen), encoding="utf-8")
    return History("tau-bench, customer service", "tau-bench", part, shown=f"{path.stem}/{SHOWN_TASK}")


def _swe_agent(data: Path) -> History | None:
    folder = data / "swe-agent"
    return History("SWE-agent, coding", "swe-agent", folder) if any(folder.glob("*.traj")) else None


def _long_session(workspace: Path, data: Path) -> History | None:
    program = data / "long_session.py"
    if not program.is_file():
        return None
    path = workspace / "long-session.jsonl"
    with path.open("wb") as file:
        made = subprocess.run([sys.executable, str(program), *LONG_SESSION], stdout=file, stderr=subprocess.PIPE, check=False)
    if made.returncode != 0:
        return None
    return History("a long session, 4 forks", "claude-jsonl", path, run="long-session", shown="long-session")
