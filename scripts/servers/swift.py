"""OpenStack Swift with its S3 face on loopback: account, container and object server and the proxy, four processes.

No memcached: the proxy's cache points at a port where nobody listens, which costs it the cache and nothing else. Users are those
of tempauth, written into the proxy's configuration.
"""

from __future__ import annotations

import getpass
from pathlib import Path

from servers.processes import Processes, free_port
from servers.recipes import require_extended_attributes
from servers.s3_request import Endpoint
from servers.sources import Source

# The one user of tempauth; the key protects nothing, the server listens on loopback and lives as long as a test.
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"

# A privileged port nobody listens on: every attempt to reach memcached is refused at once.
NO_MEMCACHED = "127.0.0.1:1"

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix=a
swift_hash_path_prefix=b
[storage-policy:0]
name=p0
default=yes
"""

COMMON = """
[DEFAULT]
bind_ip=127.0.0.1
bind_port={port}
workers=0
swift_dir={folder}/etc
user={user}
log_level=WARNING
"""

STORAGE_SERVER = (
    COMMON
    + """
devices={folder}/data
mount_check=false
recon_cache_path={folder}/cache
disable_fallocate=true
[pipeline:main]
pipeline={name}-server
[app:{name}-server]
use=egg:swift#{name}
"""
)

# The filters s3api needs, in the order its guide demands; each of the plain ones is its own egg.
PLAIN_FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "slo", "dlo", "symlink")
PIPELINE = "catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server"

PROXY_SERVER = (
    COMMON
    + """
[pipeline:main]
pipeline={pipeline}
[app:proxy-server]
use=egg:swift#proxy
allow_account_management=true
account_autocreate=true
[filter:cache]
use=egg:swift#memcache
memcache_servers={memcached}
[filter:s3api]
use=egg:swift#s3api
s3_acl=false
location=us-east-1
min_segment_size=1
[filter:tempauth]
use=egg:swift#tempauth
user_test_tester={secret} .admin
[filter:versioned_writes]
use=egg:swift#versioned_writes
allow_object_versioning=true
"""
    + "".join(f"[filter:{name}]\nuse=egg:swift#{name}\n" for name in PLAIN_FILTERS)
)


def _add_storage_server(source: Source, processes: Processes, name: str) -> None:
    """Write the ring (one device, one replica) and the configuration of one storage server."""
    etc = processes.folder / "etc"
    port = free_port()
    builder = [source.program("swift-ring-builder"), str(etc / f"{name}.builder")]
    processes.run([*builder, "create", "4", "1", "0"])
    processes.run([*builder, "add", f"r1z1-127.0.0.1:{port}/d1", "1"])
    processes.run([*builder, "rebalance"])
    text = STORAGE_SERVER.format(port=port, folder=processes.folder, user=getpass.getuser(), name=name)
    (etc / f"{name}-server.conf").write_text(text, encoding="utf-8")


def start_swift(source: Source, processes: Processes) -> Endpoint:
    """Start the four servers; returns the proxy's endpoint at once."""
    folder: Path = processes.folder
    for name in ("etc", "data/d1", "cache"):
        (folder / name).mkdir(parents=True)
    require_extended_attributes(folder / "data")
    (folder / "etc" / "swift.conf").write_text(SWIFT_CONF, encoding="utf-8")
    for name in ("account", "container", "object"):
        _add_storage_server(source, processes, name)
    port = free_port()
    text = PROXY_SERVER.format(
        port=port, folder=folder, user=getpass.getuser(), pipeline=PIPELINE, memcached=NO_MEMCACHED, secret=SECRET_KEY
    )
    (folder / "etc" / "proxy-server.conf").write_text(text, encoding="utf-8")
    for name in ("account", "container", "object", "proxy"):
        processes.start(name, [source.program(f"swift-{name}-server"), str(folder / "etc" / f"{name}-server.conf")])
    return Endpoint(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)
