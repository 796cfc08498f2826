"""How the servers that are one process are started.

Each function takes its source and the launcher's processes and returns the endpoint at once; the launcher waits until it
answers.

Keys are the same for all: they protect nothing, the servers listen on loopback and live as long as a test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from servers.processes import Processes, ServerError, free_port
from servers.s3_request import Endpoint
from servers.sources import Source

ACCESS_KEY = "snapstore"
# MinIO refuses fewer than 8 characters.
SECRET_KEY = "snapstore-secret"


def _endpoint(port: int) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)


def _data_folder(processes: Processes) -> Path:
    data = processes.folder / "data"
    data.mkdir()
    return data


def require_extended_attributes(folder: Path) -> None:
    """Raise ServerError when the file system has no user attributes, where some servers keep their metadata."""
    try:
        os.setxattr(folder, "user.snapstore", b"1")
    except (OSError, AttributeError) as error:
        raise ServerError(f"no extended attributes in {folder}, set TMPDIR to an ext4 or xfs folder: {error}") from error


def start_moto(source: Source, processes: Processes) -> Endpoint:
    """moto's S3 behind one write lock, in memory."""
    port = free_port()
    application = Path(__file__).with_name("moto_app.py")
    # -P keeps this folder off the import path: its module names must not hide moto's.
    processes.start("moto", [source.program("python"), "-P", "-B", str(application), str(port)])
    return _endpoint(port)


def start_ministack(source: Source, processes: Processes) -> Endpoint:
    """Ministack with S3 alone, in memory."""
    port = free_port()
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3",
        "LOG_LEVEL": "WARNING",
        # In spite of SERVICES and BIND_HOST it opens 0.0.0.0:8883 (MQTT) a moment after its start.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    processes.start("ministack", [source.program("ministack")], settings)
    return _endpoint(port)


def start_versitygw(source: Source, processes: Processes) -> Endpoint:
    """The Versity gateway over a folder."""
    port = free_port()
    data = _data_folder(processes)
    require_extended_attributes(data)
    # Without --keep-alive it closes the connection after every answer.
    command = [source.program("versitygw"), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive", "posix", str(data)]
    processes.start("versitygw", command, {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY})
    return _endpoint(port)


def start_minio(source: Source, processes: Processes) -> Endpoint:
    """MinIO over a folder, without its web page."""
    port = free_port()
    command = [source.program("minio"), "server", "--address", f"127.0.0.1:{port}", "--console-address", "127.0.0.1:0"]
    settings = {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        # It refuses a folder of the root disk otherwise, taking it for a forgotten mount.
        "MINIO_CI_CD": "1",
    }
    processes.start("minio", [*command, str(_data_folder(processes))], settings)
    return _endpoint(port)


def start_seaweedfs(source: Source, processes: Processes) -> Endpoint:
    """SeaweedFS: master, volume, filer and S3 gateway in one process. Never run, see the page of this package."""
    data = _data_folder(processes)
    identity = {"name": "test", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"]}
    settings = processes.folder / "s3.json"
    settings.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    port = free_port()
    command = [source.program("weed"), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-s3", f"-s3.config={settings}", f"-s3.port={port}", f"-s3.port.grpc={free_port()}"]
    for part in ("master", "volume", "filer"):
        # The port for gRPC is by default the first plus 10,000, which may be taken.
        command += [f"-{part}.port={free_port()}", f"-{part}.port.grpc={free_port()}"]
    processes.start("seaweedfs", command)
    return _endpoint(port)


def start_rclone(source: Source, processes: Processes) -> Endpoint:
    """Rclone's S3 face over a folder; it ignores every precondition."""
    port = free_port()
    command = [source.program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    processes.start("rclone", [*command, "--config", os.devnull, str(_data_folder(processes))])
    return _endpoint(port)
