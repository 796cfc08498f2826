"""A single-node Ceph object gateway on loopback: monitor, one in-memory OSD, radosgw; no manager, no systemd.

Authentication between the daemons is off (`auth ... required=none`), which forbids the encrypted transport they prefer: without
`ms mode=crc` radosgw hangs. The OSD lives in memory, 8 GiB at most; overwritten tails are collected after seconds, or a long
test fills it and every write hangs.
"""

from __future__ import annotations

import uuid

from servers.processes import Processes, ServerError, free_port
from servers.recipes import ACCESS_KEY, SECRET_KEY
from servers.s3_request import Endpoint, request
from servers.sources import Source

MEMORY_STORE_BYTES = 8 << 30

CEPH_CONF = """
[global]
fsid={fsid}
mon host=[v2:127.0.0.1:{port_v2}/0,v1:127.0.0.1:{port_v1}/0]
public addr=127.0.0.1
cluster addr=127.0.0.1
ms bind ipv6=false
auth cluster required=none
auth service required=none
auth client required=none
ms mon client mode=crc
ms mon service mode=crc
ms mon cluster mode=crc
ms client mode=crc
ms service mode=crc
ms cluster mode=crc
osd pool default size=1
osd pool default min size=1
mon allow pool size one=true
osd crush chooseleaf type=0
osd pool default pg num=4
osd pool default pgp num=4
osd pool default pg autoscale mode=off
mon max pg per osd=1000
run dir={folder}/run
admin socket={folder}/run/$name.asok
log file={folder}/log/$name.log
pid file={folder}/run/$name.pid
mon data={folder}/mon
osd data={folder}/osd
osd objectstore=memstore
memstore device bytes={store_bytes}
osd class update on start=false
osd crush update on start=false
osd class load list=*
osd class default list=*
mon data avail warn=2
mon data avail crit=1
debug ms=0
[client.rgw]
rgw frontends=beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw dns name=localhost
rgw enable usage log=false
rgw thread pool size=64
rgw cache enabled=true
rgw gc obj min wait=5
rgw gc processor period=5
rgw gc processor max time=60
"""


class _Cluster:
    """The steps of a start, each needing the one before."""

    def __init__(self, source: Source, processes: Processes) -> None:
        self._source = source
        self._processes = processes
        self._settings = ["-c", str(processes.folder / "ceph.conf")]

    def run(self, program: str, *arguments: str) -> str:
        return self._processes.run([self._source.program(program), *self._settings, *arguments])

    def start(self, program: str, name: str, *arguments: str) -> None:
        # -f: stay in the foreground, as our child, and log to the file named in the settings.
        self._processes.start(name, [self._source.program(program), *self._settings, "-f", *arguments])

    def start_monitor(self, fsid: str, port_v2: int, port_v1: int) -> None:
        folder = self._processes.folder
        address = f"[v2:127.0.0.1:{port_v2},v1:127.0.0.1:{port_v1}]"
        monitor_map = str(folder / "monmap")
        self._processes.run([self._source.program("monmaptool"), "--create", "--fsid", fsid, "--addv", "a", address, monitor_map])
        (folder / "keyring").touch()
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map, "--keyring", str(folder / "keyring"))
        self.start("ceph-mon", "mon.a", "-i", "a")

    def start_store(self) -> None:
        identity = str(uuid.uuid4())
        number = self.run("ceph", "osd", "new", identity).strip()
        self.run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", identity)
        self.start("ceph-osd", f"osd.{number}", "-i", number)
        self.run("ceph", "osd", "crush", "add", f"osd.{number}", "1.0", "root=default", "host=localhost")
        self._processes.wait_until(lambda: "1 up" in self.run("ceph", "osd", "stat"), "the OSD")

    def start_gateway(self, anonymous: Endpoint) -> None:
        self.start("radosgw", "client.rgw", "-n", "client.rgw")
        self._processes.wait_until(lambda: request(anonymous, "GET", "/") is not None, "radosgw")


def start_ceph(source: Source, processes: Processes) -> Endpoint:
    """Start the three daemons, wait for each, and create the user (about 11 s on an idle machine)."""
    folder = processes.folder
    for name in ("mon", "osd", "run"):
        (folder / name).mkdir()
    fsid = str(uuid.uuid4())
    port, port_v2, port_v1 = free_port(), free_port(), free_port()
    text = CEPH_CONF.format(fsid=fsid, folder=folder, port=port, port_v2=port_v2, port_v1=port_v1, store_bytes=MEMORY_STORE_BYTES)
    (folder / "ceph.conf").write_text(text, encoding="utf-8")
    endpoint = Endpoint(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)
    cluster = _Cluster(source, processes)
    cluster.start_monitor(fsid, port_v2, port_v1)
    cluster.start_store()
    cluster.start_gateway(endpoint)
    user = ["--uid=snapstore", "--display-name=snapstore", f"--access-key={ACCESS_KEY}", f"--secret={SECRET_KEY}"]
    answer = cluster.run("radosgw-admin", "-n", "client.rgw", "user", "create", *user)
    if "snapstore" not in answer:
        raise ServerError(f"radosgw-admin did not create the user: {answer[-500:]}")
    return endpoint
