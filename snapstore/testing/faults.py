"""Storages that fail on purpose: wrap one around a storage to see what the code above makes of its failures.

Each wraps another storage and passes every call on, except those that it was told to spoil:

- `CrashAt`: the process dies at a call, before or after it took effect.
- `LoseResponse`: a call takes effect, and its answer gets lost.
- `Flaky`: a share of all calls fails for a passing reason, drawn from a seed.
- `Corrupt`: some objects are read with flipped bits or cut short.
- `Freeze`: a call stands still until somebody lets it go on.

```python
storage = CrashAt(MemoryStorage())
archive = open_on(storage, create=True)
storage.arm(at(2))                       # the third call from here is never made, and nothing after it
with pytest.raises(RuntimeError):
    archive.save({"n": 1}, run="r")
survivors = open_on(storage.inner)       # what another process finds
```

They know nothing of snapshots: the same faults can be put below any user of a storage.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from snapstore.errors import ConflictError, SnapstoreError, StorageError
from snapstore.storage.protocol import BytesLike, ObjectInfo, Storage, Stored
from snapstore.storage.ranges import cut
from snapstore.storage.wrapper import WrappedStorage

__all__ = [
    "WRITES",
    "Call",
    "Corrupt",
    "CrashAt",
    "FaultyStorage",
    "Flaky",
    "Freeze",
    "LoseResponse",
    "Picks",
    "at",
    "flip",
    "on",
    "truncate",
]

T = TypeVar("T")

WRITES: Final = frozenset(("put", "put_create", "put_if", "delete_many"))
"""The verbs that change what is stored."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a storage.

    Attributes:
        number: 0 for the first call since the storage was made or armed. Calls of one wave come in any order.
        verb: the method's name.
        key: the object; the prefix of a listing, the first key of a deletion.
    """

    number: int
    verb: str
    key: str

    @property
    def writes(self) -> bool:
        """Whether the call changes what is stored."""
        return self.verb in WRITES


Picks: TypeAlias = Callable[[Call], bool]
"""Decides whether a call is spoilt."""


def at(number: int) -> Picks:
    """Pick the call with this number."""
    return lambda call: call.number == number


def on(verb: str, pattern: str = "*", *, times: int = 1) -> Picks:
    """Pick calls of a verb whose key matches a shell pattern, the first `times` of them."""
    left = [times]

    def picks(call: Call) -> bool:
        if left[0] <= 0 or call.verb != verb or not fnmatch.fnmatchcase(call.key, pattern):
            return False
        left[0] -= 1
        return True

    return picks


class FaultyStorage(WrappedStorage):
    """Numbers the calls and hands each to `around`, which subclasses replace. Without one it only records.

    Attributes:
        calls: every call since the storage was made or armed, in the order of their numbers.
    """

    def __init__(self, inner: Storage, picks: Picks | None = None) -> None:
        super().__init__(inner)
        self.calls: list[Call] = []
        self._picks = picks
        self._lock = threading.Lock()

    def arm(self, picks: Picks | None) -> None:
        """Count from zero again and spoil what is picked from here on; None spoils nothing."""
        with self._lock:
            self.calls = []
            self._picks = picks

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:  # noqa: ARG002 - for subclasses
        """Perform a call, or fail instead, or both.

        Args:
            call: what is called.
            picked: whether it is to be spoilt.
            perform: makes the call.
        """
        return perform()

    def _call(self, verb: str, key: str, perform: Callable[[], T]) -> T:
        with self._lock:
            call = Call(len(self.calls), verb, key)
            self.calls.append(call)
            picked = self._picks is not None and self._picks(call)
        return self.around(call, picked, perform)

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        return self._call("get", key, lambda: self.inner.get(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        return self._call("get_ranges", key, lambda: self.inner.get_ranges(key, ranges))

    def put(self, key: str, data: BytesLike) -> str:
        """See `Storage.put`."""
        return self._call("put", key, lambda: self.inner.put(key, data))

    def put_create(self, key: str, data: BytesLike) -> str:
        """See `Storage.put_create`."""
        return self._call("put_create", key, lambda: self.inner.put_create(key, data))

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """See `Storage.put_if`."""
        return self._call("put_if", key, lambda: self.inner.put_if(key, data, version))

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`; one call, which is made when the first row is taken."""
        rows = self._call("list", prefix, lambda: [*self.inner.list(prefix, start_after=start_after, limit=limit)])
        yield from rows

    def delete_many(self, keys: Iterable[str]) -> None:
        """See `Storage.delete_many`."""
        listed = [*keys]
        self._call("delete_many", listed[0] if listed else "", lambda: self.inner.delete_many(listed))


class CrashAt(FaultyStorage):
    """The process dies at the picked calls: RuntimeError, and from then on every read fails as well.

    Writes that are under way beside a picked one still take effect, unless they are picked too: that is how some of the
    writes of one wave survive and others do not. The same write is never made a second time.

    Attributes:
        died: whether a picked call came.
    """

    def __init__(self, inner: Storage, picks: Picks | None = None, *, after: bool = False) -> None:
        super().__init__(inner, picks)
        self.died = False
        self._after = after
        self._made: set[tuple[str, str]] = set()

    def arm(self, picks: Picks | None, *, after: bool = False) -> None:
        """Count from zero again and die at what is picked.

        Args:
            picks: the calls to die at; picking everything from a number on lets nothing survive beside it.
            after: whether the picked calls still take effect.
        """
        super().arm(picks)
        self.died = False
        self._after = after
        self._made = set()

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Die, or be dead, or perform the call."""
        with self._lock:
            was_dead, self.died = self.died, self.died or picked
            again = (call.verb, call.key) in self._made
            self._made.add((call.verb, call.key))
        if was_dead and (again or not call.writes):
            raise RuntimeError(f"the process is dead at {call.verb} {call.key}")
        if not picked:
            return perform()
        if self._after and not was_dead:
            with contextlib.suppress(SnapstoreError):  # nobody lives to hear of it
                perform()
        raise RuntimeError(f"the process dies at {call.verb} {call.key}")


class LoseResponse(FaultyStorage):
    """The picked calls take effect, and the caller does not hear of it.

    Args:
        inner: the storage.
        picks: the calls whose answer gets lost.
        conflict: what the caller gets instead. False: a time-out, after which it must find out. True: a conflict, as from a
            client that repeats a write by itself after an error 500 and then meets its own write (412).
        meanwhile: called after the write took effect and before the caller gets its answer, such as a rival's write.
    """

    def __init__(
        self,
        inner: Storage,
        picks: Picks | None = None,
        *,
        conflict: bool = False,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(inner, picks)
        self.conflict = conflict
        self.meanwhile = meanwhile

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Perform the call and fail."""
        result = perform()
        if not picked:
            return result
        if self.meanwhile is not None:
            self.meanwhile()
        if self.conflict:
            code = "already_exists" if call.verb == "put_create" else "version_changed"
            raise ConflictError("the client met its own write", code=code, key=call.key)
        raise StorageError("the answer was lost", code="storage_timeout", retryable=True, key=call.key)


class Flaky(FaultyStorage):
    """A share of all calls fails with a passing error, half of them after they took effect.

    Args:
        inner: the storage.
        seed: calls with the same numbers fail under the same seed.
        rate: the share that fails, 0 to 1; may be changed at any time.
    """

    def __init__(self, inner: Storage, seed: int, rate: float = 0.1) -> None:
        super().__init__(inner, lambda call: _drawn(seed, call.number) < self.rate)
        self.rate = rate
        self._seed = seed

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Perform the call or not, and fail, if it was drawn."""
        if not picked:
            return perform()
        if _drawn(~self._seed, call.number) < 0.5:
            perform()
        raise StorageError("the server is overloaded", code="storage_unavailable", retryable=True, key=call.key)


class Corrupt(WrappedStorage):
    """Objects whose key matches a shell pattern are read damaged; writes go through unharmed.

    Args:
        inner: the storage.
        pattern: a shell pattern, such as `snapshots/*`.
        damage: from the bytes that are stored to those that are read; see `flip` and `truncate`.
    """

    def __init__(self, inner: Storage, pattern: str, damage: Callable[[bytes], bytes]) -> None:
        super().__init__(inner)
        self._pattern = pattern
        self._damage = damage

    def get(self, key: str) -> Stored:
        """See `Storage.get`."""
        stored = self.inner.get(key)
        return replace(stored, data=self._damage(stored.data)) if self._hits(key) else stored

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See `Storage.get_ranges`."""
        if self._hits(key):
            return cut(self._damage(self.inner.get(key).data), ranges, key)
        return self.inner.get_ranges(key, ranges)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """See `Storage.list`; sizes are those that are read."""
        for row in self.inner.list(prefix, start_after=start_after, limit=limit):
            yield replace(row, size=len(self.get(row.key).data)) if self._hits(row.key) else row

    def _hits(self, key: str) -> bool:
        return fnmatch.fnmatchcase(key, self._pattern)


def flip(bit: int) -> Callable[[bytes], bytes]:
    """Damage: the bit with this number is flipped, counted from the first byte's lowest; beyond the end nothing is."""

    def damage(data: bytes) -> bytes:
        if bit // 8 >= len(data):
            return data
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

    return damage


def truncate(size: int) -> Callable[[bytes], bytes]:
    """Damage: only the first `size` bytes are left; a negative number takes so many away from the end."""
    return lambda data: data[:size]


class Freeze(FaultyStorage):
    """The picked calls stand still before they take effect, as in a process that was stopped or a network that hangs.

    Attributes:
        reached: set once a picked call stands still.
    """

    def __init__(self, inner: Storage, picks: Picks | None = None, *, limit_s: float = 30.0) -> None:
        super().__init__(inner, picks)
        self.reached = threading.Event()
        self._go = threading.Event()
        self._limit_s = limit_s

    def release(self) -> None:
        """Let the calls that stand still go on, and no later one stand still."""
        self._go.set()

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Wait if the call was picked, then perform it."""
        if picked and not self._go.is_set():
            self.reached.set()
            if not self._go.wait(self._limit_s):
                raise StorageError("nobody let the call go on", code="storage_timeout", key=call.key)
        return perform()


def _drawn(seed: int, number: int) -> float:
    """A number from 0 to 1 that depends on nothing else, whatever the order of calls."""
    drawn = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=7).digest()
    return int.from_bytes(drawn) / 2**56
