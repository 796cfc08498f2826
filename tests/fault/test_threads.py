"""Threads share one archive, and read what others are just writing.

Goal: an `Archive` may be used from any number of threads: saves that stand on the same parent do not disturb each other,
counters lose nothing, and what is read meanwhile is always whole.
Method: eight threads on one handle, with trees that they all share, on a storage in memory; every state is checked by
another handle at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.protocol import Storage
from snapstore.testing.faults import Call, FaultyStorage
from tests.fault.witness import empty, messages, same

T = TypeVar("T")

THREADS = 8


def together(work: Callable[[int], None]) -> None:
    """Run the work in all threads at the same time, and raise what the first of them raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_children_of_one_parent_do_not_disturb_each_other() -> None:
    storage = empty()
    archive = open_on(storage)
    base: dict[str, Any] = {"log": messages(300), "text": "t" * 60_000, "plan": {f"k{n}": "v" * 90 for n in range(80)}}
    root = archive.save(base, run="r", id="root")
    saved: dict[str, Any] = {}

    def work(number: int) -> None:
        parent, state = root, base
        for step in range(14):  # enough to merge packs
            log = [*state["log"], *messages(2, seed=100 * number + step)]
            log[number * 30 + step] = {"changed": [number, step]}
            state = {**state, "log": log, "text": f"{number} {step} " + state["text"]}
            parent = archive.save(state, run="r", id=f"{number}-{step}", parent=parent)
            saved[parent.id] = state

    together(work)
    fresh = open_on(storage)
    assert len(saved) == THREADS * 14
    for id, state in saved.items():
        assert same(fresh[id].state(), state)
    assert {leaf.id for leaf in fresh.leaves("r")} == {f"{number}-13" for number in range(THREADS)}
    times = [snapshot.created_at for snapshot in fresh.log("r")]
    assert len(set(times)) == len(times) == THREADS * 14 + 1


def test_one_handle_counts_for_all_threads() -> None:
    storage = empty()
    archive = open_on(storage)
    archive.save({"n": 0, "log": messages(60)}, run="r", id="x")
    seen: list[int] = []

    def add(draft: SnapshotDraft | None) -> SnapshotDraft:
        assert draft is not None
        draft.state["n"] += 1
        return draft

    def work(number: int) -> None:
        for _ in range(6):
            done = archive.update("x", add)
            assert done is not None
            seen.append(done.version)
            assert archive["x"].state()["n"] >= 1

    together(work)
    assert open_on(storage)["x"].state()["n"] == THREADS * 6
    assert sorted(seen) == list(range(2, THREADS * 6 + 2))


def test_readers_of_one_snapshot_see_the_same() -> None:
    storage = empty()
    state = {"log": messages(900), "blob": bytes(range(256)) * 400}
    open_on(storage).save(state, run="r", id="x")
    snapshot = open_on(storage)["x"]

    def work(number: int) -> None:
        for step in range(20):
            index = (number * 97 + step * 13) % 900
            assert snapshot["log"][index : index + 5] == state["log"][index : index + 5]
            assert snapshot["blob"][:10] == state["blob"][:10]
        assert same(snapshot.state(), state)

    together(work)


@pytest.mark.parametrize("verb", ["list", "get_ranges", "get"])
@pytest.mark.parametrize("size", [1, 400])
def test_walks_find_a_snapshot_that_is_rewritten_under_their_hands(verb: str, size: int) -> None:
    """Between the listing, the pack and the register another process may have been: that must not hide the snapshot."""
    for walk in ("latest", "log", "leaves", "list"):
        storage = empty()
        writer = open_on(storage)
        writer.save({"old": 1}, run="r", id="a")
        writer.save({"n": 0}, run="r", id="x", parent="a")
        between = Between(storage, verb, lambda: writer.save({"n": 1, "log": messages(size)}, run="r", id="x"))  # noqa: B023
        reader = open_on(between)
        between.ready = True
        found: Any = [*reader.list(run="r")] if walk == "list" else getattr(reader, walk)("r")
        newest = found if walk == "latest" else found[0]
        assert newest is not None
        assert newest.id == "x"
        if walk != "list":
            assert newest.state() in ({"n": 0}, {"n": 1, "log": messages(size)})


class Between(FaultyStorage):
    """Lets somebody else write after each call of a verb."""

    def __init__(self, inner: Storage, verb: str, write: Callable[[], object]) -> None:
        super().__init__(inner)
        self.ready = False
        self._verb = verb
        self._write = write

    def around(self, call: Call, picked: bool, perform: Callable[[], T]) -> T:
        result = perform()
        if self.ready and call.verb == self._verb:
            self._write()
        return result


def test_what_is_read_while_it_is_written_is_one_version_or_the_other() -> None:
    storage = empty()
    writer, reader = open_on(storage), open_on(storage)
    states = [{"n": n, "log": messages(30 + 20 * (n % 3), seed=n)} for n in range(25)]
    writer.save(states[0], run="r", id="x")
    done = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            for state in states[1:]:
                writer.save(state, run="r", id="x")
            done.set()
            return
        last = 0
        while not done.is_set():
            found = (reader if number % 2 else writer)["x"].state()
            assert same(found, states[found["n"]])
            assert found["n"] >= last, "time does not go back"
            last = found["n"]
            latest = reader.latest("r")
            assert latest is not None
            assert [one.id for one in reader.log("r")] == ["x"]

    together(work)
    assert open_on(storage)["x"].state() == states[-1]
