"""The exported suite on S3 through s3fs, on two emulators.

Goal: whoever comes with an s3fs file system gets the same promises as through obstore, conditional writes included.
Method: every test has a prefix of its own in one bucket. One file system is as users make them, one as `connect` makes them.
"""

from __future__ import annotations

from typing import Any

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect
from snapstore.storage.probe import innermost
from snapstore.testing import StorageContract
from tests.servers import Endpoint


@pytest.fixture(scope="module")
def filesystem(moto: Endpoint) -> Any:
    """A file system as a user would make one, with its caches and retries on."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, **moto.options)


@pytest.fixture(scope="module")
def bare_filesystem(ministack: Endpoint) -> Any:
    """A file system as `connect` makes one for a url: without caches and retries. Making one takes 0.2 s."""
    return innermost(connect(f"fsspec+s3://{ministack.bucket}", storage_options=ministack.options))._fs  # type: ignore[attr-defined]


class TestS3fsOnMoto(StorageContract):
    many_keys = 120  # 5 ms of CPU each, for client and server together; the others cross a page

    @pytest.fixture
    def storage(self, moto: Endpoint, filesystem: Any) -> Storage:
        return connect(f"{moto.bucket}/contract/{clock.random_hex()}", filesystem=filesystem)


class TestS3fsOnMinistack(StorageContract):
    @pytest.fixture
    def storage(self, ministack: Endpoint, bare_filesystem: Any) -> Storage:
        return connect(f"{ministack.bucket}/contract/{clock.random_hex()}", filesystem=bare_filesystem)
