"""The Parquet index at ten million rows: lists, folding, queries, bytes per row; and rebuilding it from registers."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import snapstore
from benchmarks.measure import Spent, forget_peak, in_child, peak_bytes, spending
from benchmarks.report import Row, at_least, at_most, limit, skipped
from benchmarks.subject import costs, open_metered
from snapstore.archive import Archive
from snapstore.storage.meter import Meter, Usage
from snapstore.storage.protocol import BytesLike, Storage
from snapstore.storage.wrapper import WrappedStorage

ROWS, QUICK_ROWS = 10_000_000, 1_000_000

FOLD_ROWS = 1_000

# Number of the first row that is folded onto the made ones: behind them in time.
FOLDS_START = 20_000_000

# Two to the seventh: so many folds of 1,000 go through every merge below the buckets as often as it comes up, once for the
# largest. Merges above are counted while the index is made. The quick number does not come across the largest two.
FOLDS, QUICK_FOLDS = 128, 32

# Folds follow one another at once here. In life minutes lie between them, and only changes that a fold may have listed
# before, by clocks that are seconds apart, are taken for possible repetitions.
BEHIND_MS = 60_000

# Graphs of the made history: an eighth of all rows, one in the middle, and one of the smallest.
GRAPHS = {"largest graph": "graph-1", "middling graph": "graph-40", "small graph": "graph-199"}

PAGE = 50
REPEATS = 15
QUERY_REPEATS = 5

# Changes that wait for the next fold, in all graphs; the writer folds after 2,000.
TAIL = 200

# Folds on top of a compacted index, and how many snapshots of the one before each rewrites besides.
TOP_FOLDS = 5
REWRITTEN = 100

# Peak memory is compared with that of a third. The index is rebuilt in batches of 30,000 rows, which are merged every two of
# them: both numbers go through several of both; the quick ones do not.
REGISTERS, QUICK_REGISTERS = 450_000, 25_000

QUERY = "SELECT graph, count(*) AS n, sum(stored_bytes) AS stored FROM {} GROUP BY graph ORDER BY graph"

NEEDS = ("pyarrow", "duckdb")


class Folders(WrappedStorage):
    """Adds up the bytes written to the segments of all graphs, to those of buckets of graphs, and to the root.

    Its clock is behind, see `BEHIND_MS`.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.written: Counter[str] = Counter()

    def now_ms(self) -> int:
        """The time a while ago, as if the last fold had been then."""
        return self.inner.now_ms() - BEHIND_MS

    def put(self, key: str, data: BytesLike) -> str:
        """Add the bytes of a segment."""
        self._add(key, data)
        return self.inner.put(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """Add the bytes of the root."""
        self._add(key, data)
        return self.inner.put_create(key, data)

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        """Add the bytes of the root."""
        self._add(key, data)
        return self.inner.put_if(key, data, version)

    def _add(self, key: str, data: BytesLike) -> None:
        kind = "root" if key == "index/CURRENT" else "all graphs" if "/gb=new/" in key else "buckets"
        self.written[kind] += data.nbytes if isinstance(data, memoryview) else len(data)


def archive_url(folder: str) -> str:
    """Return where the archive of the made index lies."""
    return str(Path(folder) / "archive")


# Children ---------------------------------------------------------------------------------------------------


def build(folder: str, rows: int) -> dict[str, Any]:
    """Make the index; runs in a child."""
    from benchmarks.index_rows import CHUNK_ROWS, fill, list_run
    from snapstore.index.rows import from_table

    archive = snapstore.open(archive_url(folder), create=True, durability="os", index_after=None)
    counted = Folders(archive.storage)
    current = fill(counted, rows + CHUNK_ROWS)  # a chunk more, since only whole ones are made
    sizes = Counter[str]()
    for file in current.files:
        sizes["all graphs" if file.bucket == "new" else "buckets"] += file.size
    runs = {"a recent run": (rows - 80_000) // 40_000, "an old run": rows // 80_000}
    for block in runs.values():
        list_run(archive.storage, from_table(_rows_of_run(folder, archive.index.files(), f"run-1-{block}-3")))
    archive.close()
    return {
        "rows": sum(file.rows for file in current.files),
        "bytes": sum(sizes.values()),
        "files": len(current.files),
        "bucket_writes": counted.written["buckets"] / sizes["buckets"],
        "runs": {name: f"run-1-{block}-3" for name, block in runs.items()},
    }


def _rows_of_run(folder: str, keys: list[str], run: str) -> Any:
    import pyarrow.dataset as ds

    from snapstore.index.arrow import schema

    table = ds.dataset([f"{archive_url(folder)}/{key}" for key in keys], schema=schema()).to_table(filter=ds.field("run") == run)
    assert table.num_rows >= PAGE, run
    return table


def lists(folder: str, wanted: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """List pages with a handle that knows nothing, with one that has listed before, and with pyarrow; runs in a child."""
    from benchmarks import index_registers

    archive, meter = open_metered(archive_url(folder))
    found: dict[str, Any] = {}
    for name, filters in wanted.items():
        cold = _cold(folder, filters)
        listed = [*archive.list(limit=PAGE, **filters)]
        assert len(listed) == PAGE
        meter.reset()
        warm = _best(lambda filters=filters: [*archive.list(limit=PAGE, **filters)], REPEATS)  # type: ignore[misc]
        usage = meter.reset()
        base = _newest_row_groups(archive, folder, filters["graph"])
        found[name] = {**base, "warm_s": warm.cpu_s, "costs": costs(usage, warm.cpu_s * REPEATS, REPEATS), "cold": cold}
    changes = index_registers.save(archive.storage, FOLDS_START, TAIL)
    for name, filters in wanted.items():
        if "run" not in filters:
            found[name]["tail"] = _cold(folder, filters)
    index_registers.forget(archive.storage, changes)
    return found


def _cold(folder: str, filters: dict[str, Any]) -> dict[str, Any]:
    archive, meter = open_metered(archive_url(folder))
    meter.reset()
    with spending() as spent:
        listed = [*archive.list(limit=PAGE, **filters)]
    usage = meter.reset()
    assert len(listed) == PAGE
    return {"requests": sum(usage.requests.values()), "round_trips": usage.round_trips, "costs": costs(usage, spent.cpu_s, 1)}


def _newest_row_groups(archive: Any, folder: str, graph: str) -> dict[str, float]:
    """Read the newest row groups of a graph that hold a page, from the largest file of its bucket, as one does who knows it."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from snapstore.format.index_current import bucket_of

    paths = [Path(archive_url(folder)) / key for key in archive.index.files() if f"/gb={bucket_of(graph)}/" in key]
    path = max(paths, key=lambda path: path.stat().st_size)
    kept = pq.ParquetFile(path)
    column = kept.schema_arrow.names.index("graph")
    known: list[int] = []
    rows = 0
    for number in range(kept.num_row_groups):
        told = kept.metadata.row_group(number).column(column).statistics
        if told.min <= graph <= told.max and rows < PAGE:
            rows += pc.sum(pc.equal(kept.read_row_group(number, columns=["graph"])["graph"], graph)).as_py()
            known.append(number)
    assert rows >= PAGE, graph
    return {
        "open_s": _best(lambda: pq.ParquetFile(path).read_row_groups(known, use_threads=False), REPEATS).cpu_s,
        "kept_s": _best(lambda: kept.read_row_groups(known, use_threads=False), REPEATS).cpu_s,
    }


def folds(folder: str, count: int) -> dict[str, Any]:
    """Fold 1,000 new snapshots so many times; runs in a child."""
    from benchmarks import index_registers

    archive, meter, counted = _open_for_folds(folder)
    cpu_s, merges = 0.0, 0
    forget_peak()
    for number in range(count):
        index_registers.save(counted.inner, FOLDS_START + number * FOLD_ROWS, FOLD_ROWS)
        with spending() as spent:
            merges += archive.index.refresh().compacted.merges
        cpu_s += spent.cpu_s
    usage = meter.reset()
    root = (Path(archive_url(folder)) / "index" / "CURRENT").stat().st_size
    return {
        "written": dict(counted.written),
        "merges": merges,
        "root_bytes": root,
        "cpu_s": cpu_s / count,
        "requests": sum(usage.requests.values()) / count,
        "bytes_read": usage.bytes_read / count,
        "bytes_written": usage.bytes_written / count,
    }


def compact(folder: str) -> dict[str, Any]:
    """Merge everything; runs in a child."""
    archive, meter, _ = _open_for_folds(folder)
    with spending() as spent:
        done = archive.index.compact()
    status = archive.index.status()
    return {"rows": status.rows, "bytes": status.bytes, "merged": done.rows, "costs": _costs(meter.reset(), spent.cpu_s)}


def fold_on_top(folder: str) -> dict[str, Any]:
    """Fold a few times onto a compacted index, some older snapshots changed each time; runs in a child."""
    from benchmarks import index_registers

    archive, _, counted = _open_for_folds(folder)
    start = FOLDS_START + 1_000_000
    before: list[Any] = []
    for number in range(TOP_FOLDS):
        index_registers.rewrite(counted.inner, before[:REWRITTEN])
        before = index_registers.save(counted.inner, start + number * FOLD_ROWS, FOLD_ROWS)
        archive.index.refresh()
    return {}


def wait_on_top(folder: str) -> dict[str, Any]:
    """Leave changes unfolded; runs in a child."""
    from benchmarks import index_registers

    index_registers.save(_open_for_folds(folder)[2].inner, FOLDS_START + 2_000_000, TAIL)
    return {}


def _open_for_folds(folder: str) -> tuple[Archive, Meter, Folders]:
    """Open the archive with a meter; without fsync, of which this machine's disk and not the index would be measured."""
    opened = snapstore.open(archive_url(folder), create=True, durability="os", index_after=None)
    counted = Folders(opened.storage)
    meter = Meter(counted)
    return Archive(meter, opened.config), meter, counted


def query(folder: str) -> dict[str, Any]:
    """Group all rows by graph, through the archive and with DuckDB on the same files; runs in a child."""
    import duckdb

    archive = snapstore.open(archive_url(folder), index_after=None)
    files = [f"{archive_url(folder)}/{key}" for key in archive.index.files()]
    settings = "SET TimeZone = 'UTC'"

    def ours() -> int:
        return sum(row["n"] for row in archive.query(QUERY.format("snapshots")).rows())

    def theirs() -> int:
        connection = duckdb.connect()
        connection.execute(settings)
        rows = connection.sql(QUERY.format(f"read_parquet({files!r}, hive_partitioning = false)")).fetchall()
        return sum(count for _, count, _ in rows)

    counts = ours(), theirs()
    base = _best(theirs, QUERY_REPEATS)
    forget_peak()
    mine = _best(ours, QUERY_REPEATS if base.cpu_s < 1 else 1)
    return {
        "ours_s": mine.cpu_s,
        "ours_wall_s": mine.wall_s,
        "base_s": base.cpu_s,
        "base_wall_s": base.wall_s,
        "rows": counts[0],
        "stored_rows": counts[1],
        "peak_mb": round(peak_bytes() / 1e6, 1),
    }


def save_registers(folder: str, start: int, count: int) -> dict[str, Any]:
    """Write registers whose index is lost; runs in a child."""
    from benchmarks import index_registers

    archive, _, counted = _open_for_folds(folder)
    for first in range(start, start + count, FOLD_ROWS):
        index_registers.save(counted.inner, first, min(FOLD_ROWS, start + count - first), marked=False)
    archive.close()
    return {}


def rebuild(folder: str) -> dict[str, Any]:
    """Make the index anew; runs in a child."""
    archive, meter, _ = _open_for_folds(folder)
    with spending() as spent:
        done = archive.index.rebuild()
    assert done.rows == done.snapshots
    return {"snapshots": done.snapshots, "costs": _costs(meter.reset(), spent.cpu_s)}


def _costs(usage: Usage, cpu_s: float) -> dict[str, float]:
    return {
        "requests": usage.total,
        "bytes_read": usage.bytes_read,
        "bytes_written": usage.bytes_written,
        "cpu_s": cpu_s,
    }


def _best(call: Callable[[], object], times: int) -> Spent:
    """The least CPU time and the least wall time of several calls."""
    found = []
    for _ in range(times):
        with spending() as spent:
            call()
        found.append(spent)
    return Spent(min(one.cpu_s for one in found), min(one.wall_s for one in found))


# Rows -------------------------------------------------------------------------------------------------------


def rows(quick: bool) -> list[Row]:
    """Return the figures of the index."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        return [skipped("index", f"not installed: {', '.join(missing)}")]
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        built = in_child("case_index:build", folder=folder, rows=QUICK_ROWS if quick else ROWS)
        name = f"index of {built['rows'] / 1e6:.1f} M rows"
        found = [_size_row(f"{name}: bytes per row", built)]
        found += _list_rows(name, folder, built)
        found += _fold_rows(name, folder, built, QUICK_FOLDS if quick else FOLDS)
        found.append(_query_row(f"{name}: group by graph, as folds leave it", folder))
        found += _compact_rows(name, folder)
        found.append(_query_row(f"{name}: group by graph, compacted", folder))
        in_child("case_index:fold_on_top", folder=folder)
        on_top = f"{TOP_FOLDS} folds on top, {REWRITTEN} older rows changed in each"
        found.append(_query_row(f"{name}: group by graph, {on_top}", folder))
        in_child("case_index:wait_on_top", folder=folder)
        found.append(_query_row(f"{name}: group by graph, {TAIL} changes not folded besides", folder, target=False))
    return found + _rebuild_rows(QUICK_REGISTERS if quick else REGISTERS)


def _size_row(what: str, got: dict[str, Any]) -> Row:
    note = f"{got['bytes'] / 1e6:.0f} MB" + (f" in {got['files']} files" if "files" in got else "")
    return limit(what, got["bytes"] / got["rows"], "bytes", 90, note=note)


def _list_rows(name: str, folder: str, built: dict[str, Any]) -> list[Row]:
    wanted = {what: {"graph": graph} for what, graph in GRAPHS.items()}
    wanted |= {f"{what} of it": {"graph": "graph-1", "run": run} for what, run in built["runs"].items()}
    got = in_child("case_index:lists", folder=folder, wanted=wanted)
    found: list[Row] = []
    for what, filters in wanted.items():
        one, label = got[what], f"{name}: newest {PAGE} of {what if 'run' not in filters else 'the largest graph, ' + what[:-6]}"
        note = f"with the file kept open pyarrow takes {1000 * one['kept_s']:.1f} ms"
        base = ("pyarrow, newest row groups of one file", one["open_s"])
        found.append(at_most(f"{label}, warm", one["warm_s"], "s of CPU", base, 2.0, costs=one["costs"], note=note))
        cold = one["cold"]
        tail = one.get("tail")
        more = f"{tail['round_trips']} round trips and {tail['requests']} requests" if tail else ""
        note = f"with {TAIL} changes of all graphs not folded: {more}" if tail else ""
        found += [
            limit(f"{label}, cold", cold["round_trips"], "round trips", 3, costs=cold["costs"], note=note),
            limit(f"{label}, cold", cold["requests"], "requests", 12),
        ]
    return found


def _fold_rows(name: str, folder: str, built: dict[str, Any], count: int) -> list[Row]:
    got = in_child("case_index:folds", folder=folder, count=count)
    written, new = got["written"], count * FOLD_ROWS
    row_bytes = built["bytes"] / built["rows"]
    below = (written["all graphs"] + written["root"]) / new
    amortised = below + row_bytes * built["bucket_writes"]
    note = (
        f"per row: {written['all graphs'] / new:.0f} B below the buckets, {row_bytes * built['bucket_writes']:.0f} B in them "
        f"(each row {built['bucket_writes']:.2f} times while {built['rows']:,} were merged), {written['root'] / new:.0f} B for "
        f"index/CURRENT of {got['root_bytes'] / 1000:.0f} kB; {got['merges']} merges in {count} folds"
    )
    label = f"{name}: fold {FOLD_ROWS:,} new snapshots"
    base = ("the rows merged", row_bytes * FOLD_ROWS)
    held = {key: got[key] for key in ("requests", "bytes_read", "bytes_written", "cpu_s")}
    return [
        at_most(f"{label}, written", amortised * FOLD_ROWS, "bytes", base, 10, costs=held, note=note),
        limit(f"{label}, peak memory", got["peak_mb"] * 1e6, "bytes", 500e6),
    ]


def _compact_rows(name: str, folder: str) -> list[Row]:
    got = in_child("case_index:compact", folder=folder)
    held = {**got["costs"], "peak_mb": got["peak_mb"]}
    return [
        limit(
            f"{name}: compact, peak memory",
            got["peak_mb"] * 1e6,
            "bytes",
            500e6,
            costs=held,
            note=f"{got['merged']:,} rows merged",
        ),
        _size_row(f"{name}: bytes per row, compacted", got),
    ]


def _query_row(what: str, folder: str, *, target: bool = True) -> Row:
    got = in_child("case_index:query", folder=folder)
    note = (
        f"{got['ours_wall_s']:.2f} s of wall time, DuckDB {got['base_wall_s']:.2f}; "
        f"{got['rows']:,} snapshots, {got['stored_rows']:,} rows in the files"
    )
    base = ("DuckDB on the files", got["base_s"])
    held = {"peak_mb": got["peak_mb"]}
    if not target:  # DuckDB alone does not see these
        return Row(what, got["ours_s"], "s of CPU", base[1], base[0], note=note, costs=held)
    return at_most(what, got["ours_s"], "s of CPU", base, 1.5, note=note, costs=held)


def _rebuild_rows(count: int) -> list[Row]:
    third = count // 3
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        in_child("case_index:save_registers", folder=folder, start=0, count=third)
        small = in_child("case_index:rebuild", folder=folder)
        in_child("case_index:save_registers", folder=folder, start=third, count=count - third)
        got = in_child("case_index:rebuild", folder=folder)
    label = f"index: rebuild from {count:,} registers"
    held = {**got["costs"], "peak_mb": got["peak_mb"]}
    base = (f"with {third:,}", small["peak_mb"] * 1e6)
    return [
        at_least(label, got["snapshots"] / got["costs"]["cpu_s"], "snapshots per s of CPU", 2000, costs=held),
        at_most(f"{label}, peak memory", got["peak_mb"] * 1e6, "bytes", base, 1.5),
    ]
