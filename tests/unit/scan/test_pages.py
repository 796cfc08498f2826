"""Pages of packs are asked for together, once, and let go of in time.

Goal: what a scan asks of the storage is what the module says: neighbours in one request, nothing twice, nothing beyond the end.
Method: a pack of numbered bytes behind a meter; what was asked beside what had to be.
"""

from __future__ import annotations

import pytest

from snapstore.errors import CorruptionError
from snapstore.format.register import PackRef
from snapstore.scan import pages
from snapstore.scan.pages import PAGE_BYTES, PageCache
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.meter import Meter

PAGES = 40
BODY = bytes(number % 251 for number in range(PAGES * PAGE_BYTES - 1000))
PACK = PackRef(1, "runs/r", "x", len(BODY), 0, len(BODY))
LOST = PackRef(2, "runs/r", "y", 100, 0, 100)


@pytest.fixture
def meter() -> Meter:
    memory = MemoryStorage()
    memory.put(PACK.key, BODY)
    return Meter(memory)


def need(cache: PageCache, *places: tuple[int, int]) -> None:
    """Ask until it is at hand, and look whether it is right."""
    if not cache.has([(PACK, *place) for place in places]):
        cache.fetch()
    assert cache.has([(PACK, *place) for place in places])
    assert cache.get_ranges(PACK.key, places) == [BODY[start : start + length] for start, length in places]


def test_neighbours_share_a_request_and_what_is_at_hand_is_not_asked_again(meter: Meter) -> None:
    cache = PageCache(meter)
    need(cache, (10, 20), (2 * PAGE_BYTES, 5), (20 * PAGE_BYTES - 3, 6))
    assert (cache.requests, cache.bytes_read) == (2, 5 * PAGE_BYTES)  # pages 0 to 2, and 19 and 20
    need(cache, (PAGE_BYTES, PAGE_BYTES), (19 * PAGE_BYTES, 1), (5, 0))
    assert cache.requests == 2
    need(cache, (3 * PAGE_BYTES, 1), (len(BODY) - 1, 1))
    assert (cache.requests, cache.bytes_read) == (4, 7 * PAGE_BYTES - 1000)


def test_a_pack_of_which_more_than_half_is_needed_is_read_whole(meter: Meter) -> None:
    cache = PageCache(meter)
    need(cache, *[(number * PAGE_BYTES, 1) for number in range(0, PAGES, 4)])
    assert cache.requests == PAGES // 4
    cache = PageCache(meter)
    need(cache, *[(number * PAGE_BYTES, 1) for number in range(PAGES // 2 + 1)])
    assert (cache.requests, cache.bytes_read) == (1, len(BODY))


def test_a_pack_to_read_ahead_comes_with_its_first_byte(meter: Meter) -> None:
    cache = PageCache(meter)
    cache.read_ahead([PACK.key])
    need(cache, (7, 1))
    assert (cache.requests, cache.bytes_read) == (1, len(BODY))


def test_a_pack_that_is_not_there_is_remembered(meter: Meter) -> None:
    cache = PageCache(meter)
    assert not cache.has([(LOST, 0, 1)])
    cache.fetch()
    assert cache.lost == {LOST.key}


def test_a_place_beyond_the_end_is_damage(meter: Meter) -> None:
    with pytest.raises(CorruptionError) as caught:
        PageCache(meter).has([(PACK, len(BODY) - 1, 2)])
    assert caught.value.code == "object_truncated"


def test_the_budget_lets_go_of_what_nobody_waits_for(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "KEPT_BYTES", 2 * PAGE_BYTES)
    cache = PageCache(meter)
    for number in (0, 5, 10, 15, 20):
        need(cache, (number * PAGE_BYTES, 1))
    cache.fetch()
    cache.fetch()
    assert cache.has([(PACK, 20 * PAGE_BYTES, 1)])
    assert not cache.has([(PACK, 0, 1)])


def test_when_enough_is_noted_the_rest_waits(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "WAVE_BYTES", PAGE_BYTES)
    cache = PageCache(meter)
    assert not cache.has([(PACK, 0, 1), (PACK, 10 * PAGE_BYTES, 1)])  # together or not at all
    assert not cache.has([(PACK, 30 * PAGE_BYTES, 1)])
    cache.fetch()
    assert cache.has([(PACK, 0, 1), (PACK, 10 * PAGE_BYTES, 1)])
    assert not cache.has([(PACK, 30 * PAGE_BYTES, 1)])
