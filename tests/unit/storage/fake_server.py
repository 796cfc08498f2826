"""A small object store over HTTP, in this process, that can be told to misbehave: dialects of S3 and Google's XML interface.

The emulators answer as servers should; this one answers as servers should not: late, half, twice, with strange conditions.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE_S = 1_700_000_000.0


class FakeServer(ThreadingHTTPServer):
    """One bucket, any name. `faults` are functions that may answer a request instead of the server, each used once."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.reset()

    def reset(self) -> None:
        """Be a new, empty server that behaves."""
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.times: dict[str, float] = {}
        #: the server's clock, in seconds since 1970
        self.now = time.time
        self.lock = threading.Lock()
        self.generation = 100
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        #: kept, ignored, bare (If-Match without quotes), racy (checked first, written later)
        self.conditions = "kept"
        self.ranges = True
        self.faults: list[Callable[[_Handler], bool]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.key = unquote(parts.path).lstrip("/").partition("/")[2]
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.server.requests.append((self.command, self.path, {n.lower(): v for n, v in self.headers.items()}))
        if self.server.faults and self.server.faults.pop(0)(self):
            return
        self.answer()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_request  # noqa: N815 - the names that http.server calls

    def answer(self) -> None:
        """Answer as a server should."""
        if self.command == "PUT":
            self.put()
        elif self.command == "DELETE" or "delete" in self.query:
            self.delete()
        elif "list-type" in self.query:
            self.list()
        elif self.key not in self.server.objects:
            self.error(404, "NoSuchKey")
        else:
            self.get()

    def put(self) -> None:
        with self.server.lock:
            refusal = self.refusal()
            if refusal or self.server.conditions != "racy":
                generation = None if refusal else self.store()
        if refusal:
            return self.error(412, "PreconditionFailed")
        if self.server.conditions == "racy":
            time.sleep(0.002)
            with self.server.lock:
                generation = self.store()
        return self.send(200, b"", {"ETag": etag(self.body), "x-goog-generation": str(generation)})

    def store(self) -> int:
        self.server.generation += 1
        self.server.objects[self.key] = (self.body, self.server.generation)
        self.server.times[self.key] = self.server.now()
        return self.server.generation

    def refusal(self) -> bool:
        """Return whether a condition of the request does not hold."""
        found = self.server.objects.get(self.key)
        if self.server.conditions == "ignored":
            return False
        if self.headers.get("If-None-Match") == "*" and found:
            return True
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and wanted != str(found[1] if found else 0):
            return True
        tag = self.headers.get("If-Match")
        if tag is None:
            return False
        now = etag(found[0]) if found else ""
        return tag != (now.strip('"') if self.server.conditions == "bare" else now)

    def delete(self) -> None:
        keys = re.findall(r"<Key>(.*?)</Key>", self.body.decode()) if self.command == "POST" else [self.key]
        with self.server.lock:
            missing = [key for key in keys if self.server.objects.pop(key, None) is None]
        rows = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        if self.command == "POST":
            self.send(200, f"<DeleteResult>{rows}</DeleteResult>".encode(), {})
        elif missing:
            self.error(404, "NoSuchKey")  # as Google does, and S3 does not
        else:
            self.send(204, b"", {})

    def list(self) -> None:
        prefix, after = self.query.get("prefix", ""), self.query.get("start-after", "")
        with self.server.lock:
            found = sorted((k, v) for k, v in self.server.objects.items() if k.startswith(prefix) and k > after)
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{self.modified(key, iso=True)}</LastModified>"
            f"<ETag>{escape(etag(data))}</ETag><Size>{len(data)}</Size></Contents>"
            for key, (data, _) in found
        )
        self.send(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode(), {})

    def get(self) -> None:
        data, generation = self.server.objects[self.key]
        headers = {"ETag": etag(data), "Last-Modified": self.modified(self.key), "x-goog-generation": str(generation)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or not self.server.ranges:
            return self.send(200, data, headers)
        start = int(wanted[1]) if wanted[1] else max(0, len(data) - int(wanted[2]))
        stop = min(len(data), int(wanted[2]) + 1) if wanted[1] and wanted[2] else len(data)
        if start >= len(data):
            return self.error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self.send(206, data[start:stop], headers)

    def modified(self, key: str, *, iso: bool = False) -> str:
        """Return when an object was written."""
        time_s = self.server.times.get(key, DATE_S)
        if iso:
            return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time_s))
        return formatdate(time_s, usegmt=True)

    def error(self, status: int, code: str, message: str = "it says no") -> None:
        """Send an error document as S3 does."""
        self.send(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(), {})

    def send(self, status: int, body: bytes, headers: dict[str, str], announced: int | None = None) -> None:
        """Send an answer, perhaps announcing more bytes than there are."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(data: bytes) -> str:
    """Return an ETag as S3 makes it."""
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def running() -> Iterator[FakeServer]:
    """Run a server for the length of a block."""
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ------------------------------------------------------------------------------------------------- faults


def status(number: int, code: str, message: str = "it says no") -> Callable[[_Handler], bool]:
    """Return a fault: an error document, and nothing takes effect."""

    def fault(handler: _Handler) -> bool:
        handler.error(number, code, message)
        return True

    return fault


def raw(number: int, body: bytes) -> Callable[[_Handler], bool]:
    """Return a fault: an answer that no object store gives."""

    def fault(handler: _Handler) -> bool:
        handler.send(number, body, {})
        return True

    return fault


def lost(number: int = 500) -> Callable[[_Handler], bool]:
    """Return a fault: the write takes effect, and its answer says that it failed."""

    def fault(handler: _Handler) -> bool:
        with handler.server.lock:
            handler.store()
        handler.error(number, "InternalError")
        return True

    return fault


def cut_off(bytes_sent: int) -> Callable[[_Handler], bool]:
    """Return a fault: the connection breaks in the middle of the body."""

    def fault(handler: _Handler) -> bool:
        data, _ = handler.server.objects[handler.key]
        headers = {"ETag": etag(data), "Last-Modified": formatdate(DATE_S, usegmt=True), "Connection": "close"}
        handler.send(200, data[:bytes_sent], headers, announced=len(data))
        handler.close_connection = True
        return True

    return fault


def stall(duration_s: float) -> Callable[[_Handler], bool]:
    """Return a fault: nothing comes for a while, then the right answer."""

    def fault(handler: _Handler) -> bool:
        time.sleep(duration_s)
        return False

    return fault
