"""Genkit's durable flows: its `FlowStateStore` over an archive, for flows that are continued in another process.

```python
store = FlowStateStore(snapstore.open("./runs", create=True))    # or "s3://bucket/flows", "gs://...", "az://..."
await store.save(flow_id, state)                                 # a dict, keys as Genkit spells them
await store.load(flow_id)                                        # the dict, or None
page = await store.list({"limit": 20})                           # {"flowStates": [...], "continuationToken": "..."}
page = await store.list({"limit": 20, "continuationToken": page["continuationToken"]})
```

The interface is that of Genkit 0.5, the last version that had it; it never had a delete.

Promises: the last save of a flow is what everybody loads. Every save is a snapshot that continues the one before, which
Genkit never had: `history` shows them. States are copied when they are given and belong to the reader when they are read;
keys that Genkit does not know are kept, and so is the order of keys. Ids are any text: `../escape` is a name like others.

Lists show each flow once, newest `startTime` first. Of flows that started at the same time, the one that was first saved
later comes first; saving it again does not move it. A token names the place behind the last flow of a page. So a walk by
tokens shows every flow once, however many are added or saved meanwhile; only a flow whose `startTime` is changed may be
seen twice or not at all. A list reads one row per save (`metadata` has what it needs; rows seen before are not read
again), and of the states only those that it returns.

Where it differs from Genkit's own stores, on purpose: those order by the file's time, or skip flows that started in the
same millisecond; their token is an offset, so that pages overlap when flows are added; and with a token that is none they
answer an empty page, which looks like the end: here it is an error.

Does not: check a state beyond its `startTime`, nor strip what it does not know.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from functools import partial
from heapq import nlargest
from typing import Any

from snapstore.adapters.chain import Chains, Draft, Version
from snapstore.adapters.naming import home, joined, threaded
from snapstore.adapters.plain import json_copy
from snapstore.archive import Archive
from snapstore.digest import digest_hex
from snapstore.errors import InvalidInputError
from snapstore.listing import milliseconds
from snapstore.snapshot import Snapshot, SnapshotInfo
from snapstore.storage.parallel import parallel

__all__ = ["FlowStateStore", "FlowStates"]

SYSTEM = "genkit-flow"
"""The graph, and the first word of every run and id."""

DEFAULT_LIMIT = 10
"""Flows on a page when the query does not say; Genkit takes 0 for this too."""

QUERY_WORDS = {"limit", "continuationToken", "continuation_token"}
TOKEN_VERSION = 1

Place = tuple[int | float, int, str]
"""Where a flow stands in lists: its start, its first save (both in milliseconds since 1970), and a digest of its name,
for flows that two processes first saved in the same millisecond. The highest comes first."""


class FlowStates:
    """The same as `FlowStateStore` for callers that wait: methods, arguments and results are alike.

    Args:
        archive: an open archive.
        namespace: an isolated archive below it; None for the archive itself.
    """

    def __init__(self, archive: Archive, namespace: str | None = None) -> None:
        self.archive = home(archive, namespace)
        self._chains = Chains(self.archive, SYSTEM)

    def save(self, id: str, state: dict[str, Any]) -> None:
        """See `FlowStateStore.save`."""
        self.write(id, checked(state))

    def write(self, id: str, state: dict[str, Any]) -> None:
        """Save what `checked` has returned, which nobody else may change."""

        def decide(before: Version | None) -> Draft:
            metadata = {"startTime": state["startTime"]}
            if before is not None:
                metadata["firstSavedAt"] = _first_saved_ms(before.snapshot)
            return Draft(state, status=_status(state), metadata=metadata)

        self._chains.append(joined(SYSTEM, id), decide)

    def load(self, id: str) -> dict[str, Any] | None:
        """See `FlowStateStore.load`."""
        version = self._chains.newest(joined(SYSTEM, id))
        return version.state() if version is not None else None

    def history(self, id: str, limit: int | None = None) -> list[Snapshot]:
        """See `FlowStateStore.history`."""
        return self._chains.history(joined(SYSTEM, id), limit)

    def _state(self, versions: list[SnapshotInfo]) -> dict[str, Any] | None:
        """The state of a flow's newest version; of the one before when its save never finished."""
        for row in versions:
            snapshot = self.archive.get(row.id)
            if snapshot is not None:
                state: dict[str, Any] = snapshot.state()
                return state
        return None

    def list(self, query: Mapping[str, Any] | object | None = None) -> dict[str, Any]:
        """See `FlowStateStore.list`."""
        limit, after = _query(query)
        flows = [(_place(versions[0]), versions) for versions in self._chains.rows().values()]
        if after is not None:
            flows = [flow for flow in flows if flow[0] < after]
        page = nlargest(limit, flows, key=lambda flow: flow[0])
        states = parallel([partial(self._state, versions) for _, versions in page])
        found: dict[str, Any] = {"flowStates": [state for state in states if state is not None]}
        if len(flows) > limit:
            found["continuationToken"] = _token(page[-1][0])
        return found


class FlowStateStore:
    """Genkit's `FlowStateStore`. Safe to use from several threads, event loops and processes.

    Args:
        archive: an open archive.
        namespace: an isolated archive below it, as for tenants or environments; None for the archive itself.

    Attributes:
        flows: the same store for callers that wait.
    """

    def __init__(self, archive: Archive, namespace: str | None = None) -> None:
        self.flows = FlowStates(archive, namespace)

    async def save(self, id: str, state: dict[str, Any]) -> None:
        """Store the state of a flow in place of an earlier one; the last writer wins.

        Args:
            id: of the flow; what the state says in `flowId` does not count.
            state: JSON values; `startTime` must be there, in milliseconds since 1970.

        Raises:
            InvalidInputError: `invalid_start_time`, or `not_json` with the path of the value; nothing was written.
        """
        await threaded(self.flows.write, id, checked(state))

    async def load(self, id: str) -> dict[str, Any] | None:
        """The state that was saved last; None when there is no such flow."""
        return await threaded(self.flows.load, id)

    async def history(self, id: str, limit: int | None = None) -> list[Snapshot]:
        """The saves of a flow, newest first; `snapshot.state()` is what was saved."""
        return await threaded(self.flows.history, id, limit)

    async def list(self, query: Mapping[str, Any] | object | None = None) -> dict[str, Any]:
        """A page of states, newest start first.

        Args:
            query: a dict or an object with `limit` (10 when missing or 0) and `continuationToken` (of an earlier page;
                also spelled `continuation_token`).

        Returns:
            `flowStates`, and `continuationToken` when there are more.

        Raises:
            InvalidInputError: `invalid_limit`, `invalid_token`, or `invalid_query` for anything else in the query.
        """
        return await threaded(self.flows.list, query)


def checked(state: dict[str, Any]) -> dict[str, Any]:
    """A copy of a flow's state.

    Raises:
        InvalidInputError: `invalid_flow_state`, `invalid_start_time` or `not_json`.
    """
    if type(state) is not dict:
        raise InvalidInputError("a flow state must be a dict", code="invalid_flow_state", type=type(state).__name__)
    start = state.get("startTime")
    if not _is_number(start):
        raise InvalidInputError(
            "the startTime of a flow state must be a number",
            code="invalid_start_time",
            hint="give the milliseconds since 1970 at which the flow started",
            startTime=repr(start) if "startTime" in state else "missing",
        )
    copy: dict[str, Any] = json_copy(state, "state")
    return copy


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number that metadata can hold."""
    return (type(value) is int and -(2**63) <= value < 2**63) or (type(value) is float and math.isfinite(value))


def _status(state: dict[str, Any]) -> str:
    """What lists of the archive show: a word for where the flow stands."""
    operation = state.get("operation")
    if isinstance(operation, dict) and operation.get("done"):
        result = operation.get("result")
        return "failed" if isinstance(result, dict) and result.get("error") else "completed"
    return "interrupted" if state.get("blockedOnStep") else "running"


def _first_saved_ms(version: Snapshot | SnapshotInfo) -> int:
    """When the flow of a version was first saved; the first version says it by its own time."""
    first: int = version.metadata.get("firstSavedAt", milliseconds(version.created_at))
    return first


def _place(newest: SnapshotInfo) -> Place:
    return newest.metadata["startTime"], _first_saved_ms(newest), digest_hex(newest.run.encode())[:16]


def _query(query: Mapping[str, Any] | object | None) -> tuple[int, Place | None]:
    """The limit, and the place of the last flow that the caller has seen."""
    if isinstance(query, Mapping):
        given = dict(query)
    else:
        given = {word: getattr(query, word) for word in QUERY_WORDS if hasattr(query, word)}
    unknown = sorted(map(repr, given.keys() - QUERY_WORDS))
    if unknown or (query is not None and not given and not isinstance(query, Mapping)):
        raise InvalidInputError(
            "a query has limit and continuationToken and nothing else",
            code="invalid_query",
            unknown=unknown or type(query).__name__,
        )
    limit = given.get("limit")
    if limit is None or (type(limit) is int and limit == 0):
        limit = DEFAULT_LIMIT
    if type(limit) is not int or limit < 0:
        raise InvalidInputError(
            "a limit is a whole number of flows", code="invalid_limit", hint="0 means the default of 10", limit=repr(limit)
        )
    token = given.get("continuationToken") or given.get("continuation_token")
    return limit, _read_token(token) if token is not None else None


def _token(place: Place) -> str:
    text = json.dumps([TOKEN_VERSION, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: Any) -> Place:
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True)
        version, start, saved_ms, tie = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        version, start, saved_ms, tie = None, None, None, None
    if version != TOKEN_VERSION or not _is_number(start) or type(saved_ms) is not int or type(tie) is not str:
        raise InvalidInputError(
            "this is no continuation token",
            code="invalid_token",
            hint="pass the continuationToken of an earlier page as it was, or none to begin with the newest flow",
            token=repr(token),
        )
    return start, saved_ms, tie
