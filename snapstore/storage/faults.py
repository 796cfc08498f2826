"""What a failure of the operating system or of an object store means to a caller: one table for all backends.

Messages never carry raw answers of a server or a client library: those may hold signed URLs. What is quoted is the
server's own short code and message.
"""

from __future__ import annotations

import errno
import re
from typing import Any, Final, NamedTuple

from snapstore.errors import InvalidInputError, NotFoundError, ReadOnlyError, SnapstoreError, StorageError
from snapstore.storage.protocol import object_truncated


class Meaning(NamedTuple):
    """What a failure means to the caller."""

    code: str
    retryable: bool
    sentence: str
    hint: str | None = None


_OS_FAILURES: Final = {
    errno.ENOSPC: Meaning("storage_full", False, "the disk is full", "free some space; nothing was left half written"),
    errno.EDQUOT: Meaning("storage_full", False, "the disk quota is used up", "free some space or raise the quota"),
    errno.EFBIG: Meaning("storage_full", False, "the file would exceed a size limit", "see `ulimit -f`"),
    errno.EACCES: Meaning("permission_denied", False, "permission denied", "check owner and mode of the folder"),
    errno.EPERM: Meaning("permission_denied", False, "operation not permitted", "check owner, mode and attributes"),
    errno.ENOTDIR: Meaning("not_a_folder", False, "there is a file where a folder should be", "name a folder"),
    errno.EEXIST: Meaning("not_a_folder", False, "there is a file where a folder should be", "name a folder"),
    errno.EISDIR: Meaning("not_a_file", False, "there is a folder where a file should be", "name a folder of its own"),
    errno.EXDEV: Meaning("storage_error", False, "its folders lie on different disks", "keep it on one file system"),
    errno.EMFILE: Meaning("storage_unavailable", True, "too many open files", "raise `ulimit -n`"),
    errno.ENFILE: Meaning("storage_unavailable", True, "too many open files on this machine"),
    errno.EAGAIN: Meaning("storage_unavailable", True, "the file system is busy"),
    errno.EBUSY: Meaning("storage_unavailable", True, "the file system is busy"),
    errno.EINTR: Meaning("storage_unavailable", True, "interrupted by a signal"),
    errno.ENOMEM: Meaning("storage_unavailable", True, "the system is out of memory"),
    errno.ESTALE: Meaning("storage_unavailable", True, "the file server lost its handle", "is it still mounted?"),
    errno.ETIMEDOUT: Meaning("storage_timeout", True, "the file system did not answer in time"),
    errno.ENOLCK: Meaning("unsafe_storage", False, "this file system has no file locks", "mount it with locks"),
    errno.EIO: Meaning("storage_error", False, "the disk reports an input/output error", "check the disk's health"),
}
_OS_UNKNOWN: Final = Meaning("storage_error", False, "the file system failed")

# The short codes of S3, of its relatives, and of Azure, by what they mean to us.
_BAD_CREDENTIALS: Final = {
    "AuthFailure", "AuthenticationFailed", "InvalidAccessKeyId", "InvalidAuthenticationInfo", "InvalidClientTokenId",
    "InvalidCredentials", "InvalidSecurity", "InvalidToken", "NoAuthenticationInformation", "SignatureDoesNotMatch",
    "TokenRefreshRequired", "UnrecognizedClientException",
}  # fmt: skip
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_NO_CONTAINER: Final = {"ContainerBeingDeleted", "ContainerNotFound", "NoSuchBucket", "NoSuchContainer"}
_NO_OBJECT: Final = {"BlobNotFound", "NoSuchKey", "NoSuchObject", "NotFound"}
_WRONG_REGION: Final = {
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion", "PermanentRedirect",
    "TemporaryRedirect",
}  # fmt: skip
_BUSY: Final = {
    "ConcurrentModification", "InternalError", "OperationAborted", "OperationTimedOut", "RequestLimitExceeded",
    "RequestTimeout", "ServerBusy", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequests",
}  # fmt: skip
_FULL: Final = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}

CREDENTIALS_HINT: Final = "check the keys, the profile (AWS_PROFILE) and the clock of this machine"
REGION_HINT: Final = "set AWS_REGION, or storage_options={'region': ...}"
PERMISSIONS_HINT: Final = (
    "allow get, put, delete and list on this bucket; without list, a missing object is answered with 403 too"
)


def os_failure(error: OSError, *, url: str, key: str | None = None) -> SnapstoreError:
    """Return our error for one of the operating system.

    Args:
        error: What a file operation raised.
        url: The storage's printable url.
        key: The object concerned, when there is one.
    """
    context: dict[str, Any] = {"url": url} if key is None else {"key": key, "url": url}
    if error.errno == errno.EROFS:
        return ReadOnlyError("the file system is read-only", hint="open with read_only=True to read it", **context)
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInputError("the name is too long for this file system", code="invalid_key", **context)
    code, retryable, sentence, hint = _OS_FAILURES.get(error.errno or 0, ("storage_error", False, "the file system failed", None))
    if code == "storage_error" and error.strerror:
        context["reason"] = error.strerror
    return StorageError(sentence, code=code, retryable=retryable, hint=hint, **context)


def http_failure(status: int, server_code: str, *, url: str, key: str | None = None, server_message: str = "") -> SnapstoreError:
    """Return our error for an answer of an object store that is no success. Lost conditions are not decided here.

    Args:
        status: The HTTP status.
        server_code: The code in the answer's body, such as `NoSuchKey`; empty when there was none.
        url: The storage's printable url.
        key: The object concerned, when there is one.
        server_message: The message in the answer's body; cut to 200 characters.
    """
    context: dict[str, Any] = {} if key is None else {"key": key}
    context.update(url=url, status=status)
    if server_code:
        context["server_code"] = server_code
    if status == 404 and server_code not in _NO_CONTAINER and (server_code in _NO_OBJECT or not server_message):
        return NotFoundError("no such object", code="object_not_found", **context)
    if status == 416:
        return object_truncated(key or "", wanted=1)
    if server_message:
        context["server_message"] = server_message[:200]
    code, retryable, sentence, hint = _meaning(status, server_code)
    return StorageError(sentence, code=code, retryable=retryable, hint=hint, **context)


def _meaning(status: int, server_code: str) -> Meaning:
    """Return the meaning of an answer that is neither a missing object nor a lost condition."""
    if server_code in _NO_CONTAINER:
        return Meaning("container_not_found", False, "no such bucket or container", "create it first, or check its name")
    if server_code in _EXPIRED:
        return Meaning("credentials_invalid", False, "the credentials have expired", "log in again: `aws sso login`")
    if server_code == "RequestTimeTooSkewed":
        return Meaning("credentials_invalid", False, "this machine's clock is too far off", "set this machine's clock")
    if status == 401 or server_code in _BAD_CREDENTIALS:
        return Meaning("credentials_invalid", False, "the storage does not accept the credentials", CREDENTIALS_HINT)
    if server_code in _WRONG_REGION or status in {301, 307, 308}:
        return Meaning("wrong_region", False, "the bucket lives in another region", REGION_HINT)
    if server_code in _FULL or status == 507:
        return Meaning("storage_full", False, "the storage is full or over its quota", "free space or raise the quota")
    if status == 403:
        return Meaning("permission_denied", False, "the credentials may not do this", PERMISSIONS_HINT)
    if status == 501 or server_code == "NotImplemented":
        return Meaning("not_implemented", False, "the storage does not know this request")
    if status in {408, 409, 425, 429} or status >= 500 or server_code in _BUSY:
        return Meaning("storage_unavailable", True, "the storage is overloaded or failing")
    if status == 404:
        hint = "check the endpoint, and any proxy in between"
        return Meaning("unexpected_answer", False, "something that is no object store answered", hint)
    return Meaning("storage_error", False, "the storage refused the request")


def forked_process(url: str) -> StorageError:
    """Make the error for a storage whose background threads stayed in the parent of this process.

    Without it a call would wait for them for ever.
    """
    return StorageError(
        "this storage was used before the process was forked",
        code="forked_process",
        hint="fork before the first use of an object store, or start processes with 'spawn' or 'forkserver'",
        url=url,
    )


_CODE_ELEMENT = re.compile(r"<Code>([A-Za-z0-9._-]{1,80})</Code>")
_MESSAGE_ELEMENT = re.compile(r"<Message>([^<]{0,200})")


def server_answer(body: str) -> tuple[str, str]:
    """Return (code, message) out of an error document in XML; for another body an empty code and a short description."""
    code = _CODE_ELEMENT.search(body)
    message = _MESSAGE_ELEMENT.search(body)
    if code is not None:
        return code[1], message[1].strip() if message else ""
    return "", "not an answer of an object store" if body.strip() else ""


def is_missing_container(text: str) -> bool:
    """Return whether an answer says that the bucket is missing, rather than an object in it."""
    return server_answer(text)[0] in _NO_CONTAINER
