"""What the threads of one process agree on: who writes where, and which checkpoint is the highest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Highest", "Known", "Locks"]

RUNS_KEPT = 4096
"""Runs whose highest checkpoint is remembered; forgetting one costs a look at its latest snapshot."""


IDS_KEPT = 65_536
"""Snapshots known to be whole, 10 MB; forgetting one costs a listing of its run."""


class Known:
    """Names that this process knows something about, the last used of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: OrderedDict[str, None] = OrderedDict()

    def add(self, name: str) -> None:
        """Remember a name."""
        with self._lock:
            self._names[name] = None
            while len(self._names) > IDS_KEPT:
                self._names.popitem(last=False)

    def holds(self, name: str) -> bool:
        """Whether the name is remembered."""
        with self._lock:
            return name in self._names


class Locks:
    """One lock per name, as long as somebody wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[str, tuple[threading.Lock, list[int]]] = {}

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold the lock of a name; not reentrant."""
        with self._lock:
            lock, users = self._wanted.setdefault(name, (threading.Lock(), [0]))
            users[0] += 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users[0] -= 1
                if not users[0]:
                    del self._wanted[name]


class Highest:
    """The highest checkpoint id of each run, as far as this process knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: OrderedDict[str, str] = OrderedDict()

    def get(self, run: str) -> str | None:
        """The id; empty for a run without checkpoints, None when it is not known."""
        with self._lock:
            return self._ids.get(run)

    def raise_to(self, run: str, checkpoint_id: str) -> None:
        """Note that a checkpoint exists, or will exist soon."""
        with self._lock:
            self._ids[run] = max(checkpoint_id, self._ids.get(run, ""))
            self._ids.move_to_end(run)
            while len(self._ids) > RUNS_KEPT:
                self._ids.popitem(last=False)

    def forget(self, run: str) -> None:
        """Forget a run: something of it was deleted."""
        with self._lock:
            self._ids.pop(run, None)
