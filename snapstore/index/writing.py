"""Writing: sorted tables become segments on the storage, and files that are published or taken back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from snapstore.format.index_current import ALL_GRAPHS, IndexCurrent, IndexFile, RetiredFile, bucket_of
from snapstore.index.arrow import arrow
from snapstore.index.generations import Generation, Generations
from snapstore.index.segments import SegmentWriter
from snapstore.storage.protocol import Storage

__all__ = ["FULL_ROWS", "SegmentOutput", "publish", "replaced"]

FULL_ROWS: Final = 524_288
"""A segment of so many rows is closed, and not merged for its size: about 40 MB, which is held in memory while it is written."""


class SegmentOutput:
    """Writes sorted tables as segments.

    Args:
        storage: the archive's storage.
        first: lowest generation that any of the rows was folded in.
        last: the highest.
        by_bucket: whether to write a segment per bucket of graphs instead of one for all.

    Attributes:
        files: the segments that are written.
    """

    def __init__(self, storage: Storage, first: int, last: int, *, by_bucket: bool) -> None:
        self.files: list[IndexFile] = []
        self._storage = storage
        self._first = first
        self._last = last
        self._by_bucket = by_bucket
        self._writers: dict[str, SegmentWriter] = {}

    def write(self, table: Any, bucket: str | None = None) -> None:
        """Take rows that stand behind those taken before; `bucket` names the folder if they all belong into one."""
        if bucket is not None or not self._by_bucket:
            self._write(bucket or ALL_GRAPHS, table)
            return
        pa = arrow()
        graphs = pa.compute.unique(table["graph"]).to_pylist()
        by_bucket: dict[str, list[str]] = {}
        for graph in graphs:
            by_bucket.setdefault(bucket_of(graph), []).append(graph)
        for name, members in sorted(by_bucket.items()):
            rows = pa.compute.is_in(table["graph"], value_set=pa.array(members, pa.string()))
            self._write(name, table.filter(rows))

    def close(self) -> list[IndexFile]:
        """Write what is left; the segments, in the order of their buckets."""
        for bucket in sorted(self._writers):
            self._close(bucket)
        arrow().default_memory_pool().release_unused()  # a long rebuild would keep 45 of 175 MB
        return self.files

    def take_back(self, generation: Generation) -> None:
        """Delete the segments that no generation names, after they could not be published."""
        current = generation.current
        named = {file.key for file in current.files} | {file.key for file in current.retired}
        self._storage.delete_many([file.key for file in self.files if file.key not in named])

    def _write(self, bucket: str, table: Any) -> None:
        while table.num_rows:
            writer = self._writers.setdefault(bucket, SegmentWriter(bucket))
            room = FULL_ROWS - writer.rows
            writer.write(table.slice(0, room))
            table = table.slice(room)
            if writer.rows >= FULL_ROWS:
                self._close(bucket)

    def _close(self, bucket: str) -> None:
        file, body = self._writers.pop(bucket).close(self._first, self._last)
        self._storage.put(file.key, body)
        self.files.append(file)


def replaced(current: IndexCurrent, inputs: Iterable[IndexFile], outputs: Iterable[IndexFile], now_ms: int) -> IndexCurrent:
    """The document with other segments: the new ones stand where the first of the old ones stood, for they are as old."""
    gone = {file.key for file in inputs}
    at = next((place for place, file in enumerate(current.files) if file.key in gone), len(current.files))
    before = [file for file in current.files[:at] if file.key not in gone]
    after = [file for file in current.files[at:] if file.key not in gone]
    retired = (*current.retired, *(RetiredFile(file.key, now_ms) for file in current.files if file.key in gone))
    return replace(current, files=(*before, *outputs, *after), retired=retired)


def publish(generations: Generations, old: Generation, new: IndexCurrent, output: SegmentOutput) -> Generation | None:
    """Publish a document that names the output's segments; take them back if somebody else was faster.

    Returns:
        A generation in which the segments are live or were already merged into others; None when they are not.
    """
    done = generations.publish(old, new)
    if done is not None:
        return done
    now = generations.read()
    keys = {file.key for file in output.files}
    if keys & ({file.key for file in now.current.files} | {file.key for file in now.current.retired}):
        return now  # it landed, and has been overtaken since
    output.take_back(now)
    return None
