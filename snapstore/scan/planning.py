"""Plan a scan, say what it will cost, and execute it here or as tasks elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from snapstore.errors import InvalidInputError, MissingExtraError
from snapstore.format.closure import PackRef
from snapstore.format.register import Register
from snapstore.history.heads import read_head
from snapstore.scan.columns import Column, columns_of, inferred
from snapstore.scan.pages import PAGE_BYTES
from snapstore.scan.reading import Reader, Target, target_of
from snapstore.storage.connect import connect
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Estimate", "OnError", "Progress", "Scan", "ScanTask", "scan"]

TASK_SNAPSHOTS: Final = 1024
"""Snapshots of one task: about a second of work when they are small."""

TASK_BYTES: Final = 64 * 1024 * 1024
"""Packs of one task, in bytes: what a reader keeps at hand, so that a task never fetches anything twice."""

BATCH_ROWS: Final = 1024
BATCH_BYTES: Final = 32 * 1024 * 1024
"""A record batch ends at so many rows or bytes of values: engines like them large, memory does not."""

SAMPLE_SNAPSHOTS: Final = 64
"""How many snapshots tell the types that were not given."""

REGISTERS: Final = 256
"""Registers read together while planning."""

_NESTED: Final = (list, dict, tuple, set, frozenset)

OnError = Literal["raise", "null"]
"""What happens to a value that does not fit the type of its column."""


class HasId(Protocol):
    """A register, or a row of a list."""

    @property
    def id(self) -> str:
        """Of the snapshot."""
        ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a scan will ask of the storage, known before it asks for any state.

    The truth lies near the lower numbers for small fields near the root (`cost`), and near the upper ones for `[*]` over what
    makes up the states. All tasks together stay below the upper ones, unless one state alone needs packs of more than 64 MiB;
    executed in one process, packs that tasks share are fetched once. The sample that finds out types comes on top for tasks
    that are executed elsewhere.

    Attributes:
        snapshots: how many are read.
        tasks: how many tasks they make.
        packs: different packs in which their states lie.
        requests_least: one for every pack in which a state begins.
        requests_most: one for every 16 KiB of every pack.
        bytes_least: the pages in which the states begin.
        bytes_most: every pack, in every task that needs it.
    """

    snapshots: int
    tasks: int
    packs: int
    requests_least: int
    requests_most: int
    bytes_least: int
    bytes_most: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is.

    Attributes:
        done: snapshots read or skipped.
        total: snapshots in the scan.
        skipped: those of `done` whose states are gone, see `Scan`.
        requests, bytes_read: what was asked of the storage so far.
    """

    done: int
    total: int
    skipped: int
    requests: int
    bytes_read: int


@dataclass(frozen=True, slots=True)
class ScanTask:
    """A part of a scan that can be sent to another process and executed there: texts and numbers, no secrets.

    Attributes:
        url: the archive's storage.
        columns: what to read, types decided.
        on_error: see `scan`.
        targets: the snapshots, by graph and run, oldest first.
    """

    url: str
    columns: tuple[Column, ...]
    on_error: OnError
    targets: tuple[Target, ...] = field(repr=False)

    @property
    def rows(self) -> int:
        """Rows that come of it, if none is skipped, see `Scan`."""
        return len(self.targets)

    @property
    def bytes_most(self) -> int:
        """Bytes of all packs that it may touch."""
        return sum({ref.key: ref.size for target in self.targets for ref in target.closure}.values())

    @property
    def schema(self) -> pa.Schema:
        """The schema of its batches, the same for all tasks of a scan."""
        return _arrow().schema(self.columns)

    def read(
        self, storage: Storage | None = None, *, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Execute the task.

        Args:
            storage: of the archive; opened by url when None.
            storage_options: settings and credentials for opening it, besides those of the environment: tasks carry none.

        Raises:
            CorruptionError: what is stored is damaged.
            InvalidInputError: `value_misfit`.
            NotFoundError: `archive_not_found`, `snapshot_incomplete`.
        """
        opened = storage if storage is not None else connect(self.url, storage_options=storage_options, read_only=True)
        try:
            yield from _batches(Reader(opened, self.targets), self.targets, self.columns, self.on_error)
        finally:
            if storage is None:
                opened.close()


class Scan:
    """A planned scan. Iterating it executes it and gives Arrow record batches, by graph and run, oldest first.

    It is also an Arrow stream (`__arrow_c_stream__`): DuckDB, Polars, pandas and pyarrow read it as it is. Iterating twice
    reads twice. What it shows is what was current when it was planned, as long as that can be read: a snapshot deleted since
    comes too until gc has taken its packs, one that was rewritten and collected since comes as it is now.

    Attributes:
        skipped: ids whose states are gone: deleted and collected since, or their save never finished. Complete when the
            iteration ends.
    """

    def __init__(
        self,
        storage: Storage,
        targets: Sequence[Target],
        columns: tuple[Column, ...],
        on_error: OnError,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self._storage = storage
        self._groups = list(_groups(targets))
        self._targets = targets
        self._asked = columns
        self._on_error = on_error
        self._progress = progress
        self.skipped: list[str] = []

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self._storage, self._targets)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns with their types; reads a sample of 64 snapshots if any type was not given, see `scan`."""
        open_columns = [column for column in self._asked if not column.type]
        last = len(self._targets) - 1
        sample = sorted({number * last // (SAMPLE_SNAPSHOTS - 1) for number in range(SAMPLE_SNAPSHOTS)}) if last >= 0 else []
        found = list(self._reader.read([self._targets[place] for place in sample], open_columns)) if open_columns else []
        types: dict[str, str] = {}
        for number, column in enumerate(open_columns):
            kept = [results[number] for _, results in found]
            flat = [one for several in kept for one in several or ()] if column.path.gives_list else kept
            types[column.name] = inferred(flat)
        return tuple(Column(one.name, one.text, one.type or types[one.name]) for one in self._asked)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches."""
        return _arrow().schema(self.columns)

    @property
    def tasks(self) -> tuple[ScanTask, ...]:
        """The scan in parts for other processes to execute; together they give the same rows."""
        return tuple(ScanTask(self._storage.url, self.columns, self._on_error, tuple(group)) for group in self._groups)

    @cached_property
    def estimate(self) -> Estimate:
        """What executing it will cost; reads nothing."""
        first = {(target.packs[target.place[0]], page) for target in self._targets for page in _pages(target)}
        tasks = [{ref.key: ref.size for target in group for ref in target.closure} for group in self._groups]
        return Estimate(
            snapshots=len(self._targets),
            tasks=len(tasks),
            packs=len({key for packs in tasks for key in packs}),
            requests_least=len({ref.key for ref, _ in first}),
            requests_most=sum(-(-size // PAGE_BYTES) for packs in tasks for size in packs.values()),
            bytes_least=sum({(ref.key, page): _page_bytes(ref, page) for ref, page in first}.values()),
            bytes_most=sum(size for packs in tasks for size in packs.values()),
        )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        reader, columns, done = self._reader, self.columns, 0
        reader.skipped.clear()
        self.skipped = reader.skipped
        for group in self._groups:
            for batch in _batches(reader, group, columns, self._on_error):
                done += batch.num_rows
                self._report(reader, done)
                yield batch
        self._report(reader, done)

    def _report(self, reader: Reader, rows: int) -> None:
        if self._progress is not None:
            skipped = len(self.skipped)
            pages = reader.pages
            self._progress(Progress(rows + skipped, len(self._targets), skipped, pages.requests, pages.bytes_read))

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule protocol."""
        return _arrow().stream(self.columns, iter(self)).__arrow_c_stream__(requested_schema)


def scan(
    storage: Storage,
    snapshots: Iterable[HasId | str],
    paths: str | Sequence[str] | Mapping[str, str],
    *,
    types: Mapping[str, str] | None = None,
    on_error: OnError = "raise",
    progress: Callable[[Progress], object] | None = None,
) -> Scan:
    """Plan a scan: reads the registers that are not given, 256 at the same time, and no state.

    Args:
        storage: the archive's.
        snapshots: which ones, in any order: registers, rows or ids; one that is named twice comes once, one that is deleted
            is left out.
        paths: see `snapstore.scan.paths`; a dict gives the columns names of their own.
        types: types by column name, see `snapstore.scan.columns`; the others are found out from a sample of 64 snapshots,
            spread evenly from the oldest to the newest of every graph and run. A rare field, or a value of another kind in
            few snapshots, may be in none of them: a column that is null in all 64 becomes `string`, and a value that does
            not fit the type that was found is a `value_misfit`. Give the types of columns that are rare or change: "json"
            holds everything.
        on_error: what a value that does not fit its type does: "raise" an error that names it, or become "null".
        progress: called after every batch and at the end.

    Raises:
        InvalidInputError: `invalid_path` and others of `columns_of`; `unknown_on_error`.
    """
    columns = columns_of(paths, types)
    if on_error not in ("raise", "null"):
        raise InvalidInputError(
            "no such way to handle errors", code="unknown_on_error", hint='"raise" or "null"', on_error=on_error
        )
    known: dict[tuple[int, str], PackRef] = {}
    found: dict[str, Target] = {}
    for register in _registers(storage, snapshots):
        target = target_of(register, known)
        if target is not None:
            found[target.id] = target
    targets = sorted(found.values(), key=lambda target: (target.graph, target.run, target.created_ms, target.id))
    return Scan(storage, targets, columns, on_error, progress)


def _registers(storage: Storage, snapshots: Iterable[HasId | str]) -> Iterator[Register]:
    """The registers, read where they are not given or were given without what reading a state needs."""
    rest = iter(snapshots)
    while some := list(islice(rest, REGISTERS)):
        ids: list[str] = []
        for one in some:
            if isinstance(one, Register) and (one.closure or one.deleted):
                yield one
            else:
                ids.append(one if isinstance(one, str) else one.id)
        heads = parallel([partial(read_head, storage, id) for id in ids])
        yield from (head.register for head in heads if head is not None)


def _groups(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """The targets of each task."""
    group: list[Target] = []
    packs: set[str] = set()
    size = 0
    for target in targets:
        new = {ref.key: ref.size for ref in target.closure if ref.key not in packs}
        if group and (len(group) == TASK_SNAPSHOTS or size + sum(new.values()) > TASK_BYTES):
            yield group
            group, packs, size = [], set(), 0
            new = {ref.key: ref.size for ref in target.closure}
        group.append(target)
        packs.update(new)
        size += sum(new.values())
    if group:
        yield group


def _batches(
    reader: Reader, targets: Sequence[Target], columns: tuple[Column, ...], on_error: OnError
) -> Iterator[pa.RecordBatch]:
    arrow = _arrow()
    make = partial(arrow.batch, columns, null_misfits=on_error == "null")
    rows: list[tuple[Any, ...]] = []
    results: list[list[Any]] = []
    size = 0
    for target, found in reader.read(targets, columns):
        rows.append(target.row)
        results.append(found)
        size += sum(_weight(value, target) for value in found)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield make(rows, results)
            rows, results, size = [], [], 0
    if rows:
        yield make(rows, results)


def _weight(value: Any, target: Target) -> int:
    """About how many bytes a value takes in a batch; a nested one at most as many as its state."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, list) and not any(isinstance(one, _NESTED) for one in value):
        return sum(len(one) if isinstance(one, (str, bytes)) else 8 for one in value)
    return target.size_bytes if isinstance(value, _NESTED) else 8


def _pages(target: Target) -> range:
    """The pages in which its state begins."""
    _, offset, size, _, _ = target.place
    return range(offset // PAGE_BYTES, (offset + size - 1) // PAGE_BYTES + 1)


def _page_bytes(ref: PackRef, page: int) -> int:
    return min(PAGE_BYTES, ref.size - page * PAGE_BYTES)


def _arrow() -> Any:
    """The module that loads pyarrow, when it is needed."""
    try:
        from snapstore.scan import arrow  # noqa: PLC0415 - planning and estimates do without pyarrow
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("a scan gives Arrow batches and needs pyarrow", hint="pip install 'snapstore[index]'") from None
    return arrow
