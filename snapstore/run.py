"""A handle that appends to one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from snapstore.snapshot import Snapshot

__all__ = ["Run", "RunArchive"]


class RunArchive(Protocol):
    """What a run needs of its archive; see `snapstore.archive.Archive`."""

    @property
    def url(self) -> str:
        """Printable address."""
        ...

    def save(
        self,
        state: Any,
        *,
        run: str,
        graph: str = ...,
        node: str | None = ...,
        parent: str | None = ...,
        id: str | None = ...,
        status: str = ...,
        metadata: Mapping[str, Any] | None = ...,
    ) -> Snapshot:
        """Store a state."""
        ...

    def latest(self, run: str, node: str | None = None) -> Snapshot | None:
        """The newest snapshot of a run."""
        ...

    def log(self, run: str, limit: int | None = None) -> list[Snapshot]:
        """The snapshots of a run, newest first."""
        ...

    def leaves(self, run: str) -> list[Snapshot]:
        """The leaves of a run, newest first."""
        ...


class Run:
    """One run of an archive; each save continues the last snapshot that this handle saw.

    Two handles on one run that both save make a branch, and nothing is lost. Use one handle per line of work.

    Attributes:
        archive: the archive.
        name: the run.
        graph: the graph of new snapshots.
    """

    def __init__(self, archive: RunArchive, name: str, graph: str) -> None:
        self.archive = archive
        self.name = name
        self.graph = graph
        self._last: str | None = None
        self._looked = False
        self._saved: set[str] = set()

    def __repr__(self) -> str:
        return f"<Run {self.name!r} of {self.archive.url}>"

    def save(
        self,
        state: Any,
        *,
        node: str | None = None,
        id: str | None = None,
        status: str = "completed",
        metadata: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Save a state as the child of the last snapshot this handle saw; see `Archive.save`."""
        if not self._looked:
            self.latest()
        # Saving again over a snapshot of this handle keeps its place in the history.
        parent = None if id is not None and (id == self._last or id in self._saved) else self._last
        snapshot = self.archive.save(
            state,
            run=self.name,
            graph=self.graph,
            node=node,
            parent=parent,
            id=id,
            status=status,
            metadata=metadata,
        )
        if id is None or id not in self._saved:
            self._last = snapshot.id
        if id is not None:
            self._saved.add(id)
        return snapshot

    def latest(self, node: str | None = None) -> Snapshot | None:
        """The newest snapshot of the run; the next save continues it (unless `node` picked an older one)."""
        snapshot = self.archive.latest(self.name, node)
        if node is None:
            self._last = snapshot.id if snapshot is not None else None
            self._looked = True
        return snapshot

    def log(self, limit: int | None = None) -> list[Snapshot]:
        """The snapshots of the run, newest first."""
        return self.archive.log(self.name, limit)

    def leaves(self) -> list[Snapshot]:
        """Every snapshot of the run that none continues, newest first."""
        return self.archive.leaves(self.name)
