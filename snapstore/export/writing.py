"""Writing: the formats, each from batches into an open file."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, Literal, TypeAlias

from snapstore.errors import InvalidInputError
from snapstore.export.plain import plain_values, type_refused
from snapstore.export.streams import arrow, opened

__all__ = ["FORMATS", "Format", "Report", "as_objects", "check_names", "read_rows", "write"]

Format = Literal["parquet", "arrow", "csv", "json", "jsonl"]
"""Parquet; the stream format of Arrow IPC; CSV with a head, where null is empty and the empty text is `""`; one JSON list of
objects; one JSON object per line."""

Report: TypeAlias = "Callable[[int], object] | None"
"""Is told now and then how many rows have been written."""

GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = 64 * 1024 * 1024
"""A row group of Parquet ends at so many rows or bytes: engines skip by row groups, and memory holds one."""

_SPECIAL: Final = re.compile(r'[,"\r\n]')
"""What a cell of CSV is quoted for."""

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def write(stream: Any, file: BinaryIO, format: Format, progress: Report = None) -> int:
    """Write a table into a file that is open for writing; returns the number of rows.

    Args:
        stream: anything with `__arrow_c_stream__`.
        file: stays open.
        format: see `Format`.
        progress: is told how many rows have been written, after each batch.

    Raises:
        InvalidInputError: `column_twice`, `type_refused`, and what reading the stream raises.
        MissingExtraError: pyarrow is not installed.
    """
    schema, batches = opened(stream)
    if format != "csv":
        check_names(schema.names)
    counter = Counter(batches, progress)
    FORMATS[format](schema, counter, file)
    return counter.rows


class Counter:
    """Batches that are counted as they go by.

    Args:
        batches: of Arrow.
        progress: is told the number of rows.

    Attributes:
        rows: so far.
    """

    def __init__(self, batches: Iterable[Any], progress: Report = None) -> None:
        self._batches = batches
        self._progress = progress
        self.rows = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield batch
            self.rows += batch.num_rows
            if self._progress is not None:
                self._progress(self.rows)


def check_names(names: list[str]) -> None:
    """Refuse a table whose columns cannot be told apart by name.

    Raises:
        InvalidInputError: `column_twice`.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInputError(
            "two columns have the same name", code="column_twice", hint="give one of them another: ... AS name", column=twice[0]
        )


def read_rows(stream: Any, progress: Report = None, *, distinct: bool = False) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The names of a table's columns, and its rows as plain values; they are read while they are taken.

    Args:
        stream: as for `write`.
        progress: as for `write`.
        distinct: refuse columns of the same name.
    """
    schema, batches = opened(stream)
    if distinct:
        check_names(schema.names)
    return list(schema.names), _rows(Counter(batches, progress))


def as_objects(names: list[str], batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The rows as dicts of plain values."""
    for row in _rows(batches):
        yield dict(zip(names, row, strict=True))


def _rows(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*map(plain_values, batch.columns, batch.schema.names), strict=True)


def _parquet(schema: Any, batches: Iterable[Any], file: BinaryIO) -> None:
    import pyarrow.parquet  # noqa: PLC0415 - as in `arrow`

    pa = arrow()
    with _parquet_errors(schema):
        made = pyarrow.parquet.ParquetWriter(file, schema, compression="zstd")
    with made as writer:
        waiting: list[Any] = []
        rows = size = 0

        def flush() -> None:
            with _parquet_errors(schema):
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=max(rows, 1))

        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                flush()
                waiting, rows, size = [], 0, 0
        if rows:
            flush()


@contextlib.contextmanager
def _parquet_errors(schema: Any) -> Iterator[None]:
    """Name the column that Parquet does not take; what the library says names its type at most."""
    import pyarrow.parquet  # noqa: PLC0415 - as in `arrow`

    pa = arrow()
    try:
        yield
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        for field in schema:
            one = pa.schema([field.with_nullable(True)])
            try:
                with pyarrow.parquet.ParquetWriter(io.BytesIO(), one) as writer:
                    writer.write_table(pa.Table.from_arrays([pa.nulls(1, field.type)], schema=one))
            except pa.ArrowNotImplementedError as own:
                raise type_refused("Parquet", field.name, field.type, str(own)) from error
        raise type_refused("Parquet", None, None, str(error)) from error


def _arrow(schema: Any, batches: Iterable[Any], file: BinaryIO) -> None:
    import pyarrow.ipc  # noqa: PLC0415 - as in `arrow`

    with pyarrow.ipc.new_stream(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _csv(schema: Any, batches: Iterable[Any], file: BinaryIO) -> None:
    """Write text with a head.

    Null is empty and the empty text is `""`: DuckDB (`allow_quoted_nulls=false`), pyarrow (`quoted_strings_can_be_null=False`)
    and Polars tell them apart. In a table of one column null is `""` too: to most readers an empty line is no row.
    """
    alone = len(schema.names) == 1
    file.write((",".join(map(_quoted, schema.names)) + "\n").encode())
    for batch in batches:
        cells = [_cells(column, name, '""' if alone else "") for column, name in zip(batch.columns, schema.names, strict=True)]
        file.write("".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True)).encode())


def _cells(column: Any, name: str, null: str) -> list[str]:
    return [null if value is None else _cell(value) for value in plain_values(column, name)]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(_ENCODER.encode(value)) if isinstance(value, list | dict) else str(value)


def _quoted(text: str) -> str:
    """A cell. Python's csv module (3.11) leaves a bare carriage return as it is, which others take for the end of a line."""
    return '"' + text.replace('"', '""') + '"' if not text or _SPECIAL.search(text) else text


def _jsonl(schema: Any, batches: Iterable[Any], file: BinaryIO) -> None:
    for batch in batches:
        lines = (_ENCODER.encode(row) for row in as_objects(schema.names, [batch]))
        file.write("".join(f"{line}\n" for line in lines).encode())


def _json(schema: Any, batches: Iterable[Any], file: BinaryIO) -> None:
    file.write(b"[")
    before = b"\n"
    for row in as_objects(schema.names, batches):
        file.write(before + _ENCODER.encode(row).encode())
        before = b",\n"
    file.write(b"\n]\n")


FORMATS: Final[Mapping[str, Callable[[Any, Iterable[Any], BinaryIO], None]]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
}
"""What writes each format."""
