"""Folding beside the saves: a thread that starts when a process has written enough changes."""

from __future__ import annotations

import threading
from typing import Final

from snapstore.index.arrow import has_arrow
from snapstore.index.main import Index

__all__ = ["DEFAULT_CHANGES", "AutoFold"]

DEFAULT_CHANGES: Final = 2000
"""Two pages of a listing: what a list reads through before the rows of the segments begin."""

JOIN_S: Final = 5.0


class AutoFold:
    """Counts the changes that this process writes, and folds once there are enough. Never blocks or fails a save.

    Args:
        index: the archive's index.
        changes: how many changes start a fold; None for never.
    """

    def __init__(self, index: Index, changes: int | None = DEFAULT_CHANGES) -> None:
        self._index = index
        self._limit = changes
        self._count = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def changed(self, count: int = 1) -> None:
        """Count changes; may start a thread. One fold at a time."""
        if self._limit is None:
            return
        with self._lock:
            self._count += count
            running = self._thread is not None and self._thread.is_alive()
            if self._count < self._limit or running or self._closed:
                return
            self._count = 0
            self._thread = threading.Thread(target=self._fold, name="snapstore-index", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                self._thread = None

    def close(self, timeout_s: float = JOIN_S) -> None:
        """Start nothing more, and wait for a fold under way, at most so many seconds; it may be cut off at any point."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _fold(self) -> None:
        if not has_arrow():
            self._index.problem = "pyarrow is not installed: pip install 'snapstore[index]'"
            return
        try:
            self._index.refresh()
            self._index.problem = None
        except Exception as error:  # noqa: BLE001 - saves go on whatever happens here; the status tells
            self._index.problem = str(error)
