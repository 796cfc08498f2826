"""A storage in a folder of a local or network file system, safe for many processes and against power loss.

Every write goes to a temporary file below `.snapstore/temporary` of the same folder, is fsynced, and then gets its name
in one step: `link()` for create (the kernel lets exactly one rival win), `rename()` for replace. Replacing and deleting
happen under an exclusive `flock` of one of 256 lock files, chosen by the key; lock files are never removed, since
removing one would let two processes lock two different files of the same name. The folders are fsynced before a write
returns.

The version of an object is the digest of its bytes. `durability="os"` leaves out every fsync: a crash of the process still
loses nothing, a crash of the machine may lose the last seconds.

Differs from an object store in one point: an object cannot lie below another one (`a` and `a/b`).
"""

# A Path costs 3 to 10 µs each time one is made or joined, and a save touches some thirty names here:
# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH112, PTH116, PTH120

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from snapstore import clock, digest
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError, SnapstoreError, StorageError
from snapstore.storage.faults import os_failure
from snapstore.storage.protocol import (
    RESERVED_SEGMENT,
    BytesLike,
    ObjectInfo,
    Stored,
    check_key,
    check_keys,
    check_prefix,
    is_key,
    object_truncated,
)

Durability = Literal["fsync", "os"]
_Move: TypeAlias = Callable[[str, str], None]

# How many writers of different keys can replace at the same time; one byte of the key's digest.
LOCK_FILES: Final = 256
# A temporary file this old was left by a process that died; a living one keeps its file for seconds.
STALE_TEMPORARY_MS: Final = 24 * 3600 * 1000
# link() is missing there: exFAT, some FUSE and SMB mounts. Linux says EPERM, others say so more plainly.
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
# A folder may be removed by `delete_many` between making it and linking into it; more often than this it is not chance.
_ATTEMPTS: Final = 20
_OPEN_TEMPORARY: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def check_durability(text: str) -> Durability:
    """Return the text if it names a durability.

    Raises:
        InvalidInputError: code `invalid_option`.
    """
    if text in {"fsync", "os"}:
        return cast("Durability", text)
    raise InvalidInputError("durability is 'fsync' or 'os'", code="invalid_option", durability=text)


class LocalStorage:
    """Objects as files below a folder.

    Args:
        root: The folder. It must exist unless `create` is given; `~` is expanded.
        durability: "fsync" survives power loss, "os" only the death of the process.
        read_only: Refuse every write, and write nothing at all into the folder.
        create: Make the folder, and those above it, when it is missing.
        timeout_s: How long to wait for a rival that holds a lock, in seconds.

    Raises:
        NotFoundError: code `archive_not_found`, when the folder does not exist.
        StorageError: code `not_a_folder`, `permission_denied`.
    """

    # One kernel decides all races here, and each write costs an fsync: less to find out, at a higher price.
    probe_rounds = 2

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: Durability = "fsync",
        read_only: bool = False,
        create: bool = False,
        timeout_s: float = 60.0,
    ) -> None:
        check_durability(durability)
        self._root = str(Path(root).expanduser().absolute())
        self.url = self._root
        self.endpoint = "file://"
        self.read_only = read_only
        self._fsync = durability == "fsync"
        self._timeout_s = timeout_s
        self._own = f"{self._root}/{RESERVED_SEGMENT}"
        self._prepared = False
        # Folders whose entry in the folder above is known to be on disk.
        self._durable_folders = {self._root}
        try:
            if create and not read_only:
                Path(self._root).mkdir(parents=True, exist_ok=True)
                self._sync_folder(os.path.dirname(self._root))
            with os.scandir(self._root):
                pass
        except FileNotFoundError:
            raise NotFoundError(
                "no such folder",
                code="archive_not_found",
                hint="make it with `snapstore init PATH` or snapstore.open(path, create=True)",
                url=self.url,
            ) from None
        except OSError as error:
            raise os_failure(error, url=self.url) from error

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        path = self._path(key)
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise self._read_failure(error, key) from error
        return Stored(data, digest.digest_hex(data))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        path = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(file).st_size
                return [_read_range(file, size, key, start, length) for start, length in ranges]
            finally:
                os.close(file)
        except OSError as error:
            raise self._read_failure(error, key) from error

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        target = self._path(key)
        if not len(data) and self._put_empty(target, key):
            return digest.digest_hex(data)
        with self._failures(key), self._temporary(data) as temporary:
            with self._locked(key):
                self._into_place(temporary, target, os.rename)
            self._sync_folder(os.path.dirname(target))
        return digest.digest_hex(data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        target = self._path(key)
        with self._failures(key), self._temporary(data) as temporary:
            try:
                self._create(temporary, target, key)
            except FileExistsError:
                if Path(target).is_dir():
                    raise IsADirectoryError(errno.EISDIR, "Is a directory") from None
                raise ConflictError("an object of this name exists already", code="already_exists", key=key) from None
            self._sync_folder(os.path.dirname(target))
        return digest.digest_hex(data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        target = self._path(key)
        with self._failures(key), self._temporary(data) as temporary:
            with self._locked(key):
                try:
                    current = digest.digest_hex(Path(target).read_bytes())
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    current = ""
                if current != version or not version:
                    raise ConflictError("the object changed since it was read", code="version_changed", key=key)
                os.rename(temporary, target)
            self._sync_folder(os.path.dirname(target))
        return digest.digest_hex(data)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        check_prefix(prefix)
        return islice(self._walk(prefix, start_after), limit)

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`. Folders that become empty go too."""
        checked = check_keys(keys)
        self._check_writable()
        folders: dict[str, None] = {}
        for key in checked:
            with self._failures(key):
                self._prepare()
                path = self._path(key)
                with self._locked(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(path)
                    folders[os.path.dirname(path)] = None
        for folder in folders:
            with self._failures(None):
                self._remove_empty(folder)

    def now_ms(self) -> int:
        """See `Storage.now_ms`: the time that the file system gives to a new file; when read-only, this machine's."""
        if self.read_only:
            return clock.now_ms()
        with self._failures(None), self._temporary(b"") as temporary:
            return os.stat(temporary).st_mtime_ns // 1_000_000

    def close(self) -> None:
        """See `Storage.close`. No file stays open between calls."""

    # ------------------------------------------------------------------------------------------- writing

    @contextlib.contextmanager
    def _temporary(self, data: BytesLike) -> Iterator[str]:
        """Give the name of a new file with these bytes, fsynced; whatever still has that name at the end is removed."""
        self._prepare()
        path = f"{self._own}/temporary/{clock.random_hex()}"
        try:
            file = os.open(path, _OPEN_TEMPORARY, 0o666)
            try:
                left = memoryview(data).cast("B")
                while left:
                    left = left[os.write(file, left) :]
                if self._fsync:
                    _flush(file)
            finally:
                os.close(file)
            yield path
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _put_empty(self, target: str, key: str) -> bool:
        """Make an empty object, which cannot be seen half-written: its name is all it is. False when there is one already."""
        with self._failures(key):
            self._prepare()
            try:
                self._into_place("", target, _touch)
            except FileExistsError:
                return False
            self._sync_folder(os.path.dirname(target))
        return True

    def _create(self, temporary: str, target: str, key: str) -> None:
        try:
            self._into_place(temporary, target, os.link)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # No hard links here. Every create takes this way then, so that the lock decides alone.
            with self._locked(key):
                if os.path.lexists(target):
                    raise FileExistsError(errno.EEXIST, "File exists") from None
                self._into_place(temporary, target, os.rename)

    def _into_place(self, temporary: str, target: str, move: _Move) -> None:
        """Give a file its name, making the folders above it; again when somebody removes an empty one in between."""
        folder = os.path.dirname(target)
        for attempt in range(_ATTEMPTS):
            try:
                self._make_folder(folder)
                move(temporary, target)
            except FileNotFoundError:
                if attempt + 1 == _ATTEMPTS or not os.path.isdir(self._root):
                    raise
                self._durable_folders.intersection_update({self._root})
            else:
                return

    def _make_folder(self, folder: str) -> None:
        if folder in self._durable_folders:
            return
        above = os.path.dirname(folder)
        self._make_folder(above)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        # Also when another process has made it: it may die before it writes the entry to disk.
        self._sync_folder(above)
        self._durable_folders.add(folder)

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder if it is empty, then those above it, up to the root; fsync the first that stays."""
        while folder != self._root:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError:
                break
            self._durable_folders.discard(folder)
            folder = os.path.dirname(folder)
        self._sync_folder(folder)

    def _sync_folder(self, folder: str) -> None:
        if not self._fsync:
            return
        try:
            file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # removed meanwhile, so nothing in it needs to last
        try:
            _flush(file)
        finally:
            os.close(file)

    def _prepare(self) -> None:
        """Make our own folder before the first write of this handle, and sweep out what dead processes left."""
        self._check_writable()
        if self._prepared:
            return
        for name in ("", "/temporary", "/locks"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._own + name)
        with os.scandir(f"{self._own}/temporary") as entries:
            left = [*entries]
        if left:
            # By the clock of the file system, which may be another machine's: what is being written there looks young.
            stale_before_ns = self._file_time_ns() - STALE_TEMPORARY_MS * 1_000_000
            for entry in left:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime_ns < stale_before_ns:
                        os.unlink(entry.path)
        self._prepared = True

    def _file_time_ns(self) -> int:
        """The time that a file written now gets."""
        path = f"{self._own}/temporary/{clock.random_hex()}"
        file = os.open(path, _OPEN_TEMPORARY, 0o666)
        try:
            return os.fstat(file).st_mtime_ns
        finally:
            os.close(file)
            os.unlink(path)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Hold the lock that stands for a key, against other threads and processes; on NFS also of other machines.

        The file is opened anew each time: a forked child would share the lock of an open one.
        """
        slot = digest.digest(key.encode())[0] % LOCK_FILES
        file = os.open(f"{self._own}/locks/{slot:02x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock(file, key)
            yield
        finally:
            os.close(file)

    def _lock(self, file: int, key: str) -> None:
        # Asked again and again rather than waited for: flock has no time-out, and a stopped rival must not stop us too.
        deadline_s = clock.monotonic_s() + self._timeout_s
        pause_s = 0.0002  # a lock is held for about 0.1 ms: compare and rename, no fsync
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if clock.monotonic_s() > deadline_s:
                    raise StorageError(
                        "another process holds the lock of this object",
                        code="storage_timeout",
                        retryable=True,
                        hint="look for a stopped process that uses this archive",
                        key=key,
                        url=self.url,
                    ) from None
                clock.sleep(pause_s * clock.jitter(0.5, 1.5))
                pause_s = min(pause_s * 2, 0.02)
            else:
                return

    # ------------------------------------------------------------------------------------------- reading

    def _walk(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """Yield objects in byte order of keys. A folder sorts as its name with `/`, which is how its members sort."""
        with self._failures(None):
            try:
                with os.scandir(f"{self._root}/{prefix}") as entries:
                    found = sorted((entry.name + "/" * entry.is_dir(), entry) for entry in entries)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return
        for name, entry in found:
            key = prefix + name
            if name.endswith("/"):
                # Everything below is smaller than start_after, unless start_after itself lies below.
                passed = key < start_after and not start_after.startswith(key)
                if not passed and is_key(key[:-1]):
                    yield from self._walk(key, start_after)
            elif key > start_after and is_key(key):
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                yield ObjectInfo(key, status.st_size, status.st_mtime_ns // 1_000_000)

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _read_failure(self, error: OSError, key: str) -> SnapstoreError:
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            try:
                self._check_root()
            except StorageError as gone:
                return gone
            return NotFoundError("no such object", code="object_not_found", key=key)
        return os_failure(error, url=self.url, key=key)

    def _check_root(self) -> None:
        """Tell a missing object from a missing archive: an unmounted disk must not look like an empty archive."""
        if not os.path.isdir(self._root):
            raise StorageError(
                "the archive's folder is gone",
                code="folder_gone",
                hint="was a disk unmounted or the folder moved?",
                url=self.url,
            )

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError("this storage was opened for reading only", url=self.url)

    @contextlib.contextmanager
    def _failures(self, key: str | None) -> Iterator[None]:
        """Turn errors of the operating system into ours."""
        try:
            yield
        except FileNotFoundError as error:
            self._check_root()
            raise os_failure(error, url=self.url, key=key) from error
        except OSError as error:
            raise os_failure(error, url=self.url, key=key) from error


def _read_range(file: int, size: int, key: str, start: int, length: int) -> bytes:
    if length < 0:
        raise InvalidInputError("a range has a negative length", code="invalid_range", start=start, length=length)
    if start < 0:
        start = max(0, size - length)
        length = size - start
    if length == 0:
        return b""
    if start + length > size:
        raise object_truncated(key, wanted=start + length, size=size)
    data = os.pread(file, length, start)
    while len(data) < length:  # one call reads at most 2 GiB
        more = os.pread(file, length - len(data), start + len(data))
        if not more:
            raise object_truncated(key, wanted=start + length, size=start + len(data))
        data += more
    return data


def _touch(_temporary: str, target: str) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


def _flush(file: int) -> None:
    """Wait until a file or folder is on disk. On macOS fsync stops at the drive's cache, F_FULLFSYNC does not."""
    full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is None:
        os.fsync(file)
    else:
        fcntl.fcntl(file, full_sync)
