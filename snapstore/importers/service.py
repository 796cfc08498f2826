"""Import: choose the reader, skip what the archive has, save the rest in order, and report.

The only module of this room that writes. It asks the archive once per run which ids it has. A step whose parent was
saved by this very import is new, because parents are always saved first; any other step that the run's ids do not name
is looked up, so that a record which another run holds already (a resumed session repeats its records) is shared with
that run instead of being saved over it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.format import names
from snapstore.importers import claude_jsonl, jsonl, swe_agent, tau_bench
from snapstore.importers.step import Source, Step

if TYPE_CHECKING:
    from snapstore.archive import Archive
    from snapstore.snapshot import Snapshot

FORMATS: dict[str, ModuleType] = {
    "tau-bench": tau_bench,
    "swe-agent": swe_agent,
    "claude-jsonl": claude_jsonl,
    "jsonl": jsonl,
}
"""Reader modules by the name of their format; each has `read(source)` and `SUFFIXES`."""


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """One source that could not be read to its end; what came before is in the archive.

    Attributes:
        file: The source's label.
        line: The line of the offending record, or None.
        error: What was wrong.
    """

    file: str
    line: int | None
    error: InvalidInputError


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come.

    Attributes:
        file: Label of the source being read.
        sources_done: Sources read to their end.
        sources_total: All sources of this import.
        fraction: Part of the current source that has been read, 0 to 1.
        added: Snapshots saved so far.
        skipped: Snapshots that were in the archive already.
    """

    file: str
    sources_done: int
    sources_total: int
    fraction: float
    added: int
    skipped: int


@dataclass(slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        added: Snapshots saved.
        skipped: Snapshots that were in the archive already.
        runs: Names of the runs that the sources belong to, in order of appearance.
        bytes: What the added snapshots store.
        logical_bytes: What full copies of the added states would take, encoded and not compressed.
        sources: Sources read, the failed ones included.
        failures: Sources that could not be read to their end.
    """

    added: int = 0
    skipped: int = 0
    runs: list[str] = field(default_factory=list)
    bytes: int = 0
    logical_bytes: int = 0
    sources: int = 0
    failures: list[ImportFailure] = field(default_factory=list)


def import_path(
    archive: Archive,
    format: str,
    path: str | Path,
    *,
    run: str | None = None,
    graph: str | None = None,
    progress: Callable[[ImportProgress], None] | None = None,
    stdin: BinaryIO | None = None,
) -> ImportReport:
    """Import a file, a folder or standard input; running it again adds only what is new.

    Args:
        archive: Where to save.
        format: One of `FORMATS`.
        path: A file; a folder, of which every file with a suffix of the format is read, sorted by name; or `-`.
        run: Name for the run instead of the data's or the file's; not for folders.
        graph: Name for the graph instead of the format's.
        progress: Called after every step.
        stdin: What `-` reads; standard input when None.

    Raises:
        InvalidInputError: `unknown_format`, or `no_input_files` for a folder that has none, or `run_for_folder`.
        NotFoundError: `input_not_found`.
        StorageError: The archive failed; what was saved before stays.

    Returns:
        The report. A source with a malformed record is in `failures`, and the next source is read all the same.
    """
    reader = FORMATS.get(format)
    if reader is None:
        raise InvalidInputError(
            "unknown import format", code="unknown_format", hint=f"choose one of {', '.join(FORMATS)}", format=format
        )
    sources = find_sources(path, reader.SUFFIXES, run=run, stdin=stdin)
    return _Import(archive, graph, progress, len(sources)).take(sources, reader.read)


def find_sources(
    path: str | Path, suffixes: tuple[str, ...], *, run: str | None = None, stdin: BinaryIO | None = None
) -> list[Source]:
    """Return what `path` names, in the order in which it is imported; see `import_path`."""
    if str(path) == "-":
        return [Source("<stdin>", "stdin", None, lambda: stdin or sys.stdin.buffer, run)]
    path = Path(path)
    if not path.exists():
        raise NotFoundError("no such file or folder", code="input_not_found", path=str(path))
    if not path.is_dir():
        return [_file(path, path.stem, run)]
    if run is not None:
        raise InvalidInputError(
            "a folder holds several runs, so they cannot share one name",
            code="run_for_folder",
            hint="import the files one by one, or let the data name the runs",
            path=str(path),
        )
    files = sorted(file for file in path.rglob("*") if file.suffix in suffixes and file.is_file())
    if not files:
        raise InvalidInputError(
            f"no {' or '.join('*' + suffix for suffix in suffixes)} files in this folder",
            code="no_input_files",
            path=str(path),
        )
    return [_file(file, file.relative_to(path).with_suffix("").as_posix(), None) for file in files]


def _file(path: Path, name: str, run: str | None) -> Source:
    return Source(str(path), name, path.stat().st_size, lambda: path.open("rb"), run)


class _Import:
    """One running import: what it has counted, and what it knows of the archive."""

    def __init__(
        self,
        archive: Archive,
        graph: str | None,
        progress: Callable[[ImportProgress], None] | None,
        sources_total: int,
    ) -> None:
        self._archive = archive
        self._graph = graph
        self._progress = progress
        self._sources_total = sources_total
        self._report = ImportReport()
        self._existing: dict[str, set[str]] = {}
        self._saved: set[str] = set()

    def take(self, sources: list[Source], read: Callable[[Source], Iterator[Step]]) -> ImportReport:
        """Import the sources one after the other."""
        for source in sources:
            step: Step | None = None
            try:
                for step in read(source):
                    self._step(step)
                    self._tell(source, step)
            except InvalidInputError as error:
                line = error.context.get("line", step.line if step is not None else None)
                self._report.failures.append(ImportFailure(source.label, line if isinstance(line, int) else None, error))
            self._report.sources += 1
        return self._report

    def _tell(self, source: Source, step: Step) -> None:
        if self._progress is not None:
            report = self._report
            fraction = 0.0 if step.fraction is None else step.fraction
            self._progress(
                ImportProgress(source.label, report.sources, self._sources_total, fraction, report.added, report.skipped)
            )

    def _step(self, step: Step) -> None:
        if step.run not in self._existing:
            there = self._archive.log(step.run)
            if there:
                _finish(self._archive, there[0])
            self._existing[step.run] = {snapshot.id for snapshot in there}
            self._report.runs.append(step.run)
        if self._is_known(step):
            self._report.skipped += 1
            return
        snapshot = self._archive.save(
            step.build(),
            run=step.run,
            graph=self._graph or step.graph,
            node=step.node,
            parent=step.parent_id,
            id=step.id,
            status=step.status,
            metadata=dict(step.metadata),
        )
        self._saved.add(step.id)
        self._report.added += 1
        self._report.bytes += snapshot.stored_bytes
        self._report.logical_bytes += snapshot.size_bytes

    def _is_known(self, step: Step) -> bool:
        if step.id in self._existing[step.run] or step.id in self._saved:
            return True
        if step.parent_id in self._saved:
            return False
        return self._archive.get(step.id) is not None


def _finish(archive: Archive, newest: Snapshot) -> None:
    """Write the change marker of a run's newest snapshot when it is missing.

    A save writes pack, register and marker at the same time. One that was killed in between may have left a whole
    snapshot that no list shows; an import that skips it says that it is there, so it must be. Saves of an import follow
    each other, so only the newest can be in this state. Costs one request per run, and a look at the list once the index
    has absorbed the marker.
    """
    register = newest.register
    key = names.change_key(register.graph, register.updated_at, register.txid, register.id)
    try:
        archive.storage.get(key)
    except NotFoundError:
        shown = next(archive.list(register.graph, register.run, limit=1), None)
        if shown is None or shown.id != register.id:
            archive.storage.put(key, b"")
