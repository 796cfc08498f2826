"""The exported suite on the storage in memory, bare and behind each wrapper.

Goal: the model the others are held against is right itself, and no wrapper changes what a storage promises.
"""

from __future__ import annotations

import pytest

from snapstore.storage import MemoryStorage, Meter, Prefixed, Retry, SingleWriter, Storage
from snapstore.testing import StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestPrefixed(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        inner = MemoryStorage()
        # Neighbours on both sides, and one whose name begins like ours.
        for key in ("a/x", "ns", "ns/tenan/x", "ns/tenant-1", "ns/tenant-7x/y", "z"):
            inner.put(key, b"neighbour")
        return Prefixed(inner, "ns/tenant-7/")


class TestRetry(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return Retry(MemoryStorage())


class TestMeter(StorageContract):
    @pytest.fixture
    def storage(self) -> Storage:
        return Meter(MemoryStorage())


class TestSingleWriter(StorageContract):
    """Within one process the emulated conditions hold; across processes nothing is promised."""

    @pytest.fixture
    def storage(self) -> Storage:
        return SingleWriter(MemoryStorage())
