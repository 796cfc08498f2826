"""What the exceptions of fsspec's file systems mean. They come from many libraries, so they are told by name, not by class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from snapstore.errors import CorruptionError, NotFoundError, SnapstoreError, StorageError
from snapstore.storage.faults import CREDENTIALS_HINT, http_failure, os_failure

# Names of exception classes in botocore, aiobotocore, aiohttp, requests, urllib3, paramiko.
_NO_CREDENTIALS: Final = {
    "AuthenticationException", "CredentialRetrievalError", "DefaultCredentialsError", "NoCredentialsError",
    "PartialCredentialsError", "ProfileNotFound", "SSOError", "SSOTokenLoadError", "TokenRetrievalError",
}  # fmt: skip
_TIMED_OUT: Final = {"ReadTimeoutError", "ServerTimeoutError", "Timeout", "TimeoutError"}
_UNREACHABLE: Final = {
    "ClientConnectorError", "ConnectTimeoutError", "ConnectionRefusedError", "ConnectionTimeoutError",
    "EndpointConnectionError", "NewConnectionError", "gaierror",
}  # fmt: skip
_BROKEN_OFF: Final = {
    "BrokenPipeError", "ChunkedEncodingError", "ClientPayloadError", "ConnectionClosedError", "ConnectionResetError",
    "HTTPClientError", "IncompleteRead", "IncompleteReadError", "ResponseStreamingError", "ServerDisconnectedError",
}  # fmt: skip


def answer_of(error: BaseException) -> tuple[int, str, str] | None:
    """Return (status, code, message) when a server's answer lies behind an exception, else None.

    botocore keeps the answer in `response`; s3fs translates the exception and keeps the original as its cause.
    """
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code, message = str(response["Error"].get("Code", "")), str(response["Error"].get("Message", ""))
            if not code:  # a body that botocore could not read
                return int(status), "", "not an answer of an object store"
            # botocore makes up a numeric code when there was no body, as in every answer to HEAD.
            return (int(status), "", "") if code.isdigit() else (int(status), code, message)
    return None


def client_failure(error: Exception, *, url: str, key: str | None = None) -> SnapstoreError:
    """Return our error for whatever a file system raised.

    Args:
        error: The exception, with its causes.
        url: The storage's printable url.
        key: The object concerned, when there is one.
    """
    answer = answer_of(error)
    if answer is not None:
        return http_failure(answer[0], answer[1], url=url, key=key, server_message=answer[2])
    context: dict[str, Any] = {"url": url} if key is None else {"key": key, "url": url}
    names = {cls.__name__ for link in _chain(error) for cls in type(link).__mro__}
    if names & _NO_CREDENTIALS:
        return StorageError("no usable credentials", code="credentials_invalid", hint=CREDENTIALS_HINT, **context)
    if names & _UNREACHABLE:
        hint = "check the endpoint (AWS_ENDPOINT_URL, endpoint_url), its port, and http or https"
        code = "endpoint_unreachable"
        return StorageError("the storage cannot be reached", code=code, retryable=True, hint=hint, **context)
    if names & _TIMED_OUT:
        return StorageError("the storage did not answer in time", code="storage_timeout", retryable=True, **context)
    if names & _BROKEN_OFF:
        sentence = "the connection broke before the whole answer arrived"
        return StorageError(sentence, code="connection_lost", retryable=True, **context)
    if "FlexibleChecksumError" in names:
        # Damaged on the way, or the server sends a part with the checksum of the whole, as rclone does.
        return CorruptionError("the bytes do not match the server's checksum", code="checksum_mismatch", **context)
    if isinstance(error, FileNotFoundError):
        return NotFoundError("no such object", code="object_not_found", **context)
    if isinstance(error, OSError):
        return os_failure(error, url=url, key=key)
    # Only the kind is quoted: texts of foreign libraries may hold signed urls.
    return StorageError("the file system failed", reason=type(error).__name__, **context)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:  # a cycle of causes is possible, though nobody makes one
        yield error
        error = error.__cause__ or error.__context__
        seen += 1
