"""Try a write against rivals until nobody is faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from snapstore import clock
from snapstore.errors import ConflictError, StorageError
from snapstore.history.heads import Head

__all__ = ["until_swapped"]

T = TypeVar("T")

CONFLICT_TIMEOUT_S = 60.0
"""How long to go on trying against rivals; 40 writers on one id need about 2 s on a local disk."""

FIRST_DELAY_S = 0.01
MAX_DOUBLINGS = 6
"""Delays are drawn from zero up to 10 ms, doubling to 0.64 s: rivals by the same rule must not meet again."""


def until_swapped(
    refresh: Callable[[], Head | None],
    head: Head | None,
    attempt: Callable[[Head | None], T],
    *,
    check_skip: bool = False,
) -> T:
    """Call `attempt` with a kept head first, then with fresh ones, until it meets no conflict.

    Args:
        refresh: reads the head again.
        head: what is kept of it, perhaps overtaken; None when nothing is.
        attempt: writes over a head, or returns None to leave it.
        check_skip: whether None and errors count only when the head was fresh: what was decided on an old head is
            decided again on what is there now.

    Raises:
        ConflictError: rivals kept being faster for a minute.
        StorageError: whether the write took effect is not known.
    """
    end = clock.monotonic_s() + CONFLICT_TIMEOUT_S
    fresh = head is None and not check_skip
    tries = 0
    while True:
        if head is None and not fresh:
            head, fresh = refresh(), True
        try:
            result = attempt(head)
            if result is not None or fresh or not check_skip:
                return result
        except StorageError:
            raise  # what was written may be there: trying again could apply one change twice
        except Exception as error:
            rival = isinstance(error, ConflictError) and error.code in _RIVALS
            if clock.monotonic_s() > end or (not rival and (fresh or not check_skip)):
                raise
            if rival:
                clock.sleep(clock.jitter(0, FIRST_DELAY_S * 2 ** min(tries, MAX_DOUBLINGS)))
        tries += 1
        head, fresh = refresh(), True


_RIVALS = {"already_exists", "version_changed"}
