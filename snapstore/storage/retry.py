"""A wrapper that tries again: time-outs, overload, dropped connections, and writes whose answer got lost.

Delays double from 0.1 s up to 5 s, each multiplied by a random number between one half and one, so that rivals do not
meet again. One call, all its attempts and delays together, takes at most about `timeout_s`.

A conditional write whose answer was lost looks like a conflict when it is repeated: the rival is the writer itself. Clients
do such repeats inside ("500, then 412") and report the conflict. So after every conflict the object is read back: if it holds
exactly the bytes that were sent, the write landed. Callers therefore put something unique into what they write conditionally.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError, SnapstoreError, StorageError
from snapstore.storage.protocol import BytesLike, ObjectInfo, Storage, Stored
from snapstore.storage.wrapper import WrappedStorage

T = TypeVar("T")

# As long as an agent's step may reasonably wait; S3 recovers from a partition's overload within tens of seconds.
DEFAULT_TIMEOUT_S: Final = 60.0
FIRST_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 5.0
# An endpoint that never answered is more likely mistyped than restarting: three attempts are over within 0.3 s.
ATTEMPTS_BEFORE_FIRST_ANSWER: Final = 3
# A refused replacement of an unchanged object: once or twice is a 409 in a race, more means the server compares wrongly.
MAX_FALSE_CONFLICTS: Final = 4


class Retry(WrappedStorage):
    """Repeats calls that failed for a passing reason, and tells lost answers apart from conflicts.

    Raises what `inner` raises; a passing failure only after `timeout_s`, with a note that says how often it was tried.

    Args:
        inner: The storage.
        timeout_s: Limit in seconds for one call with all its attempts; an attempt under way is not cut short.
    """

    def __init__(self, inner: Storage, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        super().__init__(inner)
        self.timeout_s = timeout_s
        self._answered = False

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        return self._repeat(lambda: self.inner.get(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        return self._repeat(lambda: self.inner.get_ranges(key, ranges))

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        return self._repeat(lambda: self.inner.put(key, data))

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`; a conflict with equal bytes is a success."""

        def attempt() -> str:
            try:
                return self.inner.put_create(key, data)
            except ConflictError:
                stored = self._read_back(key)
                if stored is None:
                    raise _unclear(key) from None
                if stored.data == data:
                    return stored.version
                raise

        return self._repeat(attempt)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`; a conflict with equal bytes is a success."""
        false_conflicts = 0

        def attempt() -> str:
            nonlocal false_conflicts
            try:
                return self.inner.put_if(key, data, version)
            except ConflictError:
                stored = self._read_back(key)
                if stored is not None and stored.data == data:
                    return stored.version
                if stored is None or stored.version != version:
                    raise
                false_conflicts += 1
                if false_conflicts < MAX_FALSE_CONFLICTS:
                    raise _unclear(key) from None
                raise StorageError(
                    "the storage refuses to replace an object that did not change",
                    code="unsafe_storage",
                    hint="the server may want ETags without quotes, which the probe finds out; or it ignores versions",
                    key=key,
                ) from None

        return self._repeat(attempt)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`; after a failure it goes on behind the last row that arrived."""
        rows = self.inner.list(prefix, start_after=start_after, limit=limit)
        return self._resumed(rows, prefix, start_after, limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        listed = [*keys]
        self._repeat(lambda: self.inner.delete_many(listed))

    def now_ms(self) -> int:
        """See `Storage.now_ms`."""
        return self._repeat(self.inner.now_ms)

    def _read_back(self, key: str) -> Stored | None:
        try:
            return self.inner.get(key)
        except NotFoundError:
            return None

    def _resumed(self, rows: Iterator[ObjectInfo], prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        left = limit
        attempts = 0
        deadline_s = clock.monotonic_s() + self.timeout_s
        while left is None or left > 0:
            try:
                row = next(rows, None)
            except StorageError as error:
                attempts += 1
                self._wait(error, attempts, deadline_s)
                rows = self.inner.list(prefix, start_after=start_after, limit=left)
                continue
            if row is None:
                return
            yield row
            start_after, left = row.key, None if left is None else left - 1
            # The clock starts again at every row: it bounds standing still, not a long listing or a slow consumer.
            self._answered, attempts, deadline_s = True, 0, clock.monotonic_s() + self.timeout_s

    def _repeat(self, call: Callable[[], T]) -> T:
        deadline_s = clock.monotonic_s() + self.timeout_s
        attempts = 0
        while True:
            try:
                result = call()
            except StorageError as error:
                attempts += 1
                self._wait(error, attempts, deadline_s)
            except SnapstoreError:
                self._answered = True
                raise
            else:
                self._answered = True
                return result

    def _wait(self, error: StorageError, attempts: int, deadline_s: float) -> None:
        """Sleep before the next attempt, or raise the error when there shall be none."""
        if not error.retryable:
            raise error
        delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1)) * clock.jitter(0.5, 1.0)
        hopeless = error.code == "endpoint_unreachable" and not self._answered and attempts >= ATTEMPTS_BEFORE_FIRST_ANSWER
        if hopeless or clock.monotonic_s() + delay_s > deadline_s:
            error.add_note(f"gave up after {attempts} attempts")
            raise error
        clock.sleep(delay_s)


def _unclear(key: str) -> StorageError:
    return StorageError("a conflict was reported though nothing changed", code="storage_unavailable", retryable=True, key=key)
