"""The contract of a storage: nine calls that move bytes under keys, and the rules every backend follows.

`Storage` is what the rest of snapstore sees. Its behaviour is pinned by the exported suite
`snapstore.testing.StorageContract`.

Keys are `/`-separated segments of `[A-Za-z0-9._~%=-]`: a subset that every file system and every object store keeps as
it is, so that no backend ever encodes a key and a key is always the physical name. Segments are never empty, `.` or
`..`. The first segment `.snapstore` is reserved: the local backend keeps its lock files there. No object may lie below
another one (`a` and `a/b`), which a file system cannot hold.

Who retries: `snapstore.storage.retry.Retry`, and clients that do so inside (obstore, botocore).
Who checks bytes: the layer above, by digest. A storage only promises that an answer is not shorter than what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from snapstore.errors import CorruptionError, InvalidInputError

BytesLike: TypeAlias = "bytes | bytearray | memoryview"

# S3 and GCS take 1024 bytes of key, Azure 1024 characters. The archive's own prefix in the bucket counts too, so 768
# are left for us. Longest key of the layout: changes/ + 120 + 12 + 32 + 120 and separators, below 300.
MAX_KEY_CHARS: Final = 768
# ext4, XFS, APFS and NTFS take 255 bytes or characters per name.
MAX_SEGMENT_CHARS: Final = 255
# What S3, GCS and Azure return in one listing response, and what S3 takes in one delete request.
PAGE_KEYS: Final = 1000
RESERVED_SEGMENT: Final = ".snapstore"

_SEGMENT = r"(?!\.\.?(?:/|\Z))[A-Za-z0-9._~%=-]{1,255}"
_KEY = re.compile(rf"(?!\.snapstore(?:/|\Z)){_SEGMENT}(?:/{_SEGMENT})*")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as it was read."""

    data: bytes
    """The whole body."""
    version: str
    """Opaque token of exactly these bytes, for `put_if`: an ETag, a digest, a counter. Equal bodies may have equal
    versions, so a body that must never be mistaken for an older one holds something unique."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One row of a listing."""

    key: str
    """The full key."""
    size: int
    """Size of the body in bytes."""
    modified_ms: int
    """When the object was last written, by the storage's own clock, in milliseconds since 1970 UTC; often whole
    seconds."""


@runtime_checkable
class Storage(Protocol):
    """Bytes under keys. Every method may be called from many threads at once.

    Errors of every method, besides those named below: `StorageError` (codes `storage_timeout`, `storage_unavailable`,
    `endpoint_unreachable`, `permission_denied`, `credentials_invalid`, `container_not_found`, `storage_full`,
    `not_a_folder`, `unsafe_storage`, `storage_error`), `ReadOnlyError` for writes where nothing can be written, and
    `InvalidInputError` for a key outside the rules.

    After `StorageError(retryable=True)` from a write it is unknown whether the write took effect; after every other
    error it did not.
    """

    @property
    def url(self) -> str:
        """Where this storage is, printable: never holds secrets."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether every write raises `ReadOnlyError`."""
        ...

    def get(self, key: str) -> Stored:
        """Return one whole object.

        Raises:
            NotFoundError: code `object_not_found`.
            CorruptionError: code `object_truncated`, when the body ended before its announced length.
        """
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of one object, in the order asked for.

        Args:
            key: The object.
            ranges: `(start, length)` pairs in bytes, in any order, overlaps allowed. A negative start asks for the
                suffix: `(-1, n)` is the last `n` bytes, or all of a shorter object. A length of 0 gives `b""`; when
                every length is 0, a backend need not notice that the object is missing.

        Raises:
            NotFoundError: code `object_not_found`.
            CorruptionError: code `object_truncated`, when a range reaches past the end.
        """
        ...

    def put(self, key: str, data: BytesLike) -> str:
        """Write an object whether or not it exists, atomically, and return its new version.

        Only for names that are never used twice, where a second write of the same bytes does no harm.
        """
        ...

    def put_create(self, key: str, data: BytesLike) -> str:
        """Write an object that must not exist yet, atomically, and return its version; of rivals exactly one succeeds.

        Raises:
            ConflictError: code `already_exists`.
        """
        ...

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """Replace an object if it still has this version, atomically, and return the new one; one rival succeeds.

        Raises:
            ConflictError: code `version_changed`, also when the object is missing.
        """
        ...

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix, at any depth, in byte order of their keys.

        Every write that returned before the call is seen.

        Args:
            prefix: `""` for everything, else a key followed by `/`.
            start_after: A full key; only greater keys are yielded, whether or not it exists.
            limit: At most so many rows; None for all. Pages of 1000 are fetched as they are needed.
        """
        ...

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are passed over in silence.

        Not atomic: after an error some are deleted, and repeating is safe.
        """
        ...

    def now_ms(self) -> int:
        """Return the storage's own clock in milliseconds since 1970 UTC, good to a second or two.

        Machines whose clocks are wrong agree on it. Where a storage has no clock to ask, it is this machine's.
        """
        ...

    def close(self) -> None:
        """Let go of connections and handles. Calls after it may fail; closing twice is fine."""
        ...


def is_key(text: str) -> bool:
    """Return whether a text may be a key; listings pass over whatever else lies in the storage."""
    return len(text) <= MAX_KEY_CHARS and _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """Return the key if it is one, for backends to call first.

    Raises:
        InvalidInputError: code `invalid_key`.
    """
    if not is_key(key):
        raise InvalidInputError(
            "not a valid storage key",
            code="invalid_key",
            hint="keys are '/'-separated segments of A-Z a-z 0-9 . _ ~ % = -, none of them empty, '.' or '..'",
            key=key,
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix of a listing if it is one: empty, or a key followed by `/`.

    Raises:
        InvalidInputError: code `invalid_key`.
    """
    if prefix == "":
        return prefix
    if not prefix.endswith("/"):
        raise InvalidInputError("a listing prefix is empty or ends with '/'", code="invalid_key", prefix=prefix)
    check_key(prefix[:-1])
    return prefix


def check_keys(keys: Iterable[str]) -> list[str]:
    """Return keys as a list without repetitions, every one of them checked before anything is deleted.

    A key named twice makes MinIO answer a delete request with a document that obstore cannot read.
    """
    return list(dict.fromkeys(check_key(key) for key in keys))


def object_truncated(key: str, *, wanted: int, size: int | None = None) -> CorruptionError:
    """Make the error for an object that is shorter than what must be in it.

    Args:
        key: The object.
        wanted: The number of bytes that the object should have at least.
        size: How many there are, when known.
    """
    context: dict[str, Any] = {"key": key, "wanted_bytes": wanted}
    if size is not None:
        context["size_bytes"] = size
    return CorruptionError("the object is shorter than expected", code="object_truncated", **context)
