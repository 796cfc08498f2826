"""New files: whole under their name, or not there at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from snapstore.errors import ConflictError, NotFoundError, StorageError

__all__ = ["check_new", "new_file", "new_folder"]

_PREFIX_CHARS: Final = 40
"""Characters of the target's name in that of the temporary file: 255 bytes are a name's limit on most systems."""


def check_new(target: Path, *, force: bool) -> None:
    """Refuse a target that cannot become a file, before anything is read.

    Raises:
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`.
    """
    if not target.parent.is_dir():
        raise NotFoundError("no such folder", code="folder_not_found", folder=str(target.parent))
    if target.is_dir():
        raise ConflictError("the target is a folder", code="target_exists", hint="name a file in it", target=str(target))
    if (target.exists() or target.is_symlink()) and not force:
        raise ConflictError("the target exists", code="target_exists", hint="choose another, or --force", target=str(target))


@contextlib.contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target` that takes its name when the block succeeds, and goes away otherwise.

    Raises:
        ConflictError: `target_exists`: without `force`, somebody made it meanwhile.
        StorageError: `permission_denied`.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:_PREFIX_CHARS]}.", suffix=".part", dir=target.parent)
    except PermissionError as error:
        raise _denied(target) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; the new file gets the rights that any other would get.
        temporary.chmod(0o666 & ~_umask())
        _put_in_place(temporary, target, force=force)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside `target` that takes its name when the block succeeds, and goes away otherwise.

    Raises:
        ConflictError: `target_exists`: there is something under the name by then, and it is no empty folder.
        StorageError: `permission_denied`.
    """
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:_PREFIX_CHARS]}.", suffix=".part", dir=target.parent))
    except PermissionError as error:
        raise _denied(target) from error
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        try:
            temporary.rename(target)  # takes the place of an empty folder, of nothing else
        except OSError as error:
            raise ConflictError("the target exists", code="target_exists", target=str(target)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, target: Path, *, force: bool) -> None:
    """Give a finished file its name; without `force` a file that came to be meanwhile is kept."""
    if not force:
        try:
            os.link(temporary, target)
        except FileExistsError as error:
            raise ConflictError("the target exists", code="target_exists", target=str(target)) from error
        except OSError:  # a file system without hard links: the check before must do
            if target.exists():
                raise
        else:
            return
    temporary.replace(target)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _denied(target: Path) -> StorageError:
    return StorageError("this folder cannot be written", code="permission_denied", folder=str(target.parent))
