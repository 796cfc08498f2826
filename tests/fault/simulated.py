"""A clock on which waiting takes no time: nobody else is there whom it would be for."""

from __future__ import annotations

import pytest

from snapstore import clock


def simulate_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sleeping move the clock instead of taking time."""
    slept_s = [0.0]
    monotonic_s, now_ms = clock.monotonic_s, clock.now_ms

    def sleep(duration_s: float) -> None:
        slept_s[0] += max(0.0, duration_s)

    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(clock, "monotonic_s", lambda: monotonic_s() + slept_s[0])
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms() + int(slept_s[0] * 1000))
