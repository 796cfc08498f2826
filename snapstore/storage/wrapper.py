"""What wrappers of a storage have in common: everything goes through unless they say otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from snapstore.errors import ReadOnlyError
from snapstore.storage.protocol import BytesLike, ObjectInfo, Storage, Stored
from snapstore.storage.ranges import Span


class WrappedStorage:
    """A storage that passes every call on to `inner`. Subclasses replace the calls they care about."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    @property
    def url(self) -> str:
        """See `Storage.url`."""
        return self.inner.url

    @property
    def read_only(self) -> bool:
        """See `Storage.read_only`."""
        return self.inner.read_only

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        return self.inner.get(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        return self.inner.get_ranges(key, ranges)

    def range_spans(self, ranges: Sequence[tuple[int, int]]) -> list[Span] | None:
        """Return the requests that `get_ranges` would make, or None when it makes one call; only meters ask."""
        return range_spans(self.inner, ranges)

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        return self.inner.put(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        return self.inner.put_create(key, data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        return self.inner.put_if(key, data, version)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        return self.inner.list(prefix, start_after=start_after, limit=limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        self.inner.delete_many(keys)

    def now_ms(self) -> int:
        """See `Storage.now_ms`."""
        return self.inner.now_ms()

    def close(self) -> None:
        """See `Storage.close`."""
        self.inner.close()


class ReadOnlyStorage(WrappedStorage):
    """A storage that refuses every write before it is sent."""

    @property
    def read_only(self) -> bool:
        """Always true."""
        return True

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError("this storage was opened for reading only", url=self.url)

    put = put_create = put_if = delete_many = _refuse


def range_spans(storage: Storage, ranges: Sequence[tuple[int, int]]) -> list[Span] | None:
    """Return the requests that a storage's `get_ranges` makes, or None for a storage that makes one call of it."""
    plan = getattr(storage, "range_spans", None)
    spans: list[Span] | None = plan(ranges) if plan is not None else None
    return spans
