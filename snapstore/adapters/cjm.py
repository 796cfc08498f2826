"""Workflow state: the store behind the wizards of cjm-fasthtml-interactions, and the session API of cjm-workflow-state.

```python
from snapstore.adapters.cjm import SnapWorkflowStateStore

store = SnapWorkflowStateStore(snapstore.open("./runs", create=True))
flow = StepFlow("signup", steps, state_store=store)
```

`SnapWorkflowStateStore` fits the protocol `WorkflowStateStore`, and replaces `SQLiteWorkflowStateStore`: wherever a session is
wanted it takes FastHTML's session object or a session id. A session is a chain of snapshots, one for each change: the run
`cjm:<flow>/<session>` in the graph `cjm:<flow>`. The state of a snapshot is the workflow's, its node the current step, its
metadata the session's label and birth. So a session has a history, and `undo` walks back in it.

Promises:

- A change is atomic, at any number of threads and processes: of updates at the same time each keeps its keys. It is one
  round trip when this process made the change before it (two when the state is above 64 KiB), and a call that changes
  nothing writes nothing.
- What was read is the reader's own, and what comes back has the types that were stored, which are more than JSON's. What the
  archive cannot hold (an open upload, a live object) is refused with `UnstorableError`, a `TypeError` that names the key.
- Two pairs of ids never share a session, whatever their characters.

How fresh a read is, `trust_s` says. StepFlow reads four times and writes twice for one request, in the event loop, within
milliseconds, and only the first of these reads has to ask the storage. The default, a quarter of a second, covers such a
request. A page can be this far behind what another process wrote: to see it, a user has to act at one server, at a second
one, and at the first again, all within that time. 0 asks at every read; None never asks, which is right when one process
serves the sessions. Writes never rely on what is remembered.

Does not: import anything of cjm, keep the session in the cookie (only its id), or clear a state when a wizard is complete
(StepFlow does not either: call `clear_state`). StepFlow drops errors of `update_state` silently, so they are logged as well.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from snapstore import clock
from snapstore.adapters.chain import ENDED, Chains, Draft, Version, number_of
from snapstore.adapters.naming import home, joined, parts_of
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, SnapstoreError
from snapstore.format import values
from snapstore.snapshot import Snapshot, SnapshotInfo

__all__ = ["PastState", "SessionSummary", "SnapWorkflowStateStore", "UnstorableError", "get_session_id", "set_session_id"]

SYSTEM: Final = "cjm"
SESSION_KEY: Final = "_workflow_session_id"
"""Where cjm-fasthtml-interactions keeps the session id in the session object."""

TRUST_S: Final = 0.25
"""See the page above: above the time between two reads of one request, below that between two requests of one user."""

FLOWS_KEPT: Final = 64
"""Flows whose sessions are remembered at the same time; an application defines a handful."""

ORDERS: Final = ("updated_at", "created_at", "label")

# Keys of the metadata.
LABEL: Final = "label"
CREATED: Final = "created_at"  # missing in the first version of a session, which is that moment
RESTORES: Final = "restores"  # the number of the version that an undo went back to; 0 is before the first

_log = logging.getLogger(__name__)


class UnstorableError(InvalidInputError, TypeError):
    """A value of the state has a type that cannot be stored; the message names its key. Nothing was written."""

    default_code = "unsupported_type"


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session without its state, as cjm-workflow-state shows it.

    Attributes:
        flow_id: the workflow.
        session_id: the session.
        label: its name for people; None when it has none.
        current_step: None when no step was set.
        created_at: when it came to be: ISO 8601, UTC, milliseconds, so that texts sort like times.
        updated_at: when it was changed last.
        state_size_bytes: size of the encoded state.
    """

    flow_id: str
    session_id: str
    label: str | None
    current_step: str | None
    created_at: str
    updated_at: str
    state_size_bytes: int


@dataclass(frozen=True, slots=True)
class PastState:
    """What a session was at one time.

    Attributes:
        step: the current step; None when no step was set.
        at: when this came to be, UTC.
        label: the session's name for people.
        snapshot: where it lies in the archive; its id can be given to `Archive.fork`.
    """

    step: str | None
    at: datetime.datetime
    label: str | None
    snapshot: Snapshot = field(repr=False)

    def state(self) -> dict[str, Any]:
        """The workflow's state, the caller's own."""
        state: dict[str, Any] = self.snapshot.state()
        return state


def get_session_id(sess: Any, key: str = SESSION_KEY) -> str:
    """The id of a session, drawn and put into the session object when it has none yet.

    Args:
        sess: FastHTML's session object or any mutable mapping; a session id stands for itself.
        key: where the id is kept in the session object.
    """
    if isinstance(sess, str):
        return sess
    session = _mapping(sess)
    if key not in session:
        session[key] = clock.random_hex()
    found: str = session[key]
    return found


def set_session_id(sess: Any, session_id: str, key: str = SESSION_KEY) -> None:
    """Go on with another session: put its id into the session object."""
    _mapping(sess)[key] = session_id


class SnapWorkflowStateStore:
    """Workflow state in an archive; see the page of this module. Safe to use from several threads.

    Every method takes a session object or a session id in its second place, whatever the argument is called.

    Args:
        archive: an open archive.
        namespace: keep everything in the isolated archive of this name below it.
        trust_s: for how many seconds reads may be answered from memory; 0 never, None always.
    """

    def __init__(self, archive: Archive, namespace: str | None = None, *, trust_s: float | None = TRUST_S) -> None:
        self._archive = home(archive, namespace)
        self._trust_s = trust_s
        self._chains = lru_cache(maxsize=FLOWS_KEPT)(self._make_chains)

    # The protocol WorkflowStateStore ------------------------------------------------------------------------

    def get_current_step(self, flow_id: str, sess: Any) -> str | None:
        """The current step; None when none was set."""
        version = self._newest(flow_id, sess)
        return version.snapshot.node if version is not None else None

    def set_current_step(self, flow_id: str, sess: Any, step_id: str) -> None:
        """Set the current step; the state stays as it is."""

        def decide(last: Version | None) -> Draft | None:
            if last is not None and last.snapshot.node == step_id:
                return None
            return _next(last, _state(last), step_id)

        self._append(flow_id, sess, decide)

    def get_state(self, flow_id: str, sess: Any) -> dict[str, Any]:
        """The whole state, the caller's own; empty when there is none."""
        return _state(self._newest(flow_id, sess))

    def update_state(self, flow_id: str, sess: Any, updates: Mapping[str, Any]) -> None:
        """Merge values into the state, key by key; the current step stays as it is.

        Raises:
            UnstorableError: a value cannot be stored; nothing was written.
        """
        given = dict(updates)
        try:
            _check(given)
            self._change_state(flow_id, sess, lambda state: {**state, **given})
        except SnapstoreError as error:
            _log.error("an update of the workflow state was not stored: flow=%r error=%s", flow_id, error)
            raise

    def clear_state(self, flow_id: str, sess: Any) -> None:
        """Remove state, step, label and history; silent when there are none. The session object keeps its id."""
        self._chains(flow_id).end(_name(flow_id, sess))

    # The state of one step ----------------------------------------------------------------------------------

    def get_step_state(self, flow_id: str, session_id: str, step_id: str) -> dict[str, Any]:
        """The part of the state that belongs to one step; empty when there is none."""
        part: dict[str, Any] = self.get_state(flow_id, session_id).get(_step_key(step_id), {})
        return part

    def update_step_state(self, flow_id: str, session_id: str, step_id: str, updates: Mapping[str, Any]) -> None:
        """Merge values into the part of one step.

        Raises:
            UnstorableError: a value cannot be stored; nothing was written.
        """
        key, given = _step_key(step_id), dict(updates)
        _check({key: given})
        self._change_state(flow_id, session_id, lambda state: {**state, key: {**state.get(key, {}), **given}})

    def clear_step_state(self, flow_id: str, session_id: str, step_id: str) -> None:
        """Remove the part of one step; the rest of the session stays."""
        key = _step_key(step_id)
        self._change_state(flow_id, session_id, lambda state: {name: value for name, value in state.items() if name != key})

    # Sessions -----------------------------------------------------------------------------------------------

    def create_session(self, flow_id: str, session_id: str | None = None, label: str | None = None) -> str:
        """Make an empty session.

        Args:
            flow_id: its workflow.
            session_id: drawn when None.
            label: its name for people.

        Returns:
            The session id.

        Raises:
            ConflictError: `session_exists`.
        """
        created = clock.random_hex() if session_id is None else get_session_id(session_id)

        def decide(last: Version | None) -> Draft:
            if last is not None:
                raise ConflictError("the session exists already", code="session_exists", flow_id=flow_id, session_id=created)
            return _next(None, {}, None, label=label)

        self._append(flow_id, created, decide)
        return created

    def session_exists(self, flow_id: str, session_id: str) -> bool:
        """Whether something was stored for the session since it was cleared last."""
        return self._newest(flow_id, session_id) is not None

    def get_session_summary(self, flow_id: str, session_id: str) -> SessionSummary | None:
        """A session without its state; None when it does not exist."""
        version = self._newest(flow_id, session_id)
        return _summary(version.snapshot.info) if version is not None else None

    def list_sessions(self, flow_id: str, order_by: str = "updated_at", descending: bool = True) -> list[SessionSummary]:
        """The sessions of a flow; reads no states, but a row for each version of each session.

        Args:
            flow_id: the workflow.
            order_by: "updated_at", "created_at" or "label"; sessions without a label come before all others.
            descending: the last of this order first.
        """
        if order_by not in ORDERS:
            raise InvalidInputError(
                "sessions have no such order", code="unknown_order", hint=f"one of {', '.join(ORDERS)}", order_by=order_by
            )
        newest = (versions[0] for versions in self._chains(flow_id).rows().values())
        found = [_summary(row) for row in newest if row.status != ENDED]

        def rank(one: SessionSummary) -> tuple[bool, str]:
            value: str | None = getattr(one, order_by)
            return value is not None, value or ""

        return sorted(found, key=rank, reverse=descending)

    def set_session_label(self, flow_id: str, session_id: str, label: str | None) -> None:
        """Name a session, or take its name away with None; silent when it does not exist."""

        def decide(last: Version | None) -> Draft | None:
            if last is None or last.snapshot.metadata.get(LABEL) == label:
                return None
            kept = last.snapshot.metadata.get(RESTORES)  # a new name moves nothing: undo goes on from where it was
            return _next(last, last.state(), last.snapshot.node, label=label, restores=kept)

        self._append(flow_id, session_id, decide)

    def delete_session(self, flow_id: str, session_id: str) -> None:
        """The same as `clear_state`."""
        self.clear_state(flow_id, session_id)

    # History ------------------------------------------------------------------------------------------------

    def history(self, flow_id: str, sess: Any) -> list[PastState]:
        """What the session was since it came to be or was cleared, newest first, the present one included."""
        return [
            PastState(one.node, one.created_at, one.metadata.get(LABEL), one)
            for one in self._chains(flow_id).history(_name(flow_id, sess))
        ]

    def undo(self, flow_id: str, sess: Any) -> bool:
        """Take the last change of state or step back; one step of a StepFlow is two such changes.

        An undo is itself a change and nothing is lost by it: `history` shows what it took back. A further undo goes one
        change further back, and before the first change the session is empty. A change made after an undo follows what
        the undo restored. Labels stay.

        Returns:
            Whether there was something to take back.
        """
        undone = self._append(flow_id, sess, lambda last: self._before(flow_id, last) if last is not None else None)
        return undone is not None

    # Inside -------------------------------------------------------------------------------------------------

    def _make_chains(self, flow_id: str) -> Chains:
        return Chains(self._archive, joined(SYSTEM, flow_id), trust_s=self._trust_s)

    def _newest(self, flow_id: str, sess: Any) -> Version | None:
        return self._chains(flow_id).newest(_name(flow_id, sess))

    def _append(self, flow_id: str, sess: Any, decide: Callable[[Version | None], Draft | None]) -> Version | None:
        return self._chains(flow_id).append(_name(flow_id, sess), decide)

    def _change_state(self, flow_id: str, sess: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        def decide(last: Version | None) -> Draft | None:
            old = _state(last)
            new = change(old)
            # By their bytes: 1, 1.0 and True are equal, and NaN is not equal to itself.
            if values.encode(new) == values.encode(old):
                return None
            return _next(last, new, last.snapshot.node if last is not None else None)

        self._append(flow_id, sess, decide)

    def _before(self, flow_id: str, last: Version) -> Draft | None:
        """What an undo writes after a version; None when nothing is before it."""
        now = last.snapshot
        place = now.metadata.get(RESTORES, last.number)
        versions = self._chains(flow_id).history(now.run)
        for one in versions:
            number = number_of(one)
            if number < place and (one.node, one.digest) != (now.node, now.digest):
                return _next(last, one.state(), one.node, restores=one.metadata.get(RESTORES, number))
        empty = now.node is None and not last.state()
        if empty or not versions or CREATED in versions[-1].metadata:  # or the first versions are gone: nobody knows them
            return None
        return _next(last, {}, None, restores=0)


def _mapping(sess: Any) -> MutableMapping[str, Any]:
    if not isinstance(sess, MutableMapping):
        raise InvalidInputError(
            "a session is a mutable mapping or a session id",
            code="invalid_session",
            hint="pass the `sess` that FastHTML gives to the handler, or a text",
            type=type(sess).__name__,
        )
    return sess


def _name(flow_id: str, sess: Any) -> str:
    return joined(SYSTEM, flow_id, get_session_id(sess))


def _step_key(step_id: str) -> str:
    return f"_step_{step_id}"  # as cjm-workflow-state spells it


def _state(version: Version | None) -> dict[str, Any]:
    state: dict[str, Any] = version.state() if version is not None else {}
    return state


def _check(updates: dict[str, Any]) -> None:
    """Refuse what cannot be stored, as the kind of error that callers of stores for JSON know."""
    try:
        values.encode(updates)
    except InvalidInputError as error:
        raise UnstorableError(error.message, code=error.code, hint=error.hint, **error.context) from None


def _next(last: Version | None, state: dict[str, Any], step: str | None, **changes: Any) -> Draft:
    """The version after another: it keeps label and birth, unless `changes` says otherwise."""
    metadata = {key: value for key, value in (last.snapshot.metadata if last is not None else {}).items() if key != RESTORES}
    if last is not None:
        metadata.setdefault(CREATED, _iso(last.snapshot.created_at))
    metadata.update(changes)
    return Draft(state, node=step, metadata={key: value for key, value in metadata.items() if value is not None})


def _summary(row: SnapshotInfo) -> SessionSummary:
    flow_id, session_id = parts_of(row.run, SYSTEM) or ("", "")
    return SessionSummary(
        flow_id=flow_id,
        session_id=session_id,
        label=row.metadata.get(LABEL),
        current_step=row.node,
        created_at=row.metadata.get(CREATED, _iso(row.created_at)),
        updated_at=_iso(row.created_at),  # a version is never rewritten
        state_size_bytes=row.size_bytes,
    )


def _iso(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
