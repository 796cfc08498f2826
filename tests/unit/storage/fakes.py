"""Storages that misbehave on purpose, for the tests of the wrappers around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from snapstore import clock
from snapstore.errors import ConflictError, CorruptionError, SnapstoreError, StorageError
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import BytesLike, ObjectInfo, Stored


def busy() -> StorageError:
    """Return a failure that passes."""
    return StorageError("busy", code="storage_unavailable", retryable=True)


class FlakyStorage(MemoryStorage):
    """Fails as told: `before[verb]` are raised instead of the call, `after[verb]` once the call has taken effect."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, list[SnapstoreError]] = {}
        self.after: dict[str, list[SnapstoreError]] = {}
        self.calls: Counter[str] = Counter()

    def get(self, key: str) -> Stored:
        self._begin("get")
        return super().get(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self._begin("get_ranges")
        return super().get_ranges(key, ranges)

    def put(self, key: str, data: BytesLike) -> str:
        self._begin("put")
        return self._end("put", super().put(key, data))

    def put_create(self, key: str, data: BytesLike) -> str:
        self._begin("put_create")
        return self._end("put_create", super().put_create(key, data))

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        self._begin("put_if")
        return self._end("put_if", super().put_if(key, data, version))

    def delete_many(self, keys: object) -> None:
        self._begin("delete_many")
        super().delete_many(keys)  # type: ignore[arg-type]

    def now_ms(self) -> int:
        self._begin("now_ms")
        return super().now_ms()

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        for row in super().list(prefix, start_after=start_after, limit=limit):
            self._begin("list")
            yield row

    def _begin(self, verb: str) -> None:
        self.calls[verb] += 1
        if self.before.get(verb):
            raise self.before[verb].pop(0)

    def _end(self, verb: str, version: str) -> str:
        if self.after.get(verb):
            raise self.after[verb].pop(0)
        return version


class IgnoresConditions(MemoryStorage):
    """As rclone: every conditional write succeeds."""

    def put_create(self, key: str, data: BytesLike) -> str:
        return self.put(key, data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        return self.put(key, data)


class LosesRaces(MemoryStorage):
    """As Swift: checks, waits a moment, and then writes. Right as long as nobody else writes."""

    def put_create(self, key: str, data: BytesLike) -> str:
        if key in self._objects:
            raise ConflictError("taken", code="already_exists")
        clock.sleep(0.001)
        return self.put(key, data)


class LosesSwapRaces(MemoryStorage):
    """Creates atomically, replaces by checking first and writing then."""

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        if key not in self._objects or self._objects[key].version != version:
            raise ConflictError("changed", code="version_changed")
        clock.sleep(0.001)
        return self.put(key, data)


class CreatesWhatIsMissing(MemoryStorage):
    """Takes a replacement of a missing object for a create."""

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        return super().put_if(key, data, version) if key in self._objects else self.put(key, data)


class ForgetsVersions(MemoryStorage):
    """Compares only whether the object exists."""

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        if key not in self._objects:
            raise ConflictError("missing", code="version_changed")
        return self.put(key, data)


class HasNoSwap(MemoryStorage):
    """As Swift's S3 face: If-Match is not implemented."""

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        raise StorageError("the storage does not know this request", code="not_implemented")


class ListsLate(MemoryStorage):
    """Shows a listing as it was some writes ago."""

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        rows = [*super().list(prefix, start_after=start_after, limit=limit)]
        return iter(rows[:-1] if len(rows) > 1 else rows)


class BreaksRanges(MemoryStorage):
    """Sends parts that do not fit their checksums, as rclone does through botocore."""

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise CorruptionError("the bytes do not match the server's checksum", code="checksum_mismatch")


class IgnoresRanges(MemoryStorage):
    """Answers every range with the whole object."""

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.get(key).data for _ in ranges]


class WantsBareEtags(MemoryStorage):
    """As Ceph: gives versions in quotes, and compares them without."""

    etag_style = "quoted"

    def get(self, key: str) -> Stored:
        stored = super().get(key)
        return Stored(stored.data, f'"{stored.version}"')

    def put(self, key: str, data: BytesLike) -> str:
        return f'"{super().put(key, data)}"'

    def put_create(self, key: str, data: BytesLike) -> str:
        return f'"{super().put_create(key, data)}"'

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        sent = version.strip('"') if self.etag_style == "unquoted" else version
        return f'"{super().put_if(key, data, sent)}"'
