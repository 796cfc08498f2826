"""What the demonstration imports: real agent histories when they lie beside the project, else the one that is shipped."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import ROOT

# Where real histories are looked for; they are not ours to ship.
DATA = ROOT.parent / "shared" / "data"
SAMPLE = ROOT / "scripts" / "sample_session.jsonl"

# Tasks of tau-bench whose four trials end differently: enough to see branches, a tenth of the file.
TASKS = (1, 5, 16, 40, 41, 48)
SHOWN_TASK = 41

# 300 records with a branch at every 60th: 1.6 MB, whose full copies would take more than 200 MiB.
RECORDS, FORK_EVERY = 300, 60
LONG_TITLE = "a long made-up session"

# Sizes of records as they were measured on 288 real coding-agent sessions: median 1 KB, 90th percentile 6 KB, 99th 50 KB.
MEDIAN_CHARS, SIGMA, MOST_CHARS = 1050, 1.6, 200_000


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
    if real:
        return real
    sample = History("a coding agent's session", "claude-jsonl", SAMPLE, run="tide-tables", shown="tide-tables")
    return [sample, _lengthened(workspace)]


def _tau_bench(workspace: Path, data: Path) -> History | None:
    path = data / "tau-bench" / "gpt-4o-airline.json"
    if not path.is_file():
        return None
    chosen = [trial for trial in json.loads(path.read_text(encoding="utf-8")) if trial["task_id"] in TASKS]
    part = workspace / path.name
    part.write_text(json.dumps(chosen), encoding="utf-8")
    return History("tau-bench, airline desk", "tau-bench", part, shown=f"{path.stem}/{SHOWN_TASK}")


def _swe_agent(data: Path) -> History | None:
    folder = data / "swe-agent"
    return History("SWE-agent, coding", "swe-agent", folder) if any(folder.glob("*.traj")) else None


def _long_session(workspace: Path, data: Path) -> History | None:
    program = data / "long_session.py"
    if not program.is_file():
        return None
    path = workspace / "long-session.jsonl"
    with path.open("wb") as file:
        command = [sys.executable, str(program), "--records", str(RECORDS), "--fork-every", str(FORK_EVERY)]
        made = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=False)
    if made.returncode != 0:
        return None
    return History(LONG_TITLE, "claude-jsonl", path, run="long-session", shown="long-session")


def _lengthened(workspace: Path) -> History:
    """Make a session of a usual length from pieces of the shipped one, the same at every call.

    The shipped one is short enough to read, and so says little about runs that live long.
    """
    pool = [text for line in SAMPLE.read_text(encoding="utf-8").splitlines() for text in _texts(json.loads(line))]
    chance = random.Random(1)
    ids: list[str] = []
    path = workspace / "long-session.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(RECORDS):
            wanted, body = min(MOST_CHARS, int(chance.lognormvariate(math.log(MEDIAN_CHARS), SIGMA))), ""
            while len(body) < wanted:
                text = chance.choice(pool)
                body += f"{text[chance.randrange(len(text)) :]} [{chance.getrandbits(64):x}] "
            parent = ids[-10 if number % FORK_EVERY == 0 else -1] if ids else None
            ids.append(str(uuid.UUID(int=chance.getrandbits(128), version=4)))
            message = {"role": "user" if number % 2 else "assistant", "content": [{"type": "text", "text": body[:wanted]}]}
            record = {"uuid": ids[-1], "parentUuid": parent, "type": message["role"], "message": message}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return History(LONG_TITLE, "claude-jsonl", path, run="long-session", shown="long-session")


def _texts(value: Any) -> Iterator[str]:
    """Yield the longer texts of a JSON value."""
    if isinstance(value, str):
        if len(value) > 80:
            yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
