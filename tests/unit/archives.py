"""Archives in memory and made states, for the unit tests: the same in every run, and quick to make."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from snapstore.archive import Archive
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.meter import Meter, Usage

State = dict[str, Any]


@cache
def _template() -> MemoryStorage:
    storage = MemoryStorage()
    open_on(storage, create=True)
    return storage


def filled(storage: MemoryStorage) -> MemoryStorage:
    """Put an archive that has been made and probed before into an empty storage: probing it again takes 30 ms."""
    for info in _template().list(""):
        storage.put(info.key, _template().get(info.key).data)
    return storage


class World:
    """One archive on a metered storage in memory.

    Attributes:
        memory: the objects.
        meter: what the handles talk to.
        archive: a handle on it.
    """

    def __init__(self, memory: MemoryStorage | None = None) -> None:
        self.memory = filled(memory if memory is not None else MemoryStorage())
        self.meter = Meter(self.memory)
        self.archive = self.cold()

    def cold(self) -> Archive:
        """Another handle, as another process would have it: it knows nothing yet."""
        archive = open_on(self.meter)
        self.meter.reset()
        return archive

    def cost(self, call: Callable[[], object]) -> Usage:
        """What a call asks of the storage."""
        self.meter.reset()
        call()
        return self.meter.reset()

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of all objects below a prefix."""
        return [info.key for info in self.memory.list(prefix)]

    def stored_bytes(self, prefix: str = "") -> int:
        """The size of all objects below a prefix."""
        return sum(info.size for info in self.memory.list(prefix))


def words(rng: random.Random, size: int) -> str:
    """A text of about `size` characters that compresses like prose does."""
    return " ".join(rng.choice(_WORDS) for _ in range(max(1, size // 6)))


def noise(rng: random.Random, size: int) -> str:
    """A text of `size` hex digits: every two compress to one byte and no further."""
    return rng.randbytes((size + 1) // 2).hex()[:size]


def message(index: int, size: int = 300, seed: int = 0) -> State:
    """A message of a conversation."""
    rng = random.Random(f"{seed}/{index}")
    return {"role": ("user", "assistant", "tool")[index % 3], "index": index, "content": noise(rng, size)}


def conversation(count: int, size: int = 300, seed: int = 0) -> State:
    """A state with so many messages and some small fields around them."""
    return {"agent": "support", "messages": [message(index, size, seed) for index in range(count)], "cost": 0.25}


_rng = random.Random(7)
_WORDS = ["".join(_rng.choices("abcdefghijklmnopqrstuvwxyz", k=_rng.randint(2, 9))) for _ in range(500)]
