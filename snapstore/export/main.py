"""Export a table to a place: a new file, an object on a storage, or a Delta table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from snapstore.errors import ConflictError, InvalidInputError, MissingExtraError, SnapstoreError, StorageError
from snapstore.export.files import check_new, new_file, new_folder
from snapstore.export.streams import arrow, opened
from snapstore.export.writing import FORMATS, Counter, Format, Report, check_names, write

__all__ = ["Existing", "Exported", "export"]

Existing = Literal["error", "replace", "append"]
"""What happens to a target that is there already: nothing and an error, or it is replaced, or (Delta only) added to."""

SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}

LOOK_S: Final = 0.1
"""How often Ctrl-C is looked for: a signal that reaches another thread does not wake the one that waits."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        target: where it went.
        format: of the target.
        rows: how many were written.
        bytes_written: the file's size; None for a Delta table.
    """

    target: str
    format: str
    rows: int
    bytes_written: int | None


def export(
    stream: Any,
    target: str | Path,
    format: Format | Literal["delta"] | None = None,
    *,
    existing: Existing = "error",
    storage_options: Mapping[str, str] | None = None,
    progress: Report = None,
) -> Exported:
    """Write a table to a file or into a Delta table.

    Args:
        stream: anything with `__arrow_c_stream__`: what `Archive.table`, `query` and `scan` give, `edges` of a table, or a table
            of another library.
        target: a path, `file://`, or an object's URL (`s3://`, `gs://`); for Delta the folder of the table or its URL.
        format: "parquet", "arrow", "csv", "json", "jsonl" or "delta"; by the target's ending when None.
        existing: "error" refuses a target that is there, "replace" replaces it at once and whole, "append" adds to a Delta table.
        storage_options: settings and credentials for a URL of a Delta table; the environment's count as well. Objects of
            other formats take those of the environment alone.
        progress: is told now and then how many rows have been read.

    Raises:
        InvalidInputError: `unknown_format`, `not_appendable`, `column_twice`, `schema_differs`, `type_refused`, and what reading
            the stream raises.
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`.
        MissingExtraError: pyarrow or deltalake is not installed.
        StorageError: the target cannot be written.
    """
    place = str(target)
    chosen = _format_of(place, format)
    if chosen == "delta":
        rows = _to_delta(stream, place, existing, dict(storage_options or {}), progress)
        return Exported(place, chosen, rows, None)
    if existing == "append":
        raise InvalidInputError("a file cannot be added to", code="not_appendable", hint="export to Delta, or replace it")
    path = _local_path(place)
    if path is None:
        return _to_object(stream, place, chosen, progress, replace=existing == "replace")
    check_new(path, force=existing == "replace")
    arrow()  # whatever is missing is missed before there is a file
    with new_file(path, force=existing == "replace") as file:
        rows = write(stream, file, chosen, progress)
        size = file.tell()
    return Exported(place, chosen, rows, size)


def _format_of(target: str, format: str | None) -> Any:
    chosen = format if format is not None else SUFFIXES.get(Path(urlsplit(target).path).suffix.lower())
    if chosen not in FORMATS and chosen != "delta":
        raise InvalidInputError(
            "the format is not known" if format else "the target's name does not tell the format",
            code="unknown_format",
            hint=f"one of {', '.join(FORMATS)}, delta",
            target=target,
            format=format,
        )
    return chosen


def _local_path(target: str) -> Path | None:
    """The path of a target on this machine; None for URLs of other places."""
    if target.startswith("file://"):
        return Path(unquote(urlsplit(target).path))
    return None if "://" in target else Path(target)


# Objects -------------------------------------------------------------------------------------------------------


def _to_object(stream: Any, url: str, format: Format, progress: Report, *, replace: bool) -> Exported:
    """Write a file here, and upload it when it is whole: what is uploaded in parts shows with the last one, or never."""
    import pyarrow.fs  # noqa: PLC0415 - for URLs only

    schemes = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")
    if urlsplit(url).scheme not in schemes:
        raise InvalidInputError(
            "files cannot be written to such a URL", code="unknown_format", hint=f"a path, or {', '.join(schemes)}", target=url
        )
    with _storage_errors(url):
        system, place = pyarrow.fs.FileSystem.from_uri(url)
        there = system.get_file_info(place).type != pyarrow.fs.FileType.NotFound
    if there and not replace:
        raise _exists(url)
    with tempfile.TemporaryDirectory(prefix="snapstore-") as folder:
        path = Path(folder) / "rows"
        with path.open("wb") as file:
            rows = write(stream, file, format, progress)
        with _storage_errors(url):
            pyarrow.fs.copy_files(str(path), place, source_filesystem=pyarrow.fs.LocalFileSystem(), destination_filesystem=system)
        return Exported(url, format, rows, path.stat().st_size)


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, arrow().ArrowException) as error:
        raise StorageError(f"the target cannot be used: {error}", code="target_failed", target=url) from error


def _exists(target: str) -> ConflictError:
    return ConflictError("the target exists", code="target_exists", hint="choose another, or replace it", target=target)


# Delta ---------------------------------------------------------------------------------------------------------


def _to_delta(stream: Any, target: str, existing: Existing, options: dict[str, str], progress: Report) -> int:
    """Write one commit of a Delta table; returns the number of rows."""
    delta = _deltalake()
    path = _local_path(target)
    if path is not None and not path.parent.is_dir():
        check_new(path, force=True)  # says that the folder is missing
    place = str(path) if path is not None else target
    there = delta.DeltaTable.is_deltatable(place, options or None)
    if (there and existing == "error") or (path is not None and not there and _is_occupied(path)):
        raise ConflictError(
            "the target exists",
            code="target_exists",
            hint="append to it, replace it, or choose another" if there else "it is no Delta table: choose another",
            target=target,
        )
    schema, batches = opened(stream)
    check_names(schema.names)
    rows = _Apart(Counter(batches, progress), schema)
    if there or path is None:
        rows.write(delta, place, {"error": "error", "replace": "overwrite", "append": "append"}[existing], options)
    else:
        with new_folder(path) as folder:
            rows.write(delta, str(folder), "error", options)
    return rows.counter.rows


def _is_occupied(path: Path) -> bool:
    return (path.exists() or path.is_symlink()) and not (path.is_dir() and not any(path.iterdir()))


class _Apart:
    """Rows on their way into Delta: its writer takes them in threads of its own, where errors become texts.

    Args:
        counter: the batches.
        schema: theirs.
    """

    def __init__(self, counter: Counter, schema: Any) -> None:
        self.counter = counter
        self._schema = _delta_schema(schema)
        self._failure: BaseException | None = None
        self._stopped = False

    def write(self, delta: Any, place: str, mode: str, options: dict[str, str]) -> None:
        """Write them as one commit. Ctrl-C ends it after the batch under way, without the commit."""
        more = {"schema_mode": "overwrite"} if mode == "overwrite" else {}
        reader = arrow().RecordBatchReader.from_batches(self._schema, self._batches())
        with ThreadPoolExecutor(1) as pool:  # signals reach the thread that waits, never one inside the writer
            try:
                writing = pool.submit(delta.write_deltalake, place, reader, mode=mode, storage_options=options or None, **more)
                while not wait([writing], LOOK_S).done:
                    pass
                writing.result()
            except delta.exceptions.DeltaError as error:
                raise self._failure or _delta_error(delta, error, place) from error
            except Exception as error:
                raise self._failure or StorageError(f"Delta failed: {error}", code="target_failed", target=place) from error
            except BaseException:
                self._stopped = True
                raise

    def _batches(self) -> Iterator[Any]:
        try:
            for batch in self.counter:
                if self._stopped:
                    raise StorageError("the export was stopped", code="stopped")
                yield arrow().RecordBatch.from_arrays(
                    [column.cast(field.type) for column, field in zip(batch.columns, self._schema, strict=True)],
                    schema=self._schema,
                )
        except BaseException as error:
            self._failure = error
            raise


def _delta_schema(schema: Any) -> Any:
    """A schema in the types that Delta has."""
    pa = arrow()
    return pa.schema([field.with_type(_delta_type(field.name, field.type)) for field in schema])


def _delta_type(name: str, kind: Any) -> Any:
    pa = arrow()
    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_dictionary(kind):
        return _delta_type(name, kind.value_type)
    if types.is_null(kind):
        return pa.string()
    if types.is_duration(kind) or types.is_time(kind) or types.is_interval(kind):
        raise InvalidInputError(
            "Delta has no such type", code="type_refused", hint="cast it to text", column=name, type=str(kind)
        )
    return kind


def _delta_error(delta: Any, error: Exception, target: str) -> SnapstoreError:
    if isinstance(error, delta.exceptions.SchemaMismatchError):
        return InvalidInputError(
            f"the table has other columns: {error}", code="schema_differs", hint="replace it, or choose another", target=target
        )
    if isinstance(error, delta.exceptions.CommitFailedError):
        return ConflictError(f"somebody else changed the table: {error}", code="table_changed", target=target)
    return StorageError(f"Delta failed: {error}", code="target_failed", target=target)


def _deltalake() -> Any:
    try:
        import deltalake  # noqa: PLC0415 - 50 MB, for exports to Delta only
        import deltalake.exceptions  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("Delta tables are written by deltalake", hint="pip install 'snapstore[delta]'") from error
    return deltalake
