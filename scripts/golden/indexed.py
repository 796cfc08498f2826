"""The story of the golden archive with an index: what is saved, folded, merged, and left waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import snapstore
from snapstore.index.folding import Folder
from snapstore.index.generations import Generations
from snapstore.index.segments import Segments

GRAPHS = ("support", "größe/1")
SNAPSHOTS = 20


def tell(folder: Path) -> dict[str, Any]:
    """Write the archive and return what must be read from it.

    In the end a merged segment is live, and one folded after it that revises some of its rows, hides one that was deleted and one
    that moved to the other graph; the two that were merged wait for their readers, and three changes for a fold.
    """
    with snapstore.open(str(folder), create=True, index_after=None) as archive:
        for number in range(SNAPSHOTS):
            save(archive, number)
            if number == SNAPSHOTS // 2:
                archive.index.refresh()
        archive.index.refresh()
        for number in (3, 4):
            archive.update(f"id {number}", failed)
        archive.delete("id 5")
        archive.save({"n": "moved"}, run="run-0", graph=GRAPHS[1], id="id 6")
        generations, segments = Generations(archive.storage), Segments(archive.storage)
        for _ in Folder(archive.storage, generations, segments).fold():
            pass  # and nothing is merged
        folded = [row_of(info) for info in archive.list()]
        archive.update("id 7", failed)
        archive.delete("id 8")
        archive.save({"n": "new"}, run="run-new", graph=GRAPHS[0], id="new")
        rows = [row_of(info) for info in archive.list()]
        return {"format": 1, "snapshots": rows, "folded": folded, "live": archive.index.files()}


def save(archive: snapstore.Archive, number: int) -> None:
    """Save one of the first snapshots."""
    archive.save(
        {"n": number},
        run=f"run-{number % 3}",
        graph=GRAPHS[number % 2],
        id=f"id {number}",
        parent=f"id {number - 3}" if number >= 3 else None,
        node="plan" if number % 4 else None,
        metadata={"model": "large", "cost": number, "tags": ["a", number]} if number % 3 else {},
    )


def failed(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft | None:
    """Change the status of a snapshot."""
    if draft is not None:
        draft.status = "failed"
    return draft


def row_of(info: snapstore.SnapshotInfo) -> dict[str, Any]:
    """Return what a list must show of a snapshot."""
    return {
        "id": info.id,
        "run": info.run,
        "graph": info.graph,
        "node": info.node,
        "status": info.status,
        "parents": list(info.parents),
        "created_at": info.created_at.isoformat(),
        "updated_at": info.updated_at.isoformat(),
        "metadata": info.metadata,
        "version": info.version,
        "digest": info.digest,
        "size_bytes": info.size_bytes,
        "stored_bytes": info.stored_bytes,
    }
