"""Made index rows: archives of millions of rows whose states nobody needs, written by the index's own writer.

Graphs are skewed (the largest of 200 has an eighth of all rows), runs of about 200 snapshots follow one another, ids and digests
are random as in real life. The newest 85,000 rows lie in the small segments that folding leaves, all others in merged ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from snapstore import clock
from snapstore.format import names
from snapstore.format.index_current import IndexCurrent, IndexFile
from snapstore.index.arrow import schema
from snapstore.index.compaction import written
from snapstore.index.generations import FOLDED_KEY, Generation, Generations
from snapstore.index.levels import next_merge
from snapstore.index.merging import PLACE_ORDER
from snapstore.index.rows import Row
from snapstore.index.segments import Segments
from snapstore.index.writing import SegmentOutput
from snapstore.storage.protocol import Storage

GRAPHS = 200
CHUNK_ROWS = 131_072
"""Rows that are split into buckets at a time, as compaction does."""

NEWEST = [64_000, 16_000, 4_000, 1_000]
"""Rows of the segments that folds of 1,000 rows have left, oldest first; there are 3.5 such segments on average, 7 at most."""

START_MS = 1_754_000_000_000
STEP_MS = 900


def graph_name(number: int) -> str:
    """The graph with this number; 1 is the largest."""
    return f"graph-{number}"


def fill(storage: Storage, rows: int, seed: int = 1) -> IndexCurrent:
    """Write an index with about so many rows into a storage and publish it."""
    segments = Segments(storage)
    files: list[IndexFile] = []
    generation = 0
    for table in _chunks(rows, seed):
        generation += 1
        output = SegmentOutput(storage, generation, generation, by_bucket=table.num_rows >= CHUNK_ROWS)
        output.write(table.sort_by(PLACE_ORDER))
        files += output.close()
        while table.num_rows >= CHUNK_ROWS and (merge := next_merge(files)) is not None:
            output = SegmentOutput(storage, merge.first, merge.last, by_bucket=merge.split)
            written(segments, merge, output)
            gone = {file.key for file in merge.inputs}
            files = [file for file in files if file.key not in gone] + output.files
            storage.delete_many(gone)
    current = IndexCurrent(generation, generation, START_MS + rows * STEP_MS, START_MS + rows * STEP_MS, tuple(files))
    published = Generations(storage).publish(Generation(IndexCurrent(generation), None), current)
    assert published is not None
    storage.put(FOLDED_KEY, b"")
    return published.current


def list_run(storage: Storage, rows: Iterable[Row]) -> None:
    """Name the packs of a run's rows, so that it can be listed; a name is all that a list reads of them."""
    for row in rows:
        parent = row.parents[0] if row.parents else None
        storage.put(names.pack_key(row.run, row.created_at, row.id, parent, clock.random_hex()), b"made")


def _chunks(rows: int, seed: int) -> Iterator[Any]:
    start = 0
    old = max(0, rows - sum(NEWEST))
    for size in [CHUNK_ROWS] * (old // CHUNK_ROWS) + NEWEST:
        yield chunk(start, size, seed)
        start += size


def chunk(start: int, size: int, seed: int) -> Any:
    """Rows `start` to `start + size` of a made history, in the order of their creation."""

    def drawn(column: int) -> Any:
        return pc.random(size, initializer=hash((seed, start, column)) & 0x7FFFFFFF)

    number = pc.cast(pc.floor(pc.power(float(GRAPHS), drawn(0))), pa.int64())
    place = pc.add(pa.array(range(size), pa.int64()), start)
    created = pc.add(pc.multiply(place, STEP_MS), START_MS)
    block = pc.cast(pc.divide(place, 40_000), pa.string())
    lanes = pc.add(1, pc.divide(25, number))
    lane = pc.cast(pc.cast(pc.floor(pc.multiply(drawn(1), lanes)), pa.int64()), pa.string())
    graph = pc.binary_join_element_wise("graph", pc.cast(number, pa.string()), "-")
    ids = _hex(size + 1, hash((seed, start)))
    columns = {
        "id": ids.slice(1),
        "run": pc.binary_join_element_wise("run", pc.cast(number, pa.string()), block, lane, "-"),
        "graph": graph,
        "node": pa.array(["plan", "act", "tool", None]).take(_below(drawn(2), 4)),
        "status": pa.array(["completed", "completed", "completed", "failed"]).take(_below(drawn(3), 4)),
        "parents": pa.ListArray.from_arrays(pa.array(range(size + 1), pa.int32()), ids.slice(0, size)),
        "created_at": created,
        "updated_at": created,
        "size_bytes": pc.add(1000, _below(drawn(4), 5_000_000)),
        "stored_bytes": pc.add(500, _below(drawn(5), 9_000)),
        "digest": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), size, [None, _noise(size * 32, hash((seed, start, 9)))]),
        "metadata": _metadata(drawn(6)),
        "metadata_json": pa.nulls(size, pa.string()),
        "deleted": pa.repeat(False, size),
        "version": pa.repeat(pa.scalar(1, pa.int64()), size),
        "revises": pa.repeat(False, size),
    }
    return pa.table([columns[field.name].cast(field.type) for field in schema()], schema=schema())


def _below(drawn: Any, limit: int) -> Any:
    return pc.cast(pc.floor(pc.multiply(drawn, float(limit))), pa.int64())


def _noise(size: int, seed: int) -> Any:
    """So many random bytes."""
    words = pc.multiply(pc.random(size // 4 + 1, initializer=seed & 0x7FFFFFFF), 2.0**32)
    return pc.cast(pc.floor(words), pa.uint32()).buffers()[1]


def _hex(count: int, seed: int) -> Any:
    """So many random ids of 32 hex digits."""
    text = _noise(count * 16, seed).to_pybytes()[: count * 16].hex().encode()
    offsets = pa.array(range(0, 32 * count + 1, 32), pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(text))


def _metadata(drawn: Any) -> Any:
    """One field of text for each row."""
    size = len(drawn)
    values = pa.array(["large", "small", "tiny"]).take(_below(drawn, 3))
    offsets = pa.array(range(size + 1), pa.int32())
    return pa.MapArray.from_arrays(offsets, pa.repeat("model", size), values)
