"""What the tests of faults share: states that exercise the tree, and a witness who checks what a storage still holds."""

from __future__ import annotations

import functools
import random
from typing import Any

from snapstore.archive import Archive
from snapstore.errors import NotFoundError
from snapstore.history.heads import EAGER_BYTES
from snapstore.opening import open_on
from snapstore.snapshot import Snapshot
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage


def messages(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Messages of an agent, about 300 bytes each, the same for the same seed."""
    drawn = random.Random(seed)
    return [{"role": "user", "content": f"{number} " + drawn.randbytes(140).hex(), "n": number} for number in range(count)]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal down to the types, dict order, signs of zero and NaN: what saving promises to keep."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return len(one) == len(other) and all(
            same(k, q) and same(v, w) for (k, v), (q, w) in zip(one.items(), other.items(), strict=True)
        )
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is float:
        return repr(one) == repr(other)
    return bool(one == other)


def copied(storage: Storage) -> MemoryStorage:
    """A storage with the same objects: what is left when every process is gone."""
    copy = MemoryStorage()
    for row in storage.list(""):
        copy.put(row.key, storage.get(row.key).data)
    return copy


def whole_or_absent(archive: Archive, id: str, allowed: list[Any]) -> Snapshot | None:
    """The snapshot if it is there and one of the allowed states, None if it is absent; anything else fails the test."""
    found = archive.get(id)
    if found is None:
        return None
    try:
        state = found.state()
    except NotFoundError:
        # A large snapshot is not looked into before it is read: then reading says that its save never finished.
        assert found.size_bytes > EAGER_BYTES
        return None
    assert any(same(state, one) for one in allowed), f"{id} is neither what was there nor what was being saved"
    return found


def check_walks(archive: Archive, run: str, known: dict[str, list[Any]], needed: set[str]) -> None:
    """Check what the walks of a run show.

    Args:
        archive: opened on what survived.
        run: the run.
        known: by id, the states that a snapshot may have; no other id may appear.
        needed: ids that the log must show.
    """
    logged = archive.log(run)
    leaves = archive.leaves(run)
    latest = archive.latest(run)
    for snapshot in [*logged, *leaves, *([latest] if latest is not None else [])]:
        assert any(same(snapshot.state(), one) for one in known[snapshot.id]), f"{snapshot.id} is shown with a wrong state"
    ids = [snapshot.id for snapshot in logged]
    assert len(set(ids)) == len(ids)
    assert needed <= set(ids)
    assert {leaf.id for leaf in leaves} <= set(ids)
    assert (latest.id if latest else None) == (ids[0] if ids else None)
    assert {row.id for row in archive.list(run=run)} == set(ids)


@functools.cache
def _empty() -> MemoryStorage:
    storage = MemoryStorage()
    open_on(storage, create=True)
    return storage


def empty() -> MemoryStorage:
    """A storage with an empty archive; the probe, which takes longer than most tests, runs once for all."""
    return copied(_empty())
