"""What the index says is what the registers say, whatever was folded, merged or rebuilt in between.

Goal: lists by graph, run, status and metadata, pages of them, and the whole table are exact at any moment; only heartbeats show
late.
Method: random histories in which few ids meet: they are rewritten, deleted, made again, and moved between graphs with odd
names. After every step each list is compared with one made from all registers. Clocks of writers are up to a day apart.
"""

from __future__ import annotations

import warnings
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snapstore import clock
from snapstore.format.index_current import IndexCurrent
from snapstore.history import commit
from snapstore.index import Index, IndexMissingWarning, RowFilter
from snapstore.index.generations import CURRENT_KEY, Generations
from snapstore.index.of_run import RunRows, row_of
from snapstore.index.rows import Row, from_table
from snapstore.index.segments import Segments
from snapstore.storage.memory import MemoryStorage
from tests.unit.archives import World
from tests.unit.index.histories import GRAPHS, RUNS, Story, listed, make_everything_small, timeless, truth

DAY_MS = 24 * 3_600_000

STEPS = ("change", "change", "change", "fold", "fold", "compact", "rebuild", "lose", "skew", "forget")


def filters(story: Story) -> list[RowFilter]:
    graph = story.rng.choice(GRAPHS)
    return [
        RowFilter(),
        RowFilter(graph=graph),
        RowFilter(graph=graph, run="r1"),
        RowFilter(graph=graph, status="running"),
        RowFilter(graph=graph, node="plan", metadata={"model": "large"}),
        RowFilter(metadata={"cost": 1}),
        RowFilter(metadata={"cost": True}),
    ]


def check(world: World, index: Index, story: Story) -> None:
    for wanted in filters(story):
        expected = truth(world.memory, wanted)
        assert timeless(listed(index, wanted)) == timeless(expected), wanted
        if expected:
            row = story.rng.choice(expected)
            span = RowFilter(graph=wanted.graph, since=row.created_at, until=row.created_at + 10)
            assert timeless(listed(index, span)) == timeless(truth(world.memory, span))
            page = RowFilter(graph=wanted.graph, run=wanted.run, after=(-row.created_at, row.id))
            assert timeless(listed(index, page, limit=3)) == timeless(truth(world.memory, page)[:3])
    for run in RUNS:
        expected = truth(world.memory, RowFilter(run=run))
        assert timeless([row_of(found) for found in index.of_run(run).walk(by_id=True)]) == timeless(expected)
        assert timeless([row_of(found) for found in index.of_run(run).walk(4, at_once=1, by_id=True)]) == timeless(expected[:4])
        one_by_one = RunRows(world.memory, Generations(MemoryStorage()), Segments(world.memory), run).leaves()
        assert timeless(map(row_of, index.of_run(run).leaves())) == timeless(map(row_of, one_by_one))
    for graph in (None, story.rng.choice(GRAPHS)):
        table = from_table(pa.table(index.table(graph)))
        assert by_id(table) == by_id(truth(world.memory, RowFilter(graph=graph)))


def by_id(rows: list[Row]) -> list[object]:
    return timeless(sorted(rows, key=lambda row: row.id))


def places_are_marked(world: World) -> None:
    """Rows of several segments meet only where all but one say so: engines rely on it to find old versions."""
    try:
        current = IndexCurrent.decode(world.memory.get(CURRENT_KEY).data)
    except LookupError:
        return
    unmarked = set()
    for file in current.files:
        for row in from_table(pa.parquet.read_table(pa.BufferReader(world.memory.get(file.key).data))):
            assert row.revises or (row.place not in unmarked and not row.deleted)
            if not row.revises:
                unmarked.add(row.place)


class SkewedClock:
    """The clock of a writer's machine; the storage has its own.

    Args:
        offset_ms: how far it is ahead.
    """

    def __init__(self, offset_ms: int) -> None:
        self._offset_ms = offset_ms

    def now_ms(self) -> int:
        return clock.now_ms() + self._offset_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(clock, name)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)


@pytest.mark.usefixtures("small")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32), st.lists(st.sampled_from(STEPS), min_size=5, max_size=40))
def test_every_list_is_what_the_registers_say(seed: int, steps: list[str]) -> None:
    world = World()
    story = Story(world.archive, seed)
    index = Index(world.memory, grace_s=0)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexMissingWarning)
        for step in steps:
            if step == "forget":
                index = Index(world.memory, grace_s=0)
            elif step == "skew":
                patch.setattr(commit, "clock", SkewedClock(story.rng.choice([-DAY_MS, 0, DAY_MS])))
                story.archive = world.cold()
            else:
                do(step, world, story, index)
            check(world, index, story)
            places_are_marked(world)


def do(step: str, world: World, story: Story, index: Index) -> None:
    if step == "change":
        for _ in range(story.rng.randrange(1, 8)):
            story.change()
    elif step == "fold":
        index.refresh()
    elif step == "compact":
        index.compact()
    elif step == "rebuild":
        index.rebuild()
    elif step == "lose":
        remove(world.memory, "index/")


def remove(storage: MemoryStorage, prefix: str) -> None:
    storage.delete_many([info.key for info in storage.list(prefix)])
