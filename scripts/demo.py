#!/usr/bin/env python3
"""Show what snapstore does, on an archive in a local folder that stays for you to look at.

    python3 scripts/demo.py             in ./demo-archive; run it again and it goes on there
    python3 scripts/demo.py --fresh     begins anew
    python3 scripts/demo.py --to DIR    in another folder

Needs Python 3.11 or later and, the first time, a package index that pip can reach; takes less than two minutes after that.
Imports real agent histories where they lie beside the project (../shared/data), a small made-up session otherwise. Asks
nothing, and never deletes a folder that it did not make. Exit code: 0 when every snapshot came back as it was saved.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import environment
from demonstration import home
from environment import ROOT

# What an interpreter must have to run the demonstration: the package of this checkout, what that needs, and the extra `query`.
NEEDS = ("blake3", "click", "duckdb", "obstore", "ormsgpack", "pyarrow", "pyfastcdc", "zstandard")
INSIDE = "SNAPSTORE_DEMO_INSIDE"

# 128 and the signal's number, as shells count.
INTERRUPTED, BROKEN_PIPE = 130, 141


def main() -> int:
    """Go on in an interpreter that has the package, run the acts, and return the exit code."""
    environment.require_python()
    arguments = parsed()
    try:
        enter()
        goes_on = home.take(arguments.to, fresh=arguments.fresh)
        return perform(arguments.to, goes_on=goes_on)
    except KeyboardInterrupt:
        print("\nStopped. Whatever was saved is whole; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def perform(folder: Path, *, goes_on: bool) -> int:
    """Run the acts; a storage that fails, such as a full disk, ends them with its message."""
    from demonstration.acts import Demonstration

    from snapstore import SnapstoreError

    try:
        return Demonstration(folder, goes_on=goes_on).run()
    except SnapstoreError as error:
        environment.fail(f"{error}\n{error.hint or ''}".rstrip())


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    words = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=words[0], epilog="\n\n".join(words[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=Path("demo-archive"), metavar="DIR", help="folder of the archive")
    parser.add_argument("--fresh", action="store_true", help="begin anew; a folder of somebody else is moved aside")
    return parser.parse_args()


def enter() -> None:
    """Return when this interpreter has this checkout's package; otherwise start again in one that has."""
    spec = importlib.util.find_spec("snapstore")
    ours = spec is not None and spec.origin is not None and Path(spec.origin).resolve().is_relative_to(ROOT)
    if ours and all(importlib.util.find_spec(name) for name in NEEDS):
        return
    if INSIDE in os.environ:
        environment.fail(f"the environment of {sys.executable} is damaged; remove its folder and try again")
    python = str(environment.make("demo", extras="query"))
    os.environ[INSIDE] = "1"
    os.execv(python, [python, *sys.argv])


if __name__ == "__main__":
    raise SystemExit(main())
