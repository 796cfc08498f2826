"""Generations: the root document `index/CURRENT`, read, and replaced by compare-and-swap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from snapstore.errors import ConflictError, FormatError, NotFoundError, StorageError
from snapstore.format import names
from snapstore.format.index_current import IndexCurrent
from snapstore.storage.protocol import Storage

__all__ = ["CURRENT_KEY", "FOLDED_KEY", "Generation", "Generations"]

T = TypeVar("T")

CURRENT_KEY: Final = "index/CURRENT"

FOLDED_KEY: Final = f"{names.CHANGES_PREFIX}=folded"
"""Says that change markers have been deleted, so that an archive without a root has lost its index. No graph's folder can
have this name, whatever the case: `=` does not occur in encoded names."""

LOOKS: Final = 20
"""Looks that folds came between; each time somebody else got something done."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The root as it was read.

    Attributes:
        current: the document; an empty one of generation 0 when there is none.
        token: the storage's version of it for the next swap, None when there is none.
        damaged: whether there is one that cannot be read: it counts as none, and only a rebuild replaces it.
    """

    current: IndexCurrent
    token: str | None
    damaged: bool = False

    @property
    def is_there(self) -> bool:
        """Whether there is a root that can be read."""
        return self.token is not None and not self.damaged

    @property
    def folds(self) -> int:
        """The number of folds, -1 when there is no root: reads compare it before and after."""
        return self.current.folds if self.is_there else -1


class Generations:
    """Reads and replaces the root of one archive's index. Safe to use from several threads.

    Args:
        storage: the archive's storage.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._last = Generation(IndexCurrent(), None)
        self._lock = threading.Lock()

    def read(self) -> Generation:
        """The root as it is now: one request.

        Raises:
            FormatError: `newer_format`.
        """
        try:
            stored = self._storage.get(CURRENT_KEY)
        except NotFoundError:
            return Generation(IndexCurrent(), None)
        with self._lock:
            last = self._last
        if last.token == stored.version:
            return last  # parsing 100 KB takes longer than reading them from a disk
        try:
            current = IndexCurrent.decode(stored.data)
        except FormatError as error:
            if error.code != "invalid_document":
                raise
            return Generation(IndexCurrent(), stored.version, damaged=True)
        return self._keep(Generation(current, stored.version))

    def publish(self, old: Generation, new: IndexCurrent) -> Generation | None:
        """Replace the root, if it is still `old`.

        Args:
            old: what was read.
            new: its successor; the generation is counted here.

        Returns:
            The new generation; None when somebody else was faster. Whoever names files in `new` looks into the next
            generation before deleting them: a write may have landed and been overtaken, which looks the same.

        Raises:
            StorageError: whether it was replaced is not known.
        """
        document = replace(new, generation=old.current.generation + 1)
        body = document.encode()
        try:
            if old.token is None:
                token = self._storage.put_create(CURRENT_KEY, body)
            else:
                token = self._storage.put_if(CURRENT_KEY, body, old.token)
        except (ConflictError, StorageError) as error:
            if isinstance(error, StorageError) and not error.retryable:
                raise
            found = self.read()
            if found.is_there and found.current == document:
                return found  # ours: only the answer got lost
            if isinstance(error, StorageError) and found.token == old.token:
                raise  # it may still arrive
            return None
        return self._keep(Generation(document, token))

    def beside(self, look: Callable[[Generation], T]) -> tuple[Generation, T]:
        """The root, and what was seen after it while nobody folded.

        Markers are deleted only after a root with a greater count of folds is in place. If the count has not moved, every
        change is among the markers that were listed meanwhile or in the segments.

        Args:
            look: lists markers.

        Raises:
            ConflictError: `index_busy`: others kept folding.
        """
        for _ in range(LOOKS):
            generation = self.read()
            found = look(generation)
            if self.read().folds == generation.folds:
                return generation, found
        raise ConflictError("the index kept changing while it was read", code="index_busy")

    def is_lost(self, generation: Generation) -> bool:
        """Whether the archive has lost its index: there is no root that can be read, although markers were deleted."""
        if generation.token is not None:
            return generation.damaged
        return self.lost() and not self.read().is_there  # the first fold may have come since: first the root, then the note

    def lost(self) -> bool:
        """Whether change markers have been deleted: without a root, the archive has then lost its index."""
        try:
            self._storage.get(FOLDED_KEY)
        except NotFoundError:
            return False
        return True

    def _keep(self, generation: Generation) -> Generation:
        with self._lock:
            self._last = generation
        return generation
