"""The one door to time, sleep and randomness.

Everything that must be reproducible in a test goes through here, so that a simulation can replace it in one place.
Other modules call `clock.now_ms()` on the module (not names imported from it), which is what makes replacing work.
"""

from __future__ import annotations

import random
import secrets
import time


def now_ms() -> int:
    """Return this machine's wall-clock time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Return seconds on a clock that never goes back; only differences mean anything."""
    return time.monotonic()


def sleep(duration_s: float) -> None:
    """Wait for `duration_s` seconds; a negative or zero duration returns at once."""
    if duration_s > 0:
        time.sleep(duration_s)


def random_hex(n_bytes: int = 16) -> str:
    """Return `n_bytes` random bytes from the operating system as lowercase hex; 16 bytes make a transaction id."""
    return secrets.token_hex(n_bytes)


def jitter(low: float, high: float) -> float:
    """Return a random number, low <= number <= high, to spread rivals apart; not for secrets or names."""
    return random.uniform(low, high)
