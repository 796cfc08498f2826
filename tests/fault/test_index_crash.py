"""A process dies at any call it makes while it folds, merges or rebuilds, and no row is lost, doubled or stale.

Goal: whatever the moment, the next list says what the registers say, and the interrupted work can simply be done again.
Method: each operation runs once to learn its calls, then again for each of them and dies there, before or after the call took
effect. Afterwards lists are compared with the registers, then everything is folded, merged and compared again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import pytest

from snapstore.index import Index, IndexMissingWarning, RowFilter
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import CrashAt, at
from tests.unit.archives import World
from tests.unit.index.histories import GRAPHS, Story, listed, make_everything_small, timeless, truth

OPERATIONS: dict[str, Callable[[Index], object]] = {
    "first-fold": lambda index: index.refresh(),
    "fold": lambda index: index.refresh(),
    "compact": lambda index: index.compact(),
    "rebuild": lambda index: index.rebuild(),
    "rebuild-lost": lambda index: index.rebuild(),
    "fold-lost": lambda index: index.refresh(),
}

DEFAULT = ["first-fold", "fold", "compact"]
"""Those that are not left to the slow tests."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


@cache
def prepared(name: str) -> MemoryStorage:
    """An archive in the middle of its life; with nothing folded yet for a first fold."""
    world = World()
    story = Story(world.archive, 7)
    index = Index(world.memory, grace_s=0)
    for _ in range(4):
        for _ in range(6):
            story.change()
        if name != "first-fold":
            index.refresh()
    for _ in range(8):
        story.change()
    if name.endswith("lost"):
        world.memory.delete_many([info.key for info in world.memory.list("index/")])
    return world.memory


def copy_of(storage: MemoryStorage) -> MemoryStorage:
    copy = MemoryStorage()
    for info in storage.list(""):
        copy.put(info.key, storage.get(info.key).data)
    return copy


def calls_of(name: str) -> int:
    storage = CrashAt(copy_of(prepared(name)))
    storage.arm(None)
    OPERATIONS[name](Index(storage, grace_s=0))
    return len(storage.calls)


def check(storage: MemoryStorage, index: Index) -> None:
    for wanted in [RowFilter(), RowFilter(graph=GRAPHS[1], run="r0")]:
        assert timeless(listed(index, wanted)) == timeless(truth(storage, wanted)), wanted


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["before", "after"])
@pytest.mark.parametrize(
    "name", [*DEFAULT, *(pytest.param(name, marks=pytest.mark.slow) for name in OPERATIONS if name not in DEFAULT)]
)
def test_a_crash_at_any_call_changes_no_list(name: str, after: bool) -> None:
    count = calls_of(name)
    assert count > 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexMissingWarning)
        for number in range(count):
            storage = CrashAt(copy_of(prepared(name)))
            storage.arm(at(number), after=after)
            with pytest.raises(RuntimeError, match=r"the process (dies|is dead)"):
                OPERATIONS[name](Index(storage, grace_s=0))
            survivors = storage.inner
            assert isinstance(survivors, MemoryStorage)
            index = Index(survivors, grace_s=0)
            check(survivors, index)
            Story(open_on(survivors), number).change()
            check(survivors, index)
            index.compact()
            check(survivors, index)
            assert index.status().tail == 0


def test_what_a_crash_left_is_swept_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CrashAt(copy_of(prepared("fold")))
    storage.arm(lambda call: call.verb == "put_if")
    with pytest.raises(RuntimeError):
        Index(storage).refresh()
    survivors = storage.inner
    assert isinstance(survivors, MemoryStorage)
    index = Index(survivors, grace_s=0)
    assert left_behind(survivors, index) == 1
    index.compact()
    assert left_behind(survivors, index) == 1  # it may be on its way into a root
    real = survivors.now_ms
    monkeypatch.setattr(survivors, "now_ms", lambda: real() + 25 * 3_600_000)
    index.compact()
    assert left_behind(survivors, index) == 0
    check(survivors, index)


def left_behind(storage: MemoryStorage, index: Index) -> int:
    """Segments that the root does not name."""
    retired = index.status().retired
    return sum(1 for _ in storage.list("index/snapshots/")) - len(index.files()) - retired
