"""Rows of snapshots: which ones a list wants, and where they come from."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from snapstore.errors import InvalidInputError
from snapstore.format.register import Register
from snapstore.history import walks
from snapstore.history.rows import RowCache
from snapstore.snapshot import SnapshotInfo
from snapstore.storage.protocol import Storage

__all__ = ["Filter", "Moment", "Position", "milliseconds", "rows"]

Moment = datetime.datetime | int
"""An aware datetime, or milliseconds since 1970 UTC."""

Position = tuple[int, str]
"""Where a row stands in the order of lists: the negated creation time, then the id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list wants.

    Attributes:
        graph: only this graph.
        run: only this run.
        status: only this status.
        since: created at this time or later, milliseconds since 1970.
        until: created before this time.
        after: only rows behind this position.
    """

    graph: str | None = None
    run: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None
    after: Position | None = None

    def wants(self, register: Register) -> bool:
        """Whether a register belongs into the list."""
        return (
            (self.graph is None or register.graph == self.graph)
            and (self.status is None or register.status == self.status)
            and (self.until is None or register.created_at < self.until)
            and (self.after is None or (-register.created_at, register.id) > self.after)
        )


def rows(storage: Storage, kept: RowCache, chosen: Filter, limit: int | None) -> Iterator[SnapshotInfo]:
    """The wanted rows, newest first by creation; `limit` is only how many the caller is going to take."""
    if chosen.run is not None:
        registers = (head.register for head in walks.run_heads(storage, chosen.run))
    else:
        registers = walks.graph_rows(storage, kept, chosen.graph, limit)
    for register in registers:
        if chosen.since is not None and register.created_at < chosen.since:
            return
        if chosen.wants(register):
            yield SnapshotInfo.of(register)


def milliseconds(moment: Moment | None) -> int | None:
    """A moment as milliseconds since 1970 UTC."""
    if moment is None or isinstance(moment, int):
        return moment
    if moment.tzinfo is None:
        raise InvalidInputError("a moment needs a time zone", code="naive_datetime", hint="use datetime.now(timezone.utc)")
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(milliseconds=1)
