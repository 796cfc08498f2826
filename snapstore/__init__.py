"""snapstore: an archive for the state of long-lived agents, on object storage or a local disk.

    import snapstore

    archive = snapstore.open("./runs", create=True)
    run = archive.run("ticket-42", graph="support")
    first = run.save({"messages": [{"role": "user", "content": "hello"}]})
    archive[first.id].state()

Each snapshot is cut into content-addressed chunks, so a save costs what changed. Snapshots know their parents, so
histories branch and fork. Names are loaded when they are first used: importing this package is cheap.

It does not run agents, and does not interpret what they hold: a state is plain data that comes back as it was saved.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snapstore.archive import Archive
    from snapstore.errors import (
        ConflictError,
        CorruptionError,
        FormatError,
        InvalidInputError,
        MissingExtraError,
        NotFoundError,
        ReadOnlyError,
        SnapstoreError,
        StorageError,
    )
    from snapstore.history.diff import Change
    from snapstore.opening import open_archive as open  # noqa: A004 - snapstore.open reads like the builtin on purpose
    from snapstore.run import Run
    from snapstore.snapshot import ListView, MapView, Snapshot, SnapshotDraft, SnapshotInfo

__version__ = "0.1.0"

__all__ = [
    "Archive",
    "Change",
    "ConflictError",
    "CorruptionError",
    "FormatError",
    "InvalidInputError",
    "ListView",
    "MapView",
    "MissingExtraError",
    "NotFoundError",
    "ReadOnlyError",
    "Run",
    "Snapshot",
    "SnapshotDraft",
    "SnapshotInfo",
    "SnapstoreError",
    "StorageError",
    "__version__",
    "open",
]

_HOMES = {
    "Archive": "archive",
    "Change": "history.diff",
    "ListView": "snapshot",
    "MapView": "snapshot",
    "Run": "run",
    "Snapshot": "snapshot",
    "SnapshotDraft": "snapshot",
    "SnapshotInfo": "snapshot",
}


def __getattr__(name: str) -> Any:
    if name == "open":
        return importlib.import_module("snapstore.opening").open_archive
    if name in _HOMES:
        return getattr(importlib.import_module(f"snapstore.{_HOMES[name]}"), name)
    if name in __all__:
        return getattr(importlib.import_module("snapstore.errors"), name)
    raise AttributeError(f"module 'snapstore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
