"""A storage in the memory of this process: for tests, and the model that the other backends are held against."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError, ReadOnlyError
from snapstore.storage.protocol import PAGE_KEYS, BytesLike, ObjectInfo, Stored, check_key, check_keys, check_prefix
from snapstore.storage.ranges import cut


class _Object(NamedTuple):
    data: bytes
    version: str
    modified_ms: int


class MemoryStorage:
    """Objects in a dict behind one lock. Every write gets a version of its own, even when the bytes are equal.

    Args:
        name: Shown in the url; storages with equal names are still separate (`named` shares them).
        read_only: Refuse every write.
    """

    def __init__(self, name: str = "", *, read_only: bool = False) -> None:
        self.url = f"memory://{name}"
        self.endpoint = "memory://"
        self.read_only = read_only
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._sorted_keys: list[str] = []
        self._writes = 0

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        found = self._find(key)
        return Stored(found.data, found.version)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        return cut(self._find(key).data, ranges, key)

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        self._check_write(key)
        with self._lock:
            return self._write(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        self._check_write(key)
        with self._lock:
            if key in self._objects:
                raise ConflictError("an object of this name exists already", code="already_exists", key=key)
            return self._write(key, data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        self._check_write(key)
        with self._lock:
            found = self._objects.get(key)
            if found is None or found.version != version:
                raise ConflictError("the object changed since it was read", code="version_changed", key=key)
            return self._write(key, data)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        check_prefix(prefix)
        return self._pages(prefix, start_after, limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        checked = check_keys(keys)
        self._check_writable()
        with self._lock:
            for key in checked:
                if self._objects.pop(key, None) is not None:
                    del self._sorted_keys[bisect.bisect_left(self._sorted_keys, key)]

    def now_ms(self) -> int:
        """See `Storage.now_ms`."""
        return clock.now_ms()

    def close(self) -> None:
        """See `Storage.close`. The objects stay: a second handle on the same storage sees them."""

    def _find(self, key: str) -> _Object:
        found = self._objects.get(check_key(key))
        if found is None:
            raise NotFoundError("no such object", code="object_not_found", key=key)
        return found

    def _write(self, key: str, data: BytesLike) -> str:
        if key not in self._objects:
            bisect.insort(self._sorted_keys, key)
        self._writes += 1
        version = f"v{self._writes}"
        self._objects[key] = _Object(bytes(data), version, clock.now_ms())
        return version

    def _pages(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        left = limit
        while left is None or left > 0:
            with self._lock:
                # Both conditions at once: the first key of the prefix, and everything up to start_after passed over.
                keys = self._sorted_keys
                first = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, start_after))
                page = [
                    ObjectInfo(key, len(self._objects[key].data), self._objects[key].modified_ms)
                    for key in keys[first : first + PAGE_KEYS]
                    if key.startswith(prefix)
                ]
            yield from page if left is None else page[:left]
            if len(page) < PAGE_KEYS:
                return
            left = None if left is None else left - len(page)
            start_after = page[-1].key

    def _check_write(self, key: str) -> None:
        check_key(key)
        self._check_writable()

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("this storage was opened for reading only", url=self.url)


_named: dict[str, MemoryStorage] = {}
_named_lock = threading.Lock()


def named(name: str) -> MemoryStorage:
    """Return the storage that the whole process shares under this name, making it at the first call.

    It lives as long as the process; `forget(name)` drops it. An empty name gives a new, private storage each time.
    """
    if name == "":
        return MemoryStorage()
    with _named_lock:
        return _named.setdefault(name, MemoryStorage(name))


def forget(name: str) -> None:
    """Drop a shared storage and what is in it; open handles keep theirs. Silent when there is none."""
    with _named_lock:
        _named.pop(name, None)
