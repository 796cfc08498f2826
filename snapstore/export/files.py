"""New files: whole under their name, or not there at all.

A target is a name for a regular file. A symbolic link stands for the file behind it; devices, pipes and sockets are refused,
since nothing can take their place and what is written into them cannot be taken back.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from urllib.parse import unquote, urlsplit

from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError
from snapstore.storage.faults import os_failure

__all__ = ["check_new", "local_path", "new_file", "new_folder"]

_PREFIX_CHARS: Final = 40
"""Characters of the target's name in that of the temporary file: 255 bytes are a name's limit on most systems."""


def local_path(target: str) -> Path | None:
    """The path of a target on this machine; None for URLs of other places."""
    if target.startswith("file://"):
        return Path(unquote(urlsplit(target).path))
    return None if "://" in target else Path(target)


def check_new(target: Path, *, force: bool) -> None:
    """Refuse a target that cannot become a file, before anything is read.

    Args:
        target: its path.
        force: whether a file that is there may be replaced.

    Raises:
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`: a file without `force`; a folder, a device, a pipe or a socket.
        InvalidInputError: `invalid_target`, `invalid_key`: there can be no such name.
        StorageError: the file system failed.
    """
    if "\0" in str(target):
        raise InvalidInputError("there can be no file of this name", code="invalid_target", target=str(target))
    with _named(target):
        real = Path(os.path.realpath(target))
        if not real.parent.is_dir():
            raise NotFoundError("no such folder", code="folder_not_found", folder=str(real.parent))
        found = _mode(target)
        linked = target.is_symlink()
    if found is not None and stat.S_ISDIR(found):
        raise ConflictError("the target is a folder", code="target_exists", hint="name a file in it", target=str(target))
    if found is not None and not stat.S_ISREG(found):
        raise ConflictError("the target is no regular file", code="target_exists", hint="name a file", target=str(target))
    if (found is not None or linked) and not force:
        raise ConflictError("the target exists", code="target_exists", hint="choose another, or --force", target=str(target))


@contextlib.contextmanager
def new_file(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a temporary file beside `target` that takes its name when the block succeeds, and goes away otherwise.

    With `force`, a file that is there is replaced, and the new one gets its rights and, where that is allowed, its owner; a
    symbolic link stays, and the file behind it is replaced. A new file gets the rights that any other would get.

    Raises:
        ConflictError: `target_exists`: without `force`, somebody made it meanwhile.
        StorageError: `permission_denied`, `storage_full` and others; also what writing into the file raises.
    """
    with _named(target):
        real = Path(os.path.realpath(target)) if force else target
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:_PREFIX_CHARS]}.", suffix=".part", dir=real.parent)
    temporary = Path(name)
    try:
        with cast("BinaryIO", io.BufferedWriter(_Raw(handle, target))) as file:
            yield file
            file.flush()
            with _named(target):
                os.fsync(file.fileno())
        with _named(target):
            _put_in_place(temporary, real, force=force)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder beside `target` that takes its name when the block succeeds, and goes away otherwise.

    Raises:
        ConflictError: `target_exists`: there is something under the name by then, and it is no empty folder.
        StorageError: `permission_denied`, `storage_full` and others.
    """
    with _named(target):
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:_PREFIX_CHARS]}.", suffix=".part", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        try:
            temporary.rename(target)  # takes the place of an empty folder, of nothing else
        except OSError as error:
            raise ConflictError("the target exists", code="target_exists", target=str(target)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Raw(io.FileIO):
    """A file whose errors name the target: those of the operating system name no file once it is open.

    Args:
        handle: of the open file; closed with it.
        target: what the user knows it by.
    """

    def __init__(self, handle: int, target: Path) -> None:
        super().__init__(handle, "w")
        self._target = target

    def write(self, data: Any, /) -> int:
        """Write, as the system does: maybe a part."""
        with _named(self._target):
            return super().write(data)


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    """Make errors of ours from those of the operating system."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ReadOnlyError("the file system is read-only", hint="choose another place", target=str(target)) from error
        raise os_failure(error, url=str(target)) from error


def _mode(path: Path) -> int | None:
    """Type and rights of what is at a path, behind any symbolic link; None where there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _put_in_place(temporary: Path, target: Path, *, force: bool) -> None:
    """Give a finished file its name and rights; without `force` a file that came to be meanwhile is kept."""
    if force and target.exists():
        before = target.stat()
        with contextlib.suppress(PermissionError):  # only the administrator gives files to others
            os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(stat.S_IMODE(before.st_mode))
    else:
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files
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
