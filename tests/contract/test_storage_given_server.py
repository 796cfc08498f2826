"""The exported suite on a real S3 server, through obstore and through s3fs: `scripts/test.py --s3 KIND` starts one.

Goal: what holds on the emulators holds on servers that people run.
Method: the server is probed first, as at the first opening of an archive, and must be safe for several writers; its way with
ETags is the one the probe found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect, probe
from snapstore.storage.probe import innermost, set_etag_style
from snapstore.testing import StorageContract
from tests import servers
from tests.servers import Endpoint

if servers.given() is None:
    pytest.skip("no server given: run scripts/test.py --s3 KIND", allow_module_level=True)


def opened(endpoint: Endpoint, scheme: str) -> Storage:
    """Open an empty place in the server's bucket."""
    url = f"{scheme}://{endpoint.bucket}/contract/{clock.random_hex()}"
    return connect(url, storage_options=endpoint.options)


@pytest.fixture(scope="module")
def etag_style(s3_endpoint: Endpoint) -> str:
    """What the probe finds out about the server, which must be safe for several writers."""
    result = probe(opened(s3_endpoint, "s3"))
    assert result.multi_writer, result.problems
    return result.etag_style


@pytest.fixture(scope="module")
def filesystem(s3_endpoint: Endpoint) -> Any:
    """A file system as `connect` makes it; making one takes 0.2 s."""
    return innermost(opened(s3_endpoint, "fsspec+s3"))._fs  # type: ignore[attr-defined]


class TestObstore(StorageContract):
    @pytest.fixture
    def storage(self, s3_endpoint: Endpoint, etag_style: str) -> Iterator[Storage]:
        storage = opened(s3_endpoint, "s3")
        set_etag_style(storage, etag_style)
        yield storage
        storage.delete_many([row.key for row in storage.list("")])


class TestS3fs(StorageContract):
    @pytest.fixture
    def storage(self, s3_endpoint: Endpoint, etag_style: str, filesystem: Any) -> Iterator[Storage]:
        storage = connect(f"{s3_endpoint.bucket}/contract/{clock.random_hex()}", filesystem=filesystem)
        set_etag_style(storage, etag_style)
        yield storage
        storage.delete_many([row.key for row in storage.list("")])
