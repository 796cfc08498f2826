"""FlowKit: its `StorageAdapter` over an archive, for conversations that outlive the process and the machine.

```python
storage = StorageAdapter(snapstore.open("memory://test", create=True))               # in place of MemoryStorage()
storage = StorageAdapter(snapstore.open("./data/conversations", create=True))        # in place of FileStorage({dir})
storage = StorageAdapter(snapstore.open("s3://bucket/chat", create=True), ttl=3600)  # in place of RedisStorage({ttl})

await storage.save(state)                       # a dict with FlowKit's keys; its id is in it
await storage.load("user-7")                    # the dict, or None
await storage.set_slot("user-7", "verified", True)
await storage.delete("user-7")
```

The contract is taken from FlowKit's documentation: the package `@andresaya/flowkit` is not published, so nothing here has
been tried with it. What the documentation leaves open is decided here:

- Every save is a snapshot that continues the one before: `history` shows them. The last writer wins.
- `get_state`, `get_slots`, `get_slot` and `set_slot` are the engine's helpers of these names. Setting a slot is atomic: of
  any number of writers none undoes what another one set.
- With a `ttl` a conversation expires so many seconds after it was last written; reading it does not prolong it. From then
  on everything sees it as absent, and a save begins it anew. `sweep` deletes what has expired. The ttl of whoever
  wrote last counts; without one a conversation never expires.
- A deleted conversation is gone for everybody at once. Its snapshots are deleted, and `maintenance.gc` frees the space;
  a marker without content stays, so that nobody who remembers a deleted version can continue it.

Promises: what is saved is copied when it is given, and what is read belongs to the reader; unknown keys and the order of
keys are kept. Ids are any text that is not blank: `../escape` is a name like others.

Does not: check a state beyond its id, run flows, or know the clocks of other machines: those that share conversations
with a ttl should agree about the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from snapstore import clock
from snapstore.adapters.chain import ENDED, Chains, Draft, Version
from snapstore.adapters.naming import home, joined, threaded
from snapstore.adapters.plain import json_copy
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.snapshot import Snapshot, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["StorageAdapter"]

SYSTEM = "flowkit"
"""The graph, and the first word of every run and id."""

TTL_LIMIT_S = 1e10
"""300 years: what is meant to stay longer has no ttl."""

STEP_LIMIT_CHARS = 200
"""A longer step is not shown as the snapshot's node: it is some text and no name."""


class StorageAdapter:
    """FlowKit's `StorageAdapter`, with the state helpers of its engine. Safe to use from several threads and processes.

    Args:
        archive: an open archive.
        namespace: an isolated archive below it, as for tenants; None for the archive itself.
        ttl: seconds after which a conversation that nobody writes expires; None for never.

    Raises:
        InvalidInputError: `invalid_ttl`.
    """

    def __init__(self, archive: Archive, namespace: str | None = None, ttl: float | None = None) -> None:
        self.ttl = _checked_ttl(ttl)
        self.archive = home(archive, namespace)
        self._chains = Chains(self.archive, SYSTEM)

    # The contract -------------------------------------------------------------------------------------------

    async def load(self, conversation_id: str) -> dict[str, Any] | None:
        """The state of a conversation; None when there is none, or when it has expired."""
        return await threaded(self._load, conversation_id)

    async def save(self, state: dict[str, Any]) -> None:
        """Store a state in place of an earlier one of the same conversation, and let its ttl begin again.

        Args:
            state: JSON values; `conversationId` says whose it is. `updatedAt` is the caller's.

        Raises:
            InvalidInputError: `invalid_state`, `invalid_conversation_id`, or `not_json` with the path of the value; nothing
                was written.
        """
        if type(state) is not dict:
            raise InvalidInputError("a conversation state must be a dict", code="invalid_state", type=type(state).__name__)
        _name(state.get("conversationId"))
        await threaded(self._save, json_copy(state, "state"))

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation with its history; silent when there is none."""
        await threaded(self._chains.end, _name(conversation_id))

    # The engine's helpers -----------------------------------------------------------------------------------

    async def get_state(self, conversation_id: str) -> dict[str, Any] | None:
        """The same as `load`."""
        return await threaded(self._load, conversation_id)

    async def get_slots(self, conversation_id: str) -> dict[str, Any] | None:
        """All slots of a conversation; None when there is no conversation.

        Raises:
            InvalidInputError: `invalid_slots`: what was saved as slots is no dict.
        """
        state = await threaded(self._load, conversation_id)
        return _slots(state) if state is not None else None

    async def get_slot(self, conversation_id: str, name: str) -> Any:
        """The value of a slot; None when it is not set, or when there is no conversation."""
        slots = await self.get_slots(conversation_id)
        return slots.get(name) if slots is not None else None

    async def set_slot(self, conversation_id: str, name: str, value: Any) -> None:
        """Set a slot, atomically, and `updatedAt` to now; the ttl begins again.

        Args:
            conversation_id: of a conversation that exists.
            name: of the slot.
            value: a JSON value; or a function from the present value (None when it is not set) to the new one, which may
                run again when another writer was faster.

        Raises:
            InvalidInputError: `not_json`, `invalid_slots` or `invalid_slot_name`; nothing was written.
            NotFoundError: `conversation_not_found`.
        """
        if type(name) is not str:
            raise InvalidInputError("a slot's name is text", code="invalid_slot_name", type=type(name).__name__)
        json_copy({name: None}, "slots")
        path = f"slots.{name}"
        change = value if callable(value) else partial(_constant, json_copy(value, path))
        await threaded(self._set_slot, conversation_id, name, lambda old: json_copy(change(old), path))

    # Beyond the contract ------------------------------------------------------------------------------------

    async def history(self, conversation_id: str, limit: int | None = None) -> list[Snapshot]:
        """What was saved since the conversation began, newest first; `snapshot.state()` is the state."""
        return await threaded(self._history, conversation_id, limit)

    async def sweep(self) -> int:
        """Delete the conversations that have expired, and return how many; reads no states.

        One that is written meanwhile stays. A sweep also finishes deletions that a crash left undone.
        """
        return await threaded(self._sweep)

    # Inside -------------------------------------------------------------------------------------------------

    def _load(self, conversation_id: str) -> dict[str, Any] | None:
        version = self._chains.newest(_name(conversation_id))
        return version.state() if version is not None and not _has_expired(version.snapshot) else None

    def _save(self, state: dict[str, Any]) -> None:
        name = _name(state["conversationId"])

        def decide(version: Version | None) -> Draft:
            if version is not None and _has_expired(version.snapshot):
                raise _ExpiredError
            return self._draft(state)

        while True:
            try:
                self._chains.append(name, decide)
            except _ExpiredError:
                # What has expired is absent: its history must not become that of the new conversation.
                self._end_if_expired(name)
            else:
                return

    def _set_slot(self, conversation_id: str, name: str, change: Callable[[Any], Any]) -> None:
        def decide(version: Version | None) -> Draft:
            if version is None or _has_expired(version.snapshot):
                raise NotFoundError(
                    "there is no such conversation",
                    code="conversation_not_found",
                    hint="start it first, or save its state: a slot is set in a conversation that exists",
                    conversationId=conversation_id,
                )
            state = version.state()
            slots = _slots(state)
            state["slots"] = {**slots, name: change(slots.get(name))}
            state["updatedAt"] = clock.now_ms()
            return self._draft(state)

        self._chains.append(_name(conversation_id), decide)

    def _history(self, conversation_id: str, limit: int | None) -> list[Snapshot]:
        versions = self._chains.history(_name(conversation_id), limit)
        return [] if versions and _has_expired(versions[0]) else versions

    def _sweep(self) -> int:
        # Also those that have been ended already: their versions may not all be deleted yet.
        ended = [
            partial(self._end_if_expired, name)
            for name, versions in self._chains.rows().items()
            if _has_expired(versions[0]) or (versions[0].status == ENDED and len(versions) > 1)
        ]
        return sum(parallel(ended))

    def _end_if_expired(self, name: str) -> bool:
        return self._chains.end(name, only_if=lambda version: _has_expired(version.snapshot))

    def _draft(self, state: dict[str, Any]) -> Draft:
        step = state.get("currentStep")
        return Draft(
            state,
            node=step if type(step) is str and 0 < len(step) <= STEP_LIMIT_CHARS else None,
            metadata={} if self.ttl is None else {"expires_at": clock.now_ms() + math.ceil(self.ttl * 1000)},
        )


class _ExpiredError(Exception):
    """The newest version of a conversation has expired, so it must be ended before it begins anew."""


def _checked_ttl(ttl: Any) -> float | None:
    if ttl is not None and (type(ttl) not in (int, float) or not 0 < ttl <= TTL_LIMIT_S):
        raise InvalidInputError(
            "a ttl is a positive number of seconds", code="invalid_ttl", hint="leave it out to keep everything", ttl=repr(ttl)
        )
    checked: float | None = ttl
    return checked


def _name(conversation_id: Any) -> str:
    """The run of a conversation."""
    if type(conversation_id) is not str or not conversation_id.strip():
        raise InvalidInputError(
            "a conversationId must be text that is not blank",
            code="invalid_conversation_id",
            conversationId=repr(conversation_id),
        )
    return joined(SYSTEM, conversation_id)


def _slots(state: dict[str, Any]) -> dict[str, Any]:
    slots = state.get("slots", {})
    if type(slots) is not dict:
        raise InvalidInputError(
            "the slots of the conversation are no dict",
            code="invalid_slots",
            hint="save the state with slots that are a dict of names and values",
            type=type(slots).__name__,
        )
    return slots


def _has_expired(version: Snapshot | SnapshotInfo) -> bool:
    expires_at = version.metadata.get("expires_at")
    return expires_at is not None and clock.now_ms() >= expires_at


def _constant(value: Any, _: Any) -> Any:
    return value
