"""Rows of snapshots: what a list is asked for, where its rows come from, and what the user gets for one."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from snapstore.errors import InvalidInputError
from snapstore.index import Index, RowFilter
from snapstore.index.of_run import PAGE, row_of
from snapstore.snapshot import SnapshotInfo

__all__ = ["Moment", "Position", "checked_limit", "milliseconds", "rows", "seconds"]

Moment = datetime.datetime | int
"""An aware datetime, or milliseconds since 1970 UTC."""

Position = tuple[int, str]
"""Where a row stands in the order of lists: the negated creation time, then the id."""


def rows(index: Index, wanted: RowFilter, limit: int | None, max_staleness_s: float | None) -> Iterator[SnapshotInfo]:
    """The wanted rows, newest first by creation; those of one run of whatever graph are found by its own listing."""
    if wanted.run is None or wanted.graph is not None:
        for row in index.rows(wanted, limit=limit, max_staleness_s=max_staleness_s):
            yield SnapshotInfo.of(row)
        return
    left = limit
    at_once = PAGE if limit is None else max(1, min(PAGE, limit))
    for row in map(row_of, index.of_run(wanted.run).walk(created_to=wanted.created_to, at_once=at_once, by_id=True)):
        if left == 0 or (wanted.since is not None and row.created_at < wanted.since):
            return
        if wanted.wants(row):
            yield SnapshotInfo.of(row)
            left = None if left is None else left - 1


def milliseconds(moment: Moment | None) -> int | None:
    """A moment as milliseconds since 1970 UTC."""
    if moment is None or isinstance(moment, int):
        return moment
    if not isinstance(moment, datetime.datetime):
        raise InvalidInputError(
            "a moment is a datetime or milliseconds since 1970",
            code="invalid_moment",
            hint="datetime.fromisoformat(...) reads texts",
            type=type(moment).__name__,
        )
    if moment.tzinfo is None:
        raise InvalidInputError("a moment needs a time zone", code="naive_datetime", hint="use datetime.now(timezone.utc)")
    return (moment - datetime.datetime.fromtimestamp(0, datetime.UTC)) // datetime.timedelta(milliseconds=1)


def seconds(duration: datetime.timedelta | float | None) -> float | None:
    """A duration in seconds."""
    if isinstance(duration, datetime.timedelta):
        return duration.total_seconds()
    if duration is not None and not isinstance(duration, (int, float)):
        raise InvalidInputError("a duration is seconds or a timedelta", code="invalid_duration", type=type(duration).__name__)
    return duration


def checked_limit(limit: int | None) -> int | None:
    """A limit that is one."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise InvalidInputError("a limit is a number of rows", code="invalid_limit", hint="0 or more, or None for all")
    return limit
