"""The clock of a server: its difference to this machine's, measured now and then.

Machines that share an archive may have wrong clocks; the server's is the one they have in common. An HTTP answer carries it
in the header `Date`, in whole seconds, also when the request was refused, so that no credentials are needed to ask.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from snapstore import clock

# Two clocks drift apart by less than 0.1 s in an hour; five minutes also notice a machine that was suspended.
REFRESH_S: Final = 300.0
_TIMEOUT_S: Final = 10.0


class ServerClock:
    """Adds the measured difference to this machine's clock.

    Args:
        ask: Returns the server's time in milliseconds since 1970 UTC; may take a request, may raise.
    """

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._offset_ms = 0
        self._measured_s: float | None = None

    def now_ms(self) -> int:
        """Return the server's time in milliseconds since 1970 UTC."""
        with self._lock:
            started_s = clock.monotonic_s()
            if self._measured_s is None or started_s - self._measured_s > REFRESH_S:
                before_ms = clock.now_ms()
                server_ms = self._ask()
                # The answer was made somewhere between asking and now: the middle errs least.
                self._offset_ms = server_ms - (before_ms + clock.now_ms()) // 2
                self._measured_s = started_s
            return clock.now_ms() + self._offset_ms


def date_ms(endpoint: str) -> int | None:
    """Return the time in the `Date` header of an answer of this HTTP server, in milliseconds since 1970 UTC.

    Half a second is added, the middle of the second that the header names. None when there is no usable answer.

    Args:
        endpoint: Its url, without credentials. Proxies of the environment are used.
    """
    import urllib.error  # noqa: PLC0415 - 20 ms, needed once in some minutes by long-lived processes
    import urllib.request  # noqa: PLC0415

    if not endpoint.startswith(("http://", "https://")):
        return None
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme was checked
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme was checked
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as refusal:
        date = refusal.headers.get("Date")
        refusal.close()
    except (OSError, ValueError):
        return None
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000) + 500 if date else None
    except ValueError:
        return None
