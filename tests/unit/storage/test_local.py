"""A folder as a storage: what the file system can do to it, and what it does to the file system.

Goal: every fault has a clear error, nothing half-written is ever visible, and what returned is on disk.
Method: real faults where the system can make them (a full tmpfs, a read-only mount, another user), calls watched elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from snapstore import clock, digest
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError, SnapstoreError, StorageError
from snapstore.storage import connect, parallel
from snapstore.storage.local import STALE_TEMPORARY_MS, LocalStorage

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to change the user")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path, durability="os")


@contextlib.contextmanager
def mounted(options: str) -> Iterator[Path]:
    """Mount a tmpfs for the length of a block; skips the test where that is not allowed."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Act as a user without rights for the length of a block."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def calls(*functions: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """Return functions to try one after the other."""
    return functions


def files(root: Path) -> list[str]:
    """Return the names of all objects and leftovers, without the lock files."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and "locks" not in p.parts)


class TestOpening:
    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError) as caught:
            LocalStorage(tmp_path / "missing")
        assert caught.value.code == "archive_not_found"
        assert "create=True" in str(caught.value.hint)
        assert str(tmp_path / "missing") in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    def test_create_makes_it(self, tmp_path: Path) -> None:
        LocalStorage(tmp_path / "a" / "b", create=True).put("x", b"1")
        LocalStorage(tmp_path / "a" / "b", create=True)
        assert LocalStorage(tmp_path / "a" / "b").get("x").data == b"1"

    @pytest.mark.parametrize("create", [False, True])
    def test_a_file_in_its_place(self, tmp_path: Path, create: bool) -> None:
        (tmp_path / "file").write_bytes(b"precious")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(StorageError) as caught:
                LocalStorage(path, create=create)
            assert caught.value.code == "not_a_folder"
            assert not caught.value.retryable
        assert (tmp_path / "file").read_bytes() == b"precious"

    def test_reading_only_writes_nothing(self, tmp_path: Path) -> None:
        storage = LocalStorage(tmp_path, read_only=True, create=True)
        assert storage.read_only
        with pytest.raises(NotFoundError):
            storage.get("a")
        assert list(storage.list("")) == []
        assert abs(storage.now_ms() - clock.now_ms()) < 1000
        for call in calls(
            lambda: storage.put("a", b""), lambda: storage.put_create("a", b""), lambda: storage.delete_many(["a"])
        ):
            with pytest.raises(ReadOnlyError):
                call()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(NotFoundError):
            LocalStorage(tmp_path / "missing", read_only=True, create=True)

    def test_home_and_relative_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        LocalStorage("~/agents", create=True).put("a", b"1")
        relative = LocalStorage("agents")
        monkeypatch.chdir("/")
        assert relative.get("a").data == b"1"
        assert relative.url == str(tmp_path / "agents")

    def test_durability_is_one_of_two(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInputError):
            LocalStorage(tmp_path, durability="maybe")  # type: ignore[arg-type]


class TestFaults:
    @ROOT_ONLY
    def test_a_full_disk_leaves_nothing_half_written(self) -> None:
        with mounted("size=1m") as root:
            storage = LocalStorage(root)
            version = storage.put_create("a/small", b"kept")
            big = os.urandom(2_000_000)
            for write in calls(
                lambda: storage.put_create("a/big", big),
                lambda: storage.put("a/big", big),
                lambda: storage.put_if("a/small", big, version),
            ):
                with pytest.raises(StorageError) as caught:
                    write()
                assert caught.value.code == "storage_full"
                assert not caught.value.retryable
                assert caught.value.hint
            assert files(root) == ["a/small"]
            assert storage.get("a/small").data == b"kept"
            storage.put_if("a/small", b"goes on", version)

    def test_a_file_size_limit_is_a_full_disk(self, storage: LocalStorage, tmp_path: Path) -> None:
        storage.put("kept", b"1")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(StorageError) as caught:
                storage.put_create("big", bytes(20_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert caught.value.code == "storage_full"
        assert files(tmp_path) == ["kept"]

    @ROOT_ONLY
    def test_a_read_only_file_system(self) -> None:
        with mounted("size=1m") as root:
            LocalStorage(root).put("a/b", b"1")
            subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
            storage = LocalStorage(root)
            assert storage.get("a/b").data == b"1"
            for write in calls(
                lambda: storage.put_create("a/c", b"1"),
                lambda: storage.put_if("a/b", b"2", digest.digest_hex(b"1")),
                lambda: storage.delete_many(["a/b"]),
            ):
                with pytest.raises(ReadOnlyError) as caught:
                    write()
                assert "read_only=True" in str(caught.value.hint)

    @ROOT_ONLY
    def test_permission_denied(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            root.chmod(0o755)
            (root / "mine").mkdir()
            storage = LocalStorage(root / "mine")
            storage.put("a", b"1")
            (root / "mine" / "a").chmod(0o600)
            (root / "closed").mkdir(mode=0o700)
            with nobody():
                other = LocalStorage(root / "mine")
                for call in calls(lambda: other.get("a"), lambda: other.put("b", b"1"), lambda: LocalStorage(root / "closed")):
                    with pytest.raises(StorageError) as caught:
                        call()
                    assert caught.value.code == "permission_denied"
                    assert caught.value.hint
                with pytest.raises(StorageError):
                    LocalStorage(root / "new", create=True)

    def test_a_folder_that_disappears_is_no_empty_archive(self, tmp_path: Path) -> None:
        root = tmp_path / "disk"
        storage = LocalStorage(root, create=True, durability="os")
        storage.put("a", b"1")
        root.rename(tmp_path / "unmounted")
        for call in calls(
            lambda: storage.get("a"),
            lambda: list(storage.list("")),
            lambda: storage.put("b", b"1"),
            lambda: storage.put_create("b", b"1"),
            lambda: storage.delete_many(["a"]),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.code == "folder_gone"
        assert not root.exists()

    def test_an_object_below_another(self, storage: LocalStorage) -> None:
        """The one thing that a folder cannot hold, and that our key layout never asks for."""
        storage.put("a", b"1")
        for write in calls(lambda: storage.put("a/b", b"2"), lambda: storage.put_create("a/b", b"2")):
            with pytest.raises(StorageError) as caught:
                write()
            assert caught.value.code == "not_a_folder"
        with pytest.raises(NotFoundError):
            storage.get("a/b")
        with pytest.raises(ConflictError):
            storage.put_if("a/b", b"2", "version")
        storage.delete_many(["a/b"])
        storage.put("c/d", b"1")
        for write in calls(lambda: storage.put("c", b"2"), lambda: storage.put_create("c", b"2")):
            with pytest.raises(StorageError) as caught:
                write()
            assert caught.value.code == "not_a_file"
        assert storage.get("a").data == b"1"

    @pytest.mark.parametrize(
        ("number", "code", "retryable"),
        [
            (errno.EIO, "storage_error", False),
            (errno.EMFILE, "storage_unavailable", True),
            (errno.ESTALE, "storage_unavailable", True),
            (errno.EDQUOT, "storage_full", False),
            (errno.ETIMEDOUT, "storage_timeout", True),
            (errno.EPROTO, "storage_error", False),
        ],
    )
    def test_other_failures(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int, code: str, retryable: bool
    ) -> None:
        def fail(*_: object, **__: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.write", fail)
        with pytest.raises(StorageError) as caught:
            storage.put("a", b"1")
        assert (caught.value.code, caught.value.retryable) == (code, retryable)

    def test_a_name_that_the_file_system_finds_too_long(self, storage: LocalStorage) -> None:
        deep = "/".join(["x" * 250] * 3)
        try:
            storage.put(deep, b"1")
        except SnapstoreError as error:
            assert error.code == "invalid_key"  # noqa: PT017 - most file systems take it, eCryptfs does not
        else:
            assert storage.get(deep).data == b"1"


class TestDurability:
    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Note what is fsynced and named, in order."""
        events: list[str] = []
        fsync, link, rename = os.fsync, os.link, os.rename

        def name(file: int) -> str:
            return str(Path(f"/proc/self/fd/{file}").readlink())

        def noted_fsync(file: int) -> None:
            events.append(f"sync {name(file)}")
            fsync(file)

        def noted_link(source: str, target: str) -> None:
            events.append(f"name {target}")
            link(source, target)

        def noted_rename(source: str, target: str) -> None:
            events.append(f"name {target}")
            rename(source, target)

        monkeypatch.setattr("os.fsync", noted_fsync)
        monkeypatch.setattr("os.link", noted_link)
        monkeypatch.setattr("os.rename", noted_rename)
        return events

    @pytest.mark.skipif(sys.platform != "linux", reason="looks up open files in /proc")
    def test_bytes_then_name_then_folder(self, tmp_path: Path, synced: list[str]) -> None:
        storage = LocalStorage(tmp_path)
        version = storage.put_create("a/b/c", b"1")
        temporary, *rest = synced
        assert temporary.startswith(f"sync {tmp_path}/.snapstore/temporary/")
        # Each new folder is made lasting in the one above it, then the name in its folder.
        assert rest == [f"sync {tmp_path}", f"sync {tmp_path}/a", f"name {tmp_path}/a/b/c", f"sync {tmp_path}/a/b"]
        for write in calls(lambda: storage.put_if("a/b/c", b"2", version), lambda: storage.put("a/b/d", b"3")):
            synced.clear()
            write()
            assert synced[0].startswith(f"sync {tmp_path}/.snapstore/temporary/")
            assert synced[1].startswith(f"name {tmp_path}/a/b/")
            assert synced[2:] == [f"sync {tmp_path}/a/b"]
        synced.clear()
        storage.delete_many(["a/b/c"])
        assert synced == [f"sync {tmp_path}/a/b"]
        storage.delete_many(["a/b/d"])
        assert synced[-1] == f"sync {tmp_path}"

    @pytest.mark.skipif(sys.platform != "linux", reason="looks up open files in /proc")
    def test_without_fsync(self, tmp_path: Path, synced: list[str]) -> None:
        storage = LocalStorage(tmp_path, durability="os")
        storage.put_create("a/b", b"1")
        storage.delete_many(["a/b"])
        assert [event for event in synced if event.startswith("sync")] == []

    def test_death_between_writing_and_naming_leaves_nothing_visible(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = LocalStorage(tmp_path, durability="os")
        before = storage.put("kept", b"1")

        class Killed(BaseException):
            pass

        def killed(*_: object) -> None:
            raise Killed

        # Not even the clean-up runs, as after kill -9.
        with monkeypatch.context() as patched:
            for name in ("os.link", "os.rename", "os.unlink"):
                patched.setattr(name, killed)
            for write in calls(
                lambda: storage.put_create("new", b"2"),
                lambda: storage.put("kept", b"2"),
                lambda: storage.put_if("kept", b"2", before),
            ):
                with pytest.raises(Killed):
                    write()
        assert len(files(tmp_path)) == 4
        again = LocalStorage(tmp_path)
        assert [row.key for row in again.list("")] == ["kept"]
        assert again.get("kept").data == b"1"
        # What lies there is swept up a day later, by whoever writes then.
        again.put("other", b"1")
        assert len(files(tmp_path)) == 5
        for path in (tmp_path / ".snapstore" / "temporary").iterdir():
            old_s = (clock.now_ms() - STALE_TEMPORARY_MS) / 1000 - 1
            os.utime(path, (old_s, old_s))
        LocalStorage(tmp_path).put("other", b"2")
        assert files(tmp_path) == ["kept", "other"]


class TestLocks:
    def test_a_stopped_rival_is_reported_in_time(self, tmp_path: Path) -> None:
        storage = LocalStorage(tmp_path, durability="os", timeout_s=0.2)
        version = storage.put("a", b"1")
        slot = digest.digest(b"a")[0]
        with (tmp_path / ".snapstore" / "locks" / f"{slot:02x}").open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            started_s = clock.monotonic_s()
            with pytest.raises(StorageError) as caught:
                storage.put_if("a", b"2", version)
        assert 0.2 <= clock.monotonic_s() - started_s < 5
        assert (caught.value.code, caught.value.retryable) == ("storage_timeout", True)
        storage.put_if("a", b"2", version)

    def test_lock_files_stay(self, storage: LocalStorage, tmp_path: Path) -> None:
        """Removing one would let two processes lock two different files of the same name."""
        storage.put("a", b"1")
        storage.delete_many(["a"])
        assert len(list((tmp_path / ".snapstore" / "locks").iterdir())) == 1

    def test_a_file_system_without_locks_is_named(self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_locks(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        version = storage.put_create("a", b"1")
        monkeypatch.setattr("fcntl.flock", no_locks)
        with pytest.raises(StorageError) as caught:
            storage.put_if("a", b"2", version)
        assert caught.value.code == "unsafe_storage"

    def test_processes_lose_no_increment(self, tmp_path: Path) -> None:
        storage = LocalStorage(tmp_path, durability="os")
        storage.put("counter", b"0")
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=count_up, args=(str(tmp_path), number, 25)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert int(storage.get("counter").data.split()[0]) == 100
        # Each round of creates had one winner, whichever process it was.
        assert sorted(row.key for row in storage.list("won/")) == [f"won/{number:02}" for number in range(25)]
        assert len(list(storage.list("claims/"))) == 25


def count_up(root: str, number: int, times: int) -> None:
    """Run in a process of its own: count up a shared number, and race for names."""
    storage = LocalStorage(root, durability="os")
    for turn in range(times):
        while True:
            stored = storage.get("counter")
            try:
                storage.put_if("counter", b"%d %d %d" % (int(stored.data.split()[0]) + 1, number, turn), stored.version)
                break
            except ConflictError:
                clock.sleep(clock.jitter(0, 0.005))
        try:
            storage.put_create(f"claims/{turn:02}", b"%d" % number)
        except ConflictError:
            continue
        storage.put_create(f"won/{turn:02}", b"%d" % number)


class TestListing:
    def test_foreign_files_are_passed_over(self, storage: LocalStorage, tmp_path: Path) -> None:
        storage.put("a/b", b"1")
        (tmp_path / "lost+found").mkdir()
        (tmp_path / "lost+found" / "x").write_bytes(b"")
        (tmp_path / "a" / "with blank.txt").write_bytes(b"")
        (tmp_path / "a" / "dangling").symlink_to("nowhere")
        (tmp_path / "empty").mkdir()
        assert [row.key for row in storage.list("")] == ["a/b"]

    def test_empty_folders_go_with_their_last_object(self, storage: LocalStorage, tmp_path: Path) -> None:
        storage.put("a/b/c", b"1")
        storage.put("a/d", b"1")
        storage.delete_many(["a/b/c"])
        assert not (tmp_path / "a" / "b").exists()
        storage.delete_many(["a/d"])
        assert not (tmp_path / "a").exists()
        storage.put_create("a/b/c", b"2")
        assert storage.get("a/b/c").data == b"2"

    def test_making_and_removing_folders_at_the_same_time(self, storage: LocalStorage) -> None:
        def come_and_go(number: int) -> None:
            for turn in range(40):
                key = f"folder/sub/{number}-{turn}"
                storage.put_create(key, b"1")
                assert storage.get(key).data == b"1"
                storage.delete_many([key])

        parallel([partial(come_and_go, number) for number in range(6)])
        assert list(storage.list("")) == []

    def test_objects_that_vanish_during_a_listing(self, storage: LocalStorage) -> None:
        for name in ("a/1", "a/2", "b/1", "c/1"):
            storage.put(name, b"1")
        rows = storage.list("")
        assert next(rows).key == "a/1"
        storage.delete_many(["b/1", "c/1"])
        assert [row.key for row in rows] == ["a/2"]

    def test_whole_folders_before_start_after_are_not_opened(
        self, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in "abcdef":
            storage.put(f"{folder}/x", b"1")
        opened: list[str] = []
        scandir = os.scandir

        def noted(path: Any) -> Any:
            opened.append(str(path).rstrip("/").rpartition("/")[2])
            return scandir(path)

        monkeypatch.setattr("os.scandir", noted)
        assert [row.key for row in storage.list("", start_after="d/x")] == ["e/x", "f/x"]
        assert opened[1:] == ["d", "e", "f"]


def test_a_url_names_the_same_folder(tmp_path: Path) -> None:
    connect(str(tmp_path)).put("a", b"1")
    assert connect(tmp_path).get("a").data == b"1"
    assert connect(f"file://{tmp_path}").get("a").data == b"1"
    with pytest.raises(NotFoundError):
        connect(tmp_path / "missing")
