"""A wrapper for storages that cannot write conditionally: safe for one process that writes, and for no more than one.

Create and replace become a read, a comparison and a plain write. Two processes that do so at the same time overwrite each other
without noticing, which is why nobody gets this wrapper without asking for it (`single_writer=True`).
"""

from __future__ import annotations

import threading

from snapstore.errors import ConflictError, NotFoundError
from snapstore.storage.protocol import BytesLike, Storage, Stored
from snapstore.storage.wrapper import WrappedStorage


class SingleWriter(WrappedStorage):
    """Gives conditional writes to the threads of one process. Readers may be anywhere.

    Args:
        inner: A storage whose `get` and `put` work; its own conditional writes are not used.
    """

    single_writer = True

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        # Striped by key: one lock would put the parallel writes of a save in a row.
        self._locks = [threading.Lock() for _ in range(64)]

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        with self._locks[hash(key) % 64]:
            return self.inner.put(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`; one winner among the threads of this process only."""
        with self._locks[hash(key) % 64]:
            if self._current(key) is not None:
                raise ConflictError("an object of this name exists already", code="already_exists", key=key)
            return self.inner.put(key, data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`; one winner among the threads of this process only."""
        with self._locks[hash(key) % 64]:
            current = self._current(key)
            if current is None or current.version != version:
                raise ConflictError("the object changed since it was read", code="version_changed", key=key)
            return self.inner.put(key, data)

    def _current(self, key: str) -> Stored | None:
        try:
            return self.inner.get(key)
        except NotFoundError:
            return None
