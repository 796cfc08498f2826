"""The meter counts exactly what is asked of a storage, whatever the timing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from snapstore.errors import ConflictError, NotFoundError
from snapstore.storage import MemoryStorage, Meter, Prefixed, Retry, Usage
from snapstore.storage.ranges import Span, plan_spans


@pytest.fixture
def meter() -> Meter:
    return Meter(MemoryStorage())


def test_a_new_meter_has_counted_nothing(meter: Meter) -> None:
    assert meter.snapshot() == Usage()
    assert meter.snapshot().total == 0


def test_every_verb(meter: Meter) -> None:
    version = meter.put_create("a", b"123")
    meter.put_if("a", memoryview(b"12345"), version)
    meter.put("b", bytearray(7))
    meter.get("a")
    meter.get_ranges("a", [(0, 2), (3, 1)])
    list(meter.list(""))
    meter.delete_many(["a", "b"])
    usage = meter.snapshot()
    verbs = ("put_create", "put_if", "put", "get", "get_ranges", "list", "delete_many")
    assert usage.requests == dict.fromkeys(verbs, 1)
    assert (usage.bytes_written, usage.bytes_read) == (3 + 5 + 7, 5 + 3)
    assert (usage.total, usage.reads, usage.writes, usage.round_trips) == (7, 3, 3, 7)


def test_refused_requests_count(meter: Meter) -> None:
    with pytest.raises(NotFoundError):
        meter.get("missing")
    with pytest.raises(ConflictError):
        meter.put_if("missing", b"123", "version")
    usage = meter.snapshot()
    assert usage.requests == {"get": 1, "put_if": 1}
    assert (usage.bytes_written, usage.round_trips) == (3, 2)


def test_listings_count_by_page_and_only_what_is_taken(meter: Meter) -> None:
    for number in range(2000):
        meter.inner.put(f"{number:04}", b"")

    def pages(take: int) -> int:
        meter.reset()
        rows = meter.list("")
        for _ in range(take):
            next(rows)
        return meter.snapshot().total

    assert [pages(take) for take in (0, 1, 1000, 1001, 2000)] == [0, 1, 1, 2, 2]
    meter.reset()
    assert len(list(meter.list(""))) == 2000
    assert meter.snapshot().requests == {"list": 2}
    meter.reset()
    list(meter.list("x/"))
    assert meter.snapshot().requests == {"list": 1}


def test_deletes_count_by_batch(meter: Meter) -> None:
    for amount, requests in ((0, 0), (1, 1), (1000, 1), (1001, 2)):
        meter.reset()
        meter.delete_many(f"{number}" for number in range(amount))
        assert meter.snapshot().total == requests


class CoalescingStorage(MemoryStorage):
    """Makes several requests of one `get_ranges`, as object stores do."""

    def range_spans(self, ranges: Sequence[tuple[int, int]]) -> list[Span]:
        return plan_spans(ranges, max_gap_bytes=5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_ranges_count_as_the_requests_that_are_made(wrapped: bool) -> None:
    inner = CoalescingStorage()
    inner.put("p/a", bytes(100))
    meter = Meter(Retry(Prefixed(inner, "p/")) if wrapped else Prefixed(inner, "p/"))
    meter.get_ranges("a", [(0, 10), (12, 10), (50, 5), (-1, 200)])
    usage = meter.snapshot()
    # 0-22 with a gap of 2, 50-55, and the suffix that is the whole object.
    assert (usage.requests, usage.bytes_read, usage.round_trips) == ({"get_ranges": 3}, 22 + 5 + 100, 1)
    meter.reset()
    assert meter.get_ranges("a", [(3, 0)]) == [b""]
    assert meter.snapshot().round_trips == 0


def test_reset_returns_what_was(meter: Meter) -> None:
    meter.put("a", b"1")
    before = meter.reset()
    assert before.total == 1
    assert meter.snapshot() == Usage()
    meter.put("a", b"1")
    assert before.total == 1
