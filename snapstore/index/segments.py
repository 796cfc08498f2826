"""Segments: immutable Parquet files of rows, written in the order of places and read a row group at a time.

What was damaged is noticed and not read: pages carry checksums, and the index's root holds a digest of each footer, which says
where they lie and what is in them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from snapstore import clock
from snapstore.digest import digest_hex
from snapstore.errors import CorruptionError
from snapstore.format.index_current import GRAPHS_LIMIT, IndexFile, graph_mark, segment_key
from snapstore.index.arrow import arrow, schema
from snapstore.index.ranges import RangeFile, fetched
from snapstore.storage.protocol import Storage

__all__ = ["ROW_GROUP_ROWS", "RowGroup", "Segment", "SegmentWriter", "Segments"]

T = TypeVar("T")

ROW_GROUP_ROWS: Final = 16_384
"""Rows of a row group at most: about 1.3 MB, what reading the newest rows of a graph has to fetch and decode."""

READ_ROWS: Final = 4_096
"""Rows decoded at a time by those who go through a whole segment: 1 MB."""

ROW_GROUP_CUT_ROWS: Final = 4_096
"""A row group of so many rows ends where the graph changes, so that the newest rows of a large graph begin one."""

WHOLE_BYTES: Final = 2_750_000
"""Smaller segments, up to 34,000 rows, are fetched whole: one request instead of footer, then row groups."""

CACHE_BYTES: Final = 96 * 1024 * 1024
"""What a process keeps of segments: 16 decoded row groups, or all that was folded lately."""

FOOTER_COST: Final = 6
"""A parsed footer takes about so many times its bytes."""

_DICTIONARY: Final = ["run", "graph", "node", "status", "metadata.key_value.key", "metadata.key_value.value", "version"]
_STATISTICS: Final = ["graph", "created_at", "updated_at", "run", "status"]
_DELTA: Final = dict.fromkeys(("created_at", "updated_at", "size_bytes", "stored_bytes"), "DELTA_BINARY_PACKED")


class SegmentWriter:
    """Collects sorted tables into the bytes of one segment.

    Args:
        bucket: which folder it is for.
    """

    def __init__(self, bucket: str) -> None:
        self.rows = 0
        self._bucket = bucket
        pa = arrow()
        self._sink = pa.BufferOutputStream()
        order = [("graph", "ascending"), ("created_at", "descending"), ("id", "ascending")]
        self._writer = pa.parquet.ParquetWriter(
            self._sink,
            schema(),
            compression="zstd",
            use_dictionary=_DICTIONARY,
            column_encoding=_DELTA,
            write_statistics=_STATISTICS,
            write_page_checksum=True,
            write_page_index=True,
            sorting_columns=pa.parquet.SortingColumn.from_ordering(schema(), order),
        )
        self._pending = schema().empty_table()
        self._graphs: dict[str, int] = {}
        self._revised = 0
        self._from: int | None = None
        self._to = 0

    def write(self, table: Any) -> None:
        """Take rows that stand behind those taken before."""
        if not table.num_rows:
            return
        pa = arrow()
        self.rows += table.num_rows
        self._revised += pa.compute.sum(table["revises"]).as_py()
        earliest, latest = (moment.as_py() for moment in pa.compute.min_max(table["created_at"].cast(pa.int64())).values())
        self._from = earliest if self._from is None else min(self._from, earliest)
        self._to = max(self._to, latest)
        for count in pa.compute.value_counts(table["graph"]).to_pylist():
            mark = graph_mark(count["values"])
            self._graphs[mark] = self._graphs.get(mark, 0) + count["counts"]
        self._pending = pa.concat_tables([self._pending, table])
        while self._pending.num_rows >= ROW_GROUP_ROWS:
            self._cut(_row_group_end(self._pending))

    def close(self, first: int, last: int) -> tuple[IndexFile, Any]:
        """The segment's entry and its bytes; there must be rows.

        Args:
            first: lowest generation that any of the rows was folded in.
            last: the highest.
        """
        if self._pending.num_rows:
            self._cut(self._pending.num_rows)
        self._writer.close()
        body = self._sink.getvalue()
        data = memoryview(body).cast("B")
        footer_size = int.from_bytes(data[-8:-4], "little") + 8
        entry = IndexFile(
            key=segment_key(self._bucket, clock.random_hex()),
            rows=self.rows,
            revised=self._revised,
            size=len(data),
            footer_size=footer_size,
            footer_digest=digest_hex(data[-footer_size:]),
            created_from=self._from or 0,
            created_to=self._to,
            first=first,
            last=last,
            graphs=self._graphs if len(self._graphs) <= GRAPHS_LIMIT else None,
        )
        return entry, data

    def _cut(self, rows: int) -> None:
        self._writer.write_table(self._pending.slice(0, rows), row_group_size=rows)
        self._pending = self._pending.slice(rows).combine_chunks()
        arrow().default_memory_pool().release_unused()  # merges of a rebuild would keep 25 of 180 MB


def _row_group_end(table: Any) -> int:
    """Where the first row group of sorted rows ends: at the last change of graph that leaves enough in it, or when full."""
    pa = arrow()
    graphs = table["graph"].slice(0, ROW_GROUP_ROWS + 1).combine_chunks()
    if graphs[0] == graphs[-1]:
        return ROW_GROUP_ROWS
    ends = pa.compute.run_end_encode(graphs).run_ends.to_pylist()
    return max((end for end in ends if ROW_GROUP_CUT_ROWS <= end <= ROW_GROUP_ROWS), default=ROW_GROUP_ROWS)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What a footer says of one row group.

    Attributes:
        number: its position in the segment.
        rows: how many rows it has.
        graph_from, graph_to: the first and the last graph in it, None when the footer does not say.
        created_from, created_to: earliest and latest creation time, milliseconds since 1970 UTC.
        start, length: its bytes in the segment.
    """

    number: int
    rows: int
    graph_from: str | None
    graph_to: str | None
    created_from: int
    created_to: int
    start: int
    length: int

    @property
    def graph(self) -> str | None:
        """The only graph in it, None when there are or may be several."""
        return self.graph_from if self.graph_from is not None and self.graph_from == self.graph_to else None

    def may_hold(self, graph: str | None) -> bool:
        """Whether rows of a graph (None: of any) may be in it."""
        if graph is None or self.graph_from is None or self.graph_to is None:
            return True
        return self.graph_from <= graph <= self.graph_to


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment whose footer has been read.

    Attributes:
        file: its entry in the index's root.
        metadata: the parsed footer.
        row_groups: what it says.
        body: all its bytes, when it was fetched whole.
    """

    file: IndexFile
    metadata: Any
    row_groups: tuple[RowGroup, ...]
    body: bytes | None


class Segments:
    """Reads segments of one archive, and keeps the last used ones. Safe to use from several threads.

    Args:
        storage: the archive's storage.

    Attributes:
        storage: the same.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._kept = _Cache(CACHE_BYTES)

    def open(self, file: IndexFile, *, keep: bool = True) -> Segment:
        """Read a footer, or a small segment whole: one request, none when it is kept.

        Args:
            file: its entry.
            keep: whether somebody may want it again.

        Raises:
            NotFoundError: `object_not_found`: it was retired and deleted; the index's root knows a newer one.
            CorruptionError: `segment_damaged`.
        """

        def load() -> tuple[Segment, int]:
            body = self.storage.get(file.key).data if file.size <= WHOLE_BYTES else None
            start = file.size - file.footer_size
            footer = self.range(file, start, file.footer_size) if body is None else body[start:]
            if digest_hex(footer) != file.footer_digest:
                raise _damaged(file)
            with _damage_noticed(file):
                metadata = arrow().parquet.read_metadata(arrow().BufferReader(footer))
                groups = tuple(_row_group(metadata, number) for number in range(metadata.num_row_groups))
            return Segment(file, metadata, groups, body), len(body or b"") + file.footer_size * FOOTER_COST

        return self._kept.get(file.key, load, keep=keep)

    def read(self, segment: Segment, group: RowGroup, *, keep: bool = True) -> Any:
        """The rows of a row group as a table: one request, none when it is kept or the segment was fetched whole.

        Raises:
            NotFoundError, CorruptionError: as `open`.
        """

        def load() -> tuple[Any, int]:
            file = self._opened(segment, group)
            with _damage_noticed(segment.file):
                table = file.read_row_groups([group.number], use_threads=False).select(schema().names).cast(schema())
            if table.num_rows != group.rows:
                raise _damaged(segment.file)
            return table, table.nbytes

        return self._kept.get((segment.file.key, group.number), load, keep=keep)

    def read_through(self, segment: Segment, group: RowGroup) -> Iterator[Any]:
        """The rows of a row group as tables that are decoded one by one: one request, none when the segment was fetched whole.

        Raises:
            NotFoundError, CorruptionError: as `open`; perhaps after some of the tables.
        """
        file = self._opened(segment, group)
        left = group.rows
        batches = file.iter_batches(READ_ROWS, row_groups=[group.number], use_threads=False)
        while left:
            with _damage_noticed(segment.file):
                batch = next(batches, None)
                table = None if batch is None else arrow().Table.from_batches([batch]).select(schema().names).cast(schema())
            if table is None or table.num_rows > left:  # a page whose header is damaged may end before its rows do
                raise _damaged(segment.file)
            left -= table.num_rows
            yield table

    def check_footer(self, file: IndexFile) -> None:
        """Read a footer for those who leave the reading to an engine; raises as `open`."""
        self.range(file, file.size - file.footer_size, file.footer_size)

    def check(self, file: IndexFile) -> None:
        """Read a whole segment and find nothing wrong; raises as `open`."""
        segment = self.open(file, keep=False)
        for group in segment.row_groups:
            for _ in self.read_through(segment, group):
                pass

    def _opened(self, segment: Segment, group: RowGroup) -> Any:
        """The segment as a Parquet file of which only this row group can be read."""
        pa = arrow()
        source: Any
        if segment.body is not None:
            source = pa.BufferReader(segment.body)
        else:
            part = self.range(segment.file, group.start, group.length)
            source = pa.PythonFile(RangeFile(fetched(part, group.start), segment.file.size), mode="r")
        with _damage_noticed(segment.file):
            return pa.parquet.ParquetFile(source, metadata=segment.metadata, page_checksum_verification=True)

    def range(self, file: IndexFile, start: int, length: int) -> bytes:
        """Read a part of a segment: one request. Where the footer is in it, it is as it was written; pages are not looked at.

        Raises:
            NotFoundError, CorruptionError: as `open`.
        """
        footer = file.size - file.footer_size
        begin, end = start, start + length
        if end > footer:
            begin, end = min(begin, footer), file.size
        try:
            data = self.storage.get_ranges(file.key, [(begin, end - begin)])[0]
        except CorruptionError as error:  # it is shorter than it was
            raise _damaged(file) from error
        if end > footer and digest_hex(memoryview(data)[footer - begin :]) != file.footer_digest:
            raise _damaged(file)
        return data[start - begin : start - begin + length]


def _row_group(metadata: Any, number: int) -> RowGroup:
    group = metadata.row_group(number)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    starts = [column.dictionary_page_offset or column.data_page_offset for column in columns.values()]
    ends = [start + column.total_compressed_size for start, column in zip(starts, columns.values(), strict=True)]
    graph, created = columns["graph"].statistics, columns["created_at"].statistics
    known = graph is not None and graph.has_min_max
    return RowGroup(
        number,
        group.num_rows,
        graph.min if known else None,
        graph.max if known else None,
        created.min_raw if created is not None and created.has_min_max else 0,
        created.max_raw if created is not None and created.has_min_max else 2**48,
        min(starts),
        max(ends) - min(starts),
    )


@contextmanager
def _damage_noticed(file: IndexFile) -> Iterator[None]:
    """Whatever Arrow says of bytes that do not fit together means that a segment is damaged; it says it in many ways."""
    try:
        yield
    except (arrow().ArrowException, OSError, ValueError, LookupError) as error:
        if isinstance(error, MemoryError):
            raise
        raise _damaged(file) from error


def _damaged(file: IndexFile) -> CorruptionError:
    return CorruptionError(
        "a segment of the index is damaged",
        code="segment_damaged",
        hint="`snapstore index rebuild` makes a new one",
        key=file.key,
    )


class _Cache:
    """The last used values, up to a number of bytes in all."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], tuple[T, int]], *, keep: bool) -> T:
        """The value under a key; loaded, with its size in bytes, when it is not kept, and then kept if that is wanted."""
        with self._lock:
            kept = self._values.get(key)
            if kept is not None:
                self._values.move_to_end(key)
                value: T = kept[0]
                return value
        value, size = load()
        with self._lock:
            if keep and key not in self._values:
                self._values[key] = value, size
                self._size += size
            while self._size > self._limit:
                _, (_, freed) = self._values.popitem(last=False)
                self._size -= freed
        return value
