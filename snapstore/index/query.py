"""SQL over the index: DuckDB on the live segments, with the changes that are not folded yet put in place of their rows.

Segments hold old versions of rows besides new ones, until they are merged. Looking for the newest version of every row
would cost more than most queries, so it is looked for only where there may be several: the later ones say so (`revises`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from snapstore.errors import InvalidInputError, MissingExtraError, NotFoundError
from snapstore.format.index_current import IndexFile
from snapstore.index.arrow import arrow, schema
from snapstore.index.rows import to_table
from snapstore.index.view import View
from snapstore.storage.protocol import Storage

__all__ = ["QueryResult", "run_query"]

TRIES: Final = 3
"""A query that misses a segment looks again which ones there are."""

SETTINGS: Final = (
    "SET autoinstall_known_extensions = false",  # nothing is fetched behind the user's back, and nothing is needed
    "SET autoload_known_extensions = false",
    "SET TimeZone = 'UTC'",
)

_MERGING: Final = {"deleted", "revises"}
"""Columns that say which rows count; those that are left all do."""

EDGES: Final = """
CREATE TEMP VIEW edges AS
SELECT id AS snapshot, unnest(parents) AS parent, unnest(range(len(parents)))::INTEGER AS ordinal FROM snapshots
"""


class QueryResult:
    """The rows of a query, which engines read as a table; a stream that is read once.

    Args:
        reader: of Arrow batches.

    Attributes:
        columns: names of the columns.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.columns: list[str] = list(reader.schema.names)

    def __arrow_c_schema__(self) -> object:
        """The columns, as an Arrow PyCapsule."""
        return self._reader.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, as an Arrow PyCapsule."""
        return self._reader.__arrow_c_stream__(requested_schema)

    def batches(self) -> Iterator[Any]:
        """The rows as `pyarrow.RecordBatch`es.

        Raises:
            InvalidInputError: `query_failed`: what only the data showed, such as a text that is no number.
        """
        try:
            yield from self._reader
        except OSError as error:  # what Arrow makes of an error of DuckDB
            raise _failed(error) from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts of Python values."""
        for batch in self.batches():
            yield from batch.to_pylist()


def run_query(storage: Storage, look: Any, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> QueryResult:
    """Run a query over `snapshots` and `edges`.

    Args:
        storage: the archive's storage.
        look: gives the `View` to read.
        sql: in DuckDB's dialect.
        parameters: for `?` or `$name` in it.

    Raises:
        InvalidInputError: `query_failed`, with what DuckDB says.
        MissingExtraError: duckdb is not installed.
    """
    duckdb = _duckdb()
    for left in reversed(range(TRIES)):
        view: View = look()
        connection = duckdb.connect()
        try:
            for setting in SETTINGS:
                connection.execute(setting)
            _create_snapshots(connection, storage, view)
            connection.execute(EDGES)
            relation = connection.sql(sql, params=parameters)
            if relation is None:
                raise InvalidInputError("the query has no result", code="query_failed", hint="the archive is only read")
            return QueryResult(relation.to_arrow_reader(16_384))
        except NotFoundError:
            if not left:
                raise
        except duckdb.IOException:
            if not left:
                raise
        except duckdb.Error as error:
            raise _failed(error) from error
    raise AssertionError


def _failed(error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"the query failed: {error}", code="query_failed", hint="tables: snapshots, edges; the dialect is DuckDB's"
    )


def _create_snapshots(connection: Any, storage: Storage, view: View) -> None:
    """Make the table `snapshots`: the newest row of each live snapshot."""
    connection.register("_tail", to_table(view.changed))
    columns = ", ".join(name for name in schema().names if name not in _MERGING)
    parts = [f"SELECT {columns} FROM _tail"]
    if view.files:
        parts += [f"SELECT {columns} FROM {part}" for part in _parts(connection, storage, view)]
    connection.execute(f"CREATE TEMP VIEW snapshots AS {' UNION ALL '.join(parts)}")


def _parts(connection: Any, storage: Storage, view: View) -> Iterator[str]:
    """Parts of the segments that hold the newest row of each live snapshot without unfolded changes."""
    span = _shared_times(connection, storage, view)
    single = [file for file in view.files if span is None or file.created_to < span[0] or span[1] < file.created_from]
    several = [file for file in view.files if file not in single]
    # Rows of changed snapshots have their time in common with the change, but for those that were elsewhere before.
    connection.register("_moved", arrow().table({"id": arrow().array(view.moved, arrow().string())}))
    stays = "id NOT IN (SELECT id FROM _moved)" if view.moved else "true"
    if single:
        yield f"{_source(connection, storage, single, '_single')} WHERE {stays}"
    if several:
        source = _source(connection, storage, several, "_several")
        connection.execute(f"""CREATE TEMP VIEW _newest AS SELECT * FROM {source} SEMI JOIN _shared USING (created_at)
            QUALIFY row_number() OVER (PARTITION BY graph, created_at, id ORDER BY updated_at DESC) = 1""")
        yield f"_newest WHERE NOT deleted AND id NOT IN (SELECT id FROM _changed) AND {stays}"
        yield f"{source} ANTI JOIN _shared USING (created_at) WHERE {stays}"


def _shared_times(connection: Any, storage: Storage, view: View) -> tuple[int, int] | None:
    """Make the table `_shared`: creation times at which there may be old versions; the first and the last, None without any."""
    pa = arrow()
    ids = pa.array([row.id for row in view.seen], pa.string())
    times = pa.array([row.created_at for row in view.seen], schema().field("created_at").type)
    connection.register("_changed", pa.table({"id": ids, "created_at": times}))
    parts = ["SELECT created_at FROM _changed"]
    revised = [file for file in view.files if file.revised]
    if revised:
        parts.append(f"SELECT created_at FROM {_source(connection, storage, revised, '_revised')} WHERE revises")
    connection.execute(f"CREATE TEMP TABLE _shared AS SELECT DISTINCT created_at FROM ({' UNION ALL '.join(parts)})")
    [(first, last)] = connection.execute("SELECT epoch_ms(min(created_at)), epoch_ms(max(created_at)) FROM _shared").fetchall()
    return None if first is None else (first, last)


def _source(connection: Any, storage: Storage, files: Sequence[IndexFile], name: str) -> str:
    """Make segments readable under a name: from the disk where they lie on one, else through the storage."""
    paths = [Path(storage.url) / file.key for file in files]
    if all(path.is_file() for path in paths):
        listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
    else:
        connection.register(name, _dataset(storage, files))
    return name


def _dataset(storage: Storage, files: Sequence[IndexFile]) -> Any:
    """Segments on any storage as a dataset of Arrow, which reads the columns and row groups that a query needs."""
    import pyarrow.dataset as ds  # noqa: PLC0415 - for queries on object storage only
    import pyarrow.fs  # noqa: PLC0415

    pa = arrow()
    form = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True))
    fragments = []
    for file in files:
        opened = pa.PythonFile(RangeFile(partial(_range, storage, file.key), file.size), mode="r")
        fragments.append(form.make_fragment(opened))
    return ds.FileSystemDataset(fragments, schema(), form, pyarrow.fs.LocalFileSystem())


def _range(storage: Storage, key: str, start: int, length: int) -> bytes:
    return storage.get_ranges(key, [(start, length)])[0]


@cache
def _duckdb() -> Any:
    arrow()
    try:
        import duckdb  # noqa: PLC0415 - 0.1 s, for queries only
    except ImportError as error:
        raise MissingExtraError("queries run in DuckDB", hint="pip install 'snapstore[query]'") from error
    return duckdb


class RangeFile(io.RawIOBase):
    """An object on a storage as a file to read at any place.

    Args:
        read_range: gives the bytes from a start, of a length.
        size: of the object, in bytes.
    """

    def __init__(self, read_range: Any, size: int) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position from the beginning."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; see `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read from the position on; one request."""
        left = max(self._size - self._position, 0)
        length = left if size < 0 else min(size, left)
        data: bytes = self._read_range(self._position, length) if length else b""
        self._position += len(data)
        return data
