#!/usr/bin/env python3
"""Start one S3-compatible server on loopback for tests.

    python3 scripts/s3_server.py versitygw            # installs it first when needed; Ctrl-C ends it
    python3 scripts/s3_server.py --list               # what each kind needs and whether it can be had here
    python3 scripts/s3_server.py --install versitygw  # prepare only

When the server is ready and its bucket exists, one JSON line goes to standard output:
`{"kind", "endpoint_url", "access_key", "secret_key", "region", "bucket", "pid"}`, where `pid` is this launcher: SIGINT or SIGTERM
to it ends the server and removes its data. With `--until-eof` the end of standard input does the same, so a server cannot
outlive the test run that holds the other end of the pipe. Everything else goes to standard error.

Exit codes: 0 ended as asked; 1 the server did not start or died; 2 wrong usage; 3 the kind cannot be had here, with the reason.
The kinds and what they showed: `scripts/servers/__init__.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

from servers.kinds import KINDS, Kind
from servers.processes import Processes, ServerError
from servers.s3_request import answers, create_bucket
from servers.sources import UnavailableError

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 3

# How often a running server is looked at; its death is news to nobody but the launcher's log.
WATCH_INTERVAL_S = 0.5

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _EndRequested(BaseException):
    """Somebody asked the launcher to end; not an Exception, so that no handler on the way swallows it."""


def _end(_number: int, _frame: FrameType | None) -> None:
    # A second request must not interrupt the clean-up of the first.
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise _EndRequested


def _end_at_eof() -> None:
    """Wait for the end of standard input, then ask this process to end."""
    # Not through sys.stdin: a thread that waits inside it holds its lock, and the interpreter aborts when it ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(kind: Kind, bucket: str, folder: Path) -> None:
    """Start the server, announce it, and watch it until it dies or the launcher is asked to end."""
    processes = Processes(folder)
    try:
        endpoint = kind.start(kind.source, processes)
        processes.wait_until(lambda: answers(endpoint), kind.name)
        problem = create_bucket(endpoint, bucket)
        if problem is not None:
            raise ServerError(f"{kind.name} did not create the bucket {bucket!r}: {problem}")
        ready = {
            "kind": kind.name,
            "endpoint_url": endpoint.endpoint_url,
            "access_key": endpoint.access_key,
            "secret_key": endpoint.secret_key,
            "region": endpoint.region,
            "bucket": bucket,
            "pid": os.getpid(),
        }
        print(json.dumps(ready), flush=True)
        while True:
            time.sleep(WATCH_INTERVAL_S)
            processes.check()
    finally:
        processes.stop()


def _run(kind: Kind, bucket: str, *, install: bool, keep: bool) -> int:
    """Install when needed and allowed, serve until told to end, clean up; returns the exit code."""
    folder: Path | None = None
    try:
        if not kind.source.is_ready():
            if not install:
                raise UnavailableError(f"not installed; run: scripts/s3_server.py --install {kind.name}")
            kind.source.install()
        # The prefix is short: Ceph puts sockets in here, whose paths may not exceed 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="s3-"))
        _serve(kind, bucket, folder)
    except _EndRequested:
        return 0
    except UnavailableError as error:
        print(f"s3_server: {kind.name} cannot be had here: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except (ServerError, OSError) as error:
        print(f"s3_server: {kind.name}: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        if folder is not None and keep:
            print(f"s3_server: data and logs are kept in {folder}", file=sys.stderr)
        elif folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _install(kind: Kind) -> int:
    try:
        kind.source.install()
    except _EndRequested:
        return EXIT_FAILED
    except UnavailableError as error:
        print(f"s3_server: {kind.name} cannot be had here: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    print(f"s3_server: {kind.name} is installed", file=sys.stderr)
    return 0


def _list(*, as_json: bool) -> int:
    """Print every kind with what it needs and whether it can be had here; asks nothing of the network."""
    # A reader that closes the pipe early (`| head`) ends this quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    rows = []
    for kind in KINDS.values():
        ready = kind.source.is_ready()
        obstacle = None if ready else kind.source.obstacle()
        state = "installed" if ready else "cannot be had" if obstacle else "can be installed"
        rows.append({"kind": kind.name, "purpose": kind.purpose, "needs": kind.source.needs, "state": state, "reason": obstacle})
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        reason = f" ({row['reason']})" if row["reason"] else ""
        print(f"{row['kind']:10} {row['state']}{reason}\n{'':10} {row['purpose']}\n{'':10} needs {row['needs']}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Start one S3-compatible server on loopback for tests.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("kind", nargs="?", choices=list(KINDS), metavar="KIND", help=f"start this server: {', '.join(KINDS)}")
    action.add_argument("--install", choices=list(KINDS), metavar="KIND", help="prepare a server without starting it")
    action.add_argument("--list", action="store_true", help="say what each kind needs and whether it can be had here")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON")
    parser.add_argument("--bucket", default="snapstore", help="name of the bucket to create (default: %(default)s)")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    parser.add_argument("--no-install", action="store_true", help="do not install a missing server: exit with code 3")
    parser.add_argument("--keep", action="store_true", help="keep data and logs, and say where")
    return parser


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args()
    if arguments.list:
        return _list(as_json=arguments.json)
    for number in END_SIGNALS:
        signal.signal(number, _end)
    if arguments.install:
        return _install(KINDS[arguments.install])
    if arguments.until_eof:
        threading.Thread(target=_end_at_eof, daemon=True).start()
    return _run(KINDS[arguments.kind], arguments.bucket, install=not arguments.no_install, keep=arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
