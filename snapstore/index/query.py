"""SQL over the index: DuckDB on the live segments, with the changes that are not folded yet put in place of their rows.

Segments hold old versions of rows besides new ones, until they are merged. Looking for the newest version of every row
would cost more than most queries, so it is looked for only where there may be several: the later ones say so (`revises`).

DuckDB does not look for Ctrl-C while it works. In the main thread, which alone gets signals, it therefore works in a thread
beside it (`_interruptible`).
"""

from __future__ import annotations

import re
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from snapstore import clock
from snapstore.errors import InvalidInputError, MissingExtraError, NotFoundError, SnapstoreError
from snapstore.format.index_current import IndexFile
from snapstore.index.arrow import arrow, schema
from snapstore.index.ranges import RangeFile
from snapstore.index.rows import to_table
from snapstore.index.segments import Segments
from snapstore.index.view import View, look_at_registers

__all__ = ["QueryResult", "run_query"]

T = TypeVar("T")

TRIES: Final = 3
"""A query that misses a segment looks again which ones there are."""

BATCH_ROWS: Final = 16_384
"""Rows of one batch of a result."""

LOOK_S: Final = 0.1
"""How often a query that is to stop is told so, in seconds: one that has not begun yet does not hear it."""

SETTINGS: Final = (
    "SET autoinstall_known_extensions = false",  # nothing is fetched behind the user's back, and nothing is needed
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",  # else a wrong name of a table may find a variable of this module
    "SET TimeZone = 'UTC'",
)

_READING: Final = re.compile(
    r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:explain\s+(?:analyze\s+)?)?(?:select|with|from|values|table|pivot|unpivot|summarize)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Begins what only reads. DuckDB tells SELECT from COPY by itself, but not behind EXPLAIN, nor where there is a PIVOT."""

_OF_THE_TEXT: Final = re.compile(r"\b(?:Parser|Binder|Catalog|Conversion|Out of Range|Out of Memory) Error")
"""In what DuckDB says, where it is no wonder about the data that it reads."""

_GLOB: Final = frozenset("*?[")
"""In a path, DuckDB takes these for patterns, and knows no way to write them."""

_MERGING: Final = {"deleted", "revises"}
"""Columns that say which rows count; those that are left all do."""

EDGES: Final = """
CREATE TEMP VIEW edges AS
SELECT id AS snapshot, unnest(parents) AS parent, unnest(range(len(parents)))::INTEGER AS ordinal FROM snapshots
"""


class QueryResult:
    """The rows of a query, which engines read as a table; a stream that is read once.

    Ctrl-C ends it, also while a batch is made; inside an engine that reads it as a stream it may arrive as an error of that
    engine. DuckDB works ahead of who takes the rows, and stops at the end of the rows, with `close`, or when nobody holds the
    result any more.

    Args:
        connection: of DuckDB, which belongs to this result.
        sources: what it reads.
        reader: of Arrow batches.
        first: the first batch; None when there are no rows.

    Attributes:
        columns: names of the columns.
    """

    def __init__(self, connection: Any, sources: _Sources, reader: Any, first: Any) -> None:
        self._connection = connection
        self._sources = sources
        self._reader = reader
        self._stop = weakref.finalize(self, _stop, connection, reader)
        self._schema = reader.schema
        self._first = first
        self._begun = False
        self.columns: list[str] = list(self._schema.names)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let DuckDB stop, and free what it holds; rows that were not taken are gone."""
        self._begun = True
        self._first = None
        self._stop()

    def __arrow_c_schema__(self) -> object:
        """The columns, as an Arrow PyCapsule."""
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, as an Arrow PyCapsule."""
        return arrow().RecordBatchReader.from_batches(self._schema, self.batches()).__arrow_c_stream__(requested_schema)

    def batches(self) -> Iterator[Any]:
        """The rows as `pyarrow.RecordBatch`es.

        Raises:
            InvalidInputError: `query_failed`: what only the data showed, such as a text that is no number; `query_read`: the
                rows were taken before, or the result is closed.
            StorageError: a segment could not be read.
            CorruptionError: `segment_damaged`.
        """
        if self._begun:
            raise InvalidInputError(
                "the rows of this query were read already, or it was closed",
                code="query_read",
                hint="ask again, or keep them: pyarrow.table(archive.query(...))",
            )
        self._begun = True
        batch, self._first = self._first, None
        try:
            while batch is not None:
                yield batch
                batch = _interruptible(self._connection, partial(_next_batch, self._reader))
        except (OSError, arrow().ArrowException) as error:  # what Arrow makes of an error of DuckDB
            raise self._sources.failure(error) from error
        finally:
            self.close()

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts of Python values; raises as `batches`."""
        for batch in self.batches():
            yield from batch.to_pylist()


def run_query(
    segments: Segments, look: Callable[[], View], sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
) -> QueryResult:
    """Run a query over `snapshots` and `edges`, as far as its first rows.

    Args:
        segments: the archive's segments.
        look: gives the `View` to read.
        sql: in DuckDB's dialect; one query, before which settings (`SET`) may stand.
        parameters: for `?` or `$name` in it.

    Raises:
        InvalidInputError: `query_failed`, with what DuckDB says.
        MissingExtraError: duckdb is not installed.
        StorageError: a segment could not be read.
        CorruptionError: `segment_damaged`. DuckDB's own reader of files on a local disk compares no checksums of pages: it
            notices what it cannot decode, and nothing else.
    """
    duckdb = _duckdb()
    if not isinstance(sql, str):
        raise InvalidInputError("a query is a text", code="query_failed", type=type(sql).__name__)
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence | Mapping | None):
        raise InvalidInputError(
            "parameters are a list for ?, or a dict for $name", code="query_failed", type=type(parameters).__name__
        )
    missed: View | None = None
    for left in reversed(range(TRIES)):
        view = look()
        if missed is not None and missed.files == view.files:
            view = look_at_registers(segments.storage)  # it was not replaced, but is really missing
        connection = duckdb.connect()
        sources = _Sources(connection, segments, view)
        try:
            return _interruptible(connection, partial(_begun, connection, sources, sql, parameters))
        except BaseException as error:
            connection.close()  # it holds what it reads, which holds this: nothing else would free them
            if not isinstance(error, (duckdb.Error, OSError, NotFoundError, arrow().ArrowException)):
                raise
            if not (left and sources.vanished()):
                raise sources.failure(error) from error
            missed = view
    raise AssertionError


def _begun(connection: Any, sources: _Sources, sql: str, parameters: Any) -> QueryResult:
    """A query with its first rows."""
    for setting in SETTINGS:
        connection.execute(setting)
    # DuckDB's own choice is a folder beside whatever the process calls its current one.
    spill = str(Path(tempfile.gettempdir()) / f"snapstore-query-{clock.random_hex()}")
    connection.execute(f"SET temp_directory = {_quoted(spill)}")
    sources.create_tables()
    *settings, query = _statements(connection, sql)
    for statement in settings:
        connection.execute(statement)
    reader = connection.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS)
    return QueryResult(connection, sources, reader, _next_batch(reader))


def _statements(connection: Any, sql: str) -> list[Any]:
    """The statements of a text, of which the last one is a query.

    Raises:
        InvalidInputError: `query_failed`: there are others, which might write into the archive or beside it.
    """
    statements: list[Any] = connection.extract_statements(sql)
    if not statements:
        raise InvalidInputError("there is no SQL", code="query_failed", hint="SELECT ... FROM snapshots")
    *settings, query = statements
    kinds = [*(one.type.name for one in settings), query.type.name]
    right = query.type.name == "SELECT" or (query.type.name in {"EXPLAIN", "MULTI"} and _READING.match(query.query))
    if not right or any(one.type.name not in {"SET", "VARIABLE_SET"} for one in settings):
        raise InvalidInputError(
            "only one SELECT can be asked, and nothing is written",
            code="query_failed",
            hint="before it, SET may stand; to keep a result, export it: snapstore.export.export(archive.query(...), target)",
            statements=", ".join(kinds),
        )
    return statements


def _stop(connection: Any, reader: Any) -> None:
    """End a query; without being told so, DuckDB would finish its part of the work first, which may take for ever."""
    with suppress(_duckdb().Error):  # Ctrl-C came when it had just begun, and closed it
        connection.interrupt()
    reader.close()
    connection.close()


def _next_batch(reader: Any) -> Any:
    """The next batch; None at the end."""
    return next(iter(reader), None)


def _interruptible(connection: Any, call: Callable[[], T]) -> T:
    """Let DuckDB work so that Ctrl-C, or whatever a signal raises, ends it.

    Args:
        connection: that works in the call.
        call: is called, and is over when this function is.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            result.set_exception(error)

    worker = threading.Thread(target=work, name="snapstore-query")
    try:
        worker.start()
        while not wait([result], LOOK_S).done:  # a signal that reaches another thread does not wake this one
            pass
    except BaseException:
        while worker.is_alive():
            connection.interrupt()
            worker.join(LOOK_S)
        raise
    return result.result()


class _Sources:
    """What a query reads, as tables of DuckDB.

    Args:
        connection: that they are made in.
        segments: of the archive.
        view: which ones, and what has changed since.
    """

    def __init__(self, connection: Any, segments: Segments, view: View) -> None:
        self._connection = connection
        self._segments = segments
        self._view = view
        self._paths: list[Path] = []
        self._failures: list[SnapstoreError] = []

    def vanished(self) -> bool:
        """Whether a segment was missing: it has been replaced meanwhile."""
        return any(isinstance(error, NotFoundError) for error in self._failures) or not all(
            path.is_file() for path in self._paths
        )

    def failure(self, error: Exception) -> SnapstoreError:
        """The error that is behind one of DuckDB or Arrow, which make texts of those of the storage."""
        if isinstance(error, SnapstoreError):
            return error
        if self._failures:
            return self._failures[0]
        if not _OF_THE_TEXT.search(str(error)):
            for file in self._view.files:
                try:
                    self._segments.check(file)
                except SnapstoreError as found:
                    return found
        return InvalidInputError(
            f"the query failed: {error}", code="query_failed", hint="tables: snapshots, edges; the dialect is DuckDB's"
        )

    def create_tables(self) -> None:
        """Make the tables `snapshots`, the newest row of each live snapshot, and `edges`."""
        self._connection.register("_tail", to_table(self._view.changed))
        columns = ", ".join(name for name in schema().names if name not in _MERGING)
        parts = [f"SELECT {columns} FROM _tail"]
        if self._view.files:
            parts += [f"SELECT {columns} FROM {part}" for part in self._parts()]
        self._connection.execute(f"CREATE TEMP VIEW snapshots AS {' UNION ALL '.join(parts)}")
        self._connection.execute(EDGES)

    def _parts(self) -> Iterator[str]:
        """Parts of the segments that hold the newest row of each live snapshot without unfolded changes."""
        connection, view = self._connection, self._view
        span = self._shared_times()
        single = [file for file in view.files if span is None or file.created_to < span[0] or span[1] < file.created_from]
        several = [file for file in view.files if file not in single]
        # Rows of changed snapshots have their time in common with the change, but for those that were elsewhere before.
        connection.register("_moved", arrow().table({"id": arrow().array(view.moved, arrow().string())}))
        stays = "id NOT IN (SELECT id FROM _moved)" if view.moved else "true"
        if single:
            yield f"{self._source(single, '_single')} WHERE {stays}"
        if several:
            source = self._source(several, "_several")
            connection.execute(f"""CREATE TEMP VIEW _newest AS SELECT * FROM {source} SEMI JOIN _shared USING (created_at)
                QUALIFY row_number() OVER (PARTITION BY graph, created_at, id ORDER BY updated_at DESC) = 1""")
            yield f"_newest WHERE NOT deleted AND id NOT IN (SELECT id FROM _changed) AND {stays}"
            yield f"{source} ANTI JOIN _shared USING (created_at) WHERE {stays}"

    def _shared_times(self) -> tuple[int, int] | None:
        """Make the table `_shared`: creation times at which there may be old versions; the first and the last, None without."""
        connection, pa = self._connection, arrow()
        ids = pa.array([row.id for row in self._view.seen], pa.string())
        times = pa.array([row.created_at for row in self._view.seen], schema().field("created_at").type)
        connection.register("_changed", pa.table({"id": ids, "created_at": times}))
        parts = ["SELECT created_at FROM _changed"]
        revised = [file for file in self._view.files if file.revised]
        if revised:
            parts.append(f"SELECT created_at FROM {self._source(revised, '_revised')} WHERE revises")
        connection.execute(f"CREATE TEMP TABLE _shared AS SELECT DISTINCT created_at FROM ({' UNION ALL '.join(parts)})")
        [(first, last)] = connection.execute(
            "SELECT epoch_ms(min(created_at)), epoch_ms(max(created_at)) FROM _shared"
        ).fetchall()
        return None if first is None else (first, last)

    def _source(self, files: Sequence[IndexFile], name: str) -> str:
        """Make segments readable under a name: from the disk where they lie on one, else through the storage."""
        paths = [Path(self._segments.storage.url) / file.key for file in files]
        if all(path.is_file() and _GLOB.isdisjoint(str(path)) for path in paths):
            self._paths += paths
            for file in files:
                self._segments.check_footer(file)
            listed = ", ".join(_quoted(str(path)) for path in paths)
            reading = f"read_parquet([{listed}], hive_partitioning = false)"
            self._connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {reading}")
        else:
            self._connection.register(name, self._dataset(files))
        return name

    def _dataset(self, files: Sequence[IndexFile]) -> Any:
        """Segments on any storage as a dataset of Arrow, which reads the columns and row groups that a query needs."""
        import pyarrow.dataset as ds  # noqa: PLC0415 - for queries on object storage only
        import pyarrow.fs  # noqa: PLC0415

        pa = arrow()
        options = ds.ParquetFragmentScanOptions(pre_buffer=True, page_checksum_verification=True)
        form = ds.ParquetFileFormat(default_fragment_scan_options=options)
        fragments = []
        for file in files:
            opened = pa.PythonFile(RangeFile(partial(self._range, file), file.size), mode="r")
            fragments.append(form.make_fragment(opened))
        return ds.FileSystemDataset(fragments, schema(), form, pyarrow.fs.LocalFileSystem())

    def _range(self, file: IndexFile, start: int, length: int) -> bytes:
        try:
            return self._segments.range(file, start, length)
        except SnapstoreError as error:
            self._failures.append(error)
            raise


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@cache
def _duckdb() -> Any:
    arrow()
    try:
        import duckdb  # noqa: PLC0415 - 0.1 s, for queries only
    except ImportError as error:
        raise MissingExtraError("queries run in DuckDB", hint="pip install 'snapstore[query]'") from error
    return duckdb
