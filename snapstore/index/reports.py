"""What folding, compacting and rebuilding report, and the state of the index."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Compacted", "Folded", "IndexStatus", "Rebuilt"]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes:
        merges: how many merges it made.
        rows: rows that they wrote.
        bytes_written: bytes of the segments that they wrote.
        deleted: objects that were deleted: segments past their grace period, and what crashes left behind.
        folded: the fold before it, where it began with one.
        held_back: segments that are not merged since a rebuild is under way, which is going to replace them.
    """

    merges: int = 0
    rows: int = 0
    bytes_written: int = 0
    deleted: int = 0
    folded: Folded | None = None
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold did.

    Attributes:
        markers: change markers that were absorbed and deleted.
        rows: rows that were written for them.
        bytes_written: bytes of the new segments, without what the compaction after it wrote.
        waiting: markers that stay, since their register is not written yet.
        compacted: the merges that followed.
        rebuilt: the rebuild before it, where the index was lost.
    """

    markers: int = 0
    rows: int = 0
    bytes_written: int = 0
    waiting: int = 0
    compacted: Compacted = Compacted()
    rebuilt: Rebuilt | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        snapshots: registers that were read, tombstones included.
        rows: rows of the new index.
        files: segments of the new index.
        bytes_written: bytes of everything that was written, merges included.
    """

    snapshots: int
    rows: int
    files: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of the index.

    Attributes:
        generation: how often the root was replaced; 0 when there is none.
        folds: how many folds there were.
        rows: rows in the segments, superseded ones included.
        files: live segments.
        bytes: their size.
        tail: change markers that are not folded.
        retired: replaced segments that wait for their grace period.
        folded_at: when the last fold or rebuild began, milliseconds since 1970 UTC by the storage's clock; 0 for never.
        lost: whether the root is missing although markers were folded: `rebuild` makes it again.
        problem: why folding in the background, by the process that asks, failed last; None when it did not.
        rebuilding_since: when a rebuild began that has not ended, milliseconds since 1970 UTC; None without one. If it has
            died, another rebuild ends it; until then segments from before it are not merged.
        revised: how many of the rows, at most, stand in the place of others, which merging takes away.
        missing: live segments that are not there: registers are read until `rebuild` makes them again.
    """

    generation: int
    folds: int
    rows: int
    files: int
    bytes: int
    tail: int
    retired: int
    folded_at: int
    lost: bool
    problem: str | None = None
    rebuilding_since: int | None = None
    revised: int = 0
    missing: int = 0
