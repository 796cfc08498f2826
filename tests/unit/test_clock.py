"""The door to time and randomness gives what its names say."""

from __future__ import annotations

import datetime

import pytest

from snapstore import clock


def test_now_is_in_milliseconds() -> None:
    assert abs(clock.now_ms() - datetime.datetime.now(datetime.UTC).timestamp() * 1000) < 1000


def test_monotonic_goes_on_and_sleep_waits() -> None:
    before = clock.monotonic_s()
    clock.sleep(0.01)
    clock.sleep(0)
    clock.sleep(-1)
    assert 0.009 < clock.monotonic_s() - before < 5


def test_random_names_do_not_repeat() -> None:
    names = {clock.random_hex() for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == 32 and name == name.lower() and int(name, 16) >= 0 for name in names)
    assert len(clock.random_hex(6)) == 12


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (0, 0), (2, 3)])
def test_jitter_stays_within_its_bounds(low: float, high: float) -> None:
    numbers = [clock.jitter(low, high) for _ in range(100)]
    assert all(low <= number <= high for number in numbers)
    assert low == high or len(set(numbers)) > 1
