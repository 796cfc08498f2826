"""A write lands and its answer gets lost: whoever wrote must find out, and must neither report a conflict nor write twice.

Goal: no conflict is reported for a write that landed; a mutator that counts is applied exactly once for each acknowledged
update, at most once for each that failed; a rival that overtakes in between changes nothing of that.
Method: the answers of conditional writes are taken away, in the two forms in which clients meet that: a time-out, and a
conflict with the own write, as from a client that repeats by itself after an error 500. With and without `Retry`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from snapstore import clock
from snapstore.archive import Archive
from snapstore.errors import ConflictError, SnapstoreError, StorageError
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage
from snapstore.storage.retry import Retry
from snapstore.testing.faults import Call, Flaky, Freeze, LoseResponse, on
from tests.fault.witness import empty, messages, same

LARGE = {"messages": messages(60), "n": 0}


def count(draft: SnapshotDraft | None) -> SnapshotDraft:
    """Add one to a counter in the state."""
    if draft is None:
        return SnapshotDraft(state={"n": 1})
    draft.state["n"] += 1
    return draft


def count_status(draft: SnapshotDraft | None) -> SnapshotDraft:
    """Add one to a counter in the status."""
    assert draft is not None
    draft.status = str(int(draft.status) + 1)
    return draft


def replaced(draft: SnapshotDraft | None) -> SnapshotDraft:
    assert draft is not None
    draft.state = LARGE
    return draft


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats come at once: nobody else is there that would have to be waited for."""
    monkeypatch.setattr(clock, "sleep", lambda _: None)


WRITES: dict[str, tuple[str, Callable[[Archive], Any], Any]] = {
    # name: the verb whose answer is lost, the operation, the state of "x" after it (None: none)
    "save": ("put_create", lambda archive: archive.save(LARGE, run="new", id="y"), {"n": 5}),
    "save without an id": ("put_create", lambda archive: archive.save(LARGE, run="new"), {"n": 5}),
    "fork": ("put_create", lambda archive: archive.fork("x", new_id="y"), {"n": 5}),
    "update that creates": ("put_create", lambda archive: archive.update("y", count, run="new"), {"n": 5}),
    "save over": ("put_if", lambda archive: archive.save(LARGE, run="r", id="x"), LARGE),
    "update": ("put_if", lambda archive: archive.update("x", count), {"n": 6}),
    "update that replaces": ("put_if", lambda archive: archive.update("x", replaced), LARGE),
    "status": ("put_if", lambda archive: archive.update("x", count_status), {"n": 5}),
    "heartbeat": ("put_if", lambda archive: archive.update("x", lambda draft: draft), {"n": 5}),
    "delete": ("put_if", lambda archive: archive.delete("x"), None),
}


def prepared() -> MemoryStorage:
    """A storage with the snapshot "x"."""
    storage = empty()
    open_on(storage).save({"n": 5}, run="r", id="x", status="0")
    return storage


def opened(storage: Storage, *, warm: bool) -> Archive:
    """An archive that knows "x" from a look at it, or does not."""
    archive = open_on(storage)
    if warm:
        archive.update("x", lambda draft: draft)
        archive.update("x", lambda draft: None)
    return archive


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("retry", [True, False], ids=["retry", "bare"])
@pytest.mark.parametrize("conflict", [True, False], ids=["conflict", "timeout"])
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.usefixtures("no_waiting")
def test_a_write_that_landed_is_acknowledged(name: str, conflict: bool, retry: bool, warm: bool) -> None:
    verb, act, wanted = WRITES[name]
    inner = prepared()
    lossy = LoseResponse(inner, conflict=conflict)
    archive = opened(Retry(lossy) if retry else lossy, warm=warm)
    version = open_on(inner)["x"].version
    lossy.arm(on(verb, "snapshots/*"))
    result = act(archive)
    found = open_on(inner)
    assert wanted is None or same(found["x"].state(), wanted)
    assert wanted is not None or found.get("x") is None
    if verb == "put_if" and wanted is not None:
        assert found["x"].version == version + 1 == result.version, "written exactly once"
    if result is not None:
        assert same(found[result.id].state(), result.state())
        # What it goes on from is what is there.
        assert archive.update(result.id, lambda draft: draft).version == result.version + 1  # type: ignore[union-attr]


@pytest.mark.parametrize("retry", [True, False], ids=["retry", "bare"])
@pytest.mark.parametrize("conflict", [True, False], ids=["conflict", "timeout"])
@pytest.mark.parametrize("rivals", [1, 7])  # with seven more, a register still names the eighth last transaction
@pytest.mark.parametrize("mutator", [count, count_status])
@pytest.mark.usefixtures("no_waiting")
def test_a_write_that_was_overtaken_before_its_answer_came_counts_once(
    mutator: Callable[[SnapshotDraft | None], SnapshotDraft], rivals: int, conflict: bool, retry: bool
) -> None:
    inner = prepared()
    rival = open_on(inner)

    def overtake() -> None:
        for _ in range(rivals):
            rival.update("x", mutator)

    lossy = LoseResponse(inner, conflict=conflict, meanwhile=overtake)
    archive = opened(Retry(lossy) if retry else lossy, warm=True)
    lossy.arm(on("put_if", "snapshots/*"))
    first = archive.update("x", mutator)
    lossy.arm(None)
    second = archive.update("x", mutator)
    assert first is not None
    assert second is not None
    assert second.version == first.version + rivals + 1
    found = open_on(inner)["x"]
    done = found.state()["n"] - 5 if mutator is count else int(found.status)
    assert done == rivals + 2


def test_a_create_that_was_overtaken_before_its_answer_came_is_no_conflict() -> None:
    inner = empty()
    rival = open_on(inner)
    for id, conflict in (("x", True), ("y", False)):
        lossy = LoseResponse(inner, conflict=conflict, meanwhile=partial(rival.update, id, count))
        archive = open_on(Retry(lossy))
        lossy.arm(on("put_create", "snapshots/*"))
        assert archive.update(id, count, run="r") is not None
        assert rival[id].state() == {"n": 2}


def test_the_config_of_an_archive_is_made_once() -> None:
    for conflict in (True, False):
        inner = MemoryStorage()
        storage = Retry(LoseResponse(inner, on("put_create", "snapstore.json"), conflict=conflict))
        assert open_on(storage, create=True).id == open_on(inner).id


def test_a_conflict_that_is_one_is_found_by_reading_again() -> None:
    """The other side: a refused write must not be taken for one that landed."""
    inner = prepared()
    one, other = open_on(inner), open_on(inner)
    for _ in range(5):
        one.update("x", count)
        other.update("x", count)
    assert one["x"].state() == {"n": 15}


class Unreadable(LoseResponse):
    """After a lost answer nothing can be read any more: nobody can find out what happened."""

    gone = False

    def around(self, call: Call, picked: bool, perform: Callable[[], Any]) -> Any:
        if self.gone and not call.writes:
            raise StorageError("the network is gone", code="storage_unavailable", retryable=True)
        self.gone = self.gone or picked
        return super().around(call, picked, perform)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_who_cannot_find_out_says_so_and_does_not_try_again(warm: bool) -> None:
    inner = prepared()
    lossy = Unreadable(inner)
    archive = opened(lossy, warm=warm)
    lossy.arm(on("put_if", "snapshots/*"))
    with pytest.raises(StorageError) as caught:
        archive.update("x", count)
    assert caught.value.retryable
    assert open_on(inner)["x"].state() == {"n": 6}


def test_a_lost_marker_is_not_a_reason_to_apply_a_change_twice() -> None:
    inner = prepared()
    lossy = LoseResponse(inner)
    archive = opened(lossy, warm=True)
    lossy.arm(on("put", "changes/*"))
    with pytest.raises(StorageError):
        archive.update("x", count)
    assert open_on(inner)["x"].state() == {"n": 6}


@pytest.mark.parametrize("mutator", [count, count_status])
@pytest.mark.parametrize("seed", range(4))
def test_threads_on_a_flaky_storage_count_every_acknowledged_update_once(
    seed: int, mutator: Callable[[SnapshotDraft | None], SnapshotDraft]
) -> None:
    inner = prepared()
    acknowledged: list[int] = []
    unknown: list[SnapstoreError] = []
    refused: list[BaseException] = []

    def work(number: int) -> None:
        flaky = Flaky(inner, seed * 100 + number, rate=0.0)
        archive = open_on(Retry(flaky, timeout_s=0.25))
        flaky.rate = 0.15
        for _ in range(6):
            try:
                done = archive.update("x", mutator)
                assert done is not None
                acknowledged.append(done.version)
            except StorageError as error:
                unknown.append(error)
            except BaseException as error:  # noqa: BLE001 - reported below, in the main thread
                refused.append(error)
            # A register names the last eight transactions: more rivals must not pass while one waits for its next attempt.
            time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    found = open_on(inner)["x"]
    done = found.state()["n"] - 5 if mutator is count else int(found.status)
    assert len(acknowledged) <= done <= len(acknowledged) + len(unknown)
    assert len(set(acknowledged)) == len(acknowledged) > 9


def test_a_writer_that_was_frozen_before_its_write_decides_again() -> None:
    """A process that was stopped for an hour goes on in the middle of an update."""
    inner = prepared()
    frozen = Freeze(inner)
    archive = opened(frozen, warm=True)
    frozen.arm(on("put_if", "snapshots/*"))
    thread = threading.Thread(target=archive.update, args=("x", count))
    thread.start()
    assert frozen.reached.wait(10)
    for _ in range(20):
        open_on(inner).update("x", count)
    frozen.release()
    thread.join(10)
    assert not thread.is_alive()
    assert open_on(inner)["x"].state() == {"n": 26}


def test_a_create_that_was_frozen_before_its_register_meets_the_other_one() -> None:
    inner = empty()
    frozen = Freeze(inner)
    archive = open_on(frozen)
    frozen.arm(on("put_create", "snapshots/*"))
    errors: list[BaseException] = []

    def create() -> None:
        try:
            archive.save({"who": "slow"}, run="r", id="x")
        except BaseException as error:  # noqa: BLE001 - reported below, in the main thread
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    assert frozen.reached.wait(10)
    open_on(inner).save({"who": "fast"}, run="r", id="x")
    assert open_on(inner)["x"].state() == {"who": "fast"}
    frozen.release()
    thread.join(10)
    assert errors == []
    assert open_on(inner)["x"].state() == {"who": "slow"}  # the last writer wins
    assert [snapshot.id for snapshot in open_on(inner).log("r")] == ["x"]


def test_a_create_whose_pack_is_late_is_read_once_it_is_there() -> None:
    inner = empty()
    frozen = Freeze(inner)
    archive = open_on(frozen)
    frozen.arm(on("put", "runs/*"))
    thread = threading.Thread(target=archive.save, args=(LARGE,), kwargs={"run": "r", "id": "x"})
    thread.start()
    assert frozen.reached.wait(10)
    while not any(row.key.startswith("snapshots/") for row in inner.list("")):
        pass
    reader = open_on(inner)
    assert reader.get("x") is None
    assert reader.latest("r") is None
    assert reader.log("r") == []
    timer = threading.Timer(0.02, frozen.release)
    timer.start()
    assert same(reader["x"].state(), LARGE)  # it waited a moment
    thread.join(10)
    timer.join(10)


def test_conflicts_name_what_happened() -> None:
    """A rival that is faster every single time is reported in the end, with a code, and nothing is written."""
    inner = prepared()
    rival = open_on(inner)
    racing = LoseResponse(inner)
    archive = open_on(racing)

    class AlwaysSecond(LoseResponse):
        def around(self, call: Call, picked: bool, perform: Callable[[], Any]) -> Any:
            if call.verb == "put_if" and call.key.startswith("snapshots/"):
                rival.update("x", count_status)
            return super().around(call, picked, perform)

    archive = open_on(AlwaysSecond(inner))
    tries: list[int] = []

    def mutator(draft: SnapshotDraft | None) -> SnapshotDraft:
        tries.append(1)
        if len(tries) > 3:
            raise KeyError("enough")
        return count(draft)

    with pytest.raises((KeyError, ConflictError)):
        archive.update("x", mutator)
    assert len(tries) == 4
    assert open_on(inner)["x"].state() == {"n": 5}
