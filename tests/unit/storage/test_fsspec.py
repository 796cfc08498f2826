"""File systems of fsspec: opened with the right manners, past their caches, and never trusted with conditions."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from snapstore.errors import CorruptionError, InvalidInputError, MissingExtraError, NotFoundError, ReadOnlyError, StorageError
from snapstore.storage import Storage, connect, probe
from snapstore.storage.fsspec_faults import client_failure
from snapstore.storage.fsspec_storage import FsspecStorage
from snapstore.storage.probe import innermost
from snapstore.storage.s3fs_storage import s3fs_options


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return connect(f"fsspec+file://{tmp_path}/archive")


class TestConditions:
    def test_they_are_refused_with_a_way_out(self, storage: Storage) -> None:
        version = storage.put("a", b"1")
        calls: list[Callable[[], object]] = [lambda: storage.put_create("b", b"1"), lambda: storage.put_if("a", b"2", version)]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            assert caught.value.code == "unsafe_storage"
            assert "single_writer=True" in str(caught.value.hint)
        assert [row.key for row in storage.list("")] == ["a"]

    def test_the_probe_says_so(self, storage: Storage) -> None:
        result = probe(storage)
        assert not result.multi_writer
        assert result.single_writer
        assert list(storage.list("")) == []

    def test_a_single_writer_is_served(self, tmp_path: Path) -> None:
        storage = connect(f"fsspec+file://{tmp_path}/archive", single_writer=True)
        version = storage.put_create("a", b"1")
        storage.put_if("a", b"2", version)
        assert storage.get("a").data == b"2"


class TestWriting:
    def test_a_file_gets_its_name_when_it_is_whole(self, tmp_path: Path) -> None:
        class Stops(LocalFileSystem):  # type: ignore[misc]
            def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
                super().pipe_file(path, value[: len(value) // 2], mode, **kwargs)
                raise OSError(28, "No space left on device")

        storage = connect(f"{tmp_path}/archive", filesystem=Stops(skip_instance_cache=True))
        with pytest.raises(StorageError) as caught:
            storage.put("a/b", b"123456")
        assert caught.value.code == "storage_full"
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_read_only(self, tmp_path: Path) -> None:
        storage = connect(f"fsspec+file://{tmp_path}", read_only=True)
        for call in (lambda: storage.put("a", b""), lambda: storage.put_create("a", b""), lambda: storage.delete_many(["a"])):
            with pytest.raises(ReadOnlyError):
                call()
        assert list(tmp_path.iterdir()) == []


class TestOpening:
    def test_a_file_system_of_the_users(self, tmp_path: Path) -> None:
        for filesystem, place in ((LocalFileSystem(), str(tmp_path)), (DirFileSystem(str(tmp_path)), "below")):
            storage = connect(place, filesystem=filesystem)
            storage.put("a/b", b"1")
            assert [row.key for row in storage.list("")] == ["a/b"]
        assert (tmp_path / "below" / "a" / "b").read_bytes() == b"1"
        assert (tmp_path / "a" / "b").read_bytes() == b"1"

    def test_a_url_beside_a_file_system(self, tmp_path: Path) -> None:
        connect(f"file://{tmp_path}", filesystem=LocalFileSystem()).put("a", b"1")
        assert (tmp_path / "a").read_bytes() == b"1"

    def test_options_go_into_the_file_system(self) -> None:
        with pytest.raises(InvalidInputError):
            connect("x", filesystem=MemoryFileSystem(), storage_options={"a": 1})

    def test_an_asynchronous_one_is_refused(self) -> None:
        import s3fs

        filesystem = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True)
        with pytest.raises(InvalidInputError) as caught:
            connect("bucket", filesystem=filesystem)
        assert "asynchronous=True" in str(caught.value.hint)

    def test_an_unknown_scheme(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            connect("nonsense://bucket/topsecret")
        assert caught.value.code == "unknown_scheme"
        assert caught.value.context == {"scheme": "nonsense"}

    def test_a_package_that_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(*_: object, **__: object) -> None:
            raise ImportError("Please install gcsfs")

        monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
        with pytest.raises(MissingExtraError) as caught:
            connect("sftp://host/path")
        assert "fsspec[sftp]" in str(caught.value.hint)

    def test_fsspec_itself_may_be_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        real = builtins.__import__

        def without(name: str, *arguments: Any) -> Any:
            if name == "fsspec":
                raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")
            return real(name, *arguments)

        monkeypatch.delitem(sys.modules, "snapstore.storage.fsspec_storage")
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(MissingExtraError) as caught:
            connect("sftp://host/path")
        assert "snapstore[fsspec]" in str(caught.value.hint)

    def test_options_that_it_does_not_take(self) -> None:
        with pytest.raises(InvalidInputError) as caught:
            connect("fsspec+s3://bucket", storage_options={"max_concurrency": 0, "key": "k", "username": "u"})
        assert caught.value.code == "invalid_option"
        assert caught.value.context == {"options": ["config_kwargs", "key", "max_concurrency", "use_listings_cache", "username"]}

    def test_one_that_connects_at_once_and_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object, **__: object) -> None:
            raise ConnectionRefusedError(111, "sftp://user:topsecret@host")

        monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: None)
        monkeypatch.setattr(fsspec.core, "url_to_fs", refused)
        with pytest.raises(StorageError) as caught:
            connect("sftp://user:topsecret@host/path")
        assert caught.value.code == "endpoint_unreachable"
        assert "topsecret" not in str(caught.value)

    def test_no_listing_cache(self, tmp_path: Path) -> None:
        backend = innermost(connect("fsspec+s3://bucket", storage_options={"anon": True}))
        assert backend._fs.dircache.use_listings_cache is False  # type: ignore[attr-defined]
        assert backend._fs.retries == 1  # type: ignore[attr-defined]


def test_s3fs_options_leave_the_users_alone() -> None:
    options = s3fs_options({"key": "k", "config_kwargs": {"read_timeout": 1}, "use_listings_cache": True}, 60)
    assert options == {
        "key": "k",
        "use_listings_cache": True,
        "config_kwargs": {"connect_timeout": 5.0, "read_timeout": 1, "retries": {"total_max_attempts": 1}},
    }


def test_times_in_any_form(tmp_path: Path) -> None:
    times: dict[str, Any] = {
        "a": {"mtime": 1.5},
        "b": {"LastModified": "2026-01-01T00:00:00Z"},
        "c": {"modified": "yesterday"},
        "d": {},
    }

    class Odd(MemoryFileSystem):  # type: ignore[misc]
        def find(self, path: str, **_: Any) -> dict[str, Any]:
            return {f"/odd/{name}": {"size": 1, **fields} for name, fields in times.items()}

    rows = connect("odd", filesystem=Odd(skip_instance_cache=True)).list("")
    assert [row.modified_ms for row in rows] == [1500, 1_767_225_600_000, 0, 0]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code", "retryable"),
        [
            (ConnectionRefusedError(), "endpoint_unreachable", True),
            (TimeoutError(), "storage_timeout", True),
            (ConnectionResetError(), "connection_lost", True),
            (PermissionError(13, "denied"), "permission_denied", False),
            (OSError(28, "full"), "storage_full", False),
            (RuntimeError("https://host/?sig=topsecret"), "storage_error", False),
            (OSError("no number"), "storage_error", False),
        ],
    )
    def test_exceptions_by_their_names(self, error: Exception, code: str, retryable: bool) -> None:
        failure = client_failure(error, url="x://", key="a")
        assert isinstance(failure, StorageError)
        assert (failure.code, failure.retryable) == (code, retryable)
        assert "topsecret" not in str(failure)

    def test_a_checksum_that_does_not_fit(self) -> None:
        from botocore.exceptions import FlexibleChecksumError

        failure = client_failure(FlexibleChecksumError(error_msg="x"), url="x://", key="a")
        assert isinstance(failure, CorruptionError)

    def test_a_cause_counts(self) -> None:
        error = OSError("wrapped")
        error.__cause__ = ConnectionRefusedError()
        assert client_failure(error, url="x://").code == "endpoint_unreachable"

    def test_a_missing_file(self) -> None:
        assert isinstance(client_failure(FileNotFoundError(), url="x://", key="a"), NotFoundError)

    def test_whatever_a_file_system_raises_arrives_as_ours(self, tmp_path: Path) -> None:
        class Broken(MemoryFileSystem):  # type: ignore[misc]
            def cat_file(self, *_: Any, **__: Any) -> bytes:
                raise KeyError("topsecret")

            def pipe_file(self, *_: Any, **__: Any) -> None:
                raise EOFError

            def find(self, *_: Any, **__: Any) -> dict[str, Any]:
                raise ConnectionResetError

        storage = FsspecStorage(Broken(skip_instance_cache=True), "/x")
        for call in (
            lambda: storage.get("a"),
            lambda: storage.get_ranges("a", [(0, 1)]),
            lambda: storage.put("a", b""),
            lambda: list(storage.list("")),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            assert "topsecret" not in f"{caught.value} {caught.value.__cause__}"
