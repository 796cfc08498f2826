"""Export a table to a place: a new file, an object on a storage, or a Delta table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

from snapstore.errors import InvalidInputError
from snapstore.export.delta import Existing, check_table, to_delta
from snapstore.export.files import check_new, local_path, new_file
from snapstore.export.objects import check_object, to_object
from snapstore.export.streams import arrow
from snapstore.export.writing import FORMATS, Format, Report, write

__all__ = ["Existing", "Exported", "check_target", "export"]

SUFFIXES: Final[Mapping[str, Format]] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


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
            A file that is replaced keeps its rights, a symbolic link stays; devices and pipes are refused, `write` writes into
            what is open.
        storage_options: settings and credentials for a URL of a Delta table; the environment's count as well. Files and
            objects of other formats take those of the environment alone.
        progress: is told now and then how many rows have been read.

    Raises:
        InvalidInputError: `unknown_format`, `unknown_existing`, `not_appendable`, `options_refused`, `invalid_target`,
            `column_twice`, `schema_differs`, `type_refused`, and what reading the stream raises.
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`.
        MissingExtraError: pyarrow or deltalake is not installed.
        StorageError: the target cannot be written.
    """
    place = str(target)
    chosen = _checked(place, format, existing, storage_options)
    path, replace = local_path(place), existing == "replace"
    size: int | None
    if chosen == "delta":
        rows, size = to_delta(stream, place, existing, dict(storage_options or {}), progress), None
    elif path is None:
        rows, size = to_object(stream, place, chosen, progress, replace=replace)
    else:
        check_new(path, force=replace)
        arrow()  # whatever is missing is missed before there is a file
        with new_file(path, force=replace) as file:
            rows = write(stream, file, chosen, progress)
            size = file.tell()
    return Exported(place, chosen, rows, size)


def check_target(
    target: str | Path,
    format: Format | Literal["delta"] | None = None,
    *,
    existing: Existing = "error",
    storage_options: Mapping[str, str] | None = None,
) -> None:
    """Refuse a target that `export` would refuse, before the table is made that is to go there; writes nothing.

    Args and errors: as for `export`.
    """
    place = str(target)
    chosen = _checked(place, format, existing, storage_options)
    path, replace = local_path(place), existing == "replace"
    if chosen == "delta":
        check_table(place, existing, dict(storage_options or {}))
    elif path is None:
        check_object(place, replace=replace)
    else:
        check_new(path, force=replace)


def _checked(target: str, format: str | None, existing: str, options: Mapping[str, str] | None) -> Any:
    """The format, after all that does not depend on the target's place was checked."""
    chosen = format if format is not None else SUFFIXES.get(Path(urlsplit(target).path).suffix.lower())
    if chosen not in FORMATS and chosen != "delta":
        raise InvalidInputError(
            "the format is not known" if format else "the target's name does not tell the format",
            code="unknown_format",
            hint=f"name the format: one of {', '.join(FORMATS)}, delta",
            target=target,
            format=format,
        )
    if existing not in get_args(Existing):
        raise InvalidInputError(
            "no such way to treat a target that is there",
            code="unknown_existing",
            hint=" or ".join(map(repr, get_args(Existing))),
            existing=existing,
        )
    if chosen == "delta":
        return chosen
    if existing == "append":
        raise InvalidInputError("a file cannot be added to", code="not_appendable", hint="export to Delta, or replace it")
    if options:
        raise InvalidInputError(
            "storage_options are for Delta tables",
            code="options_refused",
            hint="for objects set the environment: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...",
            options=sorted(options),
        )
    return chosen
