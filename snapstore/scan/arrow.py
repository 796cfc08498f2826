"""The Arrow side of a scan: the one module of this room that loads pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from snapstore.errors import InvalidInputError
from snapstore.scan.columns import MISFIT, Column, exact_kinds, fitted, json_text

__all__ = ["batch", "schema", "stream"]

_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "json": pa.string(),
    "binary": pa.binary(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "datetime": pa.timestamp("us"),
}

SHOWN_CHARS: Final = 80
"""Of a value in an error: enough to know it again."""

_ROW_FIELDS = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("run", pa.string(), nullable=False),
    pa.field("graph", pa.string(), nullable=False),
    pa.field("node", pa.string()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("created_at", pa.timestamp("ms", tz="UTC"), nullable=False),
]


def schema(columns: Iterable[Column]) -> pa.Schema:
    """The schema of a scan: who the snapshot is, then one column per path."""
    return pa.schema(_ROW_FIELDS + [pa.field(column.name, _type(column)) for column in columns])


def _type(column: Column) -> pa.DataType:
    kind = _TYPES[column.type]
    return pa.list_(kind) if column.path.gives_list else kind


def batch(
    columns: Sequence[Column], rows: Sequence[tuple[Any, ...]], results: Sequence[Sequence[Any]], *, null_misfits: bool
) -> pa.RecordBatch:
    """A record batch.

    Args:
        columns: with their types.
        rows: per snapshot what `ROW_COLUMNS` names, the time in milliseconds.
        results: per snapshot one value, list or None per column.
        null_misfits: whether values that do not fit become null, and are no error.

    Raises:
        InvalidInputError: `value_misfit`.
    """
    made = schema(columns)
    ids = [row[0] for row in rows]
    arrays = [pa.array([row[number] for row in rows], field.type) for number, field in enumerate(_ROW_FIELDS)]
    for number, column in enumerate(columns):
        found = [result[number] for result in results]
        if column.path.gives_list:
            arrays.append(_lists(column, ids, found, null_misfits=null_misfits))
        else:
            arrays.append(_array(column, [(ids[place], one) for place, one in enumerate(found)], null_misfits=null_misfits))
    return pa.RecordBatch.from_arrays(arrays, schema=made)


def stream(columns: Iterable[Column], batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    """The batches as one stream."""
    return pa.RecordBatchReader.from_batches(schema(columns), batches)


def _lists(column: Column, ids: Sequence[str], found: Sequence[list[Any] | None], *, null_misfits: bool) -> pa.Array:
    offsets: list[int | None] = []
    flat: list[tuple[str, Any]] = []
    for id, several in zip(ids, found, strict=True):
        offsets.append(None if several is None else len(flat))
        flat += [(id, one) for one in several or ()]
    inside = _array(column, flat, null_misfits=null_misfits)
    return pa.ListArray.from_arrays(pa.array([*offsets, len(flat)], pa.int32()), inside)


def _array(column: Column, found: Sequence[tuple[str, Any]], *, null_misfits: bool) -> pa.Array:
    kept = [value for _, value in found]
    kind = _TYPES[column.type]
    if exact_kinds(kept, column.type):
        try:
            return pa.array(kept, kind)
        except OverflowError:
            pass  # a whole number beyond 64 bits: it is named below
    fit: list[Any] = []
    for id, value in found:
        held = fitted(value, column.type)
        if held is MISFIT and not null_misfits:
            raise _misfit(column, id, value)
        fit.append(None if held is MISFIT else held)
    return pa.array(fit, kind)


def _misfit(column: Column, id: str, value: object) -> InvalidInputError:
    fits = "float64" if column.type == "int64" and isinstance(value, float) else "json"
    return InvalidInputError(
        "a value does not fit the type of its column",
        code="value_misfit",
        hint=f'pass types={{"{column.name}": "{fits}"}} or another type, or on_error="null"',
        id=id,
        path=column.text,
        type=column.type,
        value=_shown(value),
    )


def _shown(value: object) -> str:
    try:
        return repr(value)[:SHOWN_CHARS]
    except ValueError:  # Python refuses the digits of very long numbers
        return json_text(value)[:SHOWN_CHARS]
