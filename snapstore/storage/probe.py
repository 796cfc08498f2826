"""Finds out by trying what a storage really promises, before anybody relies on it.

Not every server that speaks S3 keeps the conditions of a write: some ignore them (rclone), some check them and then write without
holding anything (Swift: 2 to 13 of 16 racing creates won, in 15 of 25 rounds), some compare only bare ETags (Ceph). So the checks
run one after the other first, and then as races. The first failure ends the probe. Everything it writes lies below
`probe/<random>/` and is deleted at the end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any, Final

from snapstore import clock
from snapstore.errors import ConflictError, CorruptionError, NotFoundError, SnapstoreError, StorageError
from snapstore.storage.protocol import Storage

# A server that lets rivals win in 60 % of rounds, as Swift does, stays unnoticed in 0.4 ** 8 = 1 of 1500 probes.
RACE_ROUNDS: Final = 8
RACE_WRITERS: Final = 16
# Failures that answer a question of the probe, rather than preventing it.
_ANSWERS: Final = {"not_implemented", "unsafe_storage"}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a storage kept of its promises. A check that was not reached, because an earlier one failed, is false."""

    ranges: bool = False
    """Parts of an object are read correctly, from the start, the middle and the end."""
    list_after_write: bool = False
    """A listing shows what was just written, in byte order, and no longer what was just deleted."""
    create_if_absent: bool = False
    """A second create of the same name is refused and changes nothing."""
    compare_and_swap: bool = False
    """A replacement with the right version succeeds, and of racing ones exactly one."""
    stale_refused: bool = False
    """A replacement with an old version is refused and changes nothing."""
    missing_refused: bool = False
    """A replacement of a missing object is refused and creates nothing."""
    create_race: bool = False
    """Of racing creates exactly one succeeds."""
    etag_style: str = "quoted"
    """How versions are sent: `quoted` as HTTP prescribes, or `unquoted`."""
    problems: list[str] = field(default_factory=list)
    """What went wrong, in sentences; empty when everything is right."""

    @property
    def multi_writer(self) -> bool:
        """Whether any number of processes may write at the same time."""
        checks = ("ranges", "list_after_write", "create_if_absent", "compare_and_swap", "stale_refused")
        return not self.problems and all(getattr(self, name) for name in (*checks, "missing_refused", "create_race"))

    @property
    def single_writer(self) -> bool:
        """Whether at least one process may write: what is written can be read and listed at once."""
        return self.ranges and self.list_after_write

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ProbeResult:
        """Return a result from what `to_json` gave; unknown names are passed over, missing ones have failed."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def require_multi_writer(self, url: str) -> None:
        """Refuse a storage that is not safe for several writers.

        Args:
            url: Printable, for the message.

        Raises:
            StorageError: code `unsafe_storage`.
        """
        if not self.multi_writer:
            raise StorageError(
                "this storage is not safe for several writers",
                code="unsafe_storage",
                hint="open with single_writer=True if only one process ever writes, or use another storage",
                url=url,
                problem=self.problems[0] if self.problems else "not probed",
            )

    def apply(self, storage: Storage) -> None:
        """Tell a storage what the probe found out about its ETags; every other handle of the same server needs it too."""
        set_etag_style(storage, self.etag_style)


def endpoint(storage: Storage) -> str:
    """Return the name of the server behind a storage: what one probe says holds for everything there."""
    backend = innermost(storage)
    return str(getattr(backend, "endpoint", backend.url))


def innermost(storage: Storage) -> Storage:
    """Return the backend below all wrappers."""
    while (inner := getattr(storage, "inner", None)) is not None:
        storage = inner
    return storage


def set_etag_style(storage: Storage, style: str) -> None:
    """Choose how a backend sends ETags; one without ETags does not mind."""
    backend = innermost(storage)
    if hasattr(backend, "etag_style"):
        backend.etag_style = style


def probe(storage: Storage, *, rounds: int | None = None, writers: int = RACE_WRITERS) -> ProbeResult:
    """Try what a storage promises, and set its ETag style to the one that works.

    Costs about 30 requests plus 2 * `rounds` * `writers`. Several probes of the same storage do not disturb each other.

    Args:
        storage: A writable storage, with or without `Retry` around it.
        rounds: How often each race is run; by default as often as the backend asks for, 8 for servers.
        writers: How many race.

    Raises:
        StorageError: The storage could not be asked: unreachable, no permission, full.
        ReadOnlyError: It cannot be written at all.
    """
    backend = innermost(storage)
    if getattr(backend, "single_writer", False) or any(getattr(s, "single_writer", False) for s in _layers(storage)):
        return ProbeResult(problems=["it was opened for a single writer"])
    run = _Probe(storage, rounds or int(getattr(backend, "probe_rounds", RACE_ROUNDS)), writers)
    try:
        run.all_checks()
    finally:
        run.clean_up()
    return ProbeResult(**run.passed, etag_style=run.etag_style, problems=run.problems)


def _layers(storage: Storage) -> Iterator[Storage]:
    while storage is not None:
        yield storage
        storage = getattr(storage, "inner", None)  # type: ignore[assignment]


class _ProblemError(Exception):
    """A check failed; the text is the problem."""


class _Probe:
    """One run of all checks, up to the first that fails."""

    def __init__(self, storage: Storage, rounds: int, writers: int) -> None:
        self.storage = storage
        self.rounds = rounds
        self.writers = writers
        self.prefix = f"probe/{clock.random_hex()}/"
        self.named: set[str] = set()
        self.etag_style = "quoted"
        self.passed: dict[str, bool] = {}
        self.problems: list[str] = []

    def all_checks(self) -> None:
        """Run the checks, cheap and general ones first."""
        checks: list[tuple[str, Callable[[], None]]] = [
            ("ranges", self.check_ranges),
            ("list_after_write", self.check_list),
            ("create_if_absent", self.check_create),
            ("compare_and_swap", self.check_swap),
            ("stale_refused", self.check_stale),
            ("missing_refused", self.check_missing),
            ("create_race", self.check_create_race),
            ("compare_and_swap", self.check_swap_race),
        ]
        for name, check in checks:
            try:
                check()
            except _ProblemError as problem:
                self.passed[name] = False
                self.problems.append(str(problem))
                return
            except StorageError as error:
                if error.code not in _ANSWERS:
                    raise
                self.passed[name] = False
                self.problems.append(error.message)
                return
            except CorruptionError as error:
                self.passed[name] = False
                self.problems.append(error.message)
                return
            self.passed[name] = True

    def clean_up(self) -> None:
        """Delete what was written. Failing to do so is no result of the probe, and leaves only a few small objects."""
        with contextlib.suppress(SnapstoreError):
            # Both what is listed and what was named: the listing itself may be what is wrong.
            listed = {row.key for row in self.storage.list(self.prefix)}
            self.storage.delete_many(sorted(listed | self.named))

    def key(self, name: str) -> str:
        """Return a key below our prefix, and remember it for the end."""
        key = self.prefix + name
        self.named.add(key)
        return key

    def body(self, name: str) -> bytes:
        """Return bytes that no other write has: equal ones could not be told apart."""
        return f"{name} {clock.random_hex()}".encode()

    def check_ranges(self) -> None:
        key = self.key("ranges")
        body = bytes(range(256)) * 4
        self.storage.put(key, body)
        expect(self.storage.get(key).data == body, "what was written is not what is read")
        wanted = [(0, 10), (1000, 24), (500, 100), (-1, 7), (-1, 5000)]
        parts = self.storage.get_ranges(key, wanted)
        right = [body[:10], body[1000:], body[500:600], body[-7:], body]
        expect(parts == right, "parts of an object are read wrongly")

    def check_list(self) -> None:
        prefix = f"{self.prefix}list/"
        keys = [self.key(f"list/{name}") for name in ("a", "b-c", "b/c", "b0", "c")]
        for key in reversed(keys):
            self.storage.put(key, b"x")
        expect(self._listed(prefix) == keys, "a listing misses what was just written, or is not in byte order")
        after = [row.key for row in self.storage.list(prefix, start_after=keys[1], limit=2)]
        expect(after == keys[2:4], "a listing does not start where it should")
        self.storage.delete_many([keys[0], f"{prefix}missing"])
        expect(self._listed(prefix) == keys[1:], "a listing shows what was just deleted")
        missing = self._reads(keys[0])
        expect(missing is None, "a deleted object can still be read")

    def check_create(self) -> None:
        key = self.key("create")
        first = self.body("first")
        self.storage.put_create(key, first)
        lost = self._loses(lambda: self.storage.put_create(key, self.body("second")))
        expect(lost, "a second create of the same name is not refused")
        expect(self._reads(key) == first, "a refused create changed the object")

    def check_swap(self) -> None:
        for style in ("quoted", "unquoted"):
            set_etag_style(self.storage, style)
            self.etag_style = style
            key = self.key(f"swap-{style}")
            self.storage.put_create(key, self.body("first"))
            second = self.body("second")
            try:
                self.storage.put_if(key, second, self.storage.get(key).version)
            except ConflictError:
                continue
            except StorageError as error:
                # `Retry` sees that nothing changed, and says so.
                if error.code != "unsafe_storage":
                    raise
                continue
            expect(self._reads(key) == second, "a replacement reports success and is not there")
            return
        set_etag_style(self.storage, "quoted")
        self.etag_style = "quoted"
        expect(False, "a replacement with the right version is refused")

    def check_stale(self) -> None:
        key = self.key("stale")
        self.storage.put_create(key, self.body("first"))
        old = self.storage.get(key).version
        second = self.body("second")
        written = self.storage.put_if(key, second, old)
        now = self.storage.get(key)
        expect(now.version == written, "a write returns another version than the next read")
        expect(now.version != old, "the version does not change with the object")
        lost = self._loses(lambda: self.storage.put_if(key, self.body("third"), old))
        expect(lost, "a replacement with an old version is not refused")
        expect(self._reads(key) == second, "a refused replacement changed the object")

    def check_missing(self) -> None:
        key = self.key("missing")
        version = self.storage.put(self.key("exists"), self.body("exists"))
        lost = self._loses(lambda: self.storage.put_if(key, self.body("replaced"), version))
        expect(lost, "a replacement of a missing object is not refused")
        expect(self._reads(key) is None, "a refused replacement created the object")

    def check_create_race(self) -> None:
        for number in range(self.rounds):
            key = self.key(f"race-create-{number}")
            self._race(key, self.storage.put_create)

    def check_swap_race(self) -> None:
        key = self.key("race-swap")
        self.storage.put(key, self.body("first"))
        for _ in range(self.rounds):
            self._race(key, partial(self._swap, version=self.storage.get(key).version))

    def _race(self, key: str, write: Callable[[str, bytes], str]) -> None:
        """Let all writers write one key at the same time; exactly one may win, and its bytes must be there."""
        barrier = threading.Barrier(self.writers)
        bodies = [self.body(f"writer {number}") for number in range(self.writers)]
        winners: list[bytes] = []
        unclear: list[SnapstoreError] = []

        def writer(body: bytes) -> None:
            barrier.wait()
            try:
                write(key, body)
                winners.append(body)
            except ConflictError:
                pass
            except SnapstoreError as error:
                unclear.append(error)

        threads = [threading.Thread(target=writer, args=(body,), name="snapstore-probe") for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in unclear:
            if not (isinstance(error, StorageError) and error.retryable):
                raise error
        expect(len(winners) <= 1, f"{len(winners)} of {self.writers} racing writers of one name won")
        if winners:
            expect(self._reads(key) == winners[0], "the winner of a race was overwritten")
        elif not unclear:
            expect(False, "nobody won a race")
        # No winner but failures: an overloaded server answers so. It broke no promise, it only gave no answer.

    def _swap(self, key: str, body: bytes, version: str) -> str:
        return self.storage.put_if(key, body, version)

    def _listed(self, prefix: str) -> list[str]:
        return [row.key for row in self.storage.list(prefix)]

    def _reads(self, key: str) -> bytes | None:
        try:
            return self.storage.get(key).data
        except NotFoundError:
            return None

    def _loses(self, write: Callable[[], str]) -> bool:
        try:
            write()
        except ConflictError:
            return True
        return False


def expect(condition: bool, problem: str) -> None:
    """Raise the problem unless the condition holds."""
    if not condition:
        raise _ProblemError(problem)
