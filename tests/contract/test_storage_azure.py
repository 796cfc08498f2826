"""The exported suite on `az://`, on Azurite, Microsoft's own emulator.

Method: the program `azurite-blob` is started where it is installed (`npm install -g azurite`); elsewhere the module is skipped.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from snapstore import clock
from snapstore.storage import Storage, connect
from snapstore.testing import StorageContract
from tests.servers import free_port

# The account that every Azurite has; its key is published.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "snapstore"
AZURITE = shutil.which("azurite-blob")

if AZURITE is None:
    pytest.skip("no program azurite-blob on the PATH", allow_module_level=True)


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Azurite with an empty container; its address."""
    port = free_port()
    command = [str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    folder: Path = tmp_path_factory.mktemp("azurite")
    process = subprocess.Popen(
        [*command, "--skipApiVersionCheck", "--disableTelemetry"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    try:
        give_up = time.monotonic() + 60
        while not create_container(url) and time.monotonic() < give_up:
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def create_container(url: str) -> bool:
    """Make the container, signed with the account's key; false while nobody answers."""
    date = formatdate(usegmt=True)
    resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n{resource}"
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(f"{url}/{CONTAINER}?restype=container", method="PUT")
    request.add_header("x-ms-date", date)
    request.add_header("x-ms-version", "2021-08-06")
    request.add_header("Authorization", f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False
    return True


class TestAzure(StorageContract):
    @pytest.fixture
    def storage(self, azure: str) -> Storage:
        options = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": azure}
        return connect(f"az://{CONTAINER}/contract/{clock.random_hex()}", storage_options=options)
