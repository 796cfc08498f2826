"""The exported suite on S3 through obstore, on two emulators; and what both doors to S3 have in common.

Goal: every promise holds, and the names in the bucket are exactly the keys, whichever door wrote them.
Method: every test has a prefix of its own in one bucket. A boto3 client looks at what is really there.
"""

from __future__ import annotations

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect
from snapstore.testing import StorageContract
from snapstore.testing.storage_contract import KEYS
from tests.servers import Endpoint


def opened(endpoint: Endpoint, scheme: str) -> Storage:
    """Open an empty place in the server's bucket."""
    url = f"{scheme}://{endpoint.bucket}/contract/{clock.random_hex()}"
    return connect(url, storage_options=endpoint.options)


class TestObstoreOnMoto(StorageContract):
    @pytest.fixture
    def storage(self, moto: Endpoint) -> Storage:
        return opened(moto, "s3")


class TestObstoreOnMinistack(StorageContract):
    @pytest.fixture
    def storage(self, ministack: Endpoint) -> Storage:
        return opened(ministack, "s3")


@pytest.mark.parametrize("scheme", ["s3", "fsspec+s3"])
def test_the_physical_name_is_the_key(moto: Endpoint, scheme: str) -> None:
    prefix = f"physical/{clock.random_hex()}"
    storage = connect(f"{scheme}://{moto.bucket}/{prefix}", storage_options=moto.options)
    for key in KEYS:
        storage.put_create(key, key.encode())
    client = moto.client()
    listed = client.list_objects_v2(Bucket=moto.bucket, Prefix=f"{prefix}/")["Contents"]
    assert sorted(row["Key"] for row in listed) == sorted(f"{prefix}/{key}" for key in KEYS)
    for key in KEYS:
        answer = client.get_object(Bucket=moto.bucket, Key=f"{prefix}/{key}")
        assert answer["Body"].read() == key.encode()
        assert storage.get(key).version == answer["ETag"]


def test_both_doors_see_the_same_objects_and_versions(ministack: Endpoint) -> None:
    place = f"{ministack.bucket}/both/{clock.random_hex()}"
    one = connect(f"s3://{place}", storage_options=ministack.options)
    other = connect(f"fsspec+s3://{place}", storage_options=ministack.options)
    version = one.put_create("a", b"one")
    version = other.put_if("a", b"other", version)
    version = one.put_if("a", b"one again", version)
    assert other.get("a").version == version
    assert list(one.list("")) == list(other.list(""))
