"""Objects on a storage: files that are written here and uploaded whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from snapstore.errors import ConflictError, InvalidInputError, StorageError
from snapstore.export.files import new_file
from snapstore.export.streams import arrow
from snapstore.export.writing import Format, Report, write

__all__ = ["check_object", "to_object"]

SCHEMES: Final = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")


def check_object(url: str, *, replace: bool) -> tuple[Any, str]:
    """Refuse an object that cannot be written, before anything is read.

    Args:
        url: of the object.
        replace: whether one that is there may be replaced.

    Returns:
        The file system, and the object's path there.

    Raises:
        InvalidInputError: `unknown_format`: the URL is of another kind.
        ConflictError: `target_exists`.
        StorageError: `target_failed`.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise InvalidInputError(
            "files cannot be written to such a URL", code="unknown_format", hint=f"a path, or {', '.join(SCHEMES)}", target=url
        )
    import pyarrow.fs  # noqa: PLC0415 - for URLs only

    with _storage_errors(url):
        system, place = pyarrow.fs.FileSystem.from_uri(url)
        there = system.get_file_info(place).type != pyarrow.fs.FileType.NotFound
    if there and not replace:
        raise ConflictError("the target exists", code="target_exists", hint="choose another, or replace it", target=url)
    return system, place


def to_object(stream: Any, url: str, format: Format, progress: Report, *, replace: bool) -> tuple[int, int]:
    """Write a file here, and upload it when it is whole: what is uploaded in parts shows with the last one, or never.

    Returns:
        The number of rows, and the object's size in bytes.
    """
    system, place = check_object(url, replace=replace)
    import pyarrow.fs  # noqa: PLC0415 - for URLs only

    with tempfile.TemporaryDirectory(prefix="snapstore-") as folder:
        path = Path(folder) / "rows"
        with new_file(path, force=False) as file:
            rows = write(stream, file, format, progress)
        with _storage_errors(url):
            pyarrow.fs.copy_files(str(path), place, source_filesystem=pyarrow.fs.LocalFileSystem(), destination_filesystem=system)
        return rows, path.stat().st_size


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, arrow().ArrowException) as error:
        raise StorageError(f"the target cannot be used: {error}", code="target_failed", target=url) from error
