"""Values come back as SqliteSaver gives them back, and are stored so that they are stored once and can be searched.

Goal: no type is lost, none is imported that was not allowed, messages lie open, an encrypting serializer sees everything.
Method: the same values through LangGraph's own SQLite saver and through ours; a look at the stored state; serializers that
record what they are given.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import math
import pathlib
import random
import re
import uuid
from collections import deque
from typing import Any, NamedTuple

import pydantic
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Interrupt, Send

from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.errors import InvalidInputError
from tests.unit.adapters.langgraph.checkpoints import SaverWorld, checkpoint, config, metadata, put
from tests.unit.archives import noise


@dataclasses.dataclass
class Plan:
    """A dataclass of a user."""

    goal: str
    steps: list[str]


class Ticket(pydantic.BaseModel):
    """A pydantic model of a user."""

    id: int
    opened: datetime.datetime


class Colour(enum.Enum):
    """An enum of a user."""

    RED = "red"


class Point(NamedTuple):
    """A named tuple of a user."""

    x: int
    y: int


MOMENT = datetime.datetime(2026, 11, 21, 3, 8, tzinfo=datetime.UTC)

VALUES: dict[str, Any] = {
    "none": None,
    "text": "Grüße \x00 \U0001f600",
    "numbers": [0, -1, 2**63 - 1, 1.5, -0.0, math.inf],
    "bytes": b"\x00\xff" * 700,
    "tuple": (1, ("a", None)),
    "sets": [{1, 2}, frozenset({"a"}), deque([1, 2])],
    "moments": [MOMENT, MOMENT.date(), MOMENT.time(), datetime.timedelta(days=1, microseconds=7)],
    "ids": [uuid.UUID(int=7), decimal.Decimal("1.10"), ipaddress.ip_address("::1")],
    "paths": [pathlib.Path("/a/b"), re.compile("a+", re.IGNORECASE)],
    "int keys": {1: "a", 2: {3: [4]}},
    "reserved": {"$type": "builtins:eval", "$serde": ["pickle", b""], "$delta": 1},
    "nested reserved": [{"a": {"$type": "x"}}],
    "message": HumanMessage("hello", id="m1"),
    "messages": [
        HumanMessage("hello", id="1", additional_kwargs={"at": MOMENT}),
        AIMessage("", tool_calls=[{"name": "look", "args": {"x": [1, {"y": None}]}, "id": "c1"}], id="2"),
        ToolMessage([{"type": "text", "text": "found"}], tool_call_id="c1", artifact=b"\x00", id="3"),
    ],
    "framework": [Send("node", {"a": HumanMessage("x", id="4")}), Interrupt(value={"ask": (1, 2)}, id="i")],
    "dataclass": Plan("win", ["a"]),
    "model": Ticket(id=1, opened=MOMENT),
    "enum": [Colour.RED],
    "named tuple": Point(1, 2),
    "delta": _DeltaSnapshot([HumanMessage("x", id="5"), "y", (1,)]),
    "surrogate": ["half \ud800 pair", {"key": "\udfff"}],
    "long key": {"k" * 20_000: 1},
    "empty": [[], {}, "", b""],
}

ALLOWED = JsonPlusSerializer(allowed_msgpack_modules=[Plan, Ticket, Colour, Point])


def nested(depth: int) -> Any:
    """Lists within lists."""
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("serde", [None, ALLOWED], ids=["strict", "allowed"])
@pytest.mark.parametrize("name", list(VALUES))
def test_values_come_back_as_from_sqlite(name: str, serde: JsonPlusSerializer | None) -> None:
    """The contract is what LangGraph's own saver does, to the type: also where that turns tuples into lists."""
    world = SaverWorld()
    ours = SnapstoreSaver(world.archive, serde=serde)
    with SqliteSaver.from_conn_string(":memory:") as theirs:
        theirs.serde = serde or JsonPlusSerializer(allowed_msgpack_modules=None)
        found = []
        for saver in (theirs, ours):
            put(saver, "1", {name: VALUES[name]})
            read = saver.get_tuple(config())
            assert read is not None
            found.append(read.checkpoint)
    assert repr(found[1]["channel_values"][name]) == repr(found[0]["channel_values"][name])
    assert found[1]["channel_values"] == found[0]["channel_values"]
    assert found[1] == found[0]


def test_nan_deep_nesting_and_bytearrays_come_back() -> None:
    """NaN equals nothing, the archive itself takes 200 levels only, and a bytearray stays one (SQLite's saver gives bytes)."""
    world = SaverWorld()
    put(world.saver, "1", {"nan": [math.nan], "deep": nested(250), "array": bytearray(b"abc")})
    read = world.saver.get_tuple(config())
    assert read is not None
    assert type(read.checkpoint["channel_values"]["array"]) is bytearray
    assert math.isnan(read.checkpoint["channel_values"]["nan"][0])
    assert read.checkpoint["channel_values"]["deep"] == nested(250)


def test_messages_lie_open_in_the_state() -> None:
    """Searches follow `channel_values.messages[*].content`: the promise of the stored form."""
    world = SaverWorld()
    messages = [HumanMessage("hello", id="1"), AIMessage("hi", id="2", usage_metadata=None)]
    put(world.saver, "1", {"messages": messages})
    state = world.archive["langgraph:t//1"].state()
    assert [one["content"] for one in state["channel_values"]["messages"]] == ["hello", "hi"]
    assert state["channel_values"]["messages"][0]["$type"] == "langchain_core.messages.human:HumanMessage"


def test_types_outside_the_allowlist_are_not_imported() -> None:
    """Who can write to the storage must not be able to run code in the reader: LangGraph's default would allow that."""
    world = SaverWorld()
    put(world.saver, "1", {"plan": Plan("win", ["a"]), "ticket": Ticket(id=1, opened=MOMENT)})
    read = world.saver.get_tuple(config())
    assert read is not None
    assert read.checkpoint["channel_values"]["plan"] == {"goal": "win", "steps": ["a"]}
    assert not isinstance(read.checkpoint["channel_values"]["ticket"], Ticket)


def test_own_types_can_be_allowed() -> None:
    """What the documentation tells a user to do, and LangGraph does itself for the types of a graph's state."""
    world = SaverWorld()
    put(world.saver, "1", {"plan": Plan("win", ["a"])})
    allowing = world.saver.with_allowlist([(Plan.__module__, "Plan")])
    read = allowing.get_tuple(config())
    assert read is not None
    assert read.checkpoint["channel_values"]["plan"] == Plan("win", ["a"])


@pytest.mark.parametrize("wrapped", [False, True])
def test_pickle_is_refused(wrapped: bool) -> None:
    """A serializer that unpickles runs whatever the storage holds; nothing of ours may lead there."""
    serde: Any = JsonPlusSerializer(pickle_fallback=True)
    if wrapped:
        serde = EncryptedSerializer(Scrambling(), serde)
    with pytest.raises(InvalidInputError, match="pickle") as caught:
        SnapstoreSaver(SaverWorld().archive, serde=serde)
    assert caught.value.code == "pickle_refused"


def test_a_change_in_place_is_stored() -> None:
    """Nodes may change a message in place; the remembered form of a message must not hide that."""
    world = SaverWorld()
    message = AIMessage("first", id="1", additional_kwargs={"seen": [1]})
    put(world.saver, "1", {"messages": [message]})
    message.content = "second"
    message.additional_kwargs["seen"].append(2)
    put(world.saver, "2", {"messages": [message]}, parent="1")
    for id, expected in (("1", ("first", [1])), ("2", ("second", [1, 2]))):
        read = world.saver.get_tuple(config(checkpoint_id=id))
        assert read is not None
        found = read.checkpoint["channel_values"]["messages"][0]
        assert (found.content, found.additional_kwargs["seen"]) == expected


def test_extra_fields_of_a_message_are_seen() -> None:
    """Messages take further fields, which lie outside of the dict that the fingerprint is made of."""
    world = SaverWorld()
    message = HumanMessage("x", id="1", mood="good")
    for id, mood in (("1", "good"), ("2", "bad")):
        message.__pydantic_extra__ = {"mood": mood}
        put(world.saver, id, {"messages": [message]})
        read = world.saver.get_tuple(config(checkpoint_id=id))
        assert read is not None
        assert read.checkpoint["channel_values"]["messages"][0].mood == mood


def test_what_is_read_is_the_readers_own() -> None:
    """Two reads must not share what a node then changes in place."""
    world = SaverWorld()
    put(world.saver, "1", {"messages": [HumanMessage("x", id="1")], "plan": {"steps": [1]}})
    for _ in range(2):
        read = world.saver.get_tuple(config())
        assert read is not None
        values = read.checkpoint["channel_values"]
        assert (values["messages"][0].content, values["plan"]) == ("x", {"steps": [1]})
        values["messages"][0].content = "changed"
        values["plan"]["steps"].append(2)


class Scrambling:
    """A cipher that a test can see through: every byte is inverted, and a counter stands in front."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Invert every byte, differently each time."""
        self.seen.append(plaintext)
        return "scrambled", len(self.seen).to_bytes(4) + bytes(byte ^ 255 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Invert them back."""
        assert ciphername == "scrambled"
        return bytes(byte ^ 255 for byte in ciphertext[4:])


def leaves(value: Any) -> list[Any]:
    """Everything in a state that is no container."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *leaves(item))]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def test_an_encrypting_serializer_sees_every_value() -> None:
    """Whoever encrypts wants nothing but names to be readable: not plain text either, nor what tasks wrote."""
    world = SaverWorld()
    saver = SnapstoreSaver(
        world.archive, serde=EncryptedSerializer(Scrambling(), JsonPlusSerializer(allowed_msgpack_modules=None))
    )
    values = {"text": "SECRET", "list": ["SECRET", {"a": "SECRET"}], "messages": [HumanMessage("SECRET", id="1")]}
    put(saver, "1", values)
    saver.put_writes(config(checkpoint_id="1"), [("text", "SECRET"), ("big", "SECRET" * 20_000)], "task")
    read = saver.get_tuple(config())
    assert read is not None
    assert read.checkpoint["channel_values"] == values
    assert [one[2] for one in read.pending_writes or []] == ["SECRET", "SECRET" * 20_000]
    for row in world.archive.list():
        for leaf in (*leaves(world.archive[row.id].state()), *leaves(dict(row.metadata))):
            assert b"SECRET" not in (
                leaf.encode() if isinstance(leaf, str) else bytes(leaf or b"") if isinstance(leaf, bytes) else b""
            )


def test_an_encrypted_conversation_is_not_stored_anew_with_every_step() -> None:
    """A cipher gives other bytes each time; messages that did not change keep those that they have."""
    world = SaverWorld()
    cipher = Scrambling()
    saver = SnapstoreSaver(world.archive, serde=EncryptedSerializer(cipher, JsonPlusSerializer(allowed_msgpack_modules=None)))
    messages = [HumanMessage(noise(random.Random(number), 500), id=str(number)) for number in range(50)]
    put(saver, "01", {"messages": messages})
    before = world.stored_bytes("runs/")
    put(saver, "02", {"messages": [*messages, HumanMessage("more", id="more")]}, parent="01")
    assert world.stored_bytes("runs/") - before < before / 3


def test_a_thread_can_begin_to_be_encrypted() -> None:
    """Switching encryption on must not make older checkpoints unreadable: LangGraph's serializer passes them through."""
    world = SaverWorld()
    put(world.saver, "1", {"messages": [HumanMessage("x", id="1")], "plan": Plan("win", [])})
    later = SnapstoreSaver(world.archive, serde=EncryptedSerializer(Scrambling(), ALLOWED))
    put(later, "2", {"messages": [HumanMessage("x", id="1")]}, parent="1")
    old, new = (later.get_tuple(config(checkpoint_id=id)) for id in "12")
    assert old is not None
    assert new is not None
    assert old.checkpoint["channel_values"] == {"messages": [HumanMessage("x", id="1")], "plan": Plan("win", [])}
    assert new.checkpoint["channel_values"] == {"messages": [HumanMessage("x", id="1")]}


def test_a_value_that_cannot_be_stored_is_refused_and_nothing_is_written() -> None:
    """An error after half of the work would leave a checkpoint that the graph believes it has."""
    world = SaverWorld()
    with pytest.raises(TypeError):
        put(world.saver, "1", {"good": 1, "bad": object()})
    assert world.saver.get_tuple(config()) is None
    reserved = checkpoint("1", {"good": 1})
    reserved["$history"] = {}  # type: ignore[typeddict-unknown-key]
    with pytest.raises(InvalidInputError, match="begin with"):
        world.saver.put(config(), reserved, metadata(), {})
