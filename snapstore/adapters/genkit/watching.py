"""Watching one snapshot: at once when it is saved through the same store, by asking now and then when it is not.

Object storage does not call back, so a watch asks: first after 50 ms, then ever more rarely up to once in a second while
nothing changes. One question is one small read. Saves in the same process need no asking: the store publishes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from snapstore.adapters.genkit.documents import Json
from snapstore.adapters.naming import threaded
from snapstore.errors import StorageError

__all__ = ["Notice", "Notices", "Watch", "Watched"]

FIRST_DELAY_S: Final = 0.05
MAX_DELAY_S: Final = 1.0
"""How long to wait before asking again: doubled up to the maximum while nothing changes. An abort from another process is
noticed within a second, and a detached turn of an hour asks 3,600 times, 0.2 cents on S3."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One version of a snapshot.

    Attributes:
        version: larger for later ones.
        status: as the archive keeps it.
        snapshot: the whole of it, when it was saved through the same store; not to be changed.
    """

    version: int
    status: str
    snapshot: Json | None = None


class Notices:
    """Who wants to hear of saves. Safe to use from several threads."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[object, Callable[[Notice], None]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many listeners there are."""
        with self._lock:
            return sum(map(len, self._listeners.values()))

    def subscribe(self, key: str, listener: Callable[[Notice], None]) -> Callable[[], None]:
        """Call a listener after each save of a snapshot, in the thread of the save, until the result is called."""
        ticket = object()  # the same listener may be subscribed twice
        with self._lock:
            self._listeners.setdefault(key, {})[ticket] = listener

        def unsubscribe() -> None:
            with self._lock:
                left = self._listeners.get(key, {})
                left.pop(ticket, None)
                if not left:
                    self._listeners.pop(key, None)

        return unsubscribe

    def publish(self, key: str, notice: Notice) -> None:
        """Tell the listeners of a snapshot."""
        with self._lock:
            listeners = [*self._listeners.get(key, {}).values()]
        for listener in listeners:
            listener(notice)


class Watched(Protocol):
    """What a watch needs of a store; see `snapstore.adapters.genkit.core.SnapshotCore`."""

    @property
    def notices(self) -> Notices:
        """Where saves are published."""
        ...

    def look(self, snapshot_id: str) -> Notice | None:
        """The current version, without the state; None when there is none."""
        ...


class Watch:
    """The versions of one snapshot for one consumer in the running event loop; the current one first.

    Versions between two questions may be missed, never the last one.

    Args:
        store: where the snapshot lies.
        snapshot_id: it need not exist yet.
    """

    def __init__(self, store: Watched, snapshot_id: str) -> None:
        self._store = store
        self._id = snapshot_id
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._arrived: deque[Notice] = deque()
        self._question: asyncio.Future[Notice | None] | None = None
        self._due = self._loop.time()
        self._delay = FIRST_DELAY_S
        self._version = 0
        self._closed = False
        self._unsubscribe = store.notices.subscribe(snapshot_id, self._deliver)

    async def seed(self) -> None:
        """Ask for the current version now, so that it comes first however late `next` is called."""
        notice = await threaded(self._store.look, self._id)
        if notice is not None:
            self._arrived.appendleft(notice)
        self._due = self._loop.time() + FIRST_DELAY_S

    async def next(self) -> Notice | None:
        """The next version, as soon as there is one; None once the watch is closed.

        Raises:
            SnapstoreError: the storage cannot be read. Passing failures are waited out.
        """
        while not self._closed:
            self._wake.clear()
            notice = self._arrived.popleft() if self._arrived else self._answer()
            if notice is not None and notice.version > self._version:
                self._version = notice.version
                self._due, self._delay = self._loop.time() + FIRST_DELAY_S, FIRST_DELAY_S
                return notice
            if not self._arrived and notice is None:
                await self._wait()
        return None

    def close(self) -> None:
        """End the watch at once; whoever waits in `next` gets None. To be called in its event loop."""
        self._closed = True
        self._unsubscribe()
        self._wake.set()

    def _deliver(self, notice: Notice) -> None:
        def arrive() -> None:
            self._arrived.append(notice)
            self._wake.set()

        # The loop of a watch that nobody closed may be gone; its snapshot is saved all the same.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(arrive)

    def _answer(self) -> Notice | None:
        """What the last question brought, if it is answered."""
        if self._question is None or not self._question.done():
            return None
        question, self._question = self._question, None
        self._due, self._delay = self._loop.time() + self._delay, min(self._delay * 2, MAX_DELAY_S)
        try:
            notice = question.result()
        except StorageError as error:
            if not error.retryable:
                raise
            return None
        if notice is None:
            self._version = 0  # deleted: what comes next is new, whatever its number
        return notice

    async def _wait(self) -> None:
        """Until something arrived, or it is time to ask again."""
        left_s = self._due - self._loop.time()
        if self._question is None and left_s <= 0:
            self._question = asyncio.ensure_future(threaded(self._store.look, self._id))
            self._question.add_done_callback(self._answered)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s if self._question is None else None):
                await self._wake.wait()

    def _answered(self, question: asyncio.Future[Notice | None]) -> None:
        if self._closed and not question.cancelled():
            question.exception()  # nobody will ask for it any more
        self._wake.set()
