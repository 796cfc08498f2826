"""Delta tables: one commit per export, in the types that Delta has."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, Literal

from snapstore.errors import ConflictError, InvalidInputError, MissingExtraError, SnapstoreError, StorageError
from snapstore.export.files import check_new, local_path, new_folder
from snapstore.export.plain import type_refused
from snapstore.export.streams import arrow, opened
from snapstore.export.writing import Counter, Report, check_names
from snapstore.storage.faults import os_failure

__all__ = ["Existing", "check_table", "to_delta"]

LOOK_S: Final = 0.1
"""How often Ctrl-C is looked for: a signal that reaches another thread does not wake the one that waits."""

REASON_CHARS: Final = 300
"""Of what the library says: behind its first sentences come backtraces."""

Existing = Literal["error", "replace", "append"]
"""What happens to a target that is there already: nothing and an error, or it is replaced, or (Delta only) added to."""


def check_table(target: str, existing: Existing, options: dict[str, str]) -> bool:
    """Refuse a target that cannot become or is no Delta table, before anything is read.

    Args:
        target: the folder of the table, or its URL.
        existing: what happens to a table that is there.
        options: settings and credentials for a URL.

    Returns:
        Whether there is a table.

    Raises:
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`.
        MissingExtraError: deltalake is not installed.
        StorageError: the storage failed.
    """
    delta = _deltalake()
    path = local_path(target)
    there = False
    if path is None or path.is_dir():
        try:
            there = delta.DeltaTable.is_deltatable(str(path or target), options or None)
        except Exception as error:
            raise _failure(delta, error, target) from error
    elif not path.parent.is_dir():
        check_new(path, force=True)  # says that the folder is missing
    if (there and existing == "error") or (path is not None and not there and _is_occupied(path)):
        raise ConflictError(
            "the target exists",
            code="target_exists",
            hint="append to it, replace it, or choose another" if there else "it is no Delta table: choose another",
            target=target,
        )
    return there


def to_delta(stream: Any, target: str, existing: Existing, options: dict[str, str], progress: Report) -> int:
    """Write one commit of a Delta table; returns the number of rows.

    Raises:
        InvalidInputError: `column_twice`, `schema_differs`, `type_refused`, and what reading the stream raises.
        ConflictError: `table_changed`, and what `check_table` raises.
        StorageError: the storage failed.
    """
    there = check_table(target, existing, options)
    path = local_path(target)
    schema, batches = opened(stream)
    check_names(schema.names)
    rows = _Apart(Counter(batches, progress), schema, target)
    if there or path is None:
        mode = {"error": "error", "replace": "overwrite", "append": "append"}[existing]
        rows.write(str(path or target), mode, options)
    else:
        with new_folder(Path(os.path.realpath(path))) as folder:
            rows.write(str(folder), "error", options)
    return rows.counter.rows


def _is_occupied(path: Path) -> bool:
    return (path.exists() or path.is_symlink()) and not (path.is_dir() and not any(path.iterdir()))


class _Apart:
    """Rows on their way into Delta: its writer takes them in threads of its own, where errors become texts.

    Args:
        counter: the batches.
        schema: theirs.
        target: what the user calls the table.
    """

    def __init__(self, counter: Counter, schema: Any, target: str) -> None:
        self.counter = counter
        self._schema = arrow().schema([field.with_type(_delta_type(field.name, field.type)) for field in schema])
        self._target = target
        self._failure: BaseException | None = None
        self._stopped = False

    def write(self, place: str, mode: str, options: dict[str, str]) -> None:
        """Write them as one commit. Ctrl-C ends it after the batch under way, without the commit.

        Args:
            place: where; a new table's is not where it will be.
            mode: as the library calls it.
            options: for the storage.
        """
        delta = _deltalake()
        more = {"schema_mode": "overwrite"} if mode == "overwrite" else {}
        reader = arrow().RecordBatchReader.from_batches(self._schema, self._batches())
        with ThreadPoolExecutor(1) as pool:  # signals reach the thread that waits, never one inside the writer
            try:
                writing = pool.submit(delta.write_deltalake, place, reader, mode=mode, storage_options=options or None, **more)
                while not wait([writing], LOOK_S).done:
                    pass
                writing.result()
            except BaseException as error:
                self._stopped = True
                # The library is Rust: where it panics, what comes is no Exception, and of a class that nobody can import.
                if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                    raise self._failure or _failure(delta, error, self._target, place) from error
                raise

    def _batches(self) -> Iterator[Any]:
        try:
            for batch in self.counter:
                if self._stopped:
                    raise StorageError("the export was stopped", code="stopped")
                columns = [_cast(column, field) for column, field in zip(batch.columns, self._schema, strict=True)]
                yield arrow().RecordBatch.from_arrays(columns, schema=self._schema)
        except BaseException as error:
            self._failure = error
            raise


def _cast(column: Any, field: Any) -> Any:
    pa = arrow()
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise type_refused("Delta", field.name, column.type, str(error)) from error


def _delta_type(name: str, kind: Any) -> Any:
    """The type in which Delta holds a column; casting to it loses nothing, or fails."""
    pa = arrow()
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _delta_type(name, kind.storage_type)
    if types.is_dictionary(kind):
        return _delta_type(name, kind.value_type)
    if types.is_struct(kind) and kind.num_fields:
        return pa.struct([field.with_type(_delta_type(name, field.type)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_delta_type(name, kind.key_type), kind.item_field.with_type(_delta_type(name, kind.item_type)))
    if any(test(kind) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)):
        return pa.large_list(kind.value_field.with_type(_delta_type(name, kind.value_type)))
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    simple = _SIMPLE.get(str(kind), str(kind) if types.is_decimal128(kind) else None)
    if simple is None:
        raise type_refused("Delta", name, kind)
    return kind if simple == str(kind) else pa.type_for_alias(simple)


_SIMPLE: Final = {
    **{name: name for name in ("bool", "int8", "int16", "int32", "int64", "float", "double", "date32[day]", "date64[ms]")},
    **{name: name for name in ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")},
    "uint8": "int16",
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64",
    "halffloat": "float",
    "null": "string",
}
"""How Delta, which has no unsigned numbers, holds the types that have no parts."""


def _failure(delta: Any, error: BaseException, target: str, place: str | None = None) -> SnapstoreError:
    """The error of ours for one of the library, whose texts are long and name a new table by a temporary name."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    text = " ".join(text.replace(place or target, target).partition("\n   0: ")[0].split())[:REASON_CHARS]
    if isinstance(error, delta.exceptions.SchemaMismatchError):
        return InvalidInputError(
            f"the table has other columns: {text}", code="schema_differs", hint="replace it, or choose another", target=target
        )
    if isinstance(error, delta.exceptions.CommitFailedError):
        return ConflictError(f"somebody else changed the table: {text}", code="table_changed", target=target)
    number = re.search(r"\(os error (\d+)\)", text)
    if number is not None:
        return os_failure(OSError(int(number[1]), os.strerror(int(number[1]))), url=target)
    return StorageError(f"Delta failed: {text}", code="target_failed", target=target)


def _deltalake() -> Any:
    try:
        import deltalake  # noqa: PLC0415 - 50 MB, for exports to Delta only
        import deltalake.exceptions  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("Delta tables are written by deltalake", hint="pip install 'snapstore[delta]'") from error
    return deltalake
