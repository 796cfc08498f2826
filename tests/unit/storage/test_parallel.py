"""Calls at the same time: order, errors, nesting, and what a meter makes of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial

import pytest

from snapstore.storage import MemoryStorage, Meter, parallel
from snapstore.storage.parallel import MAX_THREADS


def test_results_keep_their_order() -> None:
    assert parallel([]) == []
    assert parallel([partial(pow, 2, n) for n in range(100)]) == [2**n for n in range(100)]


def test_calls_run_at_the_same_time() -> None:
    barrier = threading.Barrier(8, timeout=30)
    assert sorted(parallel([barrier.wait] * 8)) == list(range(8))


def test_a_single_call_runs_in_the_calling_thread() -> None:
    assert parallel([threading.get_ident]) == [threading.get_ident()]


def test_the_first_error_by_position_is_raised_after_all_have_run() -> None:
    ran: list[int] = []

    def call(number: int) -> None:
        ran.append(number)
        if number in {3, 7}:
            raise ValueError(number)

    with pytest.raises(ValueError, match="3"):
        parallel([partial(call, number) for number in range(20)])
    assert sorted(ran) == list(range(20))


def test_nesting_far_beyond_the_number_of_threads_does_not_hang() -> None:
    def tree(depth: int) -> int:
        return 1 if depth == 0 else sum(parallel([partial(tree, depth - 1)] * 3))

    assert MAX_THREADS < 3**6
    assert tree(6) == 3**6


def test_an_interrupt_begins_nothing_new() -> None:
    ran: list[int] = []
    main = threading.get_ident()
    started = threading.Event()

    def call(number: int) -> None:
        ran.append(number)
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        started.wait(0.2)

    with pytest.raises(KeyboardInterrupt):
        parallel([partial(call, number) for number in range(1000)])
    assert len(ran) < 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forking with threads
def test_a_forked_child_has_threads_of_its_own() -> None:
    parallel([threading.get_ident] * 4)
    child = os.fork()
    if child == 0:
        barrier = threading.Barrier(4, timeout=20)
        ok = sorted(parallel([barrier.wait] * 4)) == [0, 1, 2, 3]
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0


class TestRoundTrips:
    @pytest.fixture
    def meter(self) -> Meter:
        storage = MemoryStorage()
        for name in "abcdef":
            storage.put(name, name.encode())
        return Meter(storage)

    def gets(self, meter: Meter, *names: str) -> Callable[[], None]:
        """Return a call that reads objects one after the other."""

        def read() -> None:
            for name in names:
                meter.get(name)

        return read

    def test_calls_in_a_row_add_up(self, meter: Meter) -> None:
        self.gets(meter, "a", "b", "c")()
        assert meter.snapshot().round_trips == 3

    def test_a_wave_counts_as_its_longest_call(self, meter: Meter) -> None:
        parallel([self.gets(meter, "a"), self.gets(meter, "b", "c", "d"), self.gets(meter, "e", "f")])
        assert meter.snapshot().round_trips == 3
        assert meter.snapshot().total == 6

    def test_a_single_call_in_a_wave_counts_what_it_does(self, meter: Meter) -> None:
        parallel([self.gets(meter, "a", "b")])
        assert meter.snapshot().round_trips == 2

    def test_waves_nest(self, meter: Meter) -> None:
        def nested() -> None:
            meter.get("a")
            parallel([self.gets(meter, "b"), self.gets(meter, "c", "d")])

        parallel([nested, self.gets(meter, "e"), nested])
        assert meter.snapshot().round_trips == 3
        meter.get("f")
        assert meter.snapshot().round_trips == 4

    def test_failed_calls_count(self, meter: Meter) -> None:
        with pytest.raises(LookupError):
            parallel([self.gets(meter, "a", "missing"), self.gets(meter, "b")])
        assert meter.snapshot().round_trips == 2

    def test_two_meters_in_one_wave_count_for_themselves(self, meter: Meter) -> None:
        other = Meter(meter.inner)
        parallel([self.gets(meter, "a", "b"), self.gets(other, "c"), self.gets(meter, "d")])
        assert (meter.snapshot().round_trips, other.snapshot().round_trips) == (2, 1)

    def test_threads_of_the_caller_are_no_wave(self, meter: Meter) -> None:
        threads = [threading.Thread(target=self.gets(meter, "a")) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert meter.snapshot().round_trips == 3
