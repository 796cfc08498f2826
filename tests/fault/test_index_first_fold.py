"""The very first fold of an archive falls between two looks of somebody who lists, reads, queries or folds.

Goal: an archive whose index has just been made is not taken for one that has lost its index. Those who did warned that it was
missing, and read or rebuilt everything from the registers.
Method: nobody has folded yet; right before somebody asks whether there ever was an index, another process folds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pytest

from snapstore.format import names
from snapstore.index import Index, IndexMissingWarning
from snapstore.index.generations import CURRENT_KEY, FOLDED_KEY
from snapstore.testing.faults import Call, FaultyStorage, on
from tests.unit.archives import World

T = TypeVar("T")

IDS = [f"s{number}" for number in range(5)]


class FoldedFirst(FaultyStorage):
    """Another process folds right before a picked call."""

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        """Fold elsewhere, then perform the call."""
        if picked:
            assert Index(self.inner).refresh().rows == len(IDS)
        return perform()


@pytest.fixture
def storage() -> FoldedFirst:
    world = World()
    for id in IDS:
        world.archive.save({}, run="r", graph="g", id=id)
    return FoldedFirst(world.memory, on("get", FOLDED_KEY))


READINGS: dict[str, Callable[[Index], list[Any]]] = {
    "list": lambda index: [row.id for row in index.rows()],
    "table": lambda index: pa.table(index.table())["id"].to_pylist(),
    "query": lambda index: [row["id"] for row in index.query("SELECT id FROM snapshots").rows()],
}


@pytest.mark.parametrize("name", READINGS)
def test_readers_see_everything_and_warn_of_nothing(storage: FoldedFirst, name: str) -> None:
    # Warnings are errors here, IndexMissingWarning among them.
    assert sorted(READINGS[name](Index(storage))) == IDS
    assert ("list", names.SNAPSHOTS_PREFIX) not in {(call.verb, call.key) for call in storage.calls}


def test_another_fold_makes_nothing_again(storage: FoldedFirst) -> None:
    index = Index(storage)
    index.refresh()
    assert index.status().folds == 1
    assert ("list", names.SNAPSHOTS_PREFIX) not in {(call.verb, call.key) for call in storage.calls}


def test_the_status_says_what_is_there(storage: FoldedFirst) -> None:
    assert not Index(storage).status().lost


@pytest.mark.parametrize("name", READINGS)
def test_an_index_that_is_really_gone_is_missed(storage: FoldedFirst, name: str) -> None:
    index = Index(storage)
    index.refresh()
    storage.inner.delete_many([CURRENT_KEY])
    with pytest.warns(IndexMissingWarning):
        assert sorted(READINGS[name](index)) == IDS
    assert index.status().lost
