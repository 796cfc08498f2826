"""Genkit's own agents, of the package as it is published, over an archive on disk.

Goal: a program that uses Genkit Python changes one line, the store, and everything it did before works, also when the next
turn, the abort or the look at a session happens in another process.
Method: `genkit.exp` with a model that answers locally. What a second process does is done by a second process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
from genkit.exp.agent import AgentError, SessionSnapshot

import snapstore
from snapstore.adapters.genkit import SessionStore
from tests.e2e.genkit_support import World

# Its agents are experimental; between versions they may announce changes that are no business of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:genkit")

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(WAIT_S):
            await scenario()

    asyncio.run(limited())


async def elsewhere(script: str, *words: str) -> Any:
    """Run a script in a process of its own, and return the JSON that it prints."""
    environment = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "HOME") if key in os.environ}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, *words],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SETUP = """
import asyncio, json, sys
from pathlib import Path
from tests.e2e.genkit_support import World
"""


def test_a_conversation_of_several_turns(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        chat = world.agent.chat()
        replies = [(await chat.send(text)).text for text in ("one", "two", "three")]
        assert replies == ["echo: one (1)", "echo: two (3)", "echo: three (5)"]
        assert await world.said(chat.snapshot_id) == [
            "one", "echo: one (1)", "two", "echo: two (3)", "three", "echo: three (5)"
        ]  # fmt: skip
        archive = snapstore.open(world.url)
        snapshots = archive.log(f"genkit:{chat.session_id}")
        assert len(snapshots) == 3
        assert [snapshot.parents for snapshot in snapshots] == [(snapshots[1].id,), (snapshots[2].id,), ()]
        assert snapshots[0]["messages"][-1]["content"][0]["text"] == "echo: three (5)"
        assert {info.status for info in archive.list(graph="genkit")} == {"completed"}

    play(scenario)


def test_a_session_goes_on_in_another_process(tmp_path: Path) -> None:
    script = f"""{SETUP}
async def main():
    world = World(Path(sys.argv[1]), create=False)
    chat = await world.agent.load_chat(session_id=sys.argv[2])
    reply = await chat.send("two")
    print(json.dumps([reply.text, reply.snapshot_id]))
asyncio.run(main())
"""

    async def scenario() -> None:
        world = World(tmp_path)
        chat = world.agent.chat()
        await chat.send("one")
        text, snapshot_id = await elsewhere(script, str(tmp_path), str(chat.session_id))
        assert text == "echo: two (3)"
        newest = await world.agent.get_snapshot(session_id=str(chat.session_id))
        assert newest is not None
        assert newest.snapshot_id == snapshot_id
        assert newest.parent_id == chat.snapshot_id
        resumed = await world.agent.load_chat(session_id=str(chat.session_id))
        assert (await resumed.send("three")).text == "echo: three (5)"

    play(scenario)


def test_a_conversation_branches_from_an_earlier_turn(tmp_path: Path) -> None:
    async def scenario() -> None:
        world, strict = World(tmp_path), World(tmp_path, reject_branching=True)
        chat = world.agent.chat()
        first = (await chat.send("one")).snapshot_id
        second = (await chat.send("two")).snapshot_id
        assert first is not None
        branch = await world.agent.load_chat(snapshot_id=first)
        other = (await branch.send("other")).snapshot_id
        assert await world.said(second) == ["one", "echo: one (1)", "two", "echo: two (3)"]
        assert await world.said(other) == ["one", "echo: one (1)", "other", "echo: other (3)"]
        newest = await world.agent.get_snapshot(session_id=str(chat.session_id))
        assert newest is not None
        assert newest.snapshot_id == other
        with pytest.raises(Exception, match=r"branching snapshots \(2 leaves\)"):
            await strict.agent.get_snapshot(session_id=str(chat.session_id))

    play(scenario)


def test_a_failed_turn_is_kept_and_the_conversation_goes_on_before_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        chat = world.agent.chat()
        good = (await chat.send("one")).snapshot_id
        with pytest.raises(AgentError, match="out of order"):
            await chat.send("fail")
        failed = await world.agent.get_snapshot(session_id=str(chat.session_id))
        assert failed is not None
        assert (failed.status, failed.parent_id) == ("failed", good)
        assert failed.error is not None
        assert (failed.error.status, "out of order" in failed.error.message) == ("UNAVAILABLE", True)
        resumed = World(tmp_path, create=False).agent.chat(session_id=str(chat.session_id))
        assert (await resumed.send("two")).text == "echo: two (3)"

    play(scenario)


def test_a_detached_turn_beats_and_finishes_under_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The runtime beats every 30 s; its own tests shorten that in the same place.
    monkeypatch.setattr("genkit._ai._agents._runtime.DEFAULT_HEARTBEAT_INTERVAL_MS", 20)

    async def scenario() -> None:
        world = World(tmp_path)
        watcher = SessionStore(snapstore.open(world.url))
        chat = world.agent.chat()
        before = (await chat.send("one")).snapshot_id
        task = await chat.detach("wait")
        pending = await watcher.get_snapshot(snapshot_id=task.snapshot_id)
        assert pending is not None
        assert (pending.status, pending.parent_id) == ("pending", before)
        packs = len(list(Path(world.url, "runs").rglob("*")))
        beats = {pending.heartbeat_at}
        while len(beats) < 4:
            await asyncio.sleep(0.01)
            seen: SessionSnapshot | None = await watcher.get_snapshot(snapshot_id=task.snapshot_id)
            assert seen is not None
            beats.add(seen.heartbeat_at)
        assert min(map(str, beats)) == pending.heartbeat_at
        assert len(list(Path(world.url, "runs").rglob("*"))) == packs  # no beat wrote one
        world.go.set()
        done = await task.wait(interval=0.01)
        assert (done.snapshot_id, done.status, done.parent_id) == (task.snapshot_id, "completed", before)
        assert (await world.said(task.snapshot_id))[-1] == "echo: wait (3)"
        newest = await watcher.get_snapshot(session_id=str(chat.session_id))
        assert newest is not None
        assert newest.snapshot_id == task.snapshot_id

    play(scenario)


def test_another_process_aborts_a_detached_turn(tmp_path: Path) -> None:
    script = f"""{SETUP}
async def main():
    world = World(Path(sys.argv[1]), create=False)
    print(json.dumps(await world.agent.abort(sys.argv[2])))
asyncio.run(main())
"""

    async def scenario() -> None:
        world = World(tmp_path)
        chat = world.agent.chat()
        before = (await chat.send("one")).snapshot_id
        task = await chat.detach("wait")
        assert await elsewhere(script, str(tmp_path), task.snapshot_id) == "pending"
        await world.aborted.wait()  # the turn itself was told
        found = await world.agent.get_snapshot(snapshot_id=task.snapshot_id)
        assert found is not None
        assert found.status == "aborted"
        # Its end, a moment later, must not turn it into a completed one.
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        found = await world.agent.get_snapshot(snapshot_id=task.snapshot_id)
        assert found is not None
        assert found.status == "aborted"
        resumed = world.agent.chat(session_id=str(chat.session_id))
        reply = await resumed.send("two")
        assert reply.text == "echo: two (3)"
        after = await world.agent.get_snapshot(snapshot_id=str(reply.snapshot_id))
        assert after is not None
        assert after.parent_id == before

    play(scenario)


def test_agents_share_an_archive_with_whatever_else_lies_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        archive = snapstore.open(world.url)
        archive.save({"mine": 1}, run="mine", id="mine")
        chats = [world.agent.chat(session_id=f"customer/{number}") for number in range(3)]
        replies: Sequence[Any] = await asyncio.gather(*(chat.send(f"hello {n}") for n, chat in enumerate(chats)))
        assert [reply.text for reply in replies] == [f"echo: hello {n} (1)" for n in range(3)]
        assert sorted(info.run for info in archive.list()) == [
            "genkit:customer%2F0",
            "genkit:customer%2F1",
            "genkit:customer%2F2",
            "mine",
        ]
        forked = archive.fork(f"genkit:{replies[0].snapshot_id}", run="mine", patch={"custom": {"tried": True}})
        assert forked["messages"][0]["content"][0]["text"] == "hello 0"

    play(scenario)
