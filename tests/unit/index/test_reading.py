"""Reading through the index: what it asks of the storage, what it says when something is missing, and who else can read it.

Goal: a page of a graph is few requests in few round trips however large the archive is; an archive that lost its index, or a
machine without pyarrow, gets rows or a clear message and never an empty list; engines read the segments with no code of ours.
Method: metered archives in memory; the index folded in pieces; files removed; pyarrow hidden; DuckDB, Polars and pyarrow on the
folder of a local archive.
"""

from __future__ import annotations

import builtins
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pytest

import snapstore
from snapstore import clock
from snapstore.errors import FormatError, InvalidInputError, MissingExtraError
from snapstore.format import names
from snapstore.format.index_current import IndexCurrent, bucket_of
from snapstore.index import Index, IndexMissingWarning, IndexTailWarning, RowFilter, levels, segments, writing
from snapstore.index import arrow as arrow_module
from snapstore.index import tail as tail_module
from snapstore.index.generations import CURRENT_KEY
from snapstore.snapshot import Snapshot
from snapstore.storage.protocol import ObjectInfo, Storage
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.archives import World
from tests.unit.index.histories import GRAPHS, Story, listed, timeless, truth


def folded(world: World, folds: int = 6, saves: int = 10) -> Index:
    """Save and fold in turn, two graphs."""
    index = Index(world.memory)
    for fold in range(folds):
        for number in range(saves):
            world.archive.save({"n": number}, run=f"r{fold}", graph=("g", "h")[number % 2], id=f"{fold}-{number}")
        index.refresh()
    return index


# Requests -------------------------------------------------------------------------------------------------------------


def test_a_page_of_an_archive_that_was_never_folded_is_two_round_trips() -> None:
    world = World()
    for number in range(60):
        world.archive.save({"n": number}, run="r", graph="g")
    index = Index(world.meter)
    usage = world.cost(lambda: list(index.rows(RowFilter(graph="g"), limit=50)))
    # Listing and root; whether there was one, and the registers of the page.
    assert dict(usage.requests) == {"list": 1, "get": 2 + 50}
    assert usage.round_trips == 2


def test_a_page_of_folded_rows_is_root_listing_root_and_segments() -> None:
    world = World()
    folded(world)
    index = Index(world.meter)
    usage = world.cost(lambda: list(index.rows(RowFilter(graph="g"), limit=5)))
    assert usage.round_trips == 2
    assert usage.total <= 5
    again = world.cost(lambda: list(index.rows(RowFilter(graph="g"), limit=5)))
    assert dict(again.requests) == {"get": 2, "list": 1}  # segments never change: they are kept


def test_a_page_of_a_run_also_lists_the_run() -> None:
    world = World()
    folded(world)
    index = Index(world.meter)
    found: list[Any] = []
    usage = world.cost(lambda: found.extend(index.rows(RowFilter(graph="g", run="r1"), limit=50)))
    assert [row.id for row in found] == ["1-8", "1-6", "1-4", "1-2", "1-0"]
    assert usage.requests["list"] == 2
    assert usage.round_trips == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_page_of_a_thin_graph_is_few_requests_in_every_state_of_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph with a row here and there needs a piece of many segments: there is one of each level, not several.

    A hundredth of life: folds of 8 rows for 1,000, pages of 10 rows for 50; segments above 250 rows are read in parts.
    """
    monkeypatch.setattr(levels, "LEVEL_0_ROWS", 1)
    for module in (levels, writing):
        monkeypatch.setattr(module, "FULL_ROWS", 4096)
    monkeypatch.setattr(segments, "WHOLE_BYTES", 9500)
    world = World()
    index = Index(world.memory, grace_s=0)
    rng = random.Random(1)
    shares = (10, 20, 40, 80, 160, 320)
    for fold in range(320):
        for _ in range(8):
            thin = (f"one of {share}" for share in shares if rng.random() < 1 / share)
            world.archive.save({}, run="r", graph=next(thin, f"g{rng.randrange(30)}"))
        index.refresh()
        for share in shares if fold >= 256 else ():
            usage = world.cost(lambda share=share: listed(Index(world.meter), RowFilter(graph=f"one of {share}"), limit=10))  # type: ignore[misc]
            assert usage.total <= 12, (fold, share, usage)
            assert usage.round_trips <= 3, (fold, share, usage)


def test_rows_that_may_be_stale_need_no_listing() -> None:
    world = World()
    index = folded(world)
    world.archive.save({}, run="new", graph="g", id="new")
    metered = Index(world.meter)
    usage = world.cost(lambda: list(metered.rows(RowFilter(graph="g"), limit=5, max_staleness_s=60)))
    assert "list" not in usage.requests
    assert "new" not in {row.id for row in listed(index, RowFilter(graph="g"), max_staleness_s=60)}
    assert "new" in {row.id for row in listed(index, RowFilter(graph="g"))}
    assert "new" in {row.id for row in listed(index, RowFilter(graph="g"), max_staleness_s=-1)}


def test_folding_writes_one_segment_whatever_there_is() -> None:
    world = World()
    folded(world, folds=1, saves=150)
    world.archive.save({}, run="new", graph="g", id="new")
    index = Index(world.meter)
    usage = world.cost(index.refresh)
    assert usage.requests["put"] == 2  # the segment, and the note that markers get deleted
    assert usage.requests["put_if"] == 1
    assert usage.requests["delete_many"] == 1
    assert usage.bytes_written < 12_000


def test_a_fold_of_nothing_writes_nothing() -> None:
    world = World()
    folded(world)
    usage = world.cost(Index(world.meter).refresh)
    assert usage.writes == 0
    assert world.keys("changes/") == ["changes/=folded"]


def test_compacting_leaves_one_segment_per_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was split off the segments of all graphs stayed beside the merged ones: old versions lingered, queries were slow."""
    monkeypatch.setattr(levels, "LEVEL_0_ROWS", 4)
    monkeypatch.setattr(levels, "SPLIT_LEVEL", 2)  # from 12 rows on
    world = World()
    index = folded(world, folds=8)
    index.compact()
    files = IndexCurrent.decode(world.memory.get(CURRENT_KEY).data).files
    assert sorted(file.bucket for file in files) == sorted({bucket_of("g"), bucket_of("h")})
    assert [file.revised for file in files] == [0, 0]


def test_few_changes_can_be_left_for_later() -> None:
    world = World()
    for number in range(5):
        world.archive.save({"n": number}, run="r")
    assert Index(world.memory).refresh(at_least=6).rows == 0
    assert Index(world.memory).refresh(at_least=5).rows == 5


# Filters --------------------------------------------------------------------------------------------------------------


def test_metadata_is_filtered_by_value_and_kind() -> None:
    world = World()
    values: dict[str, Any] = {"int": 1, "float": 1.0, "true": True, "text": "1", "none": None, "other": 2, "list": [1]}
    for id, value in values.items():
        world.archive.save({}, run="r", id=id, metadata={"v": value, "nested": {"deep": [1, 2]}})
    world.archive.save({}, run="r", id="empty")
    for fold in (False, True):
        index = Index(world.memory)
        if fold:
            index.refresh()
        found = {id: {row.id for row in index.rows(RowFilter(metadata={"v": values[id]}))} for id in list(values)[:6]}
        assert found["int"] == found["float"] == {"int", "float"}
        assert found["true"] == {"true"}
        assert found["text"] == {"text"}
        assert found["none"] == {"none"}
        texts = {row.id: row.metadata for row in index.rows()}
        assert texts["list"] == '{"v":[1],"nested":{"deep":[1,2]}}'
        assert texts["empty"] == "{}"
    with pytest.raises(InvalidInputError, match="metadata is filtered by text"):
        RowFilter(metadata={"v": [1]})


# Missing things -------------------------------------------------------------------------------------------------------


def test_without_an_index_every_register_is_read_and_a_warning_says_what_to_run() -> None:
    world = World()
    index = folded(world)
    world.memory.delete_many(world.keys("index/"))
    for wanted in (RowFilter(graph="g"), RowFilter(), RowFilter(graph="g", run="r2")):
        with pytest.warns(IndexMissingWarning, match="snapstore index rebuild"):
            assert timeless(listed(index, wanted)) == timeless(truth(world.memory, wanted))
    with pytest.warns(IndexMissingWarning):
        assert pa.table(index.table()).num_rows == 60
    assert index.status().lost
    index.rebuild()
    assert not index.status().lost
    assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))


def test_a_fold_without_an_index_makes_the_whole_index_again() -> None:
    world = World()
    index = folded(world)
    world.memory.delete_many(world.keys("index/"))
    world.archive.save({}, run="r", graph="g", id="new")
    index.refresh()
    assert len(listed(index, RowFilter())) == 61


def test_missing_segments_are_noticed_too() -> None:
    world = World()
    world.memory.delete_many(folded(world).files()[:1])
    with pytest.warns(IndexMissingWarning):
        rows = list(Index(world.memory).rows())
    assert timeless(rows) == timeless(truth(world.memory, RowFilter()))
    Index(world.memory).rebuild()
    assert timeless(listed(Index(world.memory), RowFilter())) == timeless(rows)


def test_a_damaged_root_is_a_lost_index() -> None:
    world = World()
    folded(world)
    world.memory.put(CURRENT_KEY, b'{"kind":"index"}')
    index = Index(world.memory)
    assert index.status().lost
    with pytest.warns(IndexMissingWarning):
        assert timeless(listed(index, RowFilter(graph="g"))) == timeless(truth(world.memory, RowFilter(graph="g")))
    index.refresh()
    assert not index.status().lost
    assert timeless(listed(index, RowFilter())) == timeless(truth(world.memory, RowFilter()))


def test_a_root_of_a_later_format_is_refused() -> None:
    world = World()
    folded(world)
    world.memory.put(CURRENT_KEY, world.memory.get(CURRENT_KEY).data.replace(b'"format":1', b'"format":2'))
    with pytest.raises(FormatError) as raised:
        list(Index(world.memory).rows())
    assert raised.value.code == "newer_format"


@pytest.fixture
def no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which pyarrow is not installed."""
    real = builtins.__import__

    def importing(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", importing)
    arrow_module.arrow.cache_clear()
    yield
    arrow_module.arrow.cache_clear()


@pytest.mark.usefixtures("no_pyarrow")
def test_an_archive_that_was_never_folded_needs_no_pyarrow() -> None:
    world = World()
    world.archive.save({}, run="r", graph="g", id="x")
    index = Index(world.memory)
    assert [row.id for row in index.rows(RowFilter(graph="g"))] == ["x"]
    with pytest.raises(MissingExtraError) as raised:
        index.refresh()
    assert raised.value.hint == "pip install 'snapstore[index]'"
    assert [row.id for row in index.rows(RowFilter(graph="g"))] == ["x"]


def test_an_archive_with_an_index_says_that_it_needs_pyarrow(request: pytest.FixtureRequest) -> None:
    world = World()
    folded(world)
    request.getfixturevalue("no_pyarrow")
    with pytest.raises(MissingExtraError):
        list(Index(world.memory).rows(RowFilter(graph="g")))


def test_a_long_tail_answers_and_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for number in range(30):
        world.archive.save({"n": number}, run="r", graph="g")
    monkeypatch.setattr(tail_module, "LONG_TAIL", 20)
    with pytest.warns(IndexTailWarning, match="snapstore index compact"):
        assert len(listed(Index(world.memory), RowFilter(graph="g"), limit=5)) == 5
    Index(world.memory).compact()
    assert len(listed(Index(world.memory), RowFilter(graph="g"))) == 30


class EndlessTail(WrappedStorage):
    """Answers as if a million changes of one graph were not folded.

    Args:
        inner: holds the snapshots that the changes are of.
        snapshots: these.
    """

    def __init__(self, inner: Storage, snapshots: list[Snapshot]) -> None:
        super().__init__(inner)
        self.listed = 0
        self._snapshots = snapshots

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        if prefix != names.graph_prefix("g"):
            yield from self.inner.list(prefix, start_after=start_after, limit=limit)
            return
        for number in range(1_000_000):
            self.listed += 1
            snapshot = self._snapshots[min(number, len(self._snapshots) - 1)]
            yield ObjectInfo(names.change_key("g", snapshot.register.updated_at, f"{number:032x}", snapshot.id), 0, 0)


def test_a_page_counts_a_long_tail_once_and_says_what_to_run() -> None:
    """A page needs one page of markers only, so nobody who looked at the newest was ever told of a million behind them."""
    world = World()
    snapshots = [world.archive.save({"n": number}, run="r", graph="g") for number in range(60)]
    storage = EndlessTail(world.memory, snapshots[::-1])
    index = Index(storage)
    with pytest.warns(IndexTailWarning, match="more than 5000 changes .* run `snapstore index compact`"):
        first = listed(index, RowFilter(graph="g"), limit=50)
    assert [row.id for row in first] == [snapshot.id for snapshot in snapshots[:9:-1]]
    assert storage.listed <= 5_001
    storage.listed = 0
    again = listed(index, RowFilter(graph="g"), limit=50)  # a warning would be an error
    assert again == first
    assert storage.listed <= 1_001


def test_a_full_page_of_changes_is_counted_on_and_a_shorter_one_is_not() -> None:
    world = World()
    snapshot = world.archive.save({}, run="r", graph="g")

    def add(count: int) -> None:
        for _ in range(count):
            key = names.change_key("g", snapshot.register.updated_at, clock.random_hex(), snapshot.id)
            world.memory.put(key, b"")

    add(998)
    index = Index(world.meter)
    assert world.cost(lambda: listed(index, RowFilter(graph="g"), limit=50)).requests["list"] == 1
    add(1_500)
    assert world.cost(lambda: listed(index, RowFilter(graph="g"), limit=50)).requests["list"] == 3  # 2,499 changes: no warning
    usage = world.cost(lambda: listed(index, RowFilter(graph="g", since=snapshot.register.created_at + 1), limit=50))
    assert usage.requests["list"] == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_changes_that_are_not_folded_are_answered_with_a_warning() -> None:
    world = World()
    snapshots = [world.archive.save({"n": number}, run="r", graph="g", id=f"s{number}") for number in range(1000)]
    for number in range(1_000_000):
        register = snapshots[number % 1000].register
        world.memory.put(names.change_key("g", register.updated_at, f"{number:032x}", register.id), b"")
    with pytest.warns(IndexTailWarning, match="snapstore index compact"):
        assert len(listed(Index(world.memory), RowFilter(graph="g"))) == 1000
    with pytest.warns(IndexTailWarning, match="snapstore index compact"):
        assert len(listed(Index(world.memory), RowFilter())) == 1000
    with pytest.warns(IndexTailWarning, match="snapstore index compact"):
        assert len(listed(Index(world.memory), RowFilter(graph="g"), limit=50)) == 50


# Engines --------------------------------------------------------------------------------------------------------------


def test_engines_read_the_folder_with_no_code_of_ours(tmp_path: Path) -> None:
    with snapstore.open(tmp_path, create=True, durability="os") as archive:
        story = Story(archive, 3)
        index = Index(archive.storage, grace_s=0)
        for _ in range(5):
            for _ in range(25):
                story.change()
            index.refresh()
        expected = {row.id: (row.graph, row.status) for row in truth(archive.storage, RowFilter())}
    files = f"{tmp_path}/index/snapshots/**/*.parquet"
    newest = f"""
        SELECT id, graph, status, metadata['model'] AS model FROM read_parquet('{files}', hive_partitioning = true)
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY updated_at DESC, deleted) = 1 AND NOT deleted
    """
    rows = duckdb.connect().execute(newest).fetchall()
    assert {id: (graph, status) for id, graph, status, _ in rows} == expected
    assert {"large", None} <= {model for *_, model in rows}

    frame = polars.scan_parquet(files, hive_partitioning=True).sort(["updated_at", "deleted"], descending=[True, False])
    live = frame.unique("id", keep="first", maintain_order=True).filter(~polars.col("deleted")).collect()
    assert {row["id"]: (row["graph"], row["status"]) for row in live.to_dicts()} == expected

    dataset = pyarrow.dataset.dataset(tmp_path / "index" / "snapshots", partitioning="hive")
    table = dataset.to_table().sort_by([("updated_at", "descending"), ("deleted", "ascending")])
    first: dict[str, Any] = {}
    for row in table.to_pylist():
        first.setdefault(row["id"], row)
    assert {id: (row["graph"], row["status"]) for id, row in first.items() if not row["deleted"]} == expected


def test_the_table_is_read_by_engines_as_it_is() -> None:
    world = World()
    story = Story(world.archive, 5)
    index = Index(world.memory)
    for _ in range(3):
        for _ in range(20):
            story.change()
        index.refresh()
    for _ in range(10):
        story.change()
    expected = {row.id for row in truth(world.memory, RowFilter())}
    snapshots = index.table()  # noqa: F841 - DuckDB finds it by its name
    assert {id for (id,) in duckdb.connect().execute("SELECT id FROM snapshots").fetchall()} == expected
    assert set(polars.DataFrame(index.table())["id"]) == expected
    for graph in GRAPHS:
        ids = {row.id for row in truth(world.memory, RowFilter(graph=graph))}
        assert set(pa.table(index.table(graph))["id"].to_pylist()) == ids


def test_the_table_is_read_where_only_a_tombstone_is_folded_and_a_long_id_is_not() -> None:
    """A segment without a live row met a change whose marker holds only a digest: the table could not be read."""
    world = World()
    index = Index(world.memory)
    world.archive.save({}, run="r", graph="g", id="gone")
    world.archive.delete("gone")
    index.refresh()
    world.archive.save({}, run="r", graph="g", id="x" * 200)
    assert pa.table(index.table())["id"].to_pylist() == ["x" * 200]


def test_live_files_are_named_for_those_who_want_an_exact_view() -> None:
    world = World()
    index = folded(world)
    assert index.files()
    assert set(index.files()) <= set(world.keys("index/snapshots/"))
    index.compact()
    assert len(world.keys("index/snapshots/")) > len(index.files()) == 1  # what was merged stays for a day
    assert index.status().retired == len(world.keys("index/snapshots/")) - 1
    assert world.memory.get(CURRENT_KEY).data.startswith(b'{"files":[')
