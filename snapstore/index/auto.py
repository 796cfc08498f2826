"""Folding beside the saves: a thread that looks now and then how many changes wait, and folds when they are enough."""

from __future__ import annotations

import logging
import threading
from typing import Final

from snapstore import clock
from snapstore.errors import InvalidInputError
from snapstore.index.arrow import has_arrow
from snapstore.index.main import Index

__all__ = ["DEFAULT_CHANGES", "AutoFold"]

_log = logging.getLogger(__name__)

DEFAULT_CHANGES: Final = 2000
"""Two pages of a listing: what a list reads through before the rows of the segments begin."""

LOOK_CHANGES: Final = 50
LOOKS: Final = 10
"""A look lists the changes that wait, two requests for 2,000: one for every fiftieth own change at most, and ten per fold."""

JOIN_S: Final = 5.0


class AutoFold:
    """Folds once enough changes wait, whoever wrote them. Never blocks or fails a save.

    Each process looks after so many changes of its own, and begins to count at random: many that end after a few saves
    look as often as one that makes all of them.

    Args:
        index: the archive's index.
        changes: how many changes that wait start a fold; None for never.

    Raises:
        InvalidInputError: `invalid_index_after`.
    """

    def __init__(self, index: Index, changes: int | None = DEFAULT_CHANGES) -> None:
        if changes is not None and (type(changes) is not int or changes < 1):
            raise InvalidInputError(
                "index_after is a number of changes", code="invalid_index_after", hint="1 or more, or None for never"
            )
        self._index = index
        self._limit = changes
        self._step = min(changes or 1, max((changes or 1) // LOOKS, LOOK_CHANGES))
        self._count = int(clock.jitter(0, self._step - 1))
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
            if self._count < self._step or running or self._closed:
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
            self._index.refresh(at_least=self._limit or 1)
            self._index.problem = None
        except Exception as error:  # noqa: BLE001 - saves go on whatever happens here; log and status tell
            if str(error) != self._index.problem:
                _log.warning("changes could not be folded into the index: %s", error)
            self._index.problem = str(error)
