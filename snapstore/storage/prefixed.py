"""A wrapper that keeps everything below a prefix: how namespaces and archives share one storage without seeing each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from snapstore.storage.protocol import BytesLike, ObjectInfo, Storage, Stored, check_key, check_prefix
from snapstore.storage.wrapper import WrappedStorage


class Prefixed(WrappedStorage):
    """Shows the objects below `prefix` of `inner` as if they were all there is. Closing it closes `inner`.

    Args:
        inner: The storage that holds the objects.
        prefix: A key followed by `/`; in front of every key of this storage.
    """

    def __init__(self, inner: Storage, prefix: str) -> None:
        super().__init__(inner)
        self.prefix = check_prefix(prefix)

    @property
    def url(self) -> str:
        """The inner url with the prefix behind it."""
        above = self.inner.url
        return f"{above}{'' if above.endswith('/') else '/'}{self.prefix[:-1]}"

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        return self.inner.get(self._below(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        return self.inner.get_ranges(self._below(key), ranges)

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        return self.inner.put(self._below(key), data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        return self.inner.put_create(self._below(key), data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        return self.inner.put_if(self._below(key), data, version)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        after = f"{self.prefix}{start_after}" if start_after else ""
        rows = self.inner.list(f"{self.prefix}{check_prefix(prefix)}", start_after=after, limit=limit)
        return (replace(row, key=row.key[len(self.prefix) :]) for row in rows)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        self.inner.delete_many([self._below(key) for key in keys])

    def _below(self, key: str) -> str:
        # Checked before it is put together: the reserved first segment would otherwise pass below a prefix.
        return self.prefix + check_key(key)
