"""Hearing of changes: statuses for Genkit Python, whole snapshots for the JavaScript dialect.

Goal: whoever watches a snapshot learns of its last change, at once from the same store and soon from another process; and
whoever stops watching is left alone at once.
Method: stores in memory in one event loop; another process is played by a store that shares nothing but the storage.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from genkit.exp.agent import SnapshotStatus, SnapshotStatusStream

from snapstore.adapters.genkit import SessionStore
from snapstore.adapters.genkit.documents import Json
from snapstore.adapters.genkit.watching import FIRST_DELAY_S, MAX_DELAY_S, Notices
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Freeze, on
from tests.unit.adapters.genkit.sessions import Sessions, run, text_of, turn
from tests.unit.archives import filled


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def now(status: str, text: str = "x") -> Callable[[Any], Json]:
    return lambda _: turn(text, status=status)


def listeners(store: SessionStore) -> int:
    return sum(len(core.notices) for core in store._cores.values())


async def until(happened: Callable[[], object]) -> None:
    while not happened():
        await asyncio.sleep(0.005)


# Statuses ---------------------------------------------------------------------------------------------------------------


def test_a_stream_gives_every_status_saved_through_the_same_store_and_ends(sessions: Sessions) -> None:
    async def scenario() -> None:
        store = sessions.store
        await store.saveSnapshot("a", now("pending"))
        stream = await store.on_snapshot_status_change("a")
        assert isinstance(stream, SnapshotStatusStream)
        for status in ("pending", "aborting", "aborting", "aborted"):
            await store.saveSnapshot("a", now(status))
        seen = [status async for status in stream]
        assert seen == [SnapshotStatus.PENDING, SnapshotStatus.ABORTING, SnapshotStatus.ABORTED]
        assert all(isinstance(status, SnapshotStatus) for status in seen)
        assert listeners(store) == 0

    run(scenario())


@pytest.mark.parametrize("status", ["completed", "failed", "aborted"])
def test_a_stream_of_a_finished_snapshot_says_so_and_ends(sessions: Sessions, status: str) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now(status))
        for store in (sessions.store, sessions.elsewhere()):
            assert [str(one) async for one in await store.on_snapshot_status_change("a")] == [status]

    run(scenario())


def test_a_stream_waits_for_a_snapshot_that_does_not_exist_yet(sessions: Sessions) -> None:
    async def scenario() -> None:
        for number, saver in enumerate((sessions.store, sessions.elsewhere())):
            stream = await sessions.store.on_snapshot_status_change(f"later{number}")
            first = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.02)
            assert not first.done()
            await saver.saveSnapshot(f"later{number}", now("pending"))
            assert await first == "pending"
            await stream.aclose()
        assert listeners(sessions.store) == 0

    run(scenario())


def test_a_stream_hears_of_an_abort_from_elsewhere_within_its_longest_delay(sessions: Sessions) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now("pending"))
        stream = await sessions.store.on_snapshot_status_change("a")
        assert await anext(stream) == "pending"
        end = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(4 * FIRST_DELAY_S)
        await sessions.elsewhere().saveSnapshot("a", now("aborted"))
        aborted_at = asyncio.get_running_loop().time()
        assert await end == "aborted"
        assert asyncio.get_running_loop().time() - aborted_at < MAX_DELAY_S + 5  # a busy machine; without asking: never

    run(scenario())


def test_a_status_of_the_future_is_passed_on_and_ends_nothing(sessions: Sessions) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now("paused"))
        stream = await sessions.store.on_snapshot_status_change("a")
        assert await anext(stream) == "paused"
        await sessions.store.saveSnapshot("a", now("completed"))
        assert [status async for status in stream] == ["completed"]

    run(scenario())


def test_closing_a_stream_ends_a_wait_at_once_even_while_the_storage_hangs() -> None:
    memory = filled(MemoryStorage())
    storage = Freeze(memory)
    store = SessionStore(open_on(storage))

    async def scenario() -> None:
        stream = await store.on_snapshot_status_change("a")
        storage.arm(on("get", "snapshots/*", times=100))
        waiting = asyncio.ensure_future(anext(stream))
        await until(storage.reached.is_set)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        assert listeners(store) == 0
        storage.release()

    run(scenario())


def test_a_deleted_snapshot_that_comes_again_is_heard_of(sessions: Sessions) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now("pending"))
        stream = await sessions.store.on_snapshot_status_change("a")
        assert await anext(stream) == "pending"
        following = asyncio.ensure_future(anext(stream))
        sessions.world.cold().delete("genkit:a")
        await sessions.elsewhere().saveSnapshot("a", now("failed"))
        assert await following == "failed"

    run(scenario())


def test_a_snapshot_whose_every_trace_was_collected_is_heard_of_again(sessions: Sessions) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now("pending"))
        stream = await sessions.store.on_snapshot_status_change("a")
        assert await anext(stream) == "pending"
        following = asyncio.ensure_future(anext(stream))
        sessions.world.memory.delete_many(sessions.world.keys("snapshots/"))  # tombstones do not stay for ever
        sessions.world.meter.reset()
        await until(lambda: sessions.world.meter.snapshot().total >= 2)
        await SessionStore(open_on(sessions.world.memory)).saveSnapshot("a", now("failed"))
        assert await following == "failed"

    run(scenario())


def test_watching_asks_ever_more_rarely(sessions: Sessions) -> None:
    async def scenario() -> None:
        await sessions.store.saveSnapshot("a", now("pending"))
        stream = await sessions.store.on_snapshot_status_change("a")
        assert await anext(stream) == "pending"
        sessions.world.meter.reset()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.2):
                await anext(stream)
        usage = sessions.world.meter.reset()
        # After 0.05, 0.1, 0.2, 0.4 s and so on, each time one register; asking every 0.05 s would be 24 times.
        assert set(usage.requests) == {"get"}
        assert 1 <= usage.total <= 6
        await stream.aclose()

    run(scenario())


# Whole snapshots --------------------------------------------------------------------------------------------------------


def test_a_callback_gets_the_current_snapshot_and_each_change(sessions: Sessions) -> None:
    async def scenario() -> None:
        seen: list[Json] = []
        await sessions.store.saveSnapshot("a", now("pending", "one"))
        stop = sessions.store.onSnapshotStateChange("a", seen.append)
        await until(lambda: len(seen) == 1)
        await sessions.store.saveSnapshot("a", now("pending", "two"))
        await until(lambda: len(seen) == 2)
        await sessions.elsewhere().saveSnapshot("a", now("completed", "three"))
        await until(lambda: len(seen) == 3)
        assert [text_of(one) for one in seen] == ["one", "two", "three"]
        assert seen[2] == {"snapshotId": "a", **turn("three", status="completed")}
        stop()
        await sessions.store.saveSnapshot("a", now("completed", "four"))
        await asyncio.sleep(2 * FIRST_DELAY_S)
        assert len(seen) == 3
        assert listeners(sessions.store) == 0

    run(scenario())


def test_a_callback_is_called_after_the_final_status_too(sessions: Sessions) -> None:
    async def scenario() -> None:
        seen: list[Json] = []
        await sessions.store.saveSnapshot("a", now("completed", "one"))
        stop = sessions.store.onSnapshotStateChange("a", seen.append)
        await until(lambda: seen)
        await sessions.store.saveSnapshot("a", now("completed", "two"))
        await until(lambda: len(seen) == 2)
        stop()

    run(scenario())


def test_what_a_callback_gets_is_its_own(sessions: Sessions) -> None:
    async def scenario() -> None:
        def spoil(snapshot: Json) -> None:
            seen.append(text_of(snapshot))
            snapshot["state"]["messages"].clear()

        seen: list[str | None] = []
        stops = [sessions.store.onSnapshotStateChange("a", spoil) for _ in range(2)]
        await sessions.store.saveSnapshot("a", now("pending", "one"))
        await until(lambda: len(seen) == 2)
        assert seen == ["one", "one"]
        for stop in stops:
            stop()
        assert text_of(await sessions.store.getSnapshot({"snapshotId": "a"})) == "one"

    run(scenario())


def test_a_callback_that_fails_is_reported_and_called_again(sessions: Sessions) -> None:
    async def scenario() -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what["exception"]))

        def broken(snapshot: Json) -> None:
            raise ValueError(text_of(snapshot))

        stop = sessions.store.onSnapshotStateChange("a", broken)
        await sessions.store.saveSnapshot("a", now("pending", "1"))
        await until(lambda: len(reported) == 1)
        await sessions.store.saveSnapshot("a", now("pending", "2"))
        await until(lambda: len(reported) == 2)
        assert [str(error) for error in reported] == ["1", "2"]
        stop()

    run(scenario())


def test_a_save_does_not_mind_a_watcher_whose_loop_is_gone(sessions: Sessions) -> None:
    async def watch() -> None:
        await sessions.store.on_snapshot_status_change("a")

    run(watch())
    assert sessions.put("a", turn("x")) == "a"


def test_listeners_hear_of_their_own_snapshot_until_they_leave() -> None:
    notices = Notices()
    heard: list[Any] = []
    stop = notices.subscribe("a", heard.append)
    stop_too = notices.subscribe("a", heard.append)
    notices.publish("a", 1)  # type: ignore[arg-type]
    notices.publish("b", 2)  # type: ignore[arg-type]
    stop()
    stop()
    notices.publish("a", 3)  # type: ignore[arg-type]
    assert heard == [1, 1, 3]
    stop_too()
    assert len(notices) == 0
