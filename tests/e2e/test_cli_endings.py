"""Commands that are interrupted, killed or no longer listened to leave nothing half-written.

Method: a real process is stopped by a real signal while it imports or restores, and the next command goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import snapstore
from snapstore.cli.commands.restore import check_target
from snapstore.errors import ConflictError, StorageError
from snapstore.export import new_file
from tests.e2e.shell import COMMAND, TIMEOUT_S, Shell

RECORDS = 600


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell with an archive and a session that takes a second to import."""
    lines = (
        json.dumps({"uuid": f"id-{n}", "parentUuid": f"id-{n - 1}" if n else None, "text": str(n) * 200}) for n in range(RECORDS)
    )
    (tmp_path / "session.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    user = Shell(tmp_path, "archive")
    user("init")
    return user


IMPORT = ["import", "--format", "claude-jsonl", "session.jsonl"]


def registers(shell: Shell) -> int:
    return sum(path.is_file() for path in (shell.folder / "archive" / "snapshots").rglob("*"))


def stopped(shell: Shell, process: subprocess.Popen[bytes], with_signal: int) -> tuple[int, str]:
    """Stop an import once it has saved a few snapshots; return its exit code and its messages."""
    end = time.monotonic() + TIMEOUT_S
    while registers(shell) < 5:
        assert process.poll() is None, "the import ended too soon to be stopped"
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(with_signal)
    _, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, err.decode()


@pytest.mark.parametrize(
    ("with_signal", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="terminate", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="kill", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_import_is_resumed(shell: Shell, with_signal: int, code: int) -> None:
    process = shell.start(*IMPORT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended, err = stopped(shell, process, with_signal)
    assert ended == code, err
    assert "Traceback" not in err
    if with_signal == signal.SIGINT:
        assert "run it again to continue" in err
        assert "interrupted" in err
    with snapstore.open(shell.folder / "archive", read_only=True) as archive:
        found = archive.log("session")
        assert 4 <= len(found) < RECORDS
        for snapshot in found[:: max(1, len(found) // 5)]:
            number = int(snapshot.id.removeprefix("id-"))
            assert [one["uuid"] for one in snapshot.state()["messages"]] == [f"id-{n}" for n in range(number + 1)]
    report = shell(*IMPORT, "--json").json()
    assert report["added"] + report["skipped"] == RECORDS
    assert len(shell("list", "-n", str(2 * RECORDS), "--json").rows()) == RECORDS


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(shell: Shell) -> None:
    shell(*IMPORT)
    for words in (
        ["list", "-n", "1000", "--json"],
        ["list", "-n", "0"],
        ["list", "-n", "0", "--format", "arrow"],
        ["log", "session", "--graph"],
        ["cat", "id-599"],
        ["restore", "id-599", "--to", "-"],
    ):
        # A pipe that holds a page: what fits into one could all be written before it is closed.
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        process = shell.start(*words, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert process.stderr is not None
        assert os.read(reading, 10)
        os.close(reading)
        err = process.stderr.read()
        process.stderr.close()
        assert (process.wait(TIMEOUT_S), err) == (141, b""), words


def test_a_full_output_is_an_error(shell: Shell) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    shell("save", "--run", "r", stdin=json.dumps("x" * 100_000))
    for words in (["cat", "latest"], ["restore", "latest", "--to", "-"], ["list"]):
        with Path("/dev/full").open("wb") as full:
            process = shell.start(*words, stdout=full, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 1, words
        assert b"no space left" in err
        assert b"Traceback" not in err


def test_closed_streams_are_no_defect(shell: Shell) -> None:
    """Python has None for a stream that is closed: stdout is needed, nothing else is."""

    def closed(streams: str, *words: str) -> tuple[int, bytes, bytes]:
        program = ["sh", "-c", f'exec "$@" {streams}', "sh", *COMMAND, *words]
        done = subprocess.run(
            program, cwd=shell.folder, env=shell.environment(), capture_output=True, timeout=TIMEOUT_S, check=False
        )
        return done.returncode, done.stdout, done.stderr

    shell("save", "--run", "r", "--id", "first", stdin="{}")
    code, _, err = closed(">&-", "list")
    assert (code, err) == (1, b"snapstore: standard output is closed\n  hint: send it to /dev/null, if nobody reads it\n")
    code, _, err = closed(">&-", "list", "--json")
    assert (code, json.loads(err)["code"]) == (1, "os_error")
    assert closed(">&- 2>&-", "list") == (1, b"", b"")
    assert closed(">&-", "rm", "first")[0] == 1
    code, out, err = closed("2>&- <&-", "list", "--format", "jsonl")
    assert (code, json.loads(out)["id"], err) == (0, "first", b"")
    code, _, err = closed("<&-", "save", "--run", "r")
    assert (code, b"Traceback" in err) == (2, False)


# ------------------------------------------------------------------------------------------- the file of a restore


@contextlib.contextmanager
def written(target: Path, data: bytes = b"new", *, force: bool = False) -> Iterator[None]:
    with new_file(target, force=force) as file:
        file.write(data)
        yield


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "full"), SystemExit(143)])
@pytest.mark.parametrize("force", [True, False])
def test_a_restore_that_fails_leaves_everything_as_it_was(tmp_path: Path, failure: BaseException, force: bool) -> None:
    target = tmp_path / "out"
    if force:
        target.write_bytes(b"old")
    with pytest.raises(type(failure)), written(target, force=force):
        raise failure
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"out": b"old"} if force else {})


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(ConflictError), written(target):
        target.write_bytes(b"theirs")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"out": b"theirs"}


def test_a_restored_file_has_ordinary_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with written(tmp_path / "out"):
            assert [path.name for path in tmp_path.iterdir()] != ["out"]
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_long_name_can_be_restored_to(tmp_path: Path) -> None:
    name = "x" * 255
    with written(tmp_path / name):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_restore_that_cannot_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        check_target(tmp_path / "out", 2**60, force=False)
    assert caught.value.code == "storage_full"
    assert caught.value.context["needed_bytes"] == 2**60
    check_target(tmp_path / "out", 0, force=False)
