"""The tail: snapshots whose changes are not folded yet, from change markers and registers, newest first by creation."""

from __future__ import annotations

import inspect
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from snapstore.errors import CorruptionError, NotFoundError
from snapstore.format import names
from snapstore.format.names import ChangeName
from snapstore.format.register import Register
from snapstore.history.rows import RowCache
from snapstore.index.filters import RowFilter
from snapstore.index.rows import Row, order_of
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import PAGE_KEYS, ObjectInfo, Storage

__all__ = [
    "IndexMissingWarning",
    "IndexTailWarning",
    "Tail",
    "TailWatch",
    "every_row",
    "read_registers",
    "warn_of_long_tail",
]

LONG_TAIL: Final = 5_000
"""Unfolded changes of a graph (or of all) above which a list says that folding would help. Writers fold after 2,000, so
nobody does. It is as many as a list that needs one page only goes on counting: 5 pages, a quarter of a second on S3."""

BATCH_LEAST: Final = 16
BATCH_MIN: Final = 256
BATCH_MAX: Final = 1024
"""Registers read at the same time: few at first, since most lists show one page."""


class IndexMissingWarning(UserWarning):
    """The index is gone although changes were folded into it: lists read every register until it is rebuilt."""


class IndexTailWarning(UserWarning):
    """Many changes are not folded into the index: lists have to walk through them."""


class SeenIds(NamedTuple):
    """Ids of snapshots with unfolded changes.

    Attributes:
        known: those that their markers spell out.
        digests: whether there are others, of which markers only hold a digest.
    """

    known: list[str]
    digests: bool


class TailWatch:
    """Which graphs a handle has looked at for long tails: it counts, and says so, once for each. Safe to share."""

    def __init__(self) -> None:
        self._counted: set[str | None] = set()
        self._warned: set[str | None] = set()

    def counts(self, graph: str | None) -> bool:
        """Whether nobody has counted the changes of a graph (None: of all) before."""
        return _adds(self._counted, graph)

    def warns(self, graph: str | None) -> bool:
        """Whether nobody has been told of its long tail before."""
        return _adds(self._warned, graph)


def _adds(known: set[str | None], graph: str | None) -> bool:
    is_new = graph not in known
    known.add(graph)
    return is_new


class Tail:
    """Snapshots with unfolded changes, read as far as it is needed.

    Args:
        storage: the archive's storage.
        graph: only changes of this graph; None for all.
        kept: registers that need not be read again; those that are read are kept.
        limit: how many rows the caller is going to take, None for all.
        whole: whether to give the row of every snapshot with a change, in whatever order.
        watch: has a long tail counted although one page of it is enough, and told of once; None to tell only of what has
            been listed anyway.

    Attributes:
        unverified: whether markers were listed since somebody last made sure that no fold deleted any meanwhile.
        bound: no snapshot that is not ready yet was created after this time; -1 when all are.
        kept_since: kept registers count only for markers written after this time, by the storage's clock. Of markers that
            a fold may have seen, a newer one of the same snapshot may be gone.
    """

    def __init__(
        self,
        storage: Storage,
        graph: str | None,
        kept: RowCache | None = None,
        *,
        whole: bool = False,
        limit: int | None = None,
        watch: TailWatch | None = None,
    ) -> None:
        self._storage = storage
        self._cache = kept if kept is not None else RowCache()
        self._graph = graph
        self._by_graph = graph is not None
        self._watch = watch
        self._whole = whole
        prefix = names.CHANGES_PREFIX if graph is None else names.graph_prefix(graph)
        self._listing = storage.list(prefix)
        self._changes = _changes(self._listing)
        self._seen: dict[str, ChangeName] = {}  # the newest change by the register's key
        self._written: dict[str, int] = {}  # when a change's marker was written, by the storage's clock
        self._waiting: deque[ChangeName] = deque()
        self._ready: deque[Row] = deque()
        self._pool: list[Row] = []
        self._listed = 0
        self._is_long = False
        self._complete = False
        self._horizon = 2**48
        self._batch = BATCH_MIN if limit is None else min(max(limit, BATCH_LEAST), BATCH_MAX)
        self.unverified = False
        self.kept_since = 2**48

    @property
    def bound(self) -> int:
        """See above."""
        if self._waiting:
            return self._waiting[0].changed_ms
        return -1 if self._complete else self._horizon

    def holds(self, id: str, created_at: int) -> bool:
        """Whether a snapshot made at this time has a change among those listed: its row in a segment does not count.

        A change before it was made is one of a snapshot that was deleted and made again, and says nothing about this one.
        """
        change = self._seen.get(names.register_key(id)) if self._seen else None
        return change is not None and change.changed_ms >= created_at

    def has_changed(self, id: str) -> bool:
        """Whether there is any change of this id among those listed."""
        return names.register_key(id) in self._seen

    def seen_ids(self) -> SeenIds:
        """The ids of the snapshots with a change among those listed."""
        known = [change.snapshot_id for change in self._seen.values() if change.snapshot_id is not None]
        return SeenIds(known, digests=len(known) < len(self._seen))

    def list_more(self) -> None:
        """List a page of markers; all of them when they are not of one graph, since those come in no order of time.

        When the first page is full, nobody knows how many more there are: the first one who meets this counts on.
        """
        self.unverified = True
        listed = [*islice(self._changes, PAGE_KEYS if self._by_graph else None)]
        self._complete = not self._by_graph or len(listed) < PAGE_KEYS
        if not self._complete and not self._listed and self._watch is not None and self._watch.counts(self._graph):
            wanted = max(LONG_TAIL + 1 - len(listed), 0)
            more = [*islice(self._changes, wanted)]
            self._complete = len(more) < wanted
            listed += more
        page = [change for change, _ in listed]
        self._written.update({change.key: written_ms for change, written_ms in listed})
        before = self._listed
        self._listed += len(page)
        self._is_long = self._is_long or before <= LONG_TAIL < self._listed
        if page:
            self._horizon = page[-1].changed_ms
        for change in page if self._by_graph else sorted(page, key=lambda change: -change.changed_ms):
            if change.register_key not in self._seen:
                self._seen[change.register_key] = change
                self._waiting.append(change)

    def read_more(self) -> None:
        """Read the registers of the next snapshots: one round trip."""
        batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
        self._batch = min(self._batch * 2, BATCH_MAX)
        known = [self._known(change) for change in batch]
        missing = [change.register_key for change, register in zip(batch, known, strict=True) if register is None]
        read = iter(read_registers(self._storage, missing))
        for change, kept in zip(batch, known, strict=True):
            register = kept if kept is not None else next(read)
            if register is None:
                continue
            if kept is None:
                self._cache.keep(register)
            # Made again after its last listed change: what made it is folded already, or came after the listing.
            if self._whole or register.created_at <= change.changed_ms:
                self._pool.append(Row.of(register))

    def _known(self, change: ChangeName) -> Register | None:
        if change.snapshot_id is None or self._written[change.key] <= self.kept_since:
            return None
        return self._cache.find(change.snapshot_id, change.txid)

    def first(self, down_to: int, wanted: RowFilter) -> Row | None:
        """The next wanted row, without removing it; None when there is none created at `down_to` or later."""
        while True:
            if self._is_long:  # told here, by the thread that asks: listings run in others
                self._is_long = False
                warn_of_long_tail(self._listed, self._graph, self._watch)
            bound = self.bound
            if self._pool:
                ready = sorted((row for row in self._pool if row.created_at > bound), key=order_of)
                self._pool = [row for row in self._pool if row.created_at <= bound]
                self._ready.extend(row for row in ready if wanted.wants(row))
            if self._ready:
                return self._ready[0]
            if bound < down_to:
                return None
            if self._waiting:
                self.read_more()
            else:
                self.list_more()

    def take(self) -> Row:
        """Remove the row that `first` has returned."""
        return self._ready.popleft()


def _changes(listing: Iterable[ObjectInfo]) -> Iterator[tuple[ChangeName, int]]:
    """The markers of a listing, and when they were written."""
    parsed = ((names.parse_change_key(info.key), info.modified_ms) for info in listing)
    return ((change, written_ms) for change, written_ms in parsed if change is not None)


def read_registers(storage: Storage, keys: list[str]) -> list[Register | None]:
    """Read registers at the same time, None for those that are missing.

    Raises:
        CorruptionError: `register_misplaced`, or what `Register.decode` raises.
    """

    def read(key: str) -> Register | None:
        try:
            stored = storage.get(key)
        except NotFoundError:
            return None
        register = Register.decode(stored.data)
        if names.register_key(register.id) != key:
            raise CorruptionError("a register lies under a wrong name", code="register_misplaced", key=key, found=register.id)
        return register

    return parallel([partial(read, key) for key in keys])


def warn_of_long_tail(count: int, graph: str | None, watch: TailWatch | None) -> None:
    """Say that folding would help, where so many changes are not folded and nobody was told before."""
    if count > LONG_TAIL and (watch is None or watch.warns(graph)):
        _warn(f"more than {LONG_TAIL} changes are not in the index yet: run `snapstore index compact`", IndexTailWarning)


def _warn(message: str, category: type[Warning]) -> None:
    """Warn of something at the line outside of this package that asked for it."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def every_row(storage: Storage, wanted: RowFilter) -> Iterator[Row]:
    """The wanted rows from all registers there are, for an archive that has lost its index."""
    _warn("the index is missing, so every register is read: run `snapstore index rebuild`", IndexMissingWarning)
    found: list[Row] = []
    keys = (info.key for info in storage.list(names.SNAPSHOTS_PREFIX) if names.parse_register_key(info.key) is not None)
    while batch := [*islice(keys, BATCH_MAX)]:
        rows = (Row.of(register) for register in read_registers(storage, batch) if register is not None)
        found += [row for row in rows if wanted.wants(row)]
    yield from sorted(found, key=order_of)
