"""A wrapper that counts: requests by verb, bytes, and how many requests had to wait for one another.

Request counts and round trips are promises of snapstore (a save of a new id is 3 requests in 1 round trip), so tests
assert them exactly. The numbers depend only on the calls made, never on timing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from snapstore.storage.parallel import count_round_trips
from snapstore.storage.protocol import PAGE_KEYS, BytesLike, ObjectInfo, Storage, Stored
from snapstore.storage.wrapper import WrappedStorage, range_spans

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Usage:
    """What passed through a meter since it was made or reset. Failed requests count like others."""

    requests: Mapping[str, int] = field(default_factory=dict)
    """Requests by verb: get, get_ranges, put, put_create, put_if, list (pages of 1000), delete_many (batches of 1000).
    Verbs that were not used are missing."""
    bytes_read: int = 0
    """Bytes of bodies received, bytes between two ranges of one request included; listings not."""
    bytes_written: int = 0
    """Bytes of bodies sent, also those of writes that were refused."""
    round_trips: int = 0
    """Requests that followed one another: a wave of `parallel` counts as its longest call."""

    @property
    def total(self) -> int:
        """Number of requests of all verbs."""
        return sum(self.requests.values())

    @property
    def reads(self) -> int:
        """Number of requests that read bodies or listings."""
        return sum(self.requests.get(verb, 0) for verb in ("get", "get_ranges", "list"))

    @property
    def writes(self) -> int:
        """Number of requests that write bodies."""
        return sum(self.requests.get(verb, 0) for verb in ("put", "put_create", "put_if"))


class Meter(WrappedStorage):
    """Counts what passes through to `inner`. Safe to use from many threads.

    Put it outside of `Retry` to count what was asked for, inside of it to count attempts. `now_ms` is not counted: a
    backend asks at most once in some minutes.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._bytes_read = 0
        self._bytes_written = 0
        self._round_trips = 0

    def snapshot(self) -> Usage:
        """Return the numbers so far, as a value that does not change any more."""
        with self._lock:
            return Usage(dict(self._requests), self._bytes_read, self._bytes_written, self._round_trips)

    def reset(self) -> Usage:
        """Set all numbers to zero and return what they were."""
        with self._lock:
            usage = Usage(dict(self._requests), self._bytes_read, self._bytes_written, self._round_trips)
            self._requests.clear()
            self._bytes_read = self._bytes_written = self._round_trips = 0
        return usage

    def add_round_trips(self, count: int) -> None:
        """Add sequential requests; called by `parallel` when a wave ends."""
        with self._lock:
            self._round_trips += count

    def get(self, key: str) -> Stored:
        """Count one request and the body."""
        self._count("get")
        stored = self.inner.get(key)
        self._add_bytes(read=len(stored.data))
        return stored

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Count the requests that the backend makes, all at the same time, and the bytes they bring."""
        spans = range_spans(self.inner, ranges)
        if spans is None:
            self._count("get_ranges")
            parts = self.inner.get_ranges(key, ranges)
            self._add_bytes(read=sum(map(len, parts)))
            return parts
        self._count("get_ranges", len(spans), round_trips=min(1, len(spans)))
        parts = self.inner.get_ranges(key, ranges)
        # A suffix of a short object brings less than was asked for; every other span brings exactly its length.
        self._add_bytes(read=sum(s.length if s.start >= 0 else len(parts[s.members[0]]) for s in spans))
        return parts

    def put(self, key: str, data: BytesLike) -> str:
        """Count one request and the body."""
        return self._write("put", data, lambda: self.inner.put(key, data))

    def put_create(self, key: str, data: BytesLike) -> str:
        """Count one request and the body."""
        return self._write("put_create", data, lambda: self.inner.put_create(key, data))

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """Count one request and the body."""
        return self._write("put_if", data, lambda: self.inner.put_if(key, data, version))

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Count one request for each page of 1000 rows that is really begun."""
        return self._counted_rows(self.inner.list(prefix, start_after=start_after, limit=limit))

    def delete_many(self, keys: Iterable[str]) -> None:
        """Count one request for each batch of 1000 keys."""
        listed = [*keys]
        if listed:
            self._count("delete_many", -(-len(listed) // PAGE_KEYS))
        self.inner.delete_many(listed)

    def _counted_rows(self, rows: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        self._count("list")
        for position, row in enumerate(rows):
            if position and position % PAGE_KEYS == 0:
                self._count("list")
            yield row

    def _write(self, verb: str, data: BytesLike, call: Callable[[], T]) -> T:
        self._count(verb)
        self._add_bytes(written=data.nbytes if isinstance(data, memoryview) else len(data))
        return call()

    def _count(self, verb: str, requests: int = 1, *, round_trips: int | None = None) -> None:
        with self._lock:
            self._requests[verb] += requests
        count_round_trips(self, requests if round_trips is None else round_trips)

    def _add_bytes(self, *, read: int = 0, written: int = 0) -> None:
        with self._lock:
            self._bytes_read += read
            self._bytes_written += written
