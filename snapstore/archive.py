"""The archive: everything a user does with snapshots, by id, run and graph.

An `Archive` is safe to share between threads and needs no closing, though `close` frees connections early.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from snapstore import clock
from snapstore.errors import InvalidInputError, ReadOnlyError
from snapstore.format import names
from snapstore.format.config_document import ArchiveConfig
from snapstore.history.diff import Change, compare
from snapstore.history.heads import read_head, wait_for_pack
from snapstore.history.latest import latest_of_run
from snapstore.index import AutoFold, Index, QueryResult, RowFilter
from snapstore.index.table import ArrowTable
from snapstore.listing import Moment, Position, checked_limit, milliseconds, rows, seconds
from snapstore.run import Run
from snapstore.scan.planning import OnError, Progress, Scan, ScanTask, scan
from snapstore.snapshot import Snapshot, SnapshotDraft, SnapshotInfo
from snapstore.storage.protocol import Storage
from snapstore.writer import Parent, Writer, snapshot_not_found

__all__ = ["Archive"]

T = TypeVar("T")

DEFAULT_GRAPH = "default"
"""The graph of a save that names none."""


class Archive:
    """An open archive; see `snapstore.open`.

    Attributes:
        storage: where the bytes lie (see `snapstore.storage`).
        url: printable address, without secrets.
        id: 32 hex digits, drawn when the archive was created.
    """

    def __init__(
        self, storage: Storage, config: ArchiveConfig, *, read_only: bool = False, index_after: int | None = None
    ) -> None:
        self.storage = storage
        self.config = config
        self.url = storage.url
        self.id = config.id
        self.read_only = read_only
        self._writer = Writer(storage)
        self._index = Index(storage, self._writer.heads.rows)
        self._folding = AutoFold(self._index, index_after)

    def __repr__(self) -> str:
        return f"<Archive {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free connections and handles; waits a few seconds for the index if it is just being written."""
        self._folding.close()
        self.storage.close()

    # Writing ------------------------------------------------------------------------------------------------

    def save(
        self,
        state: Any,
        *,
        run: str,
        graph: str = DEFAULT_GRAPH,
        node: str | None = None,
        parent: Parent | Sequence[Parent] | None = None,
        id: str | None = None,
        status: str = "completed",
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = True,
    ) -> Snapshot:
        """Store a state as a snapshot.

        Args:
            state: nested dicts, lists, text, bytes, numbers, and the types of SPEC.md's extension table.
            run: the execution history it belongs to.
            graph: the agent or workflow definition.
            node: the step that produced it.
            parent: the snapshot it continues, or several (the main line first). What the first parent already stores is
                not stored again. None starts a new history, or keeps the parents of an existing id.
            id: the snapshot's id; drawn when None. An existing id gets this as its new content and keeps its place in
                the history; the last writer wins.
            status: free text.
            metadata: a small JSON object, at most 8 KiB, shown in lists.
            overwrite: whether an existing snapshot may be replaced. Of any number of writers who say False with the same
                id, exactly one succeeds.

        Returns:
            The snapshot, once it is durable.

        Raises:
            ConflictError: `already_exists`, only without `overwrite`.
            InvalidInputError: the state, an id or the metadata cannot be stored; nothing was written.
            NotFoundError: a parent does not exist.
            StorageError: the storage failed; the snapshot may or may not be there, saving again with its id is safe.
        """
        self._check_writable()
        writer = self._writer
        what = writer.description(id, run, graph, node, status, metadata, writer.parents(parent))
        head = writer.create(what, state) if id is None else writer.save(what, state, overwrite=overwrite)
        self._folding.changed()
        return writer.snapshot(head)

    def update(
        self,
        id: str,
        mutator: Callable[[SnapshotDraft | None], SnapshotDraft | None],
        *,
        run: str | None = None,
        graph: str = DEFAULT_GRAPH,
        parent: Parent | Sequence[Parent] | None = None,
    ) -> Snapshot | None:
        """Read a snapshot, change it, and write it back, atomically.

        Args:
            id: the snapshot.
            mutator: gets the draft (None when there is no such snapshot), changes it in place or makes another, and
                returns it; None leaves everything as it is. It may run again when another writer was faster, so it
                must have no side effects. What it raises passes through, and nothing is written.
            run: the run of a snapshot that this call creates; its id when None.
            graph: the graph of a snapshot that this call creates.
            parent: the parents of a snapshot that this call creates.

        Returns:
            The snapshot as it is now; None when the mutator skipped. An untouched state writes no pack: a change of
            status, node or metadata is one small conditional write.

        Raises:
            ConflictError: others kept being faster for a minute.
        """
        self._check_writable()
        names.name_bytes(id, "snapshot id")

        head = self._writer.update(id, mutator, run or id, graph, parent)
        self._folding.changed(0 if head is None else 1)
        return self._writer.snapshot(head) if head is not None else None

    def fork(
        self,
        id: str,
        run: str | None = None,
        patch: Mapping[Any, Any] | Callable[[Any], Any] | None = None,
        *,
        graph: str | None = None,
        new_id: str | None = None,
        node: str | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Begin a new run from any snapshot; copies nothing.

        Args:
            id: the snapshot to continue from.
            run: the new run; drawn when None.
            patch: what differs in the new state: a dict whose pairs replace those of the state, or a function from
                the state to the new state.
            graph: as in `save`; the source's when None.
            new_id: the new snapshot's id; drawn when None. As in `save`, an existing id gets this as its new content.
            node: as in `save`; the source's when None.
            status: as in `save`; the source's when None.
            metadata: as in `save`; the source's when None.
        """
        self._check_writable()
        head = self._writer.fork(
            id,
            run=run or clock.random_hex(),
            graph=graph,
            patch=patch,
            new_id=new_id,
            node=node,
            status=status,
            metadata=metadata,
        )
        self._folding.changed()
        return self._writer.snapshot(head)

    def delete(self, id: str) -> None:
        """Delete a snapshot; silent when it is absent. Its children keep everything; gc frees the space."""
        self._check_writable()
        names.register_key(id)

        self._writer.delete(id)
        self._folding.changed()

    def run(self, run: str, graph: str = DEFAULT_GRAPH) -> Run:
        """A handle that appends to one run."""
        names.encode_name(run, "run")
        return Run(self, run, graph)

    # Reading ------------------------------------------------------------------------------------------------

    def get(self, id: str) -> Snapshot | None:
        """The snapshot with this id, or None."""
        for attempt in range(10):
            head = read_head(self.storage, id)
            if head is None or head.register.deleted:
                return None
            found = self._writer.opened(head)
            if found is not None:
                return found
            if not wait_for_pack(attempt):
                break
        return None

    def __getitem__(self, id: str) -> Snapshot:
        """The snapshot with this id.

        Raises:
            NotFoundError: `snapshot_not_found`.
        """
        found = self.get(id)
        if found is None:
            raise snapshot_not_found(id)
        return found

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.get(id) is not None

    def latest(self, run: str, node: str | None = None) -> Snapshot | None:
        """The newest leaf of a run, or its newest snapshot that `node` produced; None when there is none."""
        found = latest_of_run(self.storage, run, node)
        if found is None:
            return None
        head, reader = found
        snapshot = self._writer.snapshot(head)
        if reader is not None:
            snapshot.tree.reader.take(reader)
        return snapshot

    def leaves(self, run: str) -> list[Snapshot]:
        """Every snapshot of a run that none continues, newest first."""
        return [self._writer.found(one) for one in self.index.of_run(run).leaves()]

    def log(self, run: str, limit: int | None = None) -> list[Snapshot]:
        """The snapshots of a run, newest first; those of long runs read their registers when they are used."""
        if checked_limit(limit) == 0:
            return []
        return [self._writer.found(one) for one in self.index.of_run(run).walk(limit)]

    def list(  # noqa: PLR0917 - the order is that of the documented API
        self,
        graph: str | None = None,
        run: str | None = None,
        status: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        before: str | SnapshotInfo | Snapshot | None = None,
        *,
        node: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        max_staleness: datetime.timedelta | float | None = None,
    ) -> Iterator[SnapshotInfo]:
        """Rows of snapshots, newest first by creation, ties by id.

        Args:
            graph: only snapshots of this graph.
            run: only snapshots of this run.
            status: only snapshots with this status.
            since: created at this moment or later (datetime, or milliseconds since 1970).
            until: created before this moment.
            limit: at most so many rows.
            before: a row to continue after, for paging; or an id, which must be there still.
            node: only snapshots that this step produced.
            metadata: top-level fields that must have these values: text, numbers, booleans or None.
            max_staleness: leave out what was saved since the index was written, if that is at most so long ago (seconds, or
                a timedelta): for dashboards over large archives. By default every save acknowledged before shows.

        Raises:
            MissingExtraError: there is an index, and pyarrow is not installed.
        """
        wanted = self._filter(graph, run, status, since, until, before, node=node, metadata=metadata)
        return rows(self.index, wanted, checked_limit(limit), seconds(max_staleness))

    @property
    def index(self) -> Index:
        """The searchable index: `refresh`, `compact`, `rebuild`, `status`, `files`; lists use and need no call of these."""
        return self._index

    def table(self, graph: str | None = None) -> ArrowTable:
        """Every snapshot (of a graph) as a table that DuckDB, Polars, pandas and pyarrow read as it is.

        Returns:
            An object with `__arrow_c_stream__`; the columns are those of SPEC.md (Index). Each reading starts anew.

        Raises:
            MissingExtraError: pyarrow is not installed; when it is read.
        """
        return self.index.table(graph)

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> QueryResult:
        """Ask the index in SQL (DuckDB): tables `snapshots` and `edges` (snapshot, parent, ordinal).

        Args:
            sql: in DuckDB's dialect, one query, before which `SET` may stand; `metadata['model']` is a field of the metadata,
                as text.
            parameters: for `?` or `$name` in it.

        Returns:
            An object with `__arrow_c_stream__`, and `rows()` for dicts: a stream, read once. Ctrl-C, `close()` and the end of
            a `with` stop the query.

        Raises:
            InvalidInputError: `query_failed`, with what DuckDB says; `query_read`, when the rows are taken twice.
            MissingExtraError: duckdb or pyarrow is not installed.
        """
        return self.index.query(sql, parameters)

    def scan(
        self,
        paths: str | Sequence[str] | Mapping[str, str],
        *,
        graph: str | None = None,
        run: str | None = None,
        where: Mapping[str, Any] | str | None = None,
        types: Mapping[str, str] | None = None,
        on_error: OnError = "raise",
        progress: Callable[[Progress], object] | None = None,
    ) -> Scan:
        """Plan to pull fields out of many states; nothing of a state is read before the plan is iterated.

        Args:
            paths: such as `"cost"`, `"messages[*].role"`, `"messages[-1].content"`; a dict gives the columns names.
            graph: only snapshots of this graph.
            run: only snapshots of this run.
            where: further arguments of `list`: `status`, `since`, `until`, `limit`, `before`, `node`, `metadata`; or a
                condition in SQL over the columns of `snapshots`, as in `query`.
            types: types by column name (`bool int64 float64 string json binary timestamp datetime`); the others are found
                out from a sample of 64 snapshots, which may not show a rare field or a rare kind of value. Such a value is a
                `value_misfit` when its batch is read, or text in a `string` column. Give the types of columns that are rare
                or change, say `types={"cost": "float64"}`; "json" holds everything.
            on_error: what a value that does not fit its type does: "raise" an error that names the snapshot, path and value,
                or become "null".
            progress: called after every batch and at the end.

        Returns:
            The plan: `estimate` says what it will cost, iterating it gives Arrow record batches, `tasks` are parts of it
            that other processes can execute.

        Raises:
            InvalidInputError: a path or type that is none, or `query_failed`.
            MissingExtraError: pyarrow is not installed, when it is read; or duckdb, for a condition in SQL.
        """
        try:
            chosen = self.list(graph, run, **({} if isinstance(where, str) else where or {}))
        except TypeError as error:
            raise InvalidInputError(f"where takes the arguments of list: {error}", code="unknown_filter") from error
        if isinstance(where, str):
            ids = {row["id"] for row in self.query(f"SELECT id FROM snapshots WHERE (\n{where}\n)").rows()}  # noqa: S608
            chosen = (row for row in chosen if row.id in ids)
        return scan(self.storage, chosen, paths, types=types, on_error=on_error, progress=progress)

    def scan_tasks(self, paths: str | Sequence[str] | Mapping[str, str], **options: Any) -> tuple[ScanTask, ...]:
        """The parts of a `scan`, to be sent to other processes and read there with `task.read()`."""
        return self.scan(paths, **options).tasks

    def diff(self, a: str | Snapshot, b: str | Snapshot) -> Iterator[Change]:
        """The changes from the state of `a` to the state of `b`; reads only what differs."""
        old = a if isinstance(a, Snapshot) else self[a]
        new = b if isinstance(b, Snapshot) else self[b]
        return compare(old.tree, new.tree)

    def watch(
        self, id: str | None = None, run: str | None = None, *, interval_s: float = 1.0, timeout_s: float | None = None
    ) -> Iterator[Snapshot]:
        """Snapshots as they change: the current one first, then each new version as it is noticed.

        Args:
            id: watch this snapshot, or
            run: watch the newest snapshot of this run.
            interval_s: how often the storage is asked, in seconds.
            timeout_s: end after so many seconds; None for never.
        """
        if (id is None) == (run is None):
            raise InvalidInputError("watch needs either an id or a run", code="watch_needs_one")
        end = None if timeout_s is None else clock.monotonic_s() + timeout_s
        seen: tuple[str, int] | None = None
        while True:
            snapshot = self.get(id) if id is not None else self.latest(str(run))
            if snapshot is not None and (snapshot.id, snapshot.info.version) != seen:
                seen = (snapshot.id, snapshot.info.version)
                yield snapshot
            elif end is not None and clock.monotonic_s() + interval_s > end:
                return
            else:
                clock.sleep(interval_s)

    # Inside -------------------------------------------------------------------------------------------------

    def _filter(  # noqa: PLR0917 - the arguments of list
        self,
        graph: str | None,
        run: str | None,
        status: str | None,
        since: Moment | None,
        until: Moment | None,
        before: str | SnapshotInfo | Snapshot | None,
        *,
        node: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> RowFilter:
        return RowFilter(
            graph, run, node, status, milliseconds(since), milliseconds(until), self._position(before), metadata or {}
        )

    def _position(self, before: str | SnapshotInfo | Snapshot | None) -> Position | None:
        if isinstance(before, (SnapshotInfo, Snapshot)):
            return -(milliseconds(before.created_at) or 0), before.id
        if before is None:
            return None
        head = read_head(self.storage, before)
        if head is None or head.register.deleted:
            raise snapshot_not_found(before)
        return -head.register.created_at, before

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("the archive is open for reading only", code="read_only", url=self.url)
