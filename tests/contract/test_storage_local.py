"""The exported suite on folders: durable, fast, without hard links, and opened through a url."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from snapstore.storage import Storage, connect
from snapstore.storage.local import LocalStorage
from snapstore.testing import StorageContract


class TestLocal(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path)


class TestLocalWithoutFsync(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path, durability="os")


class TestLocalWithoutHardLinks(StorageContract):
    """As on exFAT and some FUSE mounts, where creating falls back to a lock."""

    @pytest.fixture
    def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
        def no_links(*_: object) -> NoReturn:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("os.link", no_links)
        return LocalStorage(tmp_path, durability="os")


class TestLocalByUrl(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return connect(f"file://{tmp_path}/new/folder", create=True, durability="os")
