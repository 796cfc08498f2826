"""The index on S3, from the first fold to the last rebuild: `scripts/test.py --s3 KIND` names the server, else ministack.

Goal: lists, logs, leaves, tables and queries say what the registers say at any age of the index, on a server that speaks S3; a
page of a graph is few requests in few round trips there.
Method: one archive with some hundred snapshots in five graphs with awkward names, held against its registers before, between
and after folding, merging, losing and rebuilding its index. Levels, row groups and pages are small, so that all of them come up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import NotFoundError
from snapstore.format.index_current import ALL_GRAPHS, IndexCurrent
from snapstore.index import IndexMissingWarning, Row
from snapstore.index.generations import CURRENT_KEY, Generation, Generations
from snapstore.index.rows import to_table
from snapstore.index.segments import WHOLE_BYTES
from snapstore.index.writing import SegmentOutput
from snapstore.storage.meter import Meter
from tests.e2e.index_histories import GRAPHS, History, Place, check, told
from tests.servers import Endpoint
from tests.unit.index.histories import make_everything_small

pytestmark = pytest.mark.timeout(300)  # a real server with its data on a disk takes ten times as long as an emulator

MADE_ROWS = 60_000
"""More than a segment may have that is fetched whole, so that footers and row groups are read."""


@pytest.fixture(scope="module")
def place(s3_endpoint: Endpoint) -> Place:
    return Place(s3_endpoint)


def lose_index(archive: Archive) -> None:
    archive.storage.delete_many([info.key for info in archive.storage.list("index/")])


def test_the_whole_life_of_an_index(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    make_everything_small(monkeypatch)
    with place.open() as archive:
        history = History(archive, 1)
        history.go_on(60)
        check(archive, told(archive.storage))
        for _ in range(2):
            assert archive.index.refresh().markers > 0
            history.go_on(30)
        rows = told(archive.storage)
        assert len(rows) > 60
        check(archive, rows)
        assert archive.index.compact().merges > 0
        assert archive.index.status().tail == 0
        check(archive, rows)
        history.go_on(20)
        lose_index(archive)
        assert archive.index.status().lost
        rows = told(archive.storage)
        check(archive, rows, lost=True)
        archive.index.rebuild()
        check(archive, rows)
    with place.open() as archive:  # as another process finds it
        lose_index(archive)
        archive.index.refresh()  # makes all of it again, since something was lost
        assert not archive.index.status().lost
        check(archive, rows)
        buckets = {key.split("/")[2] for key in archive.index.files()}
        assert len(buckets - {f"gb={ALL_GRAPHS}"}) > 1


def test_a_lost_index_is_told_on_s3_too(place: Place) -> None:
    with place.open("lost") as archive:
        for number in range(3):
            archive.save({"n": number}, run="r", graph="g", id=f"s{number}")
        archive.index.refresh()
        lose_index(archive)
        with pytest.warns(IndexMissingWarning, match="snapstore index rebuild"):
            assert [row.id for row in archive.list("g")] == ["s2", "s1", "s0"]


def test_a_writer_folds_by_itself(place: Place) -> None:
    with place.open("folds by itself", index_after=20) as archive:
        for number in range(50):
            archive.save({"n": number}, run="r", graph="g", id=f"s{number:02}")
    with place.open("folds by itself") as archive:
        status = archive.index.status()
        assert status.problem is None
        assert status.rows >= 20
        assert [row.id for row in archive.list("g")] == [f"s{number:02}" for number in reversed(range(50))]


def test_namespaces_have_an_index_each(place: Place) -> None:
    with place.open("tenant/7") as mine, place.open("tenant=8") as theirs:
        for number in range(6):
            mine.save({"n": number}, run="r", graph="g", id=f"s{number}", status="mine")
        theirs.save({}, run="r", graph="g", id="s0", status="theirs")
        mine.index.compact()
        assert [row.status for row in mine.list("g")] == ["mine"] * 6
        assert [row.status for row in theirs.list("g")] == ["theirs"]
        assert theirs.index.status().generation == 0
        with pytest.raises(NotFoundError):
            theirs.storage.get(CURRENT_KEY)
        theirs.index.compact()
        lose_index(mine)
        assert [*theirs.query("SELECT id, status FROM snapshots").rows()] == [{"id": "s0", "status": "theirs"}]
        mine.index.rebuild()
        assert [*mine.query("SELECT count(*) AS n FROM snapshots").rows()] == [{"n": 6}]


# Requests -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(place: Place) -> Iterator[Archive]:
    """An archive with a compacted index of 60,000 rows, the newest of which have registers and packs as well."""
    with place.open("large") as archive:
        output = SegmentOutput(archive.storage, 1, 1, by_bucket=False)
        output.write(to_table(made_rows(clock.now_ms() - 10 * MADE_ROWS)))
        root = IndexCurrent(files=tuple(output.close()), folds=1)
        assert Generations(archive.storage).publish(Generation(IndexCurrent(), None), root) is not None
        for number in range(120):
            archive.save({"n": number}, run=f"run {number % 2}", graph=GRAPHS[number % 2])
        archive.index.compact()
        status = archive.index.status()
        assert (status.files, status.tail, status.rows) == (1, 0, MADE_ROWS + 120)
        assert status.bytes > WHOLE_BYTES
        yield archive


def made_rows(start_ms: int) -> Iterator[Row]:
    """Rows of one millisecond after the other, of digests that do not compress, like real ones."""
    rng = random.Random(1)
    for number in range(MADE_ROWS):
        graph, moment, size = GRAPHS[number % 3], start_ms + number, rng.randrange(1_000_000)
        id, digest = rng.randbytes(16).hex(), rng.randbytes(32).hex()
        yield Row(id, f"made {number // 500}", graph, "plan", "completed", (), moment, moment, size, 900, digest, "{}", False, 1)


@pytest.mark.parametrize("run", [None, "run 1"], ids=["of a graph", "of a graph and run"])
def test_the_newest_page_of_a_large_index_is_few_requests(place: Place, large: Archive, run: str | None) -> None:
    with place.open("large", read_only=True, create=False) as opened:  # a handle that knows nothing
        meter = Meter(opened.storage)
        archive = Archive(meter, opened.config, read_only=True)
        page = [row.id for row in archive.list(GRAPHS[1], run, limit=50)]
        usage = meter.snapshot()
        assert page == [snapshot.id for snapshot in large.log("run 1", 50)]
        assert usage.total <= 12
        assert usage.round_trips <= 3
        assert usage.bytes_read < 3_000_000
