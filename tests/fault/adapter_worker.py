"""What one process of the adapter races does. Run as `python adapter_worker.py JSON`: change things through every adapter."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import snapstore
from tests.contract.adapter_drivers import SYSTEMS


def work(folder: str, number: int, times: int, ready: str) -> None:
    """Set fields, count and append so many times through each adapter, once a file says that everybody is ready."""
    archive = snapstore.open(folder, durability="os")
    adapters = [driver(archive) for driver in SYSTEMS]
    Path(f"{ready}.{number}").touch()
    while not Path(ready).exists():
        time.sleep(0.005)
    for step in range(times):
        for adapter in adapters:
            if adapter.can("set_field"):
                adapter.set_field("x", f"{number} {step}", step)
            if adapter.can("increment"):
                adapter.increment("x")
            if adapter.can("append"):
                adapter.append("group", {"by": number})
    archive.close()


if __name__ == "__main__":
    work(**json.loads(sys.argv[1]))
