#!/usr/bin/env python3
"""Run the project's checks and tests in an environment of their own.

    python3 scripts/test.py                     ruff, mypy, import contracts, then every ordinary test
    python3 scripts/test.py --fast              ruff, then the tests that start no server and no process
    python3 scripts/test.py --slow              the slow tests only
    python3 scripts/test.py --engines           those that read an archive with Spark, Ray and Daft (1.5 GB to install)
    python3 scripts/test.py --s3 ministack      those contract and end-to-end tests that use an S3 server, on that one
    python3 scripts/test.py tests/unit -k node  anything that pytest understands

Needs Python 3.11 or later and a package index that pip can reach, the first time; nothing else. The environment lies in
`.venv-test`, or where $SNAPSTORE_VENV says. Exit code: 0 when everything passed, 1 otherwise, 3 when the S3 server
cannot be had on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environment

ROOT = environment.ROOT

# Tests spend much of their time waiting for servers and disks; more workers than this gain nothing on them.
MAX_WORKERS = 4

FAST_TESTS = ["tests/test_tidy.py", "tests/unit", "tests/format"]
SERVER_TESTS = ["tests/contract", "tests/e2e"]

ENGINE_TESTS = ["tests/e2e"]

# pytest's exit code when nothing was collected.
NOTHING_COLLECTED = 5

# Exit code of s3_server.py, and of this script, when a server cannot be had here.
UNAVAILABLE = 3


def main() -> int:
    """Parse the command line, run what it asks for, and return the exit code."""
    environment.require_python()
    arguments, pytest_arguments = parsed()
    if arguments.engines:
        python = environment.make("engines", extras="test-engines")
        return pytest(python, ["-m", "engines", *pytest_arguments], folders(ENGINE_TESTS), {}, workers=0)
    python = environment.make("test", extras="test")
    if arguments.s3:
        with s3_server(python, arguments.s3) as server:
            variables = {"SNAPSTORE_TEST_S3": server, "PYTHONPATH": str(ROOT / "scripts")}
            return pytest(python, ["-p", "given_server", *pytest_arguments], folders(SERVER_TESTS), variables)
    if arguments.slow:
        return pytest(python, ["-m", "slow", *pytest_arguments], ["tests"], {}, workers=0)
    failed = [] if arguments.no_checks else static_checks(python, fast=arguments.fast)
    chosen = folders(FAST_TESTS) if arguments.fast else ["tests"]
    result = pytest(python, pytest_arguments, chosen, {})
    if failed:
        print(f"failed before the tests: {', '.join(failed)}")
    return result or (1 if failed else 0)


def parsed() -> tuple[argparse.Namespace, list[str]]:
    """Return our own options, and the arguments that go to pytest."""
    words = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=words[0], epilog="\n\n".join(words[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="only what needs no server and no process")
    parser.add_argument("--slow", action="store_true", help="only the tests marked slow")
    parser.add_argument("--engines", action="store_true", help="only the tests of Spark, Ray and Daft")
    parser.add_argument("--s3", metavar="KIND", help="contract and end-to-end tests on a server of scripts/s3_server.py")
    parser.add_argument("--no-checks", action="store_true", help="tests only, no ruff, mypy and import contracts")
    return parser.parse_known_args()


def folders(names: list[str]) -> list[str]:
    """Return those of the named test folders that exist."""
    return [name for name in names if (ROOT / name).exists()]


def static_checks(python: Path, *, fast: bool) -> list[str]:
    """Run the checks that read the source; return the names of those that failed."""
    programs = python.parent
    checks = {
        "ruff check": [f"{programs}/ruff", "check"],
        "ruff format": [f"{programs}/ruff", "format", "--check"],
        "mypy": [f"{programs}/mypy"],
        "import contracts": [f"{programs}/lint-imports", "--no-cache"],
    }
    failed = []
    for name, command in checks.items():
        if fast and not name.startswith("ruff"):
            continue
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        print(
            f"{name}: {'passed' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started:.1f} s",
            flush=True,
        )
        if done.returncode != 0:
            print(done.stdout, flush=True)
            failed.append(name)
    return failed


def pytest(
    python: Path, arguments: list[str], default_paths: list[str], variables: dict[str, str], workers: int | None = None
) -> int:
    """Run pytest, in parallel unless told otherwise, and return its exit code, 1 at most.

    Args:
        python: The environment's interpreter.
        arguments: What the user passed on; a path or node id among them replaces `default_paths`.
        default_paths: What to run when the user named nothing.
        variables: Environment variables to add.
        workers: Number of processes; 0 runs in one, None chooses by the machine.
    """
    named = any(word.startswith("tests") and (ROOT / word.split("::")[0]).exists() for word in arguments)
    if workers is None:
        workers = min(os.cpu_count() or 1, MAX_WORKERS)
    chosen_by_user = any(word.startswith(("-n", "--numprocesses", "--pdb", "--collect-only")) for word in arguments)
    # Tests of one file share its servers, so a file stays together.
    parallel = [] if chosen_by_user or workers < 2 else ["-n", str(workers), "--dist", "loadfile"]
    command = [str(python), "-m", "pytest", *parallel, *arguments, *([] if named else default_paths)]
    # Workers must collect the same names, which may come out of sets; a new seed each run keeps tests honest about order.
    seed = os.environ.get("PYTHONHASHSEED") or str(random.randrange(1, 2**32))
    print(f"PYTHONHASHSEED={seed}", flush=True)
    settings = {**os.environ, "PYTHONHASHSEED": seed, **variables}
    code = subprocess.run(command, cwd=ROOT, env=settings, check=False).returncode
    if code == NOTHING_COLLECTED:
        print("no test matched")
    return min(code, 1)


@contextmanager
def s3_server(python: Path, kind: str) -> Iterator[str]:
    """Start `scripts/s3_server.py KIND`, give its one line of JSON, and stop it at the end.

    Ends the script with code 3 and the reason when that server cannot be had here.
    """
    # The server ends when our end of its standard input closes, so it cannot outlive this run, not even a killed one.
    command = [str(python), str(ROOT / "scripts" / "s3_server.py"), kind, "--until-eof"]
    print(f"starting the S3 server {kind}", flush=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            if not line:
                code = server.wait()
                print(f"the S3 server {kind} did not start (exit code {code}); its reason stands above", file=sys.stderr)
                raise SystemExit(UNAVAILABLE if code == UNAVAILABLE else 1)
            json.loads(line)  # anything else would only fail later, in every test
            yield line.strip()
        finally:
            server.terminate()


if __name__ == "__main__":
    raise SystemExit(main())
