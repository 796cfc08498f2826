"""Lists: in the order of checkpoint ids, by registers alone, with checkpoints that are read when they are looked at.

Goal: listing and filtering a long thread costs what its registers cost, and a tuple behaves as any other. Method: metered
storage, which objects were read, every way of taking a tuple apart.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from typing import Any

import pytest
from langgraph.checkpoint.base import CheckpointTuple, copy_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.archive import Archive
from snapstore.errors import NotFoundError
from snapstore.opening import open_on
from snapstore.storage.protocol import Storage, Stored
from snapstore.storage.wrapper import WrappedStorage
from tests.unit.adapters.langgraph.checkpoints import SaverWorld, config, ids, put
from tests.unit.archives import noise

LARGE = noise(random.Random(1), 12_000)


class Keys(WrappedStorage):
    """Remembers which objects were read."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.read: list[str] = []

    def get(self, key: str) -> Stored:
        """Remember the key."""
        self.read.append(key)
        return self.inner.get(key)

    def get_ranges(self, key: str, ranges: Any) -> list[bytes]:
        """Remember the key."""
        self.read.append(key)
        return self.inner.get_ranges(key, ranges)

    def packs(self) -> list[str]:
        """The packs that were read since the last call."""
        found = [key for key in self.read if key.startswith(("runs/", "packs/"))]
        self.read = []
        return found


class Thread(SaverWorld):
    """A thread of 30 checkpoints with a subgraph beside it, and a checkpointer whose reads are watched."""

    def __init__(self) -> None:
        super().__init__()
        parent = None
        for number in range(30):
            id = f"{number:02}"
            put(self.saver, id, {"document": LARGE, "x": number}, parent=parent, step=number, even=number % 2 == 0)
            self.saver.put_writes(config(checkpoint_id=id), [("x", LARGE if number == 29 else number)], "task")
            parent = id
        put(self.saver, "155", {"x": 0}, ns="sub:1|deep:2", step=0)
        self.keys_read = Keys(self.memory)

    def cold_saver(self) -> SnapstoreSaver:
        """A checkpointer that knows nothing."""
        opened = open_on(self.keys_read)
        self.keys_read.read = []
        return SnapstoreSaver(Archive(self.keys_read, opened.config))


@pytest.fixture(scope="module")
def thread() -> Thread:
    """One thread for the tests that only read."""
    return Thread()


LISTS: list[dict[str, Any]] = [
    {"limit": 10},
    {"filter": {"step": 7}},
    {"filter": {"even": True, "source": "loop"}, "limit": 3},
    {"before": config(checkpoint_id="20"), "limit": 5},
    {},
]


@pytest.mark.parametrize("wanted", LISTS, ids=lambda wanted: "-".join(wanted) or "all")
@pytest.mark.parametrize("ns", ["", None], ids=["namespace", "thread"])
def test_lists_read_no_pack(thread: Thread, wanted: dict[str, Any], ns: str | None) -> None:
    """A state has megabytes, a register one kilobyte: neither a filter nor a tuple's own fields may need a state."""
    saver = thread.cold_saver()
    found = list(saver.list(config(ns=ns), **wanted))
    assert found
    for one in found:
        assert one.metadata["source"] == "loop"
        assert one.config["configurable"]["thread_id"] == "t"
        assert (one.parent_config is None) == (one.config["configurable"]["checkpoint_id"] in {"00", "155"})
        if one.config["configurable"]["checkpoint_id"] not in {"29", "155"}:
            assert one.pending_writes is not None
    assert thread.keys_read.packs() == []


def test_a_short_list_of_a_namespace_reads_few_registers() -> None:
    """The newest ten of a thread of thousands: the rest of it is not read."""
    world = SaverWorld()
    every = [f"{number:03}" for number in range(150)]
    for id in every:
        put(world.saver, id)
    usage = world.cost(lambda: list(world.another().list(config(), limit=3)))
    assert usage.reads < 75
    assert ids(world.another().list(config(), limit=3)) == every[:-4:-1]
    assert ids(world.another().list(config(), limit=200)) == every[::-1]


def test_a_checkpoint_is_read_when_it_is_looked_at(thread: Thread) -> None:
    """What is lazy must still be whole, and be read once."""
    one = next(thread.cold_saver().list(config(), filter={"step": 12}))
    assert one.checkpoint["channel_values"] == {"document": LARGE, "x": 12}
    assert thread.keys_read.packs()
    assert one.checkpoint is one.checkpoint
    assert thread.keys_read.packs() == []


def test_large_writes_are_read_when_they_are_looked_at(thread: Thread) -> None:
    """They lie in packs of their own."""
    one = next(thread.cold_saver().list(config(), limit=1))
    assert thread.keys_read.packs() == []
    assert one.pending_writes == [("task", "x", LARGE)]
    assert thread.keys_read.packs()


def test_what_a_config_names_is_what_is_listed(thread: Thread) -> None:
    """No namespace means all of them, no config all threads; a checkpoint id picks one."""
    saver = thread.cold_saver()
    put(thread.saver, "40", thread="u")
    assert ids(saver.list(config(ns=None), limit=1)) == ["29"]
    assert ids(saver.list(config(ns=None)))[13:16] == ["16", "155", "15"]
    assert ids(saver.list(config(ns="sub:1|deep:2"))) == ["155"]
    assert ids(saver.list(None))[:2] == ["40", "29"]
    assert len(ids(saver.list(None))) == 32
    assert ids(saver.list(config(checkpoint_id="07"))) == ["07"]
    assert list(saver.list(config(), limit=0)) == []
    assert list(saver.list(config("other"))) == []


def test_an_async_list_comes_with_its_checkpoints(thread: Thread) -> None:
    """An event loop must not wait for storage inside an attribute; what a filter drops is not read all the same."""
    saver = thread.cold_saver()

    async def read() -> list[CheckpointTuple]:
        return [one async for one in saver.alist(config(), filter={"step": 12})]

    (one,) = asyncio.run(read())
    assert len({key for key in thread.keys_read.packs() if key.startswith("runs/")}) < 10
    assert one.checkpoint["channel_values"]["x"] == 12
    assert one.pending_writes == [("task", "x", 12)]
    assert thread.keys_read.packs() == []


def listed(thread: Thread) -> CheckpointTuple:
    """A tuple of a list that nobody has looked at."""
    return next(thread.saver.list(config(), filter={"step": 12}))


def test_a_listed_tuple_is_like_any_other(thread: Thread) -> None:
    """Programs unpack tuples, index, copy and compare them: nothing may come out empty because it was not read yet."""
    whole = thread.saver.get_tuple(config(checkpoint_id="12"))
    assert whole is not None
    assert isinstance(listed(thread), CheckpointTuple)
    assert (listed(thread) == whole, whole == listed(thread), listed(thread) != whole) == (True, True, False)
    assert tuple(listed(thread)) == tuple(whole)
    assert [*listed(thread)] == list(whole)
    _, found, *_ = listed(thread)
    assert found == whole.checkpoint
    assert listed(thread)[1] == whole[1]
    assert listed(thread)[-1] == whole[-1]
    assert listed(thread)[1:3] == whole[1:3]
    assert whole.checkpoint in listed(thread)
    assert listed(thread)._replace(metadata={}) == whole._replace(metadata={})
    assert listed(thread)._asdict() == whole._asdict()
    assert repr(listed(thread)) == repr(whole)
    assert copy.copy(listed(thread)) == copy.deepcopy(listed(thread)) == whole
    assert len(listed(thread)) == 5
    with pytest.raises(TypeError):
        hash(listed(thread))


def test_a_listed_checkpoint_is_an_ordinary_dict(thread: Thread) -> None:
    """Encoders in C take a dict's content without asking it: a half-read one would be stored empty elsewhere."""
    found: Any = listed(thread).checkpoint
    assert type(listed(thread).checkpoint) is dict
    assert json.loads(json.dumps(found)) == found
    assert {**found} == dict(found) == found
    assert copy_checkpoint(found) == {**found, "pending_sends": []}
    other = InMemorySaver()
    values = found["channel_versions"]
    other.put(config("copy"), found, listed(thread).metadata, values)
    read = other.get_tuple(config("copy"))
    assert read is not None
    assert read.checkpoint["channel_values"] == found["channel_values"]


def test_a_checkpoint_deleted_after_it_was_listed_is_reported() -> None:
    """An empty checkpoint would look like a valid one."""
    world = SaverWorld()
    put(world.saver, "1", {"x": 1})
    (one,) = world.saver.list(config())
    world.saver.delete_thread("t")
    with pytest.raises(NotFoundError, match="deleted after"):
        _ = one.checkpoint
