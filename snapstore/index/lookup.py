"""Look-ups by id: where the rows of snapshots stand that were made again or moved, which is rare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from snapstore.digest import digest_hex
from snapstore.format import names
from snapstore.format.index_current import IndexFile
from snapstore.index.arrow import arrow
from snapstore.index.merging import newest_of_each_place
from snapstore.index.rows import Row, from_table
from snapstore.index.segments import Segments

__all__ = ["left_places", "places_of"]


def places_of(segments: Segments, files: Iterable[IndexFile], encoded_graph: str, encoded_ids: Collection[str]) -> list[Row]:
    """The newest row at each place of a graph at which one of the ids stands, without tombstones.

    Reads every row group that may hold the graph, one at a time.

    Args:
        segments: reads them.
        files: the live segments.
        encoded_graph: the graph as keys spell it, perhaps only its digest.
        encoded_ids: ids as keys spell them.
    """
    graph = names.decode_name(encoded_graph)
    mark = encoded_graph[1:5] if graph is None else digest_hex(graph.encode("utf-8"))[:4]
    found = [
        _matching(segments.read(segment, group, keep=False), encoded_graph, encoded_ids)
        for segment in (segments.open(file) for file in files if file.may_hold_mark(mark))
        for group in segment.row_groups
        if group.may_hold(graph)
    ]
    if not found:
        return []
    return [row for row in from_table(newest_of_each_place(arrow().concat_tables(found))) if not row.deleted]


def left_places(segments: Segments, old: Iterable[IndexFile], new: Iterable[IndexFile]) -> list[Row]:
    """Tombstones for places in the old segments that snapshots have left, as the new ones show.

    Reads all of both, a row group at a time; in memory are the rewritten rows of the new ones.
    """
    newest: dict[str, Row] = {}
    for row in _rows_with(segments, new, lambda table: table["revises"]):
        known = newest.get(row.id)
        if known is None or (row.updated_at, not row.deleted) > (known.updated_at, not known.deleted):
            newest[row.id] = row
    if not newest:
        return []
    ids = arrow().array([*newest], arrow().string())
    stale = _rows_with(segments, old, lambda table: arrow().compute.is_in(table["id"], value_set=ids))
    return [
        newest[row.id].gone_from(row.place)
        for row in stale
        if newest[row.id].place != row.place and newest[row.id].updated_at > row.updated_at
    ]


def _rows_with(segments: Segments, files: Iterable[IndexFile], chosen: Callable[[Any], Any]) -> Iterator[Row]:
    """The rows of segments that a mask chooses."""
    for segment in (segments.open(file, keep=False) for file in files):
        for group in segment.row_groups:
            table = segments.read(segment, group, keep=False)
            yield from from_table(table.filter(chosen(table)))


def _matching(table: Any, encoded_graph: str, encoded_ids: Collection[str]) -> Any:
    """The rows of a graph with one of the ids."""
    pa = arrow()
    graphs = [name for name in pa.compute.unique(table["graph"]).to_pylist() if names.encode_name(name) == encoded_graph]
    rows = table.filter(pa.compute.is_in(table["graph"], value_set=pa.array(graphs, pa.string())))
    texts = [names.decode_name(encoded) for encoded in encoded_ids]
    if None in texts:
        mask = pa.array([names.encode_name(id) in encoded_ids for id in rows["id"].to_pylist()], pa.bool_())
    else:
        mask = pa.compute.is_in(rows["id"], value_set=pa.array(texts, pa.string()))
    return rows.filter(mask)
