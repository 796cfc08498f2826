"""Rivals and clocks for the tests of adapters: others act at the worst moment, and time is what a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from snapstore import clock
from snapstore.storage.protocol import Storage
from snapstore.testing.faults import Call, FaultyStorage

T = TypeVar("T")


class Meanwhile(FaultyStorage):
    """Lets somebody act right before the first picked call.

    Args:
        inner: the storage.
        act: what the other one does; he has a handle of his own, not on this storage.
    """

    def __init__(self, inner: Storage, act: Callable[[], object]) -> None:
        super().__init__(inner)
        self._act = act
        self.acted = False

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Wait for the other one, once."""
        if picked and not self.acted:
            self.acted = True
            self._act()
        return perform()


class Now:
    """A clock that shows what a test says, in milliseconds since 1970."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = 1_700_000_000_000
        monkeypatch.setattr(clock, "now_ms", lambda: self.ms)


class Asleep:
    """Time passes only when somebody sleeps: what never finishes is waited for in no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.now_s)
        monkeypatch.setattr(clock, "sleep", self._sleep)

    def _sleep(self, duration_s: float) -> None:
        self.now_s += max(duration_s, 0)
