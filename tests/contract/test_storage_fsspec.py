"""The exported suite on fsspec file systems that have no conditional writes, opened for a single writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect
from snapstore.testing import StorageContract


class TestFsspecLocal(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return connect(f"fsspec+file://{tmp_path}/archive", single_writer=True)


class TestFsspecMemory(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return connect(f"fsspec+memory://archive-{clock.random_hex()}", single_writer=True)
