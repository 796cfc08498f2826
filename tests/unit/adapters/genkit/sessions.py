"""Genkit stores in memory, snapshots to put into them, and a way to wait for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from snapstore.adapters.genkit import SessionStore
from snapstore.adapters.genkit.documents import Json
from tests.unit.archives import World

T = TypeVar("T")

WAIT_S = 20.0
"""How long a test waits for what must happen: far longer than it takes on the slowest machine."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own; a hang fails."""

    async def limited() -> T:
        async with asyncio.timeout(WAIT_S):
            return await coroutine

    return asyncio.run(limited())


def turn(text: str, *, session: str | None = "s", at: str = "2026-06-18T12:00:00Z", **fields: Any) -> Json:
    """A snapshot as a runtime writes it; None takes a field away."""
    state: Json = {"messages": [{"role": "user", "content": [{"text": text}]}], "custom": {}}
    if session is not None:
        state["sessionId"] = session
    snapshot = {"createdAt": at, "status": "completed", "state": state, **fields}
    return {name: value for name, value in snapshot.items() if value is not None}


def text_of(snapshot: Json | None) -> str | None:
    """The text that `turn` was given."""
    return snapshot["state"]["messages"][0]["content"][0]["text"] if snapshot is not None else None


class Sessions:
    """One store on a metered archive in memory, spoken to in the JavaScript dialect without awaiting.

    Attributes:
        world: the archive.
        store: the store.
    """

    def __init__(self, **options: Any) -> None:
        self.world = World()
        self.options = options
        self.store = SessionStore(self.world.archive, **options)

    def elsewhere(self) -> SessionStore:
        """Another store on the same archive, as another process would have it."""
        return SessionStore(self.world.cold(), **self.options)

    def put(self, id: str | None, snapshot: Json | None) -> str | None:
        """Save a snapshot whatever is there."""
        return self.save(id, lambda _: snapshot)

    def save(self, id: str | None, mutator: Callable[[Json | None], Any]) -> str | None:
        """Save what a mutator makes."""
        return run(self.store.saveSnapshot(id, mutator))

    def get(self, id: str) -> Json | None:
        """The snapshot with this id; another store must see the same."""
        found = run(self.store.getSnapshot({"snapshotId": id}))
        assert run(self.elsewhere().getSnapshot({"snapshotId": id})) == found
        return found

    def newest(self, session: str = "s") -> Json | None:
        """The newest snapshot of a session; another store must see the same."""
        found = run(self.store.getSnapshot({"sessionId": session}))
        assert run(self.elsewhere().getSnapshot({"sessionId": session})) == found
        return found

    def newest_id(self, session: str = "s") -> str | None:
        """Its id."""
        found = self.newest(session)
        return str(found["snapshotId"]) if found is not None else None
