"""The story of the golden archive: every kind of object, entry and value of format 1, in as few bytes as possible."""

from __future__ import annotations

import datetime
import decimal
import math
import struct
import uuid
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import blake3

import snapstore
from snapstore.packs import builder

States = dict[str, Any]
"""What every live snapshot must hold, by id."""

WORDS = [
    *("the", "agent", "reads", "a", "ticket", "and", "writes", "an", "answer", "that"),
    *("nobody", "has", "to", "correct", "before", "it", "is", "sent", "on"),
]


def prose(seed: int, words: int) -> str:
    """Return text that looks like sentences, the same for the same numbers."""
    picks = blake3.blake3(f"prose {seed}".encode()).digest(length=words)
    return " ".join(WORDS[pick % len(WORDS)] + ("." if pick > 230 else "") for pick in picks)


def noise(seed: int, length: int) -> bytes:
    """Return bytes that do not compress, the same for the same numbers."""
    return blake3.blake3(f"noise {seed}".encode()).digest(length=length)


def conversation(archive: snapstore.Archive, states: States) -> None:
    """A session that grows: an inline state, growth segments, merged packs; a branch, and a merge of two parents."""
    messages: list[Any] = []
    parent = None
    for step in range(16):
        state: dict[str, Any] = {"messages": list(messages), "step": step, "cost": step / 8}
        if step >= 4:
            state["notes"] = prose(0, 300 + 20 * (step // 3))
        if step >= 9:
            state["artifact"] = noise(9 if step < 12 else 12, 2600)
        id = f"ticket-42/{step:02}"
        node = ("plan", "act")[step % 2]
        metadata = {"model": "large", "cost": step / 8}
        archive.save(state, run="ticket-42", graph="support", node=node, id=id, parent=parent, metadata=metadata)
        states[id] = state
        parent = id
        messages += [
            {"role": "user", "content": prose(100 + step, 18), "at": 1754000000 + step},
            {"role": "assistant", "content": prose(200 + step, 12), "tokens": step * 7},
        ]
    branched(archive, states)


def branched(archive: snapstore.Archive, states: States) -> None:
    """Two snapshots on another branch, and one that continues both ends."""
    old = states["ticket-42/07"]
    for id, parent in (("ticket-42/07-b", "ticket-42/07"), ("ticket-42/07-c", "ticket-42/07-b")):
        old = {**old, "messages": [*old["messages"], {"role": "user", "content": f"another way: {id}"}]}
        archive.save(old, run="ticket-42", graph="support", node="branch", id=id, parent=parent)
        states[id] = old
    both = {**states["ticket-42/15"], "other": states["ticket-42/07-c"]["messages"][-2:]}
    archive.save(both, run="ticket-42", graph="support", id="merged", parent=["ticket-42/15", "ticket-42/07-c"])
    states["merged"] = both


def forks(archive: snapstore.Archive, states: States) -> None:
    """A fork that shares everything, a fork with a patch, and a save on top of the first."""
    archive.fork("ticket-42/05", run="What if?", new_id="fork")
    states["fork"] = states["ticket-42/05"]
    archive.fork("ticket-42/12", run="What if?", new_id="patched", patch={"step": "patched"}, metadata={"why": "to try"})
    states["patched"] = {**states["ticket-42/12"], "step": "patched"}
    on_top = {**states["fork"], "messages": [*states["fork"]["messages"], {"role": "user", "content": "and then?"}]}
    archive.save(on_top, run="What if?", graph="support", id="on the fork", parent="fork")
    states["on the fork"] = on_top


def changed_in_place(archive: snapstore.Archive, states: States) -> None:
    """Ids with several versions: overwritten, updated, a change of status, a heartbeat, tombstones."""
    archive.save({"draft": 0, "text": prose(7, 300), "log": []}, run="drafts", graph="support", id="draft")

    def longer(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft:
        assert draft is not None
        draft.state["text"] += " The end."
        draft.status = "final"
        return draft

    archive.update("draft", longer)
    for version in (1, 2):
        states["draft"] = {"draft": version, "text": prose(7, 300) + " The end.", "log": ["v"] * version}
        archive.save(states["draft"], run="drafts", graph="support", id="draft", status="final")

    def failed(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft:
        assert draft is not None
        draft.status, draft.node, draft.metadata = "failed", "watchdog", {"reason": "no answer"}
        return draft

    archive.update("ticket-42/03", failed)
    archive.update("ticket-42/04", lambda draft: draft)
    for id in ("gone", "came back"):
        archive.save({"id": id}, run="drafts", graph="support", id=id)
        archive.delete(id)
    archive.save({"id": "again"}, run="drafts", graph="support", id="came back")
    states["came back"] = {"id": "again"}


def every_type() -> dict[Any, Any]:
    """Return a state with every type of the extension table, and with keys and numbers at their ends."""
    utc, odd = datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30, microseconds=1))
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    nan = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
    return {
        "none": [None, True, False],
        "integers": [0, 127, 128, -32, -33, 2**32, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**40, -(10**40)],
        "floats": [1.5, 1.0, -0.0, math.inf, -math.inf, nan, 5e-324, 1.7976931348623157e308],
        "texts": ["", "é🚀\u0000", "x" * 31, "y" * 32],
        "bytes": [b"", bytes(range(256))],
        "tuples": [(), (1, "a", (None,)), [(1,), [2]]],
        "sets": [set(), {1, "a", None, (1, 2)}, frozenset(), frozenset([frozenset([1]), b"x"])],
        "moments": [
            datetime.datetime(2024, 2, 29, 12, 30),  # noqa: DTZ001 - a naive moment is a value too
            datetime.datetime(2024, 2, 29, 12, 30, 1, 5, utc),
            datetime.datetime(1, 1, 1, tzinfo=odd),
            datetime.datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=1),
        ],
        "times": [datetime.time(12, 30), datetime.time(23, 59, 59, 999999, utc), datetime.time(1, 2, 3, tzinfo=odd, fold=1)],
        "dates": [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)],
        "spans": [datetime.timedelta(0), datetime.timedelta(seconds=-1), datetime.timedelta(days=10**6, microseconds=7)],
        "decimals": [decimal.Decimal(text) for text in ("0", "-0.00", "1.50E+30", "NaN", "-Infinity", "0.1")],
        "uuid": uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
        "keys": {
            1: "integer",
            -5: "negative",
            2**64 - 1: "largest",
            0.5: "float",
            True + 1: "two",
            None: "nil",
            b"k": "bytes",
            "": 0,
        },
        b"a key of bytes": {"$not a tag": 1},
    }


def shapes() -> dict[str, Any]:
    """Return a state whose tree has every kind of node and entry, and several levels."""
    deep: Any = "the bottom"
    for level in range(60):
        deep = [deep] if level % 2 else {"down": deep}
    return {
        "lines": [f"line {number}: {prose(number, 6)}" for number in range(400)],
        "long item": ["before", "\n".join(prose(number, 40) for number in range(190)), {"after": 1}],
        "many keys": {f"key {number}": {"number": number, "text": prose(number, 5)} for number in range(90)},
        "wide tuple": tuple(range(70000, 71200)),
        "wide set": set(range(500, 900)),
        "bytes": noise(1, 9000),
        "huge integer": 3**8000,
        "small": {"fields": "here"},
        "deep": deep,
    }


def oddities(archive: snapstore.Archive, states: States) -> None:
    """Names off the wire, names too long for a segment, every type, every shape, further packs, a run of its own graph."""
    for id in ("../x", "a|b:c", "🚀", ".", "NUL\u0000", "Case", "case", "long " * 60):
        states[id] = {"the id is": id}
        archive.save(states[id], run="Odd Names " + "and long ones " * 12, graph="ödd", id=id)
    states["types"] = every_type()
    archive.save(states["types"], run="types", graph="types", id="types")
    states["shapes"] = shapes()
    archive.save(states["shapes"], run="shapes", graph="types", id="shapes")
    for id, state in {"a list": [1, "two", [3]], "a text": prose(3, 900), "a tuple": (1, 2), "nothing": None}.items():
        states[id] = state
        archive.save(state, run="roots", graph="types", id=id)
    states["several packs"] = {"log": [f"{number} {noise(number, 20).hex()}" for number in range(250)]}
    with small_packs():
        archive.save(states["several packs"], run="shapes", graph="types", id="several packs", parent="shapes")


@contextmanager
def small_packs() -> Iterator[None]:
    """Let a save fill packs of a few kilobytes: where packs end is a writer's choice, and real ones end at 16 MiB."""
    with mock.patch.object(builder, "PACK_BYTES", 3000), mock.patch.object(builder, "FRAME_BYTES", 2000):
        yield


def tell(archive: snapstore.Archive) -> States:
    """Write the whole story into an empty archive and return what each live snapshot must hold."""
    states: States = {}
    conversation(archive, states)
    forks(archive, states)
    changed_in_place(archive, states)
    oddities(archive, states)
    return states
