"""Rivals, crashes and lost answers.

Goal: of any number of writers none loses what another wrote, the first final status stays, and whoever dies in the middle of
a save leaves the snapshot as it was or as it was going to be.
Method: threads of one event loop and processes on a folder; then every save is made again and again with the process dying
at each call of the storage, before and after it took effect, and another store looks at what is left.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from genkit import GenkitError
from genkit.exp.agent import SessionSnapshot, SnapshotStatus

import snapstore
from snapstore import clock
from snapstore.adapters.genkit import SessionStore
from snapstore.adapters.genkit.documents import Json
from snapstore.opening import open_on
from snapstore.snapshot import instant
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Call, CrashAt, LoseResponse
from tests.fault.simulated import simulate_waiting
from tests.unit.adapters.genkit.sessions import Sessions, run, text_of, turn
from tests.unit.archives import filled

ROOT = Path(__file__).resolve().parents[4]
WRITERS = 40


def count_up(current: Json | None) -> Json:
    n = current["state"]["custom"]["n"] if current is not None else 0
    return {"createdAt": "2026-06-18T12:00:00Z", "state": {"sessionId": "s", "custom": {"n": n + 1}}}


@pytest.mark.parametrize("stores", [1, 4])
def test_concurrent_increments_lose_nothing(stores: int) -> None:
    sessions = Sessions()
    all_stores = [sessions.elsewhere() for _ in range(stores)]

    async def scenario() -> None:
        await asyncio.gather(*(all_stores[number % stores].saveSnapshot("a", count_up) for number in range(WRITERS)))

    run(scenario())
    found = sessions.get("a")
    assert found is not None
    assert found["state"]["custom"] == {"n": WRITERS}


COUNT = """
import asyncio, json, sys
import snapstore
from snapstore.adapters.genkit import SessionStore

def count_up(current):
    n = current["state"]["custom"]["n"] if current is not None else 0
    return {"createdAt": "2026-06-18T12:00:00Z", "state": {"sessionId": "s", "custom": {"n": n + 1}}}

async def main():
    store = SessionStore(snapstore.open(sys.argv[1], durability="os"))
    for _ in range(20):
        await store.saveSnapshot("a", count_up)

asyncio.run(main())
"""


def test_processes_lose_nothing_and_a_later_one_finds_it(tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    snapstore.open(url, create=True)
    command = [sys.executable, "-c", COUNT, url]
    workers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
    found = run(SessionStore(snapstore.open(url)).getSnapshot({"sessionId": "s"}))
    assert found is not None
    assert found["state"]["custom"] == {"n": 40}


def test_of_creators_that_race_one_creates_and_the_others_see_it() -> None:
    sessions = Sessions()
    stores = [sessions.elsewhere() for _ in range(8)]

    def reserve(name: int) -> Callable[[Json | None], Json | None]:
        return lambda current: turn(str(name)) if current is None else None

    async def scenario() -> list[str | None]:
        return await asyncio.gather(*(store.saveSnapshot("a", reserve(n)) for n, store in enumerate(stores)))

    won = run(scenario())
    assert (won.count("a"), won.count(None)) == (1, 7)
    assert text_of(sessions.get("a")) == str(won.index("a"))


def test_abort_against_complete_leaves_the_first() -> None:
    for attempt in range(12):
        sessions = Sessions()
        sessions.put("a", turn("x", status="pending"))

        def finish(existing: SessionSnapshot | None) -> SessionSnapshot | None:
            if existing is None or existing.status is SnapshotStatus.ABORTED:
                return None
            return existing.model_copy(update={"status": SnapshotStatus.COMPLETED})

        def abort(existing: SessionSnapshot | None) -> SessionSnapshot | None:
            if existing is None or existing.status is not SnapshotStatus.PENDING:
                return None
            return existing.model_copy(update={"status": SnapshotStatus.ABORTED})

        async def scenario(sessions: Sessions, turned: int) -> list[SessionSnapshot | None]:
            calls = [sessions.store.save_snapshot("a", finish), sessions.elsewhere().save_snapshot("a", abort)]
            return await asyncio.gather(*(calls if turned else calls[::-1]))

        won = [saved for saved in run(scenario(sessions, attempt % 2)) if saved is not None]
        found = run(sessions.elsewhere().get_snapshot(snapshot_id="a"))
        assert found is not None
        assert [saved.status for saved in won] == [found.status]


def test_a_blind_change_of_a_final_status_loses_the_race() -> None:
    sessions = Sessions()
    sessions.put("a", turn("x", status="pending"))
    rival = sessions.elsewhere()

    def complete(existing: SessionSnapshot | None) -> SessionSnapshot:
        assert existing is not None
        if existing.status is SnapshotStatus.PENDING:  # somebody aborts while the mutator runs
            run_in_thread(rival.saveSnapshot("a", lambda current: {**(current or {}), "status": "aborted"}))
        return existing.model_copy(update={"status": SnapshotStatus.COMPLETED})

    with pytest.raises(GenkitError, match="already has terminal status 'aborted'"):
        run(sessions.store.save_snapshot("a", complete))
    found = sessions.get("a")
    assert found is not None
    assert found["status"] == "aborted"


def run_in_thread(coroutine: Any) -> None:
    asyncio.run(coroutine)


# Crashes ----------------------------------------------------------------------------------------------------------------


def beaten(current: Json | None) -> Json:
    return {**(current or {}), "heartbeatAt": instant(clock.now_ms()).isoformat()}


def aborted(current: Json | None) -> Json | None:
    return {**current, "status": "aborted"} if current is not None else None


def finished(current: Json | None) -> Json:
    return turn("done", parentId="root")


SAVES: dict[str, tuple[str, Callable[[Json | None], Json | None]]] = {
    "create": ("new", lambda _: turn("new", parentId="a")),
    "create out of order": ("new", lambda _: turn("new", parentId="missing")),
    "heartbeat": ("a", beaten),
    "status": ("a", aborted),
    "finish": ("a", finished),
}


def prepared() -> MemoryStorage:
    memory = filled(MemoryStorage())
    store = SessionStore(open_on(memory))
    run(store.saveSnapshot("root", lambda _: turn("root")))
    run(store.saveSnapshot("a", lambda _: {**beaten(turn("work", parentId="root")), "status": "pending"}))
    return memory


def seen(memory: MemoryStorage, id: str) -> tuple[Any, ...]:
    """A snapshot and the newest of the session, as another process finds them; heartbeats move on their own."""
    store = SessionStore(open_on(memory))
    found = [run(store.getSnapshot(opts)) for opts in ({"snapshotId": id}, {"sessionId": "s"})]
    return tuple({**one, "heartbeatAt": None} if one is not None else None for one in found)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("save", SAVES)
def test_whoever_dies_in_a_save_leaves_it_undone_or_done(save: str, warm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_waiting(monkeypatch)  # for a create that nobody will finish
    id, mutator = SAVES[save]
    before = seen(prepared(), id)
    done = prepared()
    run(SessionStore(open_on(done)).saveSnapshot(id, mutator))
    after = seen(done, id)
    assert (before != after) == (save != "heartbeat")
    deaths = 0
    for call in range(30):
        for picks in (lambda one, call=call: one.number == call, lambda one, call=call: one.number >= call):
            for late in (False, True):
                memory = prepared()
                storage = CrashAt(memory)
                store = SessionStore(open_on(storage))
                if warm:
                    run(store.saveSnapshot("a", lambda current: {**(current or {}), "note": 1}))
                    run(store.saveSnapshot("a", lambda current: {n: v for n, v in (current or {}).items() if n != "note"}))
                storage.arm(picks, after=late)
                try:
                    run(store.saveSnapshot(id, mutator))
                except RuntimeError:
                    deaths += 1
                left = seen(memory, id)
                assert left in (before, after)
                assert storage.died or left == after
                # Saving it again completes it, whatever was left.
                run(SessionStore(open_on(memory)).saveSnapshot(id, mutator))
                assert seen(memory, id) == after
        if not storage.died:
            break
    assert deaths > 2
    assert not storage.died, "every call was tried"


@pytest.mark.parametrize("conflict", [False, True], ids=["time-out", "own write"])
@pytest.mark.parametrize("save", SAVES)
def test_a_lost_answer_changes_nothing_once(save: str, conflict: bool) -> None:
    id, mutator = SAVES[save]
    done = prepared()
    run(SessionStore(open_on(done)).saveSnapshot(id, mutator))
    memory = prepared()

    def registers(call: Call) -> bool:
        return call.verb in {"put_create", "put_if"}

    storage = LoseResponse(memory, conflict=conflict)
    store = SessionStore(open_on(storage))
    storage.arm(registers)
    assert run(store.saveSnapshot(id, mutator)) == id
    assert seen(memory, id) == seen(done, id)
