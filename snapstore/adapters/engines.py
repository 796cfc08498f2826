"""What the sources for cluster engines share: from options to a planned scan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from snapstore.listing import Moment
from snapstore.opening import open_archive
from snapstore.scan.planning import OnError, Scan, scan

__all__ = ["planned"]


@contextmanager
def planned(
    url: str,
    paths: str | Sequence[str] | Mapping[str, str],
    *,
    graph: str | None = None,
    run: str | None = None,
    status: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    namespace: str | None = None,
    types: Mapping[str, str] | None = None,
    on_error: OnError = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Scan]:
    """Plan a scan of an archive, which is open for as long as the plan is used.

    Args:
        url: of the archive; workers open it by the same one, so a relative path or `memory://` serves one machine at most.
        paths: see `snapstore.scan.paths`.
        graph: only snapshots of this graph.
        run: only snapshots of this run.
        status: only snapshots with this status.
        since: created at this moment or later.
        until: created before this moment.
        namespace: of the archive, as in `snapstore.open`.
        types: types by column name, as in `snapstore.scan.planning.scan`.
        on_error: what a value does that does not fit its type, as there.
        storage_options: as in `snapstore.open`.
    """
    with open_archive(url, namespace=namespace, storage_options=storage_options, read_only=True) as archive:
        yield scan(archive.storage, archive.list(graph, run, status, since, until), paths, types=types, on_error=on_error)
