"""The questions that the demonstration asks of everything it has saved, through the index and through the states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demonstration.screen import size, times

if TYPE_CHECKING:
    from snapstore import Archive

SPACE = """\
select graph, count(distinct run) as runs, count(*) as snapshots,
       sum(stored_bytes) as stored, sum(size_bytes) as full_copies
from snapshots group by graph order by stored desc"""

BRANCHES = """\
select run, count(*) as forks
from (select parent from edges group by parent having count(*) > 1)
join snapshots on id = parent group by run order by forks desc, run limit 3"""


def space(archive: Archive) -> list[list[str]]:
    """What each graph stores, as rows for people."""
    return [
        [row["graph"], f"{row['runs']:,}", f"{row['snapshots']:,}", size(row["stored"]), times(row["full_copies"], row["stored"])]
        for row in archive.query(SPACE).rows()
    ]


def branches(archive: Archive) -> list[list[str]]:
    """The runs that branch in most places."""
    return [[row["run"], f"{row['forks']:,}"] for row in archive.query(BRANCHES).rows()]


def replay(archive: Archive, run: str, path: str) -> list[list[str]]:
    """One field of a run, from its first snapshot to its last."""
    found = [row for batch in archive.scan({"value": path}, run=run) for row in batch.to_pylist()]
    return [[row["node"] or "-", str(row["value"])] for row in found]
