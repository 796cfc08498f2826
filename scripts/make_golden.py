#!/usr/bin/env python3
"""Write the golden archive of the current format, once.

    python3 scripts/make_golden.py              writes manifests/archives/format-1; refuses if it is there already
    python3 scripts/make_golden.py --index      the same for manifests/archives/format-1-index, a small archive with an index
    python3 scripts/make_golden.py --to FOLDER  writes what today's program would make of it, somewhere else

A golden archive is never edited again: it proves that archives of its version can be read for ever. So this script runs
once for each version of the format. Time and randomness are fixed, in one place, so that two runs of one program on one
machine write the same bytes.

Exit code: 0 when it was written, 1 when there is one already.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment

if TYPE_CHECKING:
    import snapstore

FORMAT = 1
BEGIN_MS = 1754000000000
STEP_MS = 1000

# The archive is read by every checkout and every test run.
LIMIT_BYTES = 200_000

NAMESPACE = "tenant-7"

# What the package needs to write into a folder.
NEEDS = ("blake3", "ormsgpack", "pyarrow", "pyfastcdc", "zstandard")


def main() -> int:
    """Write the archive unless it exists."""
    environment.require_python()
    if any(importlib.util.find_spec(name) is None for name in NEEDS) and "SNAPSTORE_GOLDEN_INSTALLED" not in os.environ:
        python = str(environment.make("test", extras="test"))
        os.environ["SNAPSTORE_GOLDEN_INSTALLED"] = "1"
        os.execv(python, [python, *sys.argv])
    sys.path.insert(0, str(environment.ROOT))  # the program of this checkout, whatever else is installed
    options = parsed()
    target = options.to / (f"format-{FORMAT}-index" if options.index else f"format-{FORMAT}")
    if target.exists():
        print(f"error: {target} exists, and a golden archive is never edited", file=sys.stderr)
        return 1
    work = target.with_name(target.name + ".unfinished")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    fix_clock()
    document = written_with_index(work / "archive") if options.index else written(work / "archive")
    (work / "expected.json").write_text(lines_of(document), encoding="utf-8")
    size = sum(path.stat().st_size for path in (work / "archive").rglob("*") if path.is_file())
    if size > LIMIT_BYTES:
        raise SystemExit(f"error: the archive has {size} bytes, more than {LIMIT_BYTES}")
    work.rename(target)
    print(f"wrote {target}: {len(document['snapshots'])} snapshots, {size} bytes")
    return 0


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    words = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=words[0], epilog=words[1], formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = environment.ROOT / "manifests" / "archives"
    parser.add_argument("--to", type=Path, default=folder, metavar="FOLDER", help="where the folder of the archive is made")
    parser.add_argument("--index", action="store_true", help="write the archive with an index instead of the one without")
    return parser.parse_args()


def fix_clock() -> None:
    """Replace time and randomness in their one door: every reading is a second later, every draw a digest of its number."""
    from snapstore import clock

    readings, draws, elsewhere = itertools.count(), itertools.count(), itertools.count()

    def random_hex(n_bytes: int = 16) -> str:
        # Temporary file names are drawn by the storage, on any thread and in any order; they must not count.
        stored = not sys._getframe(1).f_globals["__name__"].startswith("snapstore.storage.")  # noqa: SLF001
        draw = f"{next(draws) if stored else -1 - next(elsewhere)}"
        return hashlib.sha256(f"snapstore golden {draw}".encode()).hexdigest()[: 2 * n_bytes]

    clock.now_ms = lambda: BEGIN_MS + STEP_MS * next(readings)
    clock.random_hex = random_hex


def written(folder: Path) -> dict[str, Any]:
    """Write the archive and return what it must be read as."""
    from golden.story import tell
    from golden.tagged import Tagger

    import snapstore

    with snapstore.open(str(folder), create=True) as archive:
        states = tell(archive)
    with snapstore.open(str(folder), namespace=NAMESPACE, create=True) as archive:
        archive.save({"tenant": 7}, run="r", graph="g", id="ticket-42/00")
    # Locks and temporary files are the local storage's own, no part of the archive.
    shutil.rmtree(folder / ".snapstore")
    tagger = Tagger()
    with snapstore.open(str(folder), read_only=True) as archive:
        rows = [described(archive[id], tagger.tagged(state)) for id, state in states.items()]
        runs = sorted({row["run"] for row in rows})
        leaves = {run: [snapshot.id for snapshot in archive.leaves(run)] for run in runs}
        if any(repr(archive[id].state()) != repr(state) for id, state in states.items() if id not in {"types", "shapes"}):
            raise SystemExit("error: a state did not come back")
    return {"format": FORMAT, "snapshots": rows, "leaves": leaves, "deleted": ["gone"], "long": tagger.long}


def written_with_index(folder: Path) -> dict[str, Any]:
    """Write the archive with an index and return what must be read from it."""
    from golden.indexed import tell

    from snapstore import clock
    from snapstore.storage.local import LocalStorage

    def now_ms(_: LocalStorage) -> int:
        return clock.now_ms()

    LocalStorage.now_ms = now_ms  # type: ignore[method-assign, assignment]  # files of the disk have the real time
    document = tell(folder)
    shutil.rmtree(folder / ".snapstore")
    return document


def lines_of(document: dict[str, Any]) -> str:
    """Return a document as JSON with one line for each item of its second level, so that people can find and compare them."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list):
            inner = ",\n".join(json.dumps(item, ensure_ascii=False) for item in value)
            parts.append(f"{json.dumps(name)}: [\n{inner}\n]")
        elif isinstance(value, dict):
            inner = ",\n".join(f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items())
            parts.append(f"{json.dumps(name)}: {{\n{inner}\n}}")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{" + ",\n".join(parts) + "}\n"


def described(snapshot: snapstore.Snapshot, state: Any) -> dict[str, Any]:
    """Return what a reader must find out about a snapshot."""
    info = snapshot.info
    return {
        "id": info.id,
        "run": info.run,
        "graph": info.graph,
        "node": info.node,
        "status": info.status,
        "parents": list(info.parents),
        "metadata": info.metadata,
        "version": info.version,
        "digest": info.digest,
        "size_bytes": info.size_bytes,
        "state": state,
    }


if __name__ == "__main__":
    raise SystemExit(main())
