"""Many who write, fold, merge, rebuild and read one archive at once, each with a handle of its own, as in other processes."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Sequence

import pyarrow as pa

from snapstore.archive import Archive
from snapstore.errors import ConflictError
from snapstore.index import Index, RowFilter
from snapstore.storage.protocol import Storage
from tests.unit.index.histories import listed, timeless, truth

WRITERS = 16
GRAPHS = ["support", "a/b", "größe"]


def work_at_once(archive: Archive, changes: int, *, rounds: int) -> None:
    """Let everybody work, and compare what they saw and what is left with the registers.

    Args:
        archive: everybody's.
        changes: how many each of the 16 writers makes.
        rounds: how often the others do their work, at most; they end with the writers.

    Raises:
        BaseExceptionGroup: what went wrong in each thread.
    """
    done = threading.Event()
    failures: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - shown in the main thread
                failures.append(error)

        return run

    storage = archive.storage
    work = (fold, fold, compact, rebuild, read_table, ask)
    helpers = [guarded(lambda job=job: repeat(rounds, done, lambda: job(storage))) for job in work]  # type: ignore[misc]
    writers = [guarded(lambda n=n: write(archive, n, changes)) for n in range(WRITERS)]  # type: ignore[misc]
    started = [threading.Thread(target=call) for call in [*helpers, *writers]]
    for thread in started:
        thread.start()
    for thread in started[len(helpers) :]:
        thread.join()
    done.set()
    for thread in started:
        thread.join()
    if failures:
        raise BaseExceptionGroup("threads failed", failures)
    index = Index(storage, grace_s=0)
    check(index, storage)
    index.compact()
    assert index.status().tail == 0
    check(index, storage)


def write(archive: Archive, number: int, changes: int) -> None:
    """Change snapshots and look for each change right away, through an index of its own as another process has it."""
    rng = random.Random(number)
    index = Index(archive.storage)
    graph = GRAPHS[number % len(GRAPHS)]
    live: dict[str, str] = {}
    for step in range(changes):
        id = f"{number}-{rng.randrange(4)}"
        status = f"status-{step}"
        if id in live and rng.random() < 0.4:
            archive.delete(id)
            del live[id]
        else:
            archive.save({"step": step}, run=f"run-{number}", graph=graph, id=id, status=status)
            live[id] = status
        rows = [row for row in index.rows(RowFilter(graph=graph)) if row.id.startswith(f"{number}-")]
        assert {row.id: row.status for row in rows} == live
        assert len(rows) == len(live)


def repeat(rounds: int, done: threading.Event, call: Callable[[], object]) -> None:
    """Call so often, and no more once it is done."""
    for _ in range(rounds):
        if done.wait(0.005):
            return
        call()


def fold(storage: Storage) -> None:
    """Fold, and merge what is due."""
    Index(storage, grace_s=5).refresh()


def compact(storage: Storage) -> None:
    """Merge everything."""
    Index(storage, grace_s=5).compact()


def rebuild(storage: Storage) -> None:
    """Make the index again."""
    with contextlib.suppress(ConflictError):  # another fold was the first one of the archive
        Index(storage, grace_s=5).rebuild()


def read_table(storage: Storage) -> None:
    """Read everything as a table."""
    no_doubles(pa.table(Index(storage).table())["id"].to_pylist())


def ask(storage: Storage) -> None:
    """Ask in SQL."""
    no_doubles([row["id"] for row in Index(storage).query("SELECT id FROM snapshots").rows()])


def no_doubles(ids: Sequence[str]) -> None:
    """Make sure that each comes once."""
    assert len(ids) == len(set(ids))


def check(index: Index, storage: Storage) -> None:
    """Hold lists of everything and of each graph against the registers."""
    for wanted in (RowFilter(), *(RowFilter(graph=graph) for graph in GRAPHS)):
        assert timeless(listed(index, wanted)) == timeless(truth(storage, wanted))
