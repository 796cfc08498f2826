"""The session store in both dialects of Genkit: model objects for Python, plain camelCase dicts as in JavaScript."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from snapstore import clock
from snapstore.adapters.genkit.core import SnapshotCore
from snapstore.adapters.genkit.documents import FINAL, Json, snapshot_copy
from snapstore.adapters.genkit.models import from_model, in_genkit_words, require_genkit, status_of, to_model
from snapstore.adapters.genkit.watching import Watch
from snapstore.adapters.naming import home, threaded
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError
from snapstore.snapshot import instant

if TYPE_CHECKING:
    from genkit.exp.agent import SessionSnapshot, SnapshotStatus

__all__ = ["SessionStore", "StatusStream"]

TENANTS_KEPT: Final = 256
"""Tenants whose archive stays open; opening one again is two small reads."""

Context = Mapping[str, Any] | None
"""What Genkit knows of a request: who asks, with which rights."""


class SessionStore:
    """Genkit's session store over an archive. Safe to share between event loops, threads and agents.

    Args:
        archive: where the sessions lie.
        namespace: an isolated part of it; made when missing. None for the archive itself.
        reject_branching: refuse (`FAILED_PRECONDITION`) to name the newest snapshot of a session with several leaves;
            Genkit's `reject_ambiguous_session` and `rejectBranchingSessions`.
        prefix: names the tenant of a request from its context; each tenant has an isolated archive of its own below
            this one. It gets None for a call without context, and must not return an empty text.
        agent: the agent that the snapshots belong to, for `archive.list(graph="genkit:<agent>")`; None files all of them
            under `genkit`.
    """

    def __init__(
        self,
        archive: Archive,
        namespace: str | None = None,
        reject_branching: bool = False,
        *,
        prefix: Callable[[Context], str] | None = None,
        agent: str | None = None,
    ) -> None:
        self.archive = home(archive, namespace)
        self._reject_branching = reject_branching
        self._prefix = prefix
        self._agent = agent
        self._cores: OrderedDict[str | None, SnapshotCore] = OrderedDict()
        self._opening = threading.Lock()
        if prefix is None:
            self._cores[None] = self._made(self.archive)

    def __repr__(self) -> str:
        return f"<SessionStore {self.archive.url}>"

    # Python -------------------------------------------------------------------------------------------------

    async def get_snapshot(
        self, *, snapshot_id: str | None = None, session_id: str | None = None, context: Context = None
    ) -> SessionSnapshot | None:
        """A snapshot by its id, or the newest one of a session that no other continues; None when there is none.

        Raises:
            GenkitError: INVALID_ARGUMENT unless exactly one id is given, and for a blank one; FAILED_PRECONDITION when
                the session has no single newest snapshot.
        """
        require_genkit()
        with in_genkit_words():
            for name, value in (("snapshot_id", snapshot_id), ("session_id", session_id)):
                if value is not None:
                    _check_given(name, value)
            if (snapshot_id is None) == (session_id is None):
                raise InvalidInputError(
                    "get_snapshot requires exactly one of 'snapshot_id' or 'session_id' "
                    f"(got snapshot_id={snapshot_id!r}, session_id={session_id!r}).",
                    code="one_id_needed",
                )
            core = await self._core(context)
            found = await threaded(core.get, snapshot_id=snapshot_id, session_id=session_id)
            return to_model(found) if found is not None else None

    async def save_snapshot(
        self,
        snapshot_id: str,
        fn: Callable[[SessionSnapshot | None], SessionSnapshot | None],
        *,
        context: Context = None,
    ) -> SessionSnapshot | None:
        """Read a snapshot, change it, and write it back, atomically.

        Args:
            snapshot_id: the snapshot, which need not exist.
            fn: from the current snapshot (None when there is none) to the one to save, or None to leave it. It may run
                again when another writer was faster, and runs in a thread, so it must have no side effects.
            context: of the request.

        Returns:
            The snapshot as saved, with its id, a `created_at`, a status and the session of its state; None when `fn` left it.

        Raises:
            GenkitError: INVALID_ARGUMENT for a blank id, a coroutine, or what JSON cannot hold; FAILED_PRECONDITION when a
                completed, failed or aborted snapshot would get another status, or a snapshot another session.
        """
        require_genkit()

        def mutator(current: Json | None) -> Any:
            made = fn(to_model(current) if current is not None else None)
            return made if made is None or inspect.isawaitable(made) else _stamped(from_model(made), snapshot_id, current)

        with in_genkit_words():
            _check_given("snapshot_id", snapshot_id)
            core = await self._core(context)
            saved = await threaded(core.save, snapshot_id, mutator)
            return to_model(saved) if saved is not None else None

    async def on_snapshot_status_change(self, snapshot_id: str, *, context: Context = None) -> StatusStream:
        """The statuses of a snapshot as they change, the current one first, up to one after which nothing happens any more.

        A snapshot that does not exist yet is waited for. Changes by other processes are noticed within a second.
        """
        require_genkit()
        with in_genkit_words():
            _check_given("snapshot_id", snapshot_id)
            watch = Watch(await self._core(context), snapshot_id)
            try:
                await watch.seed()
            except BaseException:
                watch.close()
                raise
            return StatusStream(watch)

    # JavaScript ---------------------------------------------------------------------------------------------

    async def getSnapshot(self, opts: Mapping[str, Any]) -> Json | None:  # noqa: N802 - the contract's spelling
        """A snapshot by `opts["snapshotId"]`, or the newest one of `opts["sessionId"]` that no other continues.

        Args:
            opts: exactly one of the two ids (an empty one is none), and `context`.

        Raises:
            GenkitError: as in `get_snapshot`; without genkit one of ours with the same `status`.
        """
        with in_genkit_words():
            core = await self._core(opts.get("context"))
            return await threaded(core.get, snapshot_id=opts.get("snapshotId"), session_id=opts.get("sessionId"))

    async def saveSnapshot(  # noqa: N802 - the contract's spelling
        self,
        snapshotId: str | None,  # noqa: N803 - the contract's spelling
        mutator: Callable[[Json | None], Json | None],
        options: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Read a snapshot, change it, and write it back, atomically; what the mutator returns replaces the whole.

        Args:
            snapshotId: the snapshot. Without one the mutator gets None, and its result goes under the result's own
                `snapshotId`, whatever lies there, or under a new one.
            mutator: as in `save_snapshot`, on plain dicts.
            options: `context`.

        Returns:
            The id; None when the mutator returned None.

        Raises:
            GenkitError: INVALID_ARGUMENT and FAILED_PRECONDITION as in `save_snapshot`, but any status may follow any other.
        """
        with in_genkit_words():
            core = await self._core((options or {}).get("context"))
            saved = await threaded(core.save, snapshotId, mutator)
            return saved["snapshotId"] if saved is not None else None

    def onSnapshotStateChange(  # noqa: N802 - the contract's spelling
        self,
        snapshotId: str,  # noqa: N803 - the contract's spelling
        callback: Callable[[Json], object],
        options: Mapping[str, Any] | None = None,
    ) -> Callable[[], None]:
        """Call `callback` in the running event loop with each version of a snapshot, the current one first.

        Args:
            snapshotId: it need not exist yet.
            callback: gets a copy of the whole snapshot. What it raises goes to the loop's exception handler.
            options: `context`.

        Returns:
            Ends the calls; to be called in the same event loop.
        """
        with in_genkit_words():
            tenant = self._tenant((options or {}).get("context"))
        follower = _Follower(callback)
        task = asyncio.get_running_loop().create_task(self._follow(tenant, snapshotId, follower))
        follower.task = task
        return follower.stop

    async def _follow(self, tenant: str | None, snapshot_id: str, follower: _Follower) -> None:
        core = await self._opened(tenant)
        watch = Watch(core, snapshot_id)
        try:
            while (notice := await watch.next()) is not None:
                snapshot = notice.snapshot
                if snapshot is None:
                    snapshot = await threaded(core.get, snapshot_id=snapshot_id)
                if snapshot is not None:
                    follower.call(snapshot_copy(snapshot))
        finally:
            watch.close()

    # Tenants ------------------------------------------------------------------------------------------------

    async def _core(self, context: Context) -> SnapshotCore:
        return await self._opened(self._tenant(context))

    def _tenant(self, context: Context) -> str | None:
        if self._prefix is None:
            return None
        tenant: object = self._prefix(context)
        if not isinstance(tenant, str) or not tenant.strip():
            raise InvalidInputError(
                "the prefix of a request must be a text that is not blank",
                code="blank_prefix",
                hint="a request without a tenant must not reach another tenant's sessions",
                prefix=tenant,
            )
        return tenant

    async def _opened(self, tenant: str | None) -> SnapshotCore:
        core = self._cores.get(tenant)
        return core if core is not None else await threaded(self._open, tenant)

    def _open(self, tenant: str | None) -> SnapshotCore:
        with self._opening:
            core = self._cores.get(tenant)
            if core is None:
                core = self._cores[tenant] = self._made(home(self.archive, tenant))
                if len(self._cores) > TENANTS_KEPT:
                    self._cores.popitem(last=False)
            return core

    def _made(self, archive: Archive) -> SnapshotCore:
        return SnapshotCore(archive, reject_branching=self._reject_branching, agent=self._agent)


class StatusStream:
    """The statuses of one snapshot, for `async for`. Ends by itself after a completed, failed or aborted one.

    Whoever leaves earlier calls `aclose`, which also ends a wait under way.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last: str | None = None

    def __aiter__(self) -> StatusStream:
        return self

    async def __anext__(self) -> SnapshotStatus:
        if self._last in FINAL:
            await self.aclose()
        while (notice := await self._watch.next()) is not None:
            if notice.status != self._last:
                self._last = notice.status
                return status_of(notice.status)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the stream."""
        self._watch.close()


class _Follower:
    """One callback, and the task that calls it."""

    def __init__(self, callback: Callable[[Json], object]) -> None:
        self.task: asyncio.Task[None] | None = None
        self._callback = callback
        self._stopped = False

    def call(self, snapshot: Json) -> None:
        if self._stopped:
            return
        try:
            self._callback(snapshot)
        except Exception as error:  # noqa: BLE001 - one callback's failure must not end the watch
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a callback of onSnapshotStateChange failed", "exception": error}
            )

    def stop(self) -> None:
        self._stopped = True
        if self.task is not None:
            self.task.cancel()


def _check_given(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be text.", code=f"blank_{name}", type=type(value).__name__)
    if not value.strip():
        raise InvalidInputError(f"{name} must not be empty or whitespace-only.", code=f"blank_{name}")


def _stamped(made: Json, snapshot_id: str, current: Json | None) -> Json:
    """A snapshot as Genkit Python stores it: with its id, a time, a status, and the session that its state names.

    Raises:
        ConflictError: `final_status`: nothing comes after a completed, failed or aborted snapshot.
    """
    made = {**made, "snapshotId": snapshot_id, "status": made.get("status") or "completed"}
    if not made.get("createdAt"):
        made["createdAt"] = instant(clock.now_ms()).isoformat()
    session = (made.get("state") or {}).get("sessionId")
    if made.get("sessionId") is None and session is not None:
        made["sessionId"] = session
    status = current.get("status", "completed") if current is not None else None
    if status in FINAL and made["status"] != status:
        raise ConflictError(
            f"Snapshot '{snapshot_id}' already has terminal status '{status}' and cannot transition to '{made['status']}'.",
            code="final_status",
        )
    return made
