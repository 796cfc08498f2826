#!/usr/bin/env python3
"""Measure snapstore against the ways in which agent states are kept otherwise.

    python3 scripts/bench.py                    every case, about half an hour on two cores
    python3 scripts/bench.py --quick            the same cases, smaller: for a look, not for the record
    python3 scripts/bench.py --only session     one case (may be given several times); --list names them
    python3 scripts/bench.py --json FILE        keeps every figure as JSON besides; --markdown prints a table for a document

Every figure stands beside a baseline of the same run, a ratio, and its target where it has one. Cases whose data or
program is missing are skipped with the reason. Exit code: 0 when every target was met, 1 otherwise, 2 when a case failed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import environment

# Name of a case -> the function that returns its rows, as module:function of scripts/benchmarks.
CASES = {
    "requests": "case_requests:rows",
    "start": "case_start:rows",
    "state": "case_state:rows",
    "session": "case_session:rows",
    "partial": "case_partial:rows",
    "text": "case_value:rows_text",
    "random": "case_value:rows_random",
    "langgraph": "case_langgraph:rows",
    "scan": "case_scan:rows",
    "index": "case_index:rows",
    "long": "case_session:rows_long",
}

# What the benchmark itself imports, besides the package.
NEEDS = ("snapstore", "ormsgpack", "zstandard")


def main() -> int:
    """Run the cases that were asked for, print the table, and return the exit code."""
    environment.require_python()
    if any(importlib.util.find_spec(name) is None for name in NEEDS) and "SNAPSTORE_BENCH_INSTALLED" not in os.environ:
        python = str(environment.make("test", extras="test"))
        os.environ["SNAPSTORE_BENCH_INSTALLED"] = "1"
        os.execv(python, [python, *sys.argv])
    if sys.argv[1:2] == ["--child"]:
        importlib.import_module("benchmarks.measure").be_child(*sys.argv[2:4])
    arguments = parsed()
    if arguments.list:
        print("\n".join(CASES))
        return 0
    return run(arguments.only or list(CASES), arguments)


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    words = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=words[0], epilog="\n\n".join(words[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="NAME", help="run this case only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--markdown", action="store_true", help="print the figures as a Markdown table")
    parser.add_argument("--quick", action="store_true", help="smaller states and fewer saves")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    return parser.parse_args()


def run(names: list[str], arguments: argparse.Namespace) -> int:
    """Run cases one after the other; a case that fails becomes a row that says so."""
    from benchmarks.report import Row, markdown, table, write_json

    quick: bool = arguments.quick
    rows: list[Row] = []
    failed = False
    for name in names:
        module, function = CASES[name].split(":")
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            case: Callable[[bool], list[Row]] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
            rows += case(quick)
        except Exception as error:  # noqa: BLE001 - one failed case must not cost the figures of the others
            failed = True
            rows.append(Row(name, note=f"FAILED: {type(error).__name__}: {error}"))
        print(f"{name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if arguments.json is not None:
            write_json(arguments.json, rows, quick)
    if quick:
        print("quick run: sizes below those of the targets\n")
    print(markdown(rows) if arguments.markdown else table(rows))
    missed = [row.what for row in rows if row.met is False]
    print(f"\n{sum(row.met is True for row in rows)} targets met, {len(missed)} missed")
    return 2 if failed else 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
