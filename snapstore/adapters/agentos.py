"""AgentOS: its `ICheckpointStore` over an archive, for checkpoints that outlive the process.

```python
store = CheckpointStore(snapstore.open("./runs", create=True))
await store.save(checkpoint)                       # a dict with AgentOS's own camelCase keys
await store.latest("run-7")
run_id = await store.fork("checkpoint-3", {"scratch": {"retry": True}})
```

Promises: the methods, arguments and results of `ICheckpointStore`, on plain dicts. A checkpoint is serialised when it is
saved, and what is read belongs to the reader. The newest is the one with the highest `timestamp`; of equal ones, which
quick graphs produce all the time, it is the one saved last. A fork copies nothing but what its patch changes. Checkpoints
of a run share what they have in common.

Where it differs from AgentOS's own store in memory, on purpose: that one keeps the caller's object, so that earlier
checkpoints come to show results of later nodes; it takes the first of several equal timestamps, so that finished runs
execute again when they are resumed; and its patches raise a TypeError for a part of the state that is no object.

Besides the interface there are `history` and `lineage`: each checkpoint continues the one created before it in its run,
and a fork's first checkpoint continues its source. A store looks for the one before when it meets a run and at every read of
it; between two saves it does not ask whether another process has saved in the same run, and continues its own.

Does not: take values that JSON cannot hold, or keep the place of `id`, `graphId`, `runId`, `nodeId` and `timestamp` among
the keys of a checkpoint (they come first; all other keys keep their order).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from snapstore import clock
from snapstore.adapters.agentos_checkpoint import NewCheckpoint, checked_patch, checkpoint_of, patched, row_of
from snapstore.adapters.agentos_order import SYSTEM, Leads, Row, Tips, created_ms, newest_first, ours
from snapstore.adapters.naming import home, joined, threaded
from snapstore.archive import Archive
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.snapshot import Snapshot
from snapstore.storage.parallel import parallel

__all__ = ["CheckpointNotFoundError", "CheckpointStore"]

Rows: TypeAlias = list[dict[str, Any]]
"""Rows of `CheckpointMetadata`; a name of its own, since the class has a method `list`."""

NEAR = 4
"""Snapshots looked at beyond those wanted: the ones behind the newest prove that nothing older is newer."""

GROWTH = 4
"""How many times more are looked at next when that was not enough: each page may walk past all before it."""

MISSING_PARENT = frozenset({"snapshot_not_found", "snapshot_deleted"})
"""What a save says whose parent somebody else has deleted."""


class CheckpointNotFoundError(NotFoundError, KeyError):
    """There is no checkpoint with this id."""

    default_code = "checkpoint_not_found"


class CheckpointStore:
    """AgentOS's `ICheckpointStore`. Safe to use from several threads, event loops and processes.

    Args:
        archive: an open archive.
        namespace: keep the checkpoints in an isolated archive below it, such as one for each tenant.

    Raises:
        NotFoundError: the archive is open for reading only and has no such namespace.
    """

    def __init__(self, archive: Archive, namespace: str | None = None) -> None:
        self.archive = home(archive, namespace)
        self._tips = Tips(self.archive)
        self._leads = Leads(self.archive)

    # The interface ------------------------------------------------------------------------------------------

    async def save(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep a checkpoint, in place of any other with its id; it is serialised before this call first waits.

        Args:
            checkpoint: `id`, `graphId`, `runId`, `nodeId` (text), `timestamp` (milliseconds since 1970), and whatever
                else JSON can hold. Under an existing id it keeps its parent but is the one saved last, and it may move
                to another run.

        Raises:
            InvalidInputError: a field is missing (`checkpoint_field`), or a value has no JSON form (`not_json`); nothing
                was written.
            StorageError: the storage failed; saving again is safe.
        """
        await threaded(self._save, NewCheckpoint.of(checkpoint))

    async def get(self, checkpoint_id: str) -> dict[str, Any] | None:
        """The checkpoint with this id, or None, which costs one request."""
        return await threaded(self._get, checkpoint_id)

    async def load(self, run_id: str, node_id: str | None = None) -> dict[str, Any] | None:
        """The newest checkpoint of a run, or the newest of one of its nodes; None when there is none.

        A run that is not there costs two requests in one round trip.
        """
        return await threaded(self._newest, run_id, node_id)

    async def latest(self, run_id: str) -> dict[str, Any] | None:
        """The newest checkpoint of a run; None when there is none."""
        return await self.load(run_id)

    async def list(
        self,
        graph_id: str,
        options: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        run_id: str | None = None,
    ) -> Rows:
        """`CheckpointMetadata` of a graph's checkpoints, newest first; reads no state.

        Args:
            graph_id: the graph.
            options: `limit` and `runId` as AgentOS passes them; the keywords say the same.
            limit: at most so many; None, 0 and negative numbers are no limit.
            run_id: only checkpoints of this run.
        """
        given = options or {}
        limit = given.get("limit") if limit is None else limit
        run_id = given.get("runId") if run_id is None else run_id
        return await threaded(self._list, graph_id, _checked_limit(limit), run_id)

    async def delete(self, checkpoint_id: str) -> None:
        """Remove a checkpoint; silent when there is none. What continues it keeps everything."""
        await threaded(self._delete, checkpoint_id)

    async def fork(self, checkpoint_id: str, patch_state: Mapping[str, Any] | None = None) -> str:
        """Begin a new run from a checkpoint, and return the id of that run; the source stays as it is.

        Args:
            checkpoint_id: where to begin.
            patch_state: new `input`, `scratch`, `artifacts` or `diagnostics`. Each is merged into the old one, one level
                deep, when both are objects, where None changes nothing, and replaces it otherwise. Other keys are ignored.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
            InvalidInputError: the patch is no object, or holds what JSON cannot hold.
        """
        return await threaded(self._fork, checkpoint_id, checked_patch(patch_state))

    # Beyond the interface -----------------------------------------------------------------------------------

    async def history(self, run_id: str, limit: int | None = None) -> Rows:
        """`CheckpointMetadata` of a run, newest first, each with `parentId` and `forkedFrom` (an id or None); no states."""
        return await threaded(self._history, run_id, _checked_limit(limit))

    async def lineage(self, checkpoint_id: str) -> Rows:
        """Where a checkpoint comes from: rows as in `history`, itself first, through forks to the first of all.

        The lineage ends at a checkpoint that has been deleted; the `parentId` of the last row names it.

        Raises:
            CheckpointNotFoundError: there is no such checkpoint.
        """
        return await threaded(self._lineage, checkpoint_id)

    # Writing ------------------------------------------------------------------------------------------------

    def _save(self, new: NewCheckpoint) -> None:
        run, id = joined(SYSTEM, new.run_id), joined(SYSTEM, new.id)
        self._leads.allow(new.timestamp - clock.now_ms(), run_id=new.run_id, graph_id=new.graph_id)
        attempts = 3  # the parent can be deleted by somebody else once, hardly twice
        while True:
            parent = self._tips.of(run)
            if parent == id:
                # Makes the archive look: it would try to create an id it does not know, and store the whole state for that.
                self.archive.update(id, lambda _: None)
                return self._save_again(new)
            try:
                saved = self._write(new, new.metadata(), parent=parent, overwrite=False)
            except ConflictError as error:
                if error.code != "already_exists":
                    raise
                return self._save_again(new)
            except NotFoundError as error:
                attempts -= 1
                if error.code not in MISSING_PARENT or parent is None or not attempts:
                    raise
                self._tips.forget(parent)
            else:
                return self._tips.advance(run, saved)

    def _save_again(self, new: NewCheckpoint) -> None:
        """Save over an existing checkpoint: a new place in the order of saves, the old one in the lineage."""
        run, id = joined(SYSTEM, new.run_id), joined(SYSTEM, new.id)
        old = self.archive.get(id)
        metadata = new.metadata()
        if old is not None:
            self._leads.allow(new.timestamp - created_ms(old), run_id=new.run_id, graph_id=new.graph_id)
            metadata |= {"savedAt": self._tips.next_ms(after=old), **({"fork": True} if "fork" in old.metadata else {})}
            if old.run != run:
                self._tips.forget(id)
        self._tips.advance(run, self._write(new, metadata))

    def _write(
        self, new: NewCheckpoint, metadata: dict[str, Any], *, parent: str | None = None, overwrite: bool = True
    ) -> Snapshot:
        return self.archive.save(
            new.payload,
            id=joined(SYSTEM, new.id),
            run=joined(SYSTEM, new.run_id),
            graph=joined(SYSTEM, new.graph_id),
            node=new.node_id,
            parent=parent,
            metadata=metadata,
            overwrite=overwrite,
        )

    def _delete(self, checkpoint_id: str) -> None:
        id = joined(SYSTEM, checkpoint_id)
        self.archive.delete(id)
        self._tips.forget(id)

    def _fork(self, checkpoint_id: str, patch: dict[str, Any]) -> str:
        id, run_id = joined(SYSTEM, checkpoint_id), clock.random_hex()
        source = self.archive.get(id)
        if source is None:
            raise _not_found(checkpoint_id)
        facts = {**source.metadata, "timestamp": clock.now_ms(), "fork": True}
        facts.pop("savedAt", None)
        names = {"new_id": joined(SYSTEM, clock.random_hex()), "run": joined(SYSTEM, run_id)}
        state = None
        if patch:
            state, facts["stateSize"] = patched(source.state(), patch)
        try:
            forked = self.archive.fork(id, **names, patch=None if state is None else lambda _: state, metadata=facts)
        except NotFoundError as error:
            if error.code != "snapshot_not_found":
                raise
            raise _not_found(checkpoint_id) from error
        self._tips.advance(forked.run, forked)
        return run_id

    # Reading ------------------------------------------------------------------------------------------------

    def _get(self, checkpoint_id: str) -> dict[str, Any] | None:
        found = self.archive.get(joined(SYSTEM, checkpoint_id))
        return checkpoint_of(found) if found is not None else None

    def _newest(self, run_id: str, node_id: str | None) -> dict[str, Any] | None:
        for row in self._of_run(run_id, NEAR):
            if node_id is None or row.node == node_id:
                found = row if isinstance(row, Snapshot) else self.archive.get(row.id)
                if found is not None and found.run == row.run:  # nobody deleted or moved it meanwhile
                    return checkpoint_of(found)
        return None

    def _list(self, graph_id: str, limit: int | None, run_id: str | None) -> Rows:
        graph = joined(SYSTEM, graph_id)
        near = limit + NEAR if limit is not None else None
        rows = self._of_graph(graph_id, near) if run_id is None else self._of_run(run_id, near)
        return [row_of(row) for row in islice((row for row in rows if row.graph == graph), limit)]

    def _history(self, run_id: str, limit: int | None) -> Rows:
        rows = self._of_run(run_id, limit + NEAR if limit is not None else None)
        return [row_of(row, links=True) for row in islice(rows, limit)]

    def _of_run(self, run_id: str, near: int | None) -> Iterator[Row]:
        """A run's checkpoints, newest first; looks at `near` of them before it looks at more, at all when None."""
        run = joined(SYSTEM, run_id)
        found: Sequence[Any] = parallel([lambda: self._leads.of_run(run_id), lambda: self.archive.log(run, near)])
        lead_ms, first = found
        newest = next(filter(ours, first), None)
        if newest is not None or not first:
            self._tips.seen(run, newest)
        return newest_first(filter(ours, self._all(first, near, run=run)), lead_ms)

    def _of_graph(self, graph_id: str, near: int | None) -> Iterator[Row]:
        graph = joined(SYSTEM, graph_id)
        found: Sequence[Any] = parallel(
            [lambda: self._leads.of_graph(graph_id), lambda: [*self.archive.list(graph=graph, limit=near)]]
        )
        lead_ms, first = found
        return newest_first(filter(ours, self._all(first, near, graph=graph)), lead_ms)

    def _all(self, first: Sequence[Row], size: int | None, *, run: str | None = None, graph: str | None = None) -> Iterator[Row]:
        """The first page, and then the others as far as they are needed."""
        page = first
        yield from page
        while size is not None and len(page) == size:
            last = page[-1]
            size *= GROWTH
            before = last.info if isinstance(last, Snapshot) else last
            page = [*self.archive.list(run=run, graph=graph, before=before, limit=size)]
            yield from page

    def _lineage(self, checkpoint_id: str) -> Rows:
        current: Row | None = self.archive.get(joined(SYSTEM, checkpoint_id))
        if current is None:
            raise _not_found(checkpoint_id)
        known: dict[str, Row] = {}
        runs: set[str] = set()
        line: Rows = []
        while current is not None:
            line.append(row_of(current, links=True))
            # A parent that was deleted and saved again is newer than its child: another checkpoint under the same id.
            child, current = current, self._parent(current, known, runs)
            if current is not None and (current.created_at >= child.created_at or not ours(current)):
                break
        return line

    def _parent(self, row: Row, known: dict[str, Row], runs: set[str]) -> Row | None:
        """The checkpoint that a row continues; reads the rows of a run at once, since most parents are in it."""
        if not row.parents:
            return None
        if row.run not in runs:
            runs.add(row.run)
            known |= {one.id: one for one in self.archive.list(run=row.run) if ours(one)}
        parent = known.get(row.parents[0])
        return parent if parent is not None else self.archive.get(row.parents[0])


def _checked_limit(limit: object) -> int | None:
    if limit is None:
        return None
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise InvalidInputError("a limit is a whole number", code="invalid_limit", type=type(limit).__name__)
    return limit if limit > 0 else None


def _not_found(checkpoint_id: str) -> CheckpointNotFoundError:
    return CheckpointNotFoundError("checkpoint not found", hint="`list` shows the checkpoints of a graph", id=checkpoint_id)
