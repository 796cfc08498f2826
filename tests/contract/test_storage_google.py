"""The exported suite on `gs://`: Google's conditions are generation numbers.

Method: no emulator of Google's XML interface was found on PyPI, so a server in this process speaks the part that is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect
from snapstore.testing import StorageContract
from tests.unit.storage import fake_server
from tests.unit.storage.fake_server import FakeServer


@pytest.fixture(scope="module")
def google() -> Iterator[FakeServer]:
    """A server that speaks the dialect of Google's XML interface."""
    with fake_server.running() as server:
        yield server


class TestGoogle(StorageContract):
    # Its server is in this process, and Python.
    large_bytes = 2_000_000

    @pytest.fixture
    def storage(self, google: FakeServer) -> Storage:
        options = {"endpoint": google.url, "bearer_token": "token"}
        return connect(f"gs://bucket/contract/{clock.random_hex()}", storage_options=options)
