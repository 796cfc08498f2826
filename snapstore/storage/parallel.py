"""Run several storage calls at the same time, and count what that means in round trips.

`parallel([...])` runs its calls on one shared pool of threads. All of them together are one *wave*: they take as long
as the slowest, so a meter adds the largest number of sequential requests that any one of them made, not the sum. A call
outside of any wave counts as one round trip. Waves nest: a call inside a wave may start a wave of its own.

The thread that calls `parallel` works too and waits only for calls that another thread has already begun, so nested use
cannot deadlock, however small the pool is.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Final, Protocol, TypeVar, cast

T = TypeVar("T")

# Threads of the shared pool. Sixteen requests in flight fill a 1 Gbit/s line with 100 KB objects at 10 ms, and are what
# botocore and obstore keep open per host without being told more.
MAX_THREADS: Final = 16


class RoundTripCounter(Protocol):
    """Something that wants to know how many requests followed one another."""

    def add_round_trips(self, count: int) -> None:
        """Add sequential requests that belong to no wave (any more)."""
        ...


# What the current call of a wave has spent so far, per counter; None outside of every wave.
_spent: ContextVar[Counter[RoundTripCounter] | None] = ContextVar("snapstore_wave", default=None)


def count_round_trips(counter: RoundTripCounter, count: int) -> None:
    """Tell a counter about `count` requests that followed one another, made by the code that runs now.

    Inside a wave the number is kept with the call of the wave and reaches the counter when the wave ends.
    """
    spent = _spent.get()
    if spent is None:
        counter.add_round_trips(count)
    else:
        spent[counter] += count


def parallel(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls at the same time and return their results in the same order.

    All calls run to their end even when one fails, so that the caller knows what was attempted.

    Args:
        calls: Functions without arguments. A single one runs in the calling thread, without a thread or a wave.

    Raises:
        Exception: The error of the first call (by position) that failed.
    """
    if len(calls) <= 1:
        return [call() for call in calls]
    wave = _Wave(cast("Sequence[Callable[[], object]]", calls))
    wave.run()
    for counter in {counter for spent in wave.spent for counter in spent}:
        count_round_trips(counter, max(spent[counter] for spent in wave.spent))
    for error in wave.errors:
        if error is not None:
            raise error
    return cast("list[T]", wave.results)


class _Wave:
    """The state of one `parallel` call, shared by the threads that work on it."""

    def __init__(self, calls: Sequence[Callable[[], object]]) -> None:
        self.calls = calls
        self.results: list[object] = [None] * len(calls)
        self.errors: list[Exception | None] = [None] * len(calls)
        self.spent: list[Counter[RoundTripCounter]] = [Counter() for _ in calls]
        self._waiting = deque(range(len(calls)))
        self._unfinished = len(calls)
        self._done = threading.Event()
        self._lock = threading.Lock()
        # One copy per call: a context can be entered by only one thread at a time.
        self._contexts = [copy_context() for _ in calls]

    def run(self) -> None:
        """Run everything; return when the last call has finished."""
        _pool.submit(self._work, min(len(self.calls) - 1, MAX_THREADS))
        try:
            self._work()
            self._done.wait()
        except BaseException:
            self._waiting.clear()  # Ctrl-C: what has not begun never begins
            raise

    def _work(self) -> None:
        while True:
            try:
                position = self._waiting.popleft()
            except IndexError:
                return
            self._contexts[position].run(self._call, position)
            with self._lock:
                self._unfinished -= 1
                if self._unfinished == 0:
                    self._done.set()

    def _call(self, position: int) -> None:
        _spent.set(self.spent[position])
        try:
            self.results[position] = self.calls[position]()
        except Exception as error:  # noqa: BLE001 - raised again by `parallel`, in the thread that asked
            self.errors[position] = error


class _Pool:
    """The threads that all waves of this process share, made by the first wave."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start afresh. In a forked child the parent's threads are not there, and its lock may have been held."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[[], None], times: int) -> None:
        """Ask for `times` further threads to help; how many really come depends on how busy the others are."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="snapstore")
            try:
                for _ in range(times):
                    self._executor.submit(work)
            except RuntimeError:
                pass  # the interpreter is shutting down and takes no more work: the calling thread does all of it


_pool = _Pool()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)
