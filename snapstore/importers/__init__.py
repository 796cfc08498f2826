"""Importers: turn the histories that other programs wrote into snapshots.

Purpose: `import_path(archive, "tau-bench", path)` reads a file, a folder or standard input and saves one snapshot for
every message or step, with the branches that the data holds. Each format has one module with one pure generator,
`read(source) -> Iterator[Step]`; `service.py` is the only one that writes to an archive.

Promises: ids follow from the data, so importing twice adds nothing and an interrupted import is resumed by running it
again; what came before a malformed line is kept, and the error names the file and the line; memory follows one
history, not the sum of its states, because the states along a branch share their records.

Does not: change or delete anything that is in the archive, guess a format, or convert records; they are kept as they
were read. Formats are listed in `FORMATS`.
"""

from __future__ import annotations

from snapstore.importers.service import FORMATS, ImportFailure, ImportProgress, ImportReport, import_path
from snapstore.importers.step import Source, Step

__all__ = ["FORMATS", "ImportFailure", "ImportProgress", "ImportReport", "Source", "Step", "import_path"]
