"""S3 servers as users meet them: those that ignore or break conditional writes are refused, real ones that keep them pass.

Goal: several writers are let onto a storage only where conditional writes hold in a race; where they do not, the refusal says
what to do, and a single writer may still use it. And the launcher itself keeps its promises: one line, nothing left behind.
Method: every server is the real program, started through `scripts/s3_server.py`. One that cannot be had on this machine is
skipped with the launcher's own reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.errors import StorageError
from snapstore.storage.connect import connect
from snapstore.storage.probe import ProbeResult, probe

LAUNCHER = Path(__file__).resolve().parents[2] / "scripts" / "s3_server.py"

# Seconds: a server of PyPI is installed within one minute, a Go build took nine on two busy cores.
PYTHON_TIMEOUT_S = 600
GO_TIMEOUT_S = 2400

# The launcher's exit code when a server cannot be had here.
UNAVAILABLE = 3

STATE = {"messages": [{"role": "user", "content": "hello"}], "step": 3}


def reviewed(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft | None:
    """Mark a snapshot as reviewed: a mutator for `update`, the one write that compares and swaps."""
    assert draft is not None
    draft.status = "reviewed"
    return draft


def launch(kind: str, *options: str, errors: Any = None, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the launcher; its server ends with our end of its standard input, however this process ends."""
    command = [sys.executable, "-B", str(LAUNCHER), kind, "--until-eof", *options]
    variables = {**os.environ, **(environment or {})}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables)


def end(launcher: subprocess.Popen[str]) -> int:
    """Close the launcher's standard input and return its exit code."""
    assert launcher.stdin is not None
    assert launcher.stdout is not None
    launcher.stdin.close()
    code = launcher.wait(timeout=60)
    launcher.stdout.close()
    return code


@contextlib.contextmanager
def server(kind: str, *options: str) -> Iterator[dict[str, Any]]:
    """Run a server for the length of a block and give its one line; skips the test when it cannot be had here."""
    with tempfile.TemporaryFile("w+") as errors:
        launcher = launch(kind, *options, errors=errors)
        assert launcher.stdout is not None
        line = launcher.stdout.readline()
        if line:
            try:
                yield json.loads(line)
            finally:
                assert end(launcher) == 0
            return
        code = end(launcher)
        errors.seek(0)
        reason = errors.read().strip()
        if code == UNAVAILABLE:
            pytest.skip(reason.splitlines()[-1])
        pytest.fail(f"the launcher ended with code {code}: {reason}")


def options_of(started: dict[str, Any]) -> dict[str, str]:
    """Return a started server's address and keys as `storage_options`."""
    return {
        "endpoint_url": started["endpoint_url"],
        "access_key_id": started["access_key"],
        "secret_access_key": started["secret_key"],
        "region": started["region"],
    }


def url_of(started: dict[str, Any], name: str) -> str:
    """Return the URL of a place below a started server's bucket."""
    return f"s3://{started['bucket']}/{name}"


def probed(started: dict[str, Any]) -> ProbeResult:
    """Probe a started server's storage."""
    storage = connect(url_of(started, "probed"), storage_options=options_of(started))
    try:
        return probe(storage)
    finally:
        storage.close()


# ------------------------------------------------------------------------------------- servers that must be refused


@pytest.fixture(scope="module", params=["rclone", "swift"])
def unsafe(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A server on which conditional writes do not hold."""
    with server(request.param) as started:
        yield started


@pytest.mark.slow
@pytest.mark.timeout(PYTHON_TIMEOUT_S)
class TestUnsafeServers:
    def test_the_probe_sees_it(self, unsafe: dict[str, Any]) -> None:
        result = probed(unsafe)
        assert not result.multi_writer
        assert result.problems
        # It is its conditional writes that fail: rclone ignores them all, Swift's gateway does not know If-Match.
        assert result.ranges
        assert result.list_after_write
        assert result.create_if_absent == (unsafe["kind"] == "swift")
        assert not result.compare_and_swap

    def test_several_writers_are_refused_with_a_way_out(self, unsafe: dict[str, Any]) -> None:
        url = url_of(unsafe, "refused")
        with pytest.raises(StorageError) as refusal:
            snapstore.open(url, create=True, storage_options=options_of(unsafe))
        assert refusal.value.code == "unsafe_storage"
        assert not refusal.value.retryable
        assert "single_writer" in str(refusal.value.hint)
        assert unsafe["secret_key"] not in f"{refusal.value} {refusal.value.hint} {refusal.value.context}"

    def test_a_refusal_leaves_no_archive(self, unsafe: dict[str, Any]) -> None:
        url = url_of(unsafe, "nothing-left")
        with pytest.raises(StorageError):
            snapstore.open(url, create=True, storage_options=options_of(unsafe))
        with pytest.raises(snapstore.NotFoundError):
            snapstore.open(url, storage_options=options_of(unsafe), single_writer=True)

    def test_a_single_writer_is_served(self, unsafe: dict[str, Any]) -> None:
        url = url_of(unsafe, "single")
        with snapstore.open(url, create=True, storage_options=options_of(unsafe), single_writer=True) as archive:
            saved = archive.save(STATE, run="tests")
            archive.update(saved.id, reviewed)
        with snapstore.open(url, storage_options=options_of(unsafe), single_writer=True) as archive:
            assert archive[saved.id].state() == STATE
            assert archive[saved.id].status == "reviewed"


# ----------------------------------------------------------------------------------------- servers that must pass


@pytest.mark.slow
class TestRealServers:
    @pytest.mark.timeout(GO_TIMEOUT_S)
    def test_versitygw_passes(self) -> None:
        with server("versitygw") as started:
            result = probed(started)
            assert result.multi_writer, result.problems
            self.saves_and_restores(started)

    @pytest.mark.timeout(PYTHON_TIMEOUT_S)
    def test_ceph_passes_with_the_etag_unquoted(self) -> None:
        # Not installed from here: a test does not put packages into the system. `scripts/s3_server.py --install ceph` does.
        with server("ceph", "--no-install") as started:
            result = probed(started)
            assert result.multi_writer, result.problems
            assert result.etag_style == "unquoted"
            self.saves_and_restores(started)

    def saves_and_restores(self, started: dict[str, Any]) -> None:
        url = url_of(started, "archive")
        with snapstore.open(url, create=True, storage_options=options_of(started)) as archive:
            saved = archive.save(STATE, run="tests")
            archive.update(saved.id, reviewed)
        with snapstore.open(url, storage_options=options_of(started)) as archive:
            assert archive[saved.id].state() == STATE
            assert archive[saved.id].status == "reviewed"


# ----------------------------------------------------------------------------------------------------- the launcher


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.timeout(PYTHON_TIMEOUT_S)
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc")
class TestLauncher:
    @pytest.fixture
    def started(self, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int], Path]]:
        """A running launcher, its children, and the folder it makes its temporary folder in."""
        with server("rclone"):  # installs it, or skips
            pass
        # The folder for temporary files decides where the cache lies only by $SNAPSTORE_SERVERS, which is untouched here.
        launcher = launch("rclone", errors=subprocess.DEVNULL, environment={"TMPDIR": str(tmp_path)})
        assert launcher.stdout is not None
        assert json.loads(launcher.stdout.readline())["pid"] == launcher.pid
        assert list(tmp_path.iterdir())
        yield launcher, children(launcher.pid), tmp_path
        end(launcher)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_and_leaves_nothing(
        self, started: tuple[subprocess.Popen[str], list[int], Path], number: signal.Signals
    ) -> None:
        launcher, servers, folder = started
        launcher.send_signal(number)
        assert launcher.wait(timeout=30) == 0
        assert servers
        assert not any(alive(pid) for pid in servers)
        assert list(folder.iterdir()) == []

    def test_a_killed_launcher_takes_its_server_along(self, started: tuple[subprocess.Popen[str], list[int], Path]) -> None:
        launcher, servers, _ = started
        launcher.kill()
        launcher.wait(timeout=30)
        give_up = time.monotonic() + 10
        while any(alive(pid) for pid in servers) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert servers
        assert not any(alive(pid) for pid in servers)

    def test_a_server_that_dies_is_reported(self, started: tuple[subprocess.Popen[str], list[int], Path]) -> None:
        launcher, servers, folder = started
        os.kill(servers[0], signal.SIGKILL)
        assert launcher.wait(timeout=30) == 1
        assert list(folder.iterdir()) == []


def test_the_list_says_what_each_kind_needs() -> None:
    done = subprocess.run([sys.executable, "-B", str(LAUNCHER), "--list", "--json"], capture_output=True, text=True, check=True)
    rows = {row["kind"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {"moto", "ministack", "versitygw", "seaweedfs", "minio", "ceph", "rclone", "swift"}
    for row in rows.values():
        assert row["needs"]
        assert row["state"] in ("installed", "can be installed", "cannot be had")
        assert (row["reason"] is not None) == (row["state"] == "cannot be had")


def test_what_cannot_be_had_is_said_with_its_reason(tmp_path: Path) -> None:
    # An empty PATH and an empty cache: no Go toolchain is found.
    variables = {"PATH": str(tmp_path), "SNAPSTORE_SERVERS": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-B", str(LAUNCHER), "versitygw"], capture_output=True, text=True, env=variables, check=False
    )
    assert done.returncode == UNAVAILABLE
    assert "no Go toolchain" in done.stderr
    assert done.stdout == ""
