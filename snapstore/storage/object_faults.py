"""What obstore's failures mean. It tells most of them only by their text, so they are told apart by words in it.

The text never goes on: it may quote a signed url, or what a credential provider said.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

from snapstore.errors import SnapstoreError, StorageError
from snapstore.storage.faults import http_failure, server_answer
from snapstore.storage.protocol import object_truncated

CREDENTIALS_HINTS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or log in with `aws sso login`",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or log in with `az login`",
}


def object_failure(text: str, *, kind: str, url: str, endpoint: str, key: str | None = None, wanted: int = 1) -> SnapstoreError:
    """Return our error for one of obstore's.

    Args:
        text: What obstore's exception says.
        kind: `s3`, `gs` or `az`.
        url: The storage's printable url.
        endpoint: Where the request went.
        key: The object concerned, when there is one.
        wanted: How many bytes the object should have had at least.
    """
    if re.search(r"credential provider|TokenRequest|//169\.254\.", text):
        # The request was about credentials, to the machine's metadata service or to a token service.
        reason = re.search(r"credential provider: (\w{1,60})", text)
        return no_credentials(None, reason[1] if reason else "none found", CREDENTIALS_HINTS[kind])
    status = re.search(r"status code: (\d{3})", text)
    if status is None:
        return _transport_failure(text, url=url, endpoint=endpoint, key=key)
    answer = text[status.end() :].partition("\n\nDebug source")[0].partition(":")[2]
    server_code, message = server_answer(answer)
    if status[1] == "416" and key is not None:
        return object_truncated(key, wanted=wanted)
    return http_failure(int(status[1]), server_code, url=url, key=key, server_message=message)


def connection_lost(key: str | None, url: str) -> StorageError:
    """Make the error for an answer that broke off; the same request may succeed."""
    return StorageError(
        "the connection broke before the whole answer arrived",
        code="connection_lost",
        retryable=True,
        **({} if key is None else {"key": key}),
        url=url,
    )


def _transport_failure(text: str, *, url: str, endpoint: str, key: str | None) -> StorageError:
    """Return our error for a request that got no answer, or one that made no sense; by the words of obstore's text."""
    context: dict[str, Any] = {} if key is None else {"key": key}
    context["url"] = url
    if "kind: Connect" in text or "ConnectError" in text:
        tls = "InvalidContentType" in text or "certificate" in text.lower()
        reason = (
            "connection refused" if "ConnectionRefused" in text
            else "unknown host name" if "dns error" in text
            else "the certificate or the encryption does not fit" if tls
            else "no connection"
        )  # fmt: skip
        hint = "check the endpoint (AWS_ENDPOINT_URL, storage_options={'endpoint': ...}), its port, and http or https"
        return StorageError(
            "the storage cannot be reached", code="endpoint_unreachable", retryable=not tls, hint=hint,
            endpoint=endpoint, reason=reason, **context,
        )  # fmt: skip
    if "kind: Timeout" in text or "TimedOut" in text or "operation timed out" in text:
        return StorageError("the storage did not answer in time", code="storage_timeout", retryable=True, **context)
    if any(word in text for word in ("kind: Interrupted", "kind: Request", "kind: Body", "error sending request",
                                     "body error", "IncompleteBody")):  # fmt: skip
        return connection_lost(key, url)
    if "BareRedirect" in text or "incorrectly configured region" in text:
        return cast("StorageError", http_failure(301, "PermanentRedirect", url=url, key=key))
    if "invalid path" in text:
        return StorageError(
            "a foreign object has a name that no archive gives",
            code="foreign_object",
            hint="remove it: its name holds an empty segment or a control character",
            **context,
        )
    if any(word in text for word in ("Header", "NotPartial", "non-partial", "CONTENT_RANGE")):
        hint = "check the endpoint, and any proxy in between"
        return StorageError("the answer makes no sense", code="unexpected_answer", hint=hint, **context)
    first_line = re.sub(r"https?://\S+", "URL", text.partition("\n")[0])[:200]
    return StorageError("the storage failed", reason=first_line, **context)


def no_credentials(profile: str | None, reason: str, hint: str = CREDENTIALS_HINTS["s3"]) -> StorageError:
    """Make the error for keys that are nowhere to be found, or that cannot be renewed."""
    context: dict[str, Any] = {} if profile is None else {"profile": profile}
    return StorageError("no usable credentials", code="credentials_invalid", hint=hint, reason=reason, **context)
