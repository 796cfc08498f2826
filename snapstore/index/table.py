"""Tables: every row of the index as Arrow batches, exact and with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from snapstore.index.arrow import arrow, schema

__all__ = ["ArrowTable"]


class ArrowTable:
    """An object that engines read as a table: DuckDB, Polars, pandas and pyarrow all take it as it is.

    Each reading starts anew, on what is there then.

    Args:
        read: makes a stream of tables.
    """

    def __init__(self, read: Callable[[], Iterator[Any]]) -> None:
        self._read = read

    def __arrow_c_schema__(self) -> object:
        """The columns, as an Arrow PyCapsule."""
        return schema().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, as an Arrow PyCapsule; read while they are taken."""
        return arrow().RecordBatchReader.from_batches(schema(), self.batches()).__arrow_c_stream__(requested_schema)

    def batches(self) -> Iterator[Any]:
        """The rows as `pyarrow.RecordBatch`es, in no particular order."""
        for table in self._read():
            yield from table.to_batches()
