"""S3 emulators on loopback for the tests: each a child process on a free port of 127.0.0.1, ended by its process id.

Real servers are started by `scripts/s3_server.py`; `scripts/test.py --s3 KIND` hands one over in SNAPSTORE_TEST_S3.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

MOTO = Path(__file__).resolve().parents[1] / "scripts" / "servers" / "moto_app.py"

# moto takes about a second to start, ministack a third; both cores may be busy with other tests.
READY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Endpoint:
    """A server that is ready, with an empty bucket."""

    url: str
    access_key: str
    secret_key: str
    region: str
    bucket: str

    @property
    def options(self) -> dict[str, str]:
        """The address and the keys as `storage_options`, in names that both obstore's settings and s3fs know."""
        return {"endpoint_url": self.url, "key": self.access_key, "secret": self.secret_key}

    def client(self) -> Any:
        """Return a boto3 client, the witness that looks at what is really there."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


def given() -> Endpoint | None:
    """Return the server that `scripts/test.py --s3 KIND` started, or None."""
    text = os.environ.get("SNAPSTORE_TEST_S3")
    if not text:
        return None
    line = json.loads(text)
    return Endpoint(line["endpoint_url"], line["access_key"], line["secret_key"], line["region"], line["bucket"])


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def start(kind: str) -> Iterator[Endpoint]:
    """Run an emulator for the length of a block.

    Args:
        kind: "moto", behind one write lock, or "ministack".
    """
    port = free_port()
    if kind == "moto":
        command = [sys.executable, "-P", "-B", str(MOTO), str(port)]
        settings = {}
    else:
        command = [str(Path(sys.executable).with_name("ministack"))]
        # Without the last two it also opens ports on every address.
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "SERVICES": "s3",
            "LOG_LEVEL": "ERROR",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        endpoint = Endpoint(f"http://127.0.0.1:{port}", "test", "test-secret-key", "us-east-1", "snapstore")
        _wait_until_ready(endpoint.url, process)
        endpoint.client().create_bucket(Bucket=endpoint.bucket)
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()  # a refusal is an answer too
        except OSError:
            if process.poll() is not None or time.monotonic() > give_up:
                raise
            time.sleep(0.05)
            continue
        return
