"""Second looks at an archive: other handles on it, what its storage holds, and what was read of it.

The suite is given archives and never opens one, so it makes further handles of the kind that it was given.
"""

# What refuses everything looks at nothing:
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, NoReturn

from snapstore.errors import ReadOnlyError
from snapstore.storage.protocol import BytesLike, Storage
from snapstore.storage.wrapper import WrappedStorage
from snapstore.testing.faults import FaultyStorage

__all__ = ["Refusing", "contents", "handle", "payload_reads", "recorded", "size_bytes", "together"]


def handle(archive: Any, storage: Storage | None = None, *, read_only: bool = False) -> Any:
    """Return another handle on the same archive, which knows nothing of what this one has seen.

    Args:
        archive: open.
        storage: a wrapper around the archive's storage; that storage itself when None.
        read_only: whether the handle refuses every write.
    """
    return type(archive)(archive.storage if storage is None else storage, archive.config, read_only=read_only)


def contents(archive: Any) -> dict[str, str]:
    """Return every object below an archive, namespaces included, with its version."""
    return {row.key: archive.storage.get(row.key).version for row in archive.storage.list("")}


def size_bytes(archive: Any) -> int:
    """Return how many bytes an archive takes."""
    return sum(row.size for row in archive.storage.list(""))


def recorded(storage: Storage) -> FaultyStorage:
    """Return a wrapper that does nothing but record the calls."""
    return FaultyStorage(storage)


def payload_reads(record: FaultyStorage) -> list[str]:
    """Return the packs that were read of."""
    reads = [call.key for call in record.calls if call.verb in {"get", "get_ranges"}]
    return [key for key in reads if key.startswith(("runs/", "packs/"))]


def together(calls: Sequence[Callable[[], Any]]) -> None:
    """Run calls in threads of their own that start at the same time, and raise what the first of them raised."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        barrier.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(run, call) for call in calls]:
            done.result()


class Refusing(WrappedStorage):
    """A storage that can only be read."""

    @property
    def read_only(self) -> bool:
        """Always."""
        return True

    def put(self, key: str, data: BytesLike) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError("the storage can only be read", key=key)

    def put_create(self, key: str, data: BytesLike) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError("the storage can only be read", key=key)

    def put_if(self, key: str, data: BytesLike, version: str) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError("the storage can only be read", key=key)

    def delete_many(self, keys: Iterable[str]) -> NoReturn:
        """Refuse."""
        raise ReadOnlyError("the storage can only be read", keys=[*keys])
