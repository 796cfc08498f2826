"""The exported suite on our own adapters, over archives on S3: `scripts/test.py --s3 KIND` names the server, else ministack.

Method: the server is probed once, as at the making of an archive; each test has a copy of that archive to itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.opening import open_on
from snapstore.storage import Prefixed, Storage, connect
from snapstore.testing import AdapterContract
from snapstore.testing.adapter_contract import KEYS
from tests.contract import adapter_drivers as drivers
from tests.servers import Endpoint


@pytest.fixture(scope="module")
def template(s3_endpoint: Endpoint) -> Iterator[Storage]:
    """A place with a new archive, which all tests copy, since probing a server takes a second; taken away at the end."""
    storage = connect(f"s3://{s3_endpoint.bucket}/adapters/{clock.random_hex()}", storage_options=s3_endpoint.options)
    open_on(Prefixed(storage, "template/"), create=True)
    yield storage
    storage.delete_many([row.key for row in storage.list("")])
    storage.close()


class OnS3(AdapterContract):
    neighbours = drivers.SYSTEMS
    writers = 4
    odd_keys = KEYS[::4]  # the names in a bucket are those of a folder, and there all are tried

    @pytest.fixture
    def archive(self, template: Storage) -> Archive:
        storage = Prefixed(template, f"{clock.random_hex()}/")
        for row in template.list("template/"):
            storage.put(row.key.removeprefix("template/"), template.get(row.key).data)
        return open_on(storage)


class TestGenkitFlow(OnS3):
    driver = drivers.FlowStateDriver


class TestFlowkit(OnS3):
    driver = drivers.FlowkitDriver


class TestCjm(OnS3):
    driver = drivers.WorkflowDriver


class TestGenkit(OnS3):
    driver = drivers.SessionDriver


class TestGenkitPython(OnS3):
    driver = drivers.PythonSessionDriver


class TestAgentos(OnS3):
    driver = drivers.CheckpointDriver


class TestLanggraph(OnS3):
    driver = drivers.ThreadDriver
