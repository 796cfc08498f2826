"""Whole threads: deleted, copied without their values, pruned with what DeltaChannels need.

Goal: each operation does all of what it says and nothing to others. Method: several namespaces, large and small writes,
placeholders, other threads beside; metered storage for what a copy may cost.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from langgraph.checkpoint.base import CheckpointTuple

from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.errors import InvalidInputError
from tests.unit.adapters.langgraph.checkpoints import SaverWorld, config, ids, put
from tests.unit.archives import noise

LARGE = noise(random.Random(1), 12_000)
NAMESPACES = ("", "sub:1", "sub:1|deep:2")


def fill(saver: SnapstoreSaver, thread: str, count: int = 4) -> None:
    """A thread with three namespaces, whose checkpoints have small and large writes."""
    for ns in NAMESPACES:
        for number in range(count):
            parent = str(number - 1) if number else None
            values = {"document": LARGE, "x": [thread, ns, number]}
            stored = put(saver, str(number), values, parent=parent, thread=thread, ns=ns, step=number, run_id=f"run{number % 2}")
            saver.put_writes(stored, [("x", number)], "small", "p")
            saver.put_writes(stored, [("x", LARGE)], "large", "q")


def content(saver: SnapstoreSaver, thread: str) -> list[CheckpointTuple]:
    """Everything in a thread, with the thread's own name taken out."""
    found = [CheckpointTuple(*one) for one in saver.list(config(thread, ns=None))]
    for one in found:
        for named in (one.config, one.parent_config or one.config):
            assert named["configurable"].pop("thread_id", thread) == thread
    return found


@pytest.mark.parametrize("how", ["delete_thread", "prune"])
def test_a_deleted_thread_is_gone_and_no_other(how: str) -> None:
    """A user's right to be forgotten: all namespaces, and the writes, which hold the same texts."""
    world = SaverWorld()
    fill(world.saver, "t")
    fill(world.saver, "t2")
    world.saver.put_writes(config(checkpoint_id="9"), [("x", LARGE)], "early")
    before = content(world.saver, "t2")
    world.saver.delete_thread("t") if how == "delete_thread" else world.saver.prune(["t"], strategy="delete")
    assert content(world.another(), "t") == []
    assert content(world.another(), "t2") == before
    assert [row.id for row in world.archive.list() if "t2" not in row.id] == []
    put(world.saver, "0", {"x": 1})
    read = world.saver.get_tuple(config())
    assert read is not None
    assert read.pending_writes == []


def test_deleting_nothing_is_silent() -> None:
    """Clean-up jobs run twice."""
    saver = SaverWorld().saver
    saver.delete_thread("none")
    saver.delete_for_runs([])
    saver.delete_for_runs(["none"])
    saver.prune([])
    saver.prune(["none"])
    saver.copy_thread("none", "other")
    assert list(saver.list(None)) == []


def test_runs_are_deleted_wherever_they_ran() -> None:
    """The rollback of a run: its checkpoints in every namespace and thread, with their writes; others stay."""
    world = SaverWorld()
    fill(world.saver, "t")
    fill(world.saver, "t2")
    put(world.saver, "7", {"x": 1}, run_id="run0", document="x" * 20_000, thread="t3")
    world.saver.delete_for_runs(["run0", "run5"])
    for thread in ("t", "t2"):
        assert ids(world.another().list(config(thread, ns=None))) == ["3", "3", "3", "1", "1", "1"]
        latest = world.another().get_tuple(config(thread))
        assert latest is not None
        assert latest.parent_config == config(thread, "2")
        assert world.saver.get_tuple(config(thread, "2")) is None
    assert list(world.saver.list(config("t3"))) == []
    assert len([row for row in world.archive.list() if row.id.startswith("langgraph-writes:")]) == 12
    put(world.saver, "0", {"x": 1})
    assert [one.pending_writes for one in world.saver.list(config(checkpoint_id="0"))] == [[]]


def test_a_copy_has_everything_and_stores_no_value_again() -> None:
    """A fork of a long conversation costs its registers, not its texts."""
    world = SaverWorld()
    fill(world.saver, "t", 20)
    before = world.stored_bytes("runs/")
    packs = len(world.keys("runs/"))
    usage = world.cost(lambda: world.saver.copy_thread("t", "copy"))
    copied = len(world.keys("runs/")) - packs
    assert copied == 3 * 20 * 2
    assert (world.stored_bytes("runs/") - before) / copied < 1200
    assert usage.bytes_written < 3000 * copied
    assert content(world.another(), "copy") == content(world.another(), "t")
    for ns in NAMESPACES:
        latest = world.another().get_tuple(config("copy", ns=ns))
        assert latest is not None
        assert latest.checkpoint["id"] == "9"


def test_a_copy_is_independent() -> None:
    """Going on in the copy, or deleting the original, must not show in the other."""
    world = SaverWorld()
    fill(world.saver, "t", 3)
    world.saver.copy_thread("t", "copy")
    original = content(world.saver, "t")
    put(world.saver, "3", {"x": "copy only"}, parent="2", thread="copy")
    world.saver.put_writes(config("copy", "2"), [("x", "copy only")], "new")
    assert content(world.another(), "t") == original
    copied = content(world.saver, "copy")
    world.saver.delete_thread("t")
    assert content(world.another(), "copy") == copied


def test_a_copy_onto_an_existing_thread_adds_to_it() -> None:
    """Copied again, or onto a thread that went on: what is there under the same id is replaced, the rest stays."""
    world = SaverWorld()
    fill(world.saver, "t", 3)
    put(world.saver, "1", {"x": "old"}, thread="target")
    put(world.saver, "5", {"x": "kept"}, parent="1", thread="target")
    for _ in range(2):
        world.saver.copy_thread("t", "target")
        latest = world.another().get_tuple(config("target"))
        assert latest is not None
        assert latest.checkpoint["channel_values"] == {"x": "kept"}
        assert ids(world.another().list(config("target"))) == ["5", "2", "1", "0"]
        replaced = world.another().get_tuple(config("target", "1"))
        assert replaced is not None
        assert replaced.checkpoint["channel_values"]["x"] == ["t", "", 1]
    world.saver.copy_thread("t", "t")
    assert ids(world.saver.list(config())) == ["2", "1", "0"]


def test_pruning_keeps_the_newest_of_each_namespace_with_its_writes() -> None:
    """What a graph needs to go on, and no more; a step that is under way keeps its early writes."""
    world = SaverWorld()
    fill(world.saver, "t")
    fill(world.saver, "other")
    untouched = content(world.saver, "other")
    world.saver.put_writes(config(checkpoint_id="4"), [("x", "early")], "task")
    kept = {ns: world.saver.get_tuple(config(ns=ns)) for ns in NAMESPACES}
    world.saver.prune(["t"])
    for ns in NAMESPACES:
        assert ids(world.another().list(config(ns=ns))) == ["3"]
        assert world.another().get_tuple(config(ns=ns)) == kept[ns]
    assert content(world.another(), "other") == untouched
    put(world.saver, "4", {"x": 1}, parent="3")
    latest = world.saver.get_tuple(config())
    assert latest is not None
    assert latest.pending_writes == [("task", "x", "early")]


def test_an_unknown_strategy_is_refused() -> None:
    """A typing error must not delete anything."""
    world = SaverWorld()
    put(world.saver, "1")
    with pytest.raises(InvalidInputError, match="no such pruning strategy") as caught:
        world.saver.prune(["t"], strategy="all")
    assert caught.value.hint is not None
    assert ids(world.saver.list(config())) == ["1"]


def test_the_async_methods_do_the_same() -> None:
    """The conformance suite looks at effects only where it has tests; these are all of them, once."""
    world = SaverWorld()

    async def live() -> Any:
        saver = world.saver
        stored = await saver.aput(config(), content_of("1"), {"step": 1, "run_id": "r"}, {})
        await saver.aput_writes(stored, [("x", 1)], "task")
        await saver.acopy_thread("t", "u")
        await saver.aput(config(checkpoint_id="1"), content_of("2"), {"step": 2}, {})
        await saver.aprune(["t"])
        await saver.adelete_for_runs(["r"])
        history = await saver.aget_delta_channel_history(config=stored, channels=["x"])
        found = [one async for one in saver.alist(None)]
        await saver.adelete_thread("t")
        return found, history, await saver.aget_tuple(config())

    found, history, last = asyncio.run(live())
    assert ids(found) == ["2"]
    assert history == {"x": {"writes": []}}
    assert last is None


def content_of(id: str) -> Any:
    """A checkpoint without values."""
    return {
        "v": 4,
        "id": id,
        "ts": "",
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "updated_channels": None,
    }
