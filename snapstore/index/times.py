"""Times of a run: when its newest snapshots were created, from one page of the listing of its packs.

A graph's rows lie in the order of their creation, and a run's may lie anywhere among them. The names of a run's packs say
when its snapshots were created, so that only the row groups that hold those moments are read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

from snapstore.format import names
from snapstore.index.arrow import arrow
from snapstore.storage.protocol import PAGE_KEYS, Storage

__all__ = ["RunTimes"]


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Creation times of a run's snapshots.

    Attributes:
        times: the newest ones, ascending, milliseconds since 1970 UTC; those of deleted snapshots and lost races included.
        horizon: earlier than this there may be others; -1 when these are all.
    """

    times: tuple[int, ...]
    horizon: int

    @classmethod
    def of(cls, storage: Storage, run: str) -> RunTimes:
        """The times of a run: one request."""
        listed = [*storage.list(names.run_prefix(run), limit=PAGE_KEYS)]
        parsed = [name for name in (names.parse_pack_key(info.key) for info in listed) if name is not None]
        times = sorted({name.created_ms for name in parsed if name.created_ms is not None})
        return cls(tuple(times), times[0] if len(listed) == PAGE_KEYS and times else -1)

    def between(self, since: int, to: int) -> int:
        """How many of the times lie in [since, to]."""
        return bisect_right(self.times, to) - bisect_left(self.times, since)

    def may_be_between(self, since: int, to: int) -> bool:
        """Whether a snapshot of the run may have been created in [since, to]."""
        return since < self.horizon or self.between(since, to) > 0

    def mask(self, created_at: Any) -> Any:
        """At which of the times in an Arrow column a snapshot of the run may have been created."""
        pa = arrow()
        times = pa.array(self.times, created_at.type)
        known = pa.compute.is_in(created_at, value_set=times)
        if self.horizon < 0:
            return known
        return pa.compute.or_(known, pa.compute.less(created_at, pa.scalar(self.horizon, created_at.type)))

    def newest_before(self, end: int, count: int) -> int:
        """The time of the last of `count` snapshots created before `end`; -1 when that many are not known."""
        place = bisect_left(self.times, end) - count
        return self.times[place] if place >= 0 else -1
