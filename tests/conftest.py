"""What all tests share: S3 servers, started when the first test of a session asks for one, and a clean environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import servers
from tests.servers import Endpoint

# No test depends on how fast a machine is, nor on what else runs on it.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide the clouds that whoever runs the tests may be logged into."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    nowhere = str(Path(tmp_path_factory.getbasetemp()) / "no-such-file")
    monkeypatch.setenv("AWS_CONFIG_FILE", nowhere)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    # Without this, a search for credentials asks the machine's metadata service, and waits.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto() -> Iterator[Endpoint]:
    """moto's S3 behind one write lock."""
    with servers.start("moto") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def ministack() -> Iterator[Endpoint]:
    """ministack's S3."""
    with servers.start("ministack") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def s3_endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """An S3 server for end-to-end tests: the one that `scripts/test.py --s3 KIND` started, else ministack."""
    found = servers.given()
    if found is not None:
        return found
    endpoint: Endpoint = request.getfixturevalue("ministack")
    return endpoint
