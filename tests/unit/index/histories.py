"""Made histories for the tests of the index: saves, rewrites, deletions and moves, and what registers say of them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.format import names
from snapstore.format.register import Register
from snapstore.index import Index, Row, RowFilter, folding, levels, of_run, rebuilding, segments, stream, tail, times, writing
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.protocol import Storage

GRAPHS = ["support", "a/b=c", "größe 🚀", "default", "x" * 300]
"""Names that file systems and hive folders would trip over, and one that keys hold as a digest only."""

RUNS = ["r0", "r1", "r2"]


def truth(storage: Storage, wanted: RowFilter) -> list[Row]:
    """The list that the registers call for: newest first by creation, ties by id."""
    found = []
    for info in storage.list(names.SNAPSHOTS_PREFIX):
        row = Row.of(Register.decode(storage.get(info.key).data))
        if wanted.wants(row):
            found.append(row)
    return sorted(found, key=lambda row: (-row.created_at, row.id))


def listed(index: Index, wanted: RowFilter, **more: Any) -> list[Row]:
    """The list that the index gives."""
    return list(index.rows(wanted, **more))


def timeless(rows: Iterable[Row]) -> list[Any]:
    """Rows without what a heartbeat changes: it leaves no marker, so a folded row shows it late."""
    return [
        (row.id, row.run, row.graph, row.node, row.status, row.parents, row.created_at, row.metadata, row.digest) for row in rows
    ]


class Story:
    """Random changes of one archive, among few ids so that they meet.

    Args:
        archive: written to.
        seed: the same changes for the same seed.
    """

    def __init__(self, archive: Archive, seed: int) -> None:
        self.archive = archive
        self.rng = random.Random(seed)
        self.count = 0

    def change(self) -> None:
        """Make one change."""
        kind = self.rng.choice(["save", "save", "save", "over", "status", "beat", "delete", "move"])
        id = f"s{self.rng.randrange(12)}" if kind != "save" else f"n{self.count}-{self.rng.randrange(10**6)}"
        if self.rng.random() < 0.05:
            id = id * 60
        self.count += 1
        if kind == "delete":
            self.archive.delete(id)
        elif kind in {"status", "beat"}:
            self.archive.update(id, self._changed if kind == "status" else lambda draft: draft)
        else:
            self.save(id, self.rng.choice(GRAPHS) if kind == "move" else GRAPHS[hash_of(id) % len(GRAPHS)])

    def save(self, id: str, graph: str) -> None:
        """Save, perhaps over a snapshot that is there, perhaps in another graph."""
        metadata: dict[str, Any] = {
            "model": self.rng.choice(["large", "small"]),
            "cost": self.rng.choice([1, 1.5, True]),
            "tags": ["a"],
        }
        self.archive.save(
            {"n": self.count},
            run=self.rng.choice(RUNS),
            graph=graph,
            id=id,
            parent=self._parent(id),
            node=self.rng.choice(["plan", None]),
            metadata=self.rng.choice([{}, metadata, {"model": "large"}]),
        )

    def _parent(self, id: str) -> str | None:
        """A snapshot that a new one continues, of whatever run."""
        live = [row.id for row in truth(self.archive.storage, RowFilter())]
        return None if id in live else self.rng.choice([None, *live[:6]])

    def _changed(self, draft: SnapshotDraft | None) -> SnapshotDraft | None:
        if draft is not None:
            draft.status = self.rng.choice(["running", "completed", "failed"])
        return draft


def make_everything_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few hundred rows climb through all levels, fill segments and row groups, and take several pages of listings."""
    monkeypatch.setattr(levels, "LEVEL_0_ROWS", 2)
    monkeypatch.setattr(levels, "SPLIT_LEVEL", 3)
    for module in (levels, writing):
        monkeypatch.setattr(module, "FULL_ROWS", 40)
    monkeypatch.setattr(segments, "ROW_GROUP_ROWS", 8)
    monkeypatch.setattr(segments, "ROW_GROUP_CUT_ROWS", 3)
    monkeypatch.setattr(segments, "WHOLE_BYTES", 6500)  # some segments are read whole, others in parts
    monkeypatch.setattr(stream, "STEP_ROWS", 3)
    monkeypatch.setattr(tail, "PAGE_KEYS", 7)
    monkeypatch.setattr(tail, "BATCH_MIN", 2)
    monkeypatch.setattr(times, "PAGE_KEYS", 5)
    monkeypatch.setattr(of_run, "PAGE", 2)
    monkeypatch.setattr(of_run, "AT_ONCE", 5)
    monkeypatch.setattr(of_run, "GRAPHS_MOST", 3)
    monkeypatch.setattr(of_run, "MARKERS_MOST", 9)
    monkeypatch.setattr(folding, "ROUND_MARKERS", 11)
    monkeypatch.setattr(rebuilding, "BATCH_ROWS", 9)
    monkeypatch.setattr(rebuilding, "REGISTERS_AT_ONCE", 4)
    monkeypatch.setattr(segments, "READ_ROWS", 6)


def hash_of(text: str) -> int:
    """A number that is the same in every process."""
    return sum(text.encode())
