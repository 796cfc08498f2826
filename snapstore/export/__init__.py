"""Export: rows of the index, a scan or a query as a file or a Delta table that other programs read.

    from snapstore.export import export

    export(archive.table(), "snapshots.parquet")
    export(archive.scan(["cost"]), "s3://lake/costs", "delta", existing="append")

Purpose: `export` writes everything with `__arrow_c_stream__`, tables of Polars, DuckDB, pandas and pyarrow included; `write`
does the same into an open file; `edges` makes the table of edges from that of snapshots;
`check_target` refuses what cannot be written before anything is asked for.

Promises: rows are written while they are read, so memory holds one row group and no more. A file appears under its name when
all of it is on the disk, a Delta table with its first commit; nothing that is there already is touched unless it is asked
for. Ctrl-C and failures leave nothing that a reader would see.

Does not: choose rows (lists, scans and queries do), or load pyarrow and deltalake before something is written.
"""

from snapstore.export.files import new_file
from snapstore.export.main import Existing, Exported, check_target, export
from snapstore.export.streams import Edges, edges
from snapstore.export.writing import FORMATS, Format, read_rows, write

__all__ = [
    "FORMATS",
    "Edges",
    "Existing",
    "Exported",
    "Format",
    "check_target",
    "edges",
    "export",
    "new_file",
    "read_rows",
    "write",
]
