"""The part of the storage suite that lets threads race. Subclass `StorageContract`, which includes it."""

# The name of a test is its sentence:
# ruff: noqa: D102

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import pytest

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError
from snapstore.storage.protocol import Storage


def at_once(calls: Sequence[Callable[[], str]]) -> tuple[list[int], list[BaseException]]:
    """Run calls in threads of their own that start together.

    Returns:
        The positions of the calls that succeeded, and the errors other than lost conditions.
    """
    barrier = threading.Barrier(len(calls))
    winners: list[int] = []
    errors: list[BaseException] = []

    def run(position: int) -> None:
        barrier.wait()
        try:
            calls[position]()
        except ConflictError:
            return
        except BaseException as error:  # noqa: BLE001 - reported by the test, in the main thread
            errors.append(error)
            return
        winners.append(position)

    threads = [threading.Thread(target=run, args=(position,)) for position in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners, errors


class StorageRaces:
    """Behaviour under rivals. Every body is unique, as those of snapstore are."""

    #: How many threads race.
    writers: ClassVar[int] = 16
    #: How often each race is run.
    rounds: ClassVar[int] = 5

    @pytest.fixture
    def storage(self) -> Storage:
        """Give an empty storage; subclasses replace this."""
        raise NotImplementedError("define the fixture `storage` in your subclass")

    def test_of_racing_creates_exactly_one_wins(self, storage: Storage) -> None:
        for number in range(self.rounds):
            key = f"race/create-{number}"
            bodies = self.bodies()
            winners, errors = at_once([partial(storage.put_create, key, body) for body in bodies])
            assert errors == []
            assert len(winners) == 1
            assert storage.get(key).data == bodies[winners[0]]

    def test_of_racing_replacements_exactly_one_wins(self, storage: Storage) -> None:
        key = "race/replace"
        storage.put_create(key, b"first")
        for _ in range(self.rounds):
            version = storage.get(key).version
            bodies = self.bodies()
            winners, errors = at_once([partial(storage.put_if, key, body, version) for body in bodies])
            assert errors == []
            assert len(winners) == 1
            assert storage.get(key).data == bodies[winners[0]]

    def test_no_increment_gets_lost(self, storage: Storage) -> None:
        """Read, add one, replace if unchanged, again after a conflict: the loop of every update."""
        key = "race/counter"
        storage.put_create(key, b"0")
        increments = 5

        def work() -> str:
            for _ in range(increments):
                while True:
                    stored = storage.get(key)
                    # The random part tells equal counts apart, as a transaction id does.
                    body = f"{int(stored.data.split()[0]) + 1} {clock.random_hex()}".encode()
                    try:
                        storage.put_if(key, body, stored.version)
                        break
                    except ConflictError:
                        clock.sleep(clock.jitter(0, 0.01))
            return ""

        workers = min(self.writers, 8)
        _, errors = at_once([work] * workers)
        assert errors == []
        assert int(storage.get(key).data.split()[0]) == workers * increments

    def test_readers_see_whole_objects_while_they_are_replaced(self, storage: Storage) -> None:
        key = "race/whole"
        size = 64 * 1024
        storage.put_create(key, b"a" * size)
        done = threading.Event()
        seen: set[bytes] = set()

        def read() -> str:
            while not done.is_set():
                data = storage.get(key).data
                seen.add(data[:1])
                assert data == data[:1] * size
            return ""

        def write() -> str:
            try:
                for letter in b"bcdefghijk":
                    storage.put(key, bytes([letter]) * size)
            finally:
                done.set()
            return ""

        _, errors = at_once([read, read, read, write])
        assert errors == []
        assert storage.get(key).data == b"k" * size

    def test_many_threads_do_not_disturb_each_other(self, storage: Storage) -> None:
        def work(number: int) -> str:
            keys = [f"busy/{number}/{position}" for position in range(5)]
            for key in keys:
                version = storage.put_create(key, key.encode())
                storage.put_if(key, key.encode() + b"!", version)
            for key in keys:
                assert storage.get(key).data == key.encode() + b"!"
                assert storage.get_ranges(key, [(0, 4), (-1, 1)]) == [b"busy", b"!"]
            assert [row.key for row in storage.list(f"busy/{number}/")] == keys
            storage.delete_many(keys[:2])
            for key in keys[:2]:
                with pytest.raises(NotFoundError):
                    storage.get(key)
            return ""

        _, errors = at_once([partial(work, number) for number in range(self.writers)])
        assert errors == []
        assert len(list(storage.list("busy/"))) == self.writers * 3

    def bodies(self) -> list[bytes]:
        """Return one body for each writer, all different."""
        return [f"writer {number} {clock.random_hex()}".encode() for number in range(self.writers)]
