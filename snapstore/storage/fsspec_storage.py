"""A storage on any file system that fsspec knows or the user passes: the ecosystem's door.

fsspec promises no conditional writes. Its local file system let five of eight threads create the same file, and listings
may come from a cache. So this storage reads, writes and lists past the caches, and refuses `put_create` and `put_if`; with
`single_writer=True` one process may write. The exception is s3fs, whose requests carry conditions: `S3fsStorage`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import fsspec

from snapstore import clock, digest
from snapstore.errors import InvalidInputError, MissingExtraError, NotFoundError, ReadOnlyError, StorageError
from snapstore.storage.fsspec_faults import client_failure
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import (
    RESERVED_SEGMENT,
    BytesLike,
    ObjectInfo,
    Stored,
    check_key,
    check_keys,
    check_prefix,
    is_key,
    object_truncated,
)
from snapstore.storage.ranges import Span, assemble, plan_spans
from snapstore.storage.s3fs_storage import S3fsStorage, s3fs_options

if TYPE_CHECKING:
    from snapstore.storage.protocol import Storage

# File systems with real folders: a file is visible while it is being written, and renaming is one step.
_HIERARCHICAL: Final = {"file", "local", "sftp", "ssh", "hdfs", "arrow_hdfs", "webhdfs", "smb", "ftp"}
# Where file systems put the time of the last change, in the order in which they are believed.
_TIME_FIELDS: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class FsspecStorage:
    """Objects as files of an fsspec file system, for reading and for a single writer.

    Args:
        filesystem: A synchronous fsspec file system.
        root: The folder, in the file system's own words.
        read_only: Refuse every write.
    """

    def __init__(self, filesystem: Any, root: str, *, read_only: bool = False) -> None:
        self._fs = filesystem
        self._root = root.rstrip("/")
        self.read_only = read_only
        protocol = _protocol(filesystem)
        self.endpoint = f"{protocol}://"
        self.url = f"{protocol}://{self._root}"
        self._hierarchical = protocol in _HIERARCHICAL

    def get(self, key: str) -> Stored:
        """See `Storage.get`. The version is the digest of the bytes."""
        path = self._path(key)
        with self._failures(key):
            data = bytes(self._fs.cat_file(path))
        return Stored(data, digest.digest_hex(data))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`. Ranges close together share a request."""
        path = self._path(key)
        spans = plan_spans(ranges)
        with self._failures(key):
            bodies = parallel([partial(self._span, path, key, span) for span in spans])
        return assemble(ranges, spans, bodies, key)

    def range_spans(self, ranges: Sequence[tuple[int, int]]) -> list[Span]:
        """Return the requests that `get_ranges` makes, for meters; asking for a size before a suffix is not counted."""
        return plan_spans(ranges)

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        path = self._path(key)
        self._check_writable()
        whole = bytes(data)
        with self._failures(key):
            if self._hierarchical:
                self._write_and_rename(path, whole)
            else:
                self._fs.pipe_file(path, whole)
        return digest.digest_hex(whole)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`. fsspec lists a folder as a whole, so every call costs the whole prefix."""
        check_prefix(prefix)
        return self._rows(prefix, start_after, limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        checked = check_keys(keys)
        self._check_writable()
        parallel([partial(self._delete_one, key) for key in checked])

    def now_ms(self) -> int:
        """See `Storage.now_ms`: fsspec has no clock, so it is this machine's."""
        return clock.now_ms()

    def close(self) -> None:
        """See `Storage.close`. The file system may be the user's, and stays open."""

    def _span(self, path: str, key: str, span: Span) -> bytes:
        start, stop = span.start, span.start + span.length
        if start < 0:
            # Several file systems miscount a negative start that reaches over the beginning.
            stop = int(self._fs.info(path)["size"])
            start = max(0, stop - span.length)
            if start == stop:
                return b""
        body = bytes(self._fs.cat_file(path, start=start, end=stop))
        if len(body) != stop - start:
            raise object_truncated(key, wanted=stop, size=start + len(body))
        return body

    def _write_and_rename(self, path: str, data: bytes) -> None:
        temporary = f"{self._root}/{RESERVED_SEGMENT}/temporary/{clock.random_hex()}"
        self._fs.makedirs(temporary.rpartition("/")[0], exist_ok=True)
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def _rows(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        below = f"{self._root}/{prefix}".rstrip("/")
        with self._failures(None):
            try:
                self._fs.invalidate_cache()
                found = self._fs.find(below, withdirs=False, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
        rows = []
        for path, info in found.items():
            key = path[len(self._root) :].lstrip("/")
            if key.startswith(prefix) and key > start_after and is_key(key):
                rows.append(ObjectInfo(key, int(info.get("size") or 0), _modified_ms(info)))
        yield from sorted(rows, key=lambda row: row.key)[:limit]

    def _delete_one(self, key: str) -> None:
        with self._failures(key), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("this storage was opened for reading only", url=self.url)

    def _refuse_condition(self, key: str, *_args: object) -> NoReturn:
        """Refuse: fsspec has no create that exactly one of many rivals wins, and no replace that compares first."""
        check_key(key)
        self._check_writable()
        raise StorageError(
            "this file system has no conditional writes",
            code="unsafe_storage",
            hint="open with single_writer=True if only one process ever writes, or use a path, s3://, gs:// or az:// url",
            url=self.url,
        )

    put_create = put_if = _refuse_condition

    @contextlib.contextmanager
    def _failures(self, key: str | None) -> Iterator[None]:
        """Turn whatever the file system raises into our errors; ours pass."""
        try:
            yield
        except (StorageError, NotFoundError, InvalidInputError):
            raise
        except Exception as error:
            if type(error).__module__.startswith("snapstore."):
                raise
            if isinstance(error, IsADirectoryError | NotADirectoryError) and key is not None:
                raise NotFoundError("no such object", code="object_not_found", key=key) from None
            raise client_failure(error, url=self.url, key=key) from None


def open_fsspec(
    url: str,
    *,
    options: Mapping[str, Any] | None = None,
    filesystem: Any = None,
    read_only: bool = False,
    timeout_s: float = 60.0,
) -> Storage:
    """Open a folder of an fsspec file system.

    Args:
        url: Any url that fsspec knows, also with `fsspec+` in front; with `filesystem`, a path in it.
        options: `storage_options` for the file system; not together with `filesystem`.
        filesystem: A file system to use as it is. It stays the caller's.
        read_only: Refuse every write.
        timeout_s: For s3fs: limit of a call with its retries.

    Raises:
        InvalidInputError: codes `unknown_scheme`, `invalid_option`.
        MissingExtraError: The package of this file system is not installed.
    """
    url = url.removeprefix("fsspec+")
    if filesystem is None:
        filesystem, root = _open_filesystem(url, dict(options or {}), timeout_s)
    else:
        if options:
            raise InvalidInputError("storage_options go into the file system that you pass", code="invalid_option")
        root = filesystem._strip_protocol(url)  # noqa: SLF001 - fsspec's own way, public in all but name
    if getattr(filesystem, "asynchronous", False):
        raise InvalidInputError(
            "the file system was made for asynchronous use", code="invalid_option", hint="make it without asynchronous=True"
        )
    if hasattr(filesystem, "_call_s3"):
        return S3fsStorage(filesystem, root, read_only=read_only, timeout_s=timeout_s)
    return FsspecStorage(filesystem, root, read_only=read_only)


def _open_filesystem(url: str, options: dict[str, Any], timeout_s: float) -> tuple[Any, str]:
    scheme = url.partition("://")[0].partition("::")[0]
    if scheme in {"s3", "s3a"}:
        options = s3fs_options(options, timeout_s)
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        raise MissingExtraError(
            "this file system needs a package of its own", hint=f"pip install 'fsspec[{scheme}]'", scheme=scheme
        ) from None
    except ValueError:
        raise InvalidInputError(
            "unknown kind of storage",
            code="unknown_scheme",
            hint="use a path, s3://, gs://, az://, memory:// or a url that fsspec knows",
            scheme=scheme,
        ) from None
    try:
        # An instance of our own: shared ones have caches that others fill.
        filesystem, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    except (TypeError, ValueError, KeyError):
        # Without the text, which may quote an option's value.
        raise InvalidInputError(
            "the file system does not take these options", code="invalid_option", options=sorted(options)
        ) from None
    except Exception as error:  # noqa: BLE001 - some connect at once, and fail in ways of their own
        raise client_failure(error, url=f"{scheme}://") from None
    cache = getattr(filesystem, "dircache", None)
    if cache is not None:
        # Set afterwards, because not every file system takes use_listings_cache as an option (sftp gives it to ssh).
        cache.use_listings_cache = False
    if hasattr(filesystem, "_call_s3"):
        filesystem.retries = 1  # `Retry` repeats, under one deadline
    return filesystem, root


def _protocol(filesystem: Any) -> str:
    """Return the file system's first name, of the one inside where it is a view of another."""
    while getattr(filesystem, "fs", None) is not None:
        filesystem = filesystem.fs
    protocol = filesystem.protocol
    return protocol if isinstance(protocol, str) else str(protocol[0])


def _modified_ms(info: Mapping[str, Any]) -> int:
    """Return the time of the last change in milliseconds since 1970 UTC; 0 when the file system tells none."""
    for name in _TIME_FIELDS:
        value = info.get(name)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = value if value.tzinfo else value.replace(tzinfo=UTC)
            return int(value.timestamp() * 1000)
        if isinstance(value, int | float):
            return int(value * 1000)
    return 0
