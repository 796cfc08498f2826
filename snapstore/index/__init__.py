"""The index: lists by graph at any size, and tables of all snapshots for engines of others.

Purpose: every change leaves an empty marker below `changes/`. `fold` turns markers into rows of Parquet segments, `compact`
merges segments, `rows` merges the segments with the markers that are not folded yet, `table` hands out everything as Arrow
batches, `rebuild` makes all of it again from the registers. `Index` is the handle, `AutoFold` calls it beside the saves.

Promises: what a list shows is what the registers say, whether or not something is being folded, merged or rebuilt meanwhile;
only heartbeats, which leave no marker, show late. Losing a race or dying at any call loses, doubles and ages no row. All of
`index/` may be deleted at any time. The cost of folding follows the new rows, not the archive.

Does not: decide what exists (registers do), read states, or load pyarrow before there is a segment to read or write.
"""

from snapstore.index.auto import AutoFold
from snapstore.index.filters import RowFilter
from snapstore.index.main import Index
from snapstore.index.query import QueryResult
from snapstore.index.reports import Compacted, Folded, IndexStatus, Rebuilt
from snapstore.index.rows import Row
from snapstore.index.tail import IndexMissingWarning, IndexTailWarning

__all__ = [
    "AutoFold",
    "Compacted",
    "Folded",
    "Index",
    "IndexMissingWarning",
    "IndexStatus",
    "IndexTailWarning",
    "QueryResult",
    "Rebuilt",
    "Row",
    "RowFilter",
]
