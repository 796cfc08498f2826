"""One signed S3 request with the standard library alone: enough to create a bucket and to see that a server answers.

Signature: AWS Signature Version 4, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" in the
Amazon S3 API reference. Bodies are empty here, so the payload's digest is a constant.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

REQUEST_TIMEOUT_S = 20.0
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Endpoint:
    """How to reach a started server."""

    endpoint_url: str  # http://127.0.0.1:PORT
    access_key: str
    secret_key: str
    region: str = "us-east-1"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signed_headers(endpoint: Endpoint, method: str, path: str, timestamp: str) -> dict[str, str]:
    """Return the headers that authenticate a request without a body.

    Args:
        endpoint: the server and its keys.
        method: the HTTP method.
        path: absolute path without a query, with no character that needs escaping.
        timestamp: the time of the request, `YYYYMMDDTHHMMSSZ`.
    """
    signed = {"host": urlsplit(endpoint.endpoint_url).netloc, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": timestamp}
    names = ";".join(signed)
    canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in signed.items()), "", names, EMPTY_SHA256])
    scope = f"{timestamp[:8]}/{endpoint.region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{endpoint.secret_key}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={endpoint.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**signed, "authorization": authorization}


def request(endpoint: Endpoint, method: str, path: str) -> tuple[int, str] | None:
    """Send one signed request without a body; return status and body text, or None when nobody answers."""
    timestamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    parts = urlsplit(endpoint.endpoint_url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request(method, path, headers={**signed_headers(endpoint, method, path, timestamp), "content-length": "0"})
        answer = connection.getresponse()
        return answer.status, answer.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def answers(endpoint: Endpoint) -> bool:
    """Tell whether the server accepts the keys: 200 to the list of buckets."""
    answer = request(endpoint, "GET", "/")
    return answer is not None and answer[0] == 200


def create_bucket(endpoint: Endpoint, bucket: str) -> str | None:
    """Create a bucket; return None on success, what the server said otherwise."""
    answer = request(endpoint, "PUT", f"/{bucket}")
    if answer is None:
        return "no answer"
    return None if answer[0] in (200, 201) else f"status {answer[0]}: {answer[1][:500]}"
