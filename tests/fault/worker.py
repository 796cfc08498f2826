"""What the processes of the fault tests do. Run as `python worker.py VERB JSON`; imports nothing of the tests.

`count`: add to a counter under one id, again and again, beside other processes.
`reap`: let a child write, kill it at a random moment, let another child check what is there, many times. Children are
forked from this process, which has loaded everything and has no threads: a start takes a millisecond instead of a third
of a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import snapstore

# Loaded before the children are forked, not in each of them.
import snapstore.opening
import snapstore.storage.local


def count(url: str, options: dict[str, str] | None, updates: int, ready: str, number: int) -> None:
    """Update a counter so many times, once a file says that everybody is ready."""
    archive = snapstore.open(url, storage_options=options)

    def add(draft: Any) -> Any:
        draft.state["n"] += 1
        draft.state["by"].append(number)
        draft.metadata["n"] = draft.state["n"]
        return draft

    Path(f"{ready}.{number}").touch()
    while not Path(ready).exists():
        time.sleep(0.005)
    for _ in range(updates):
        archive.update("counter", add)
    archive.close()


def reap(root: str, rounds: int, seed: int, seconds: float) -> None:
    """Kill so many writers, and stop early when the time is over; prints what was done as JSON."""
    drawn = random.Random(seed)
    journal = f"{root}.journal"
    Path(journal).touch()
    end = time.monotonic() + seconds
    killed = 0
    for number in range(rounds):
        if time.monotonic() > end:
            break
        child = os.fork()
        if child == 0:
            _leave(lambda number=number: write(root, journal, seed * 1000 + number))
        # Most saves take a few milliseconds: every moment of them should be hit.
        time.sleep(drawn.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        checker = os.fork()
        if checker == 0:
            _leave(lambda: check(root, journal))
        _, status = os.waitpid(checker, 0)
        if status != 0:
            raise SystemExit(f"round {number}: what was acknowledged is not there")
    acknowledged = Path(journal).read_text(encoding="utf-8").count("\n")
    sys.stdout.write(json.dumps({"killed": killed, "acknowledged": acknowledged}))


def _leave(work: Any) -> None:
    """Do the work of a forked child, and leave without going through what the parent had set up."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - a child may not go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def write(root: str, journal: str, seed: int) -> None:
    """Save, update, fork and delete until killed; note each acknowledged operation in the journal before the next."""
    drawn = random.Random(seed)
    archive = snapstore.open(root)
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def note(what: str, id: str, value: int) -> None:
        os.write(file, f"{what} {id} {value}\n".encode())

    ids: list[str] = []
    for step in range(10_000):
        value = seed * 10_000 + step
        chosen = drawn.random()
        note("drop" if ids and 0.4 <= chosen < 0.5 else "try", ids[-1] if ids and chosen < 0.5 else f"s{value}", value)
        if ids and chosen < 0.3:
            archive.save(state_of(value), run="r", id=ids[-1])
            note("is", ids[-1], value)
        elif ids and chosen < 0.4:
            archive.update(ids[-1], lambda draft: draft)
        elif ids and chosen < 0.5:
            archive.delete(ids[-1])
            note("gone", ids.pop(), value)
        elif ids and chosen < 0.6:
            note("is", archive.fork(ids[-1], run="f", new_id=f"s{value}", patch=lambda _: state_of(value)).id, value)  # noqa: B023
        else:
            ids.append(archive.save(state_of(value), run="r", id=f"s{value}", parent=ids[-1] if ids else None).id)
            note("is", ids[-1], value)


def state_of(value: int) -> dict[str, Any]:
    """The state that belongs to a value: small, or some chunks."""
    size = (3, 40, 400)[value % 3]
    return {"value": value, "log": [{"n": n, "text": f"line {n} of {value} " * 3} for n in range(size)]}


def check(root: str, journal: str) -> None:
    """Check that every acknowledged operation holds, and that what was only tried is absent or whole."""
    # By id, what it may be: a value, or None for absent. The last acknowledged one, or anything tried after it.
    allowed: dict[str, set[int | None]] = {}
    for line in Path(journal).read_text(encoding="utf-8").splitlines():
        what, id, tried = line.split(" ")
        if what == "is":
            allowed[id] = {int(tried)}
        elif what == "gone":
            allowed[id] = {None}
        else:
            allowed.setdefault(id, {None}).add(None if what == "drop" else int(tried))
    archive = snapstore.open(root)
    for id in list(allowed)[-40:]:
        found = archive.get(id)
        value: int | None = None if found is None else found.state()["value"]
        if value not in allowed[id]:
            raise AssertionError(f"{id} is {value}, not one of {allowed[id]}")
        if found is not None and value is not None and found.state() != state_of(value):
            raise AssertionError(f"{id} is not whole")
    shown = [*archive.log("r", limit=20), *archive.log("f", limit=20)]
    latest = archive.latest("r")
    for snapshot in [*shown, *([latest] if latest is not None else [])]:
        if snapshot.state() != state_of(snapshot.state()["value"]):
            raise AssertionError(f"the log shows {snapshot.id}, which is not whole")
    list(archive.list(limit=20))
    archive.leaves("r")


if __name__ == "__main__":
    (count if sys.argv[1] == "count" else reap)(**json.loads(sys.argv[2]))
