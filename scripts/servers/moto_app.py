"""moto's S3 on loopback with one lock around every write. Run inside moto's own environment: `python -P moto_app.py PORT`.

moto checks a precondition and then stores, unlocked, in a threaded server: one race of 16 conditional writers in 2,400 had two
winners. With the lock none in 1,200 had.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WRITES = threading.Lock()


class LockedMoto:
    """moto's WSGI application; a request that may write waits until the one before it is done."""

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        # The body is read before the lock is taken: a slow client must not hold up the others.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        with WRITES:
            return list(self._application(environ, start_response))


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Keep connections open between requests, as every S3 server does.
    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    run_simple("127.0.0.1", int(sys.argv[1]), LockedMoto(), threaded=True)


if __name__ == "__main__":
    main()
