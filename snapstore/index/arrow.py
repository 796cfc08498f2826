"""The door to pyarrow: loaded when the first segment is read or written, and the schema of segments."""

from __future__ import annotations

from functools import cache
from typing import Any

from snapstore.errors import MissingExtraError

__all__ = ["arrow", "has_arrow", "schema"]


@cache
def arrow() -> Any:
    """The package pyarrow, with `compute` and `parquet` loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - 0.1 s, for those who read or write segments only
        import pyarrow.compute  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "the index of this archive is Parquet, which needs pyarrow", hint="pip install 'snapstore[index]'"
        ) from error
    return pyarrow


def has_arrow() -> bool:
    """Whether pyarrow can be loaded."""
    try:
        arrow()
    except MissingExtraError:
        return False
    return True


@cache
def schema() -> Any:
    """The schema of a segment, as SPEC.md (Index) describes it."""
    pa = arrow()
    time = pa.timestamp("ms", tz="UTC")
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("run", pa.string(), nullable=False),
            pa.field("graph", pa.string(), nullable=False),
            pa.field("node", pa.string()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("parents", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
            pa.field("created_at", time, nullable=False),
            pa.field("updated_at", time, nullable=False),
            pa.field("size_bytes", pa.int64(), nullable=False),
            pa.field("stored_bytes", pa.int64(), nullable=False),
            pa.field("digest", pa.binary(32), nullable=False),
            pa.field("metadata", pa.map_(pa.string(), pa.string()), nullable=False),
            pa.field("metadata_json", pa.string()),
            pa.field("deleted", pa.bool_(), nullable=False),
            pa.field("version", pa.int64(), nullable=False),
            pa.field("revises", pa.bool_(), nullable=False),
        ]
    )
