"""A storage on S3 through an s3fs file system, with conditional writes.

s3fs's own calls will not do: it reports a lost race as `FileExistsError` or EINVAL depending on the server, tells no
ETag of what it wrote, serves listings from a cache, and sends bodies above 100 MiB in parts, where it drops If-Match
without a word. So the requests of S3 are made directly, through the session, keys and settings of the user's file system.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

from snapstore import clock
from snapstore.errors import ConflictError, CorruptionError, NotFoundError, ReadOnlyError, StorageError
from snapstore.storage.faults import forked_process, http_failure
from snapstore.storage.fsspec_faults import answer_of, client_failure
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import (
    PAGE_KEYS,
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
from snapstore.storage.server_clock import ServerClock

T = TypeVar("T")

_LOST_CONDITION = {"PreconditionFailed", "ConditionalRequestConflict"}


class S3fsStorage:
    """Objects in a bucket, reached through s3fs.

    Args:
        filesystem: A synchronous `s3fs.S3FileSystem`.
        root: `bucket` or `bucket/prefix`.
        read_only: Refuse every write.
        timeout_s: How long to wait for one call, in seconds; s3fs may retry inside.
    """

    def __init__(self, filesystem: Any, root: str, *, read_only: bool = False, timeout_s: float = 60.0) -> None:
        self._fs = filesystem
        self._bucket, _, prefix = root.strip("/").partition("/")
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self._timeout_s = timeout_s
        self.url = f"s3://{root.strip('/')}"
        self.read_only = read_only
        self.etag_style = "quoted"
        self._clock = ServerClock(self._server_ms)

    @property
    def endpoint(self) -> str:
        """Where requests go; the name under which probe results are kept."""
        return self._wait(self._endpoint(), None)

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        body, etag = self._wait(self._read(self._path(key)), key)
        return Stored(body, etag)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`. Ranges close together share a request; the requests run at the same time."""
        path = self._path(key)
        spans = plan_spans(ranges)
        bodies = parallel([partial(self._span, path, key, span) for span in spans])
        return assemble(ranges, spans, bodies, key)

    def range_spans(self, ranges: Sequence[tuple[int, int]]) -> list[Span]:
        """Return the requests that `get_ranges` makes, for meters."""
        return plan_spans(ranges)

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`. One request, so at most 5 GiB."""
        return self._put(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        try:
            return self._put(key, data, IfNoneMatch="*")
        except _LostConditionError:
            raise ConflictError("an object of this name exists already", code="already_exists", key=key) from None

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        tag = version.removeprefix("W/")
        if not tag:
            raise StorageError("the storage gives no version to compare with", code="unsafe_storage", key=key)
        try:
            return self._put(key, data, IfMatch=tag.strip('"') if self.etag_style == "unquoted" else tag)
        except (_LostConditionError, NotFoundError):
            raise ConflictError("the object changed since it was read", code="version_changed", key=key) from None

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        check_prefix(prefix)
        return self._rows(prefix, start_after, limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`, 1000 a request."""
        checked = check_keys(keys)
        self._check_writable()
        batches = [checked[start : start + PAGE_KEYS] for start in range(0, len(checked), PAGE_KEYS)]
        parallel([partial(self._delete, batch) for batch in batches])

    def now_ms(self) -> int:
        """See `Storage.now_ms`: by the Date of an answer, asked for once in some minutes."""
        return self._clock.now_ms()

    def close(self) -> None:
        """See `Storage.close`. The file system may be the user's, and stays open."""

    # ------------------------------------------------------------------------------------------- requests

    def _put(self, key: str, data: BytesLike, **condition: str) -> str:
        path = self._path(key)
        self._check_writable()
        try:
            answer = self._call("put_object", key, Key=path, Body=bytes(data), **condition)
        except NotFoundError:
            if condition.get("IfMatch"):
                raise
            raise http_failure(404, "NoSuchBucket", url=self.url, key=key) from None
        return str(answer.get("ETag", ""))

    def _span(self, path: str, key: str, span: Span) -> bytes:
        if span.start < 0:
            return self._suffix(path, key, span.length)
        stop = span.start + span.length
        try:
            body, _ = self._wait(self._read(path, Range=f"bytes={span.start}-{stop - 1}"), key)
        except CorruptionError:
            raise object_truncated(key, wanted=stop) from None
        if len(body) != span.length:
            raise object_truncated(key, wanted=stop, size=span.start + len(body))
        return body

    def _suffix(self, path: str, key: str, length: int) -> bytes:
        try:
            body, _ = self._wait(self._read(path, Range=f"bytes=-{length}"), key)
        except CorruptionError:
            # S3 has no suffix of an empty object.
            if self._call("head_object", key, Key=path)["ContentLength"] == 0:
                return b""
            raise
        return body[-length:]

    def _rows(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        below = self._prefix + prefix
        left = limit
        more: dict[str, Any] = {"StartAfter": self._prefix + start_after} if start_after else {}
        while left is None or left > 0:
            answer = self._call("list_objects_v2", None, Prefix=below, MaxKeys=min(left or PAGE_KEYS, PAGE_KEYS), **more)
            for row in answer.get("Contents", ()):
                key = row["Key"][len(self._prefix) :]
                if is_key(key):
                    yield ObjectInfo(key, row["Size"], int(row["LastModified"].timestamp() * 1000))
                    left = None if left is None else left - 1
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _delete(self, keys: Sequence[str]) -> None:
        objects = [{"Key": self._prefix + key} for key in keys]
        answer = self._call("delete_objects", None, Delete={"Objects": objects, "Quiet": True})
        for failed in answer.get("Errors", ()):
            if failed.get("Code") != "NoSuchKey":
                status = 403 if failed.get("Code") == "AccessDenied" else 500
                raise http_failure(status, failed.get("Code", ""), url=self.url, key=failed.get("Key"))

    def _server_ms(self) -> int:
        answer = self._call("list_objects_v2", None, Prefix=self._prefix, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return int(parsedate_to_datetime(date).timestamp() * 1000) + 500 if date else clock.now_ms()

    def _call(self, method: str, key: str | None, **arguments: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._wait(self._fs._call_s3(method, Bucket=self._bucket, **arguments), key)  # noqa: SLF001
        return answer

    async def _read(self, path: str, **arguments: str) -> tuple[bytes, str]:
        answer = await self._fs._call_s3("get_object", Bucket=self._bucket, Key=path, **arguments)  # noqa: SLF001
        async with answer["Body"] as stream:
            body: bytes = await stream.read()
        if len(body) != answer["ContentLength"]:
            raise ConnectionResetError("the body is shorter than announced")
        return body, str(answer.get("ETag", ""))

    async def _endpoint(self) -> str:
        client = await self._fs.get_s3(self._bucket)
        return str(client.meta.endpoint_url)

    def _wait(self, call: Coroutine[Any, Any, T], key: str | None) -> T:
        """Run a call on the file system's own event loop, and turn what it raises into our errors."""
        try:
            loop = self._fs.loop
        except RuntimeError:  # fsspec notices a fork by itself
            call.close()
            raise forked_process(self.url) from None
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result(self._timeout_s)
        except TimeoutError as error:
            future.cancel()
            raise client_failure(error, url=self.url, key=key) from None
        except Exception as error:  # noqa: BLE001 - botocore's, aiohttp's and s3fs's errors have no common root
            answer = answer_of(error)
            if answer is not None and (answer[1] in _LOST_CONDITION or answer[0] == 412):
                raise _LostConditionError from None
            raise client_failure(error, url=self.url, key=key) from None

    def _path(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("this storage was opened for reading only", url=self.url)


class _LostConditionError(Exception):
    """The server refused a conditional write."""


def s3fs_options(options: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return options for a file system of our own: no listing cache, and no retries inside, which could take 40 s.

    Args:
        options: The user's; what they say stays.
        timeout_s: Limit of a whole call; one attempt gets half of it.
    """
    config = {
        "connect_timeout": min(5.0, timeout_s),
        "read_timeout": timeout_s / 2,
        "retries": {"total_max_attempts": 1},
        **(options.get("config_kwargs") or {}),
    }
    return {"use_listings_cache": False, **options, "config_kwargs": config}
