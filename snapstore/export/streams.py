"""Streams: batches of Arrow from whatever hands them out, and the table of edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from snapstore.errors import InvalidInputError, MissingExtraError, SnapstoreError, StorageError
from snapstore.index.query import QueryResult
from snapstore.index.table import ArrowTable
from snapstore.scan.planning import Scan

__all__ = ["Edges", "arrow", "edges", "opened"]


@cache
def arrow() -> Any:
    """The package pyarrow, with `compute` loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - 0.1 s, for those who export only
        import pyarrow.compute  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("tables are Arrow, which needs pyarrow", hint="pip install 'snapstore[index]'") from error
    return pyarrow


class Edges:
    """The table of edges: `snapshot`, `parent`, and `ordinal`, the parent's place among the parents, from 0.

    Args:
        snapshots: what `Archive.table` gives.
    """

    def __init__(self, snapshots: ArrowTable) -> None:
        self._snapshots = snapshots

    @property
    def schema(self) -> Any:
        """Its columns, a `pyarrow.Schema`."""
        pa = arrow()
        types = {"snapshot": pa.string(), "parent": pa.string(), "ordinal": pa.int32()}
        return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, as an Arrow PyCapsule; read while they are taken."""
        reader = arrow().RecordBatchReader.from_batches(self.schema, self.batches())
        capsule: object = reader.__arrow_c_stream__(requested_schema)
        return capsule

    def batches(self) -> Iterator[Any]:
        """The rows as `pyarrow.RecordBatch`es, in no particular order."""
        pa, made = arrow(), self.schema
        for batch in self._snapshots.batches():
            parents = batch["parents"]
            lengths = pa.compute.list_value_length(parents).to_pylist()
            columns = [
                batch["id"].take(pa.compute.list_parent_indices(parents)),
                pa.compute.list_flatten(parents),
                pa.array([number for length in lengths for number in range(length)], pa.int32()),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=made)


def edges(snapshots: ArrowTable) -> Edges:
    """The edges between snapshots and their parents; see `Edges`."""
    return Edges(snapshots)


def opened(stream: Any) -> tuple[Any, Iterator[Any]]:
    """The schema and the batches of a stream.

    What is ours hands out its batches itself: the C interface would make texts of our errors.

    Raises:
        InvalidInputError: `not_a_table`; `query_failed` while it is read.
        MissingExtraError: pyarrow is not installed.
        StorageError: `stream_failed`: somebody else's stream broke off.
    """
    pa = arrow()
    if isinstance(stream, Scan):
        return stream.schema, iter(stream)
    if isinstance(stream, Edges):
        return stream.schema, stream.batches()
    if isinstance(stream, ArrowTable):
        return pa.schema(stream), stream.batches()
    if isinstance(stream, QueryResult):
        return pa.schema(stream), _guarded(stream.batches(), _query_failed)
    if not hasattr(stream, "__arrow_c_stream__"):
        raise InvalidInputError(
            "only a table can be exported", code="not_a_table", hint="archive.table(), .query() or .scan()", type=type(stream)
        )
    reader = pa.RecordBatchReader.from_stream(stream)
    return reader.schema, _guarded(reader, lambda text: StorageError(f"the stream broke off: {text}", code="stream_failed"))


def _guarded(batches: Any, failed: Callable[[str], SnapstoreError]) -> Iterator[Any]:
    """The batches; what comes over the C interface as a mere text becomes an error of ours."""
    rest = iter(batches)
    while True:
        try:
            batch = next(rest)
        except StopIteration:
            return
        except (OSError, arrow().ArrowException) as error:
            raise failed(str(error)) from error
        yield batch


def _query_failed(text: str) -> SnapstoreError:
    return InvalidInputError(f"the query failed: {text}", code="query_failed")
