"""Tables that take longer to read than replaced segments stay.

Goal: a reading goes on when segments vanish under it: whatever stays as it is meanwhile, or changes in place, comes exactly
once, and nothing that was deleted before comes back.
Method: random histories, no grace period, everything small; whoever reads the batches folds, merges, rebuilds and changes the
archive between them. What came is compared with the registers.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from snapstore.errors import ConflictError, NotFoundError
from snapstore.format import names
from snapstore.format.register import Register
from snapstore.index import Index, IndexMissingWarning, Row, RowFilter
from snapstore.index import exact as exact_module
from snapstore.index.rows import Place, from_table
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Stored
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.archives import World
from tests.unit.index.histories import GRAPHS, Story, make_everything_small, timeless, truth

T = TypeVar("T")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)
    monkeypatch.setattr(exact_module, "ROWS_AT_ONCE", 3)


class Vanishing(WrappedStorage):
    """What a reader sees of a storage: counts segments that were gone when it came for them.

    Args:
        inner: the storage.
        before: called before each segment is read.
    """

    def __init__(self, inner: MemoryStorage, before: Callable[[], object] = lambda: None) -> None:
        super().__init__(inner)
        self.gone = 0
        self._before = before

    def get(self, key: str) -> Stored:
        return self._counted(key, lambda: self.inner.get(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._counted(key, lambda: self.inner.get_ranges(key, ranges))

    def _counted(self, key: str, call: Callable[[], T]) -> T:
        is_segment = key.endswith(".parquet")
        if is_segment:
            self._before()
        try:
            return call()
        except NotFoundError:
            self.gone += is_segment
            raise


class Upheaval:
    """An archive after many folds, whose last changes are not folded, and everything that may happen to it.

    Args:
        seed: the same archive and the same happenings for the same seed.
        changes: whether it is changed, too.

    Attributes:
        left: ids of snapshots that were deleted, or made again, or moved to another graph.
    """

    def __init__(self, seed: int, *, changes: bool) -> None:
        self.world = World()
        self.rng = random.Random(seed)
        self.index = Index(self.world.memory, grace_s=0)
        self._story = Story(self.world.archive, seed)
        self._changes = changes
        self._places: dict[str, Place] = {}
        self.left: set[str] = set()
        for _ in range(8):
            self.change()
            self.index.refresh()
        self.change()

    def change(self) -> None:
        for _ in range(10):
            self._story.change()
            self.left |= {row.id for row in self.registers().values() if row.deleted or self._places.get(row.id) != row.place}

    def watch(self) -> dict[str, Row]:
        """The registers there are now; ids of snapshots that leave their places from here on are collected in `left`."""
        rows = self.registers()
        self._places = {row.id: row.place for row in rows.values()}
        self.left.clear()
        return rows

    def happen(self) -> None:
        """Fold, merge, or make all segments anew, now and then; what was replaced is deleted at once."""
        if self.rng.random() < 0.6:
            return
        if self._changes and self.rng.random() < 0.7:
            self.change()
        kind = self.rng.choice(["fold", "compact", "rebuild"])
        if kind == "rebuild":
            self.index.rebuild()
        if kind == "fold":
            self.index.refresh()
        else:
            self.index.compact()

    def registers(self) -> dict[str, Row]:
        """The rows of all registers there are, tombstones included."""
        keys = [info.key for info in self.world.memory.list(names.SNAPSHOTS_PREFIX)]
        rows = [Row.of(Register.decode(self.world.memory.get(key).data)) for key in keys]
        return {row.id: row for row in rows}


def read(index: Index, graph: str | None, between: Callable[[], object]) -> list[Row]:
    """The rows of a table; something happens after each batch."""
    found: list[Row] = []
    for batch in index.table(graph).batches():
        found += from_table(batch)
        between()
    return found


def by_id(rows: list[Row]) -> list[Any]:
    return timeless(sorted(rows, key=lambda row: (row.id, row.graph)))


def test_every_row_comes_once_while_segments_are_replaced() -> None:
    """A reading that outlasted the grace period ended with "no such object" in the consumer's hands."""
    gone = 0
    for seed in range(3):
        upheaval = Upheaval(seed, changes=False)
        for graph in (None, GRAPHS[seed % len(GRAPHS)]):
            seen = Vanishing(upheaval.world.memory)
            rows = read(Index(seen), graph, upheaval.happen)
            assert by_id(rows) == by_id(truth(upheaval.world.memory, RowFilter(graph=graph)))
            gone += seen.gone
    assert gone > 3, "segments vanished under hardly any reading: this shows nothing"


@pytest.mark.slow
def test_what_is_left_alone_comes_once_while_all_else_changes() -> None:
    gone = changed = 0
    for seed in range(4):
        upheaval = Upheaval(seed, changes=True)
        before = upheaval.registers()
        seen = Vanishing(upheaval.world.memory)
        rows = read(Index(seen), None, upheaval.happen)
        after = upheaval.registers()
        times = Counter(row.id for row in rows)
        shown = {row.id: row for row in rows}
        for id, row in before.items():
            if row == after[id]:
                assert times[id] == (not row.deleted), id
                assert row.deleted or timeless([shown[id]]) == timeless([row])
            elif row.place == after[id].place and not row.deleted and not after[id].deleted:
                assert times[id] == 1, id
                changed += 1
        gone += seen.gone
    assert gone > 3
    assert changed > 5


def test_a_segment_that_is_really_missing_is_made_up_for_from_the_registers() -> None:
    upheaval = Upheaval(1, changes=False)
    index = Index(upheaval.world.memory)
    last = max(key for key in index.files() if "gb=new" not in key)
    with pytest.warns(IndexMissingWarning, match="snapstore index rebuild"):
        rows = read(index, None, lambda: upheaval.world.memory.delete_many([last]))
    assert by_id(rows) == by_id(truth(upheaval.world.memory, RowFilter()))


@pytest.mark.slow
def test_a_reader_that_never_gets_hold_of_a_segment_says_so() -> None:
    upheaval = Upheaval(1, changes=False)

    def replace_all() -> None:
        upheaval.index.rebuild()
        upheaval.index.compact()

    with pytest.raises(ConflictError) as raised:
        read(Index(Vanishing(upheaval.world.memory, replace_all)), None, lambda: None)
    assert raised.value.code == "index_busy"
