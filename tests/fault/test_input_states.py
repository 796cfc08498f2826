"""States as agents make them: strange values, unsupported ones, and structures that never end.

Goal: what can be kept comes back equal, of the same type and in the same order, wherever it stands; everything else is
refused with its path before anything is written; no state hangs the program or breaks its stack.
Method: each value is saved at five places that the tree treats differently, and restored by another archive.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import threading
import time
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from snapstore.storage.memory import MemoryStorage
from tests.fault.witness import empty, messages, same

PLACES: dict[str, tuple[Callable[[Any], Any], str]] = {
    # name: a state with the value in it, and the path to the value
    "small": (lambda value: {"a": 1, "x": value}, 'state["x"]'),
    "in a list": (lambda value: {"log": [*messages(100), value, *messages(30)]}, 'state["log"][100]'),
    "in a large dict": (lambda value: {**{f"k{n}": "v" * 50 for n in range(300)}, "x": value}, 'state["x"]'),
    "beside a huge text": (lambda value: {"text": "t" * 1_200_000, "x": [1, value]}, 'state["x"][1]'),
    "in a tuple": (lambda value: {"x": (1, [value])}, 'state["x"][1][0]'),
}


def restored(state: Any) -> Any:
    """What another archive reads of a state."""
    storage = empty()
    id = open_on(storage).save(state, run="r").id
    return open_on(storage)[id].state()


def refusal(state: Any) -> InvalidInputError:
    """The error for a state; nothing may have been written."""
    storage = empty()
    archive = open_on(storage)
    archive.save({"fine": 1}, run="r", id="x")
    before = [row.key for row in storage.list("")]

    def replaced(draft: SnapshotDraft | None) -> SnapshotDraft:
        return SnapshotDraft(state=state)

    acts: list[Callable[[], Any]] = [
        lambda: archive.save(state, run="r", parent="x"),
        lambda: archive.update("x", replaced),
    ]
    for act in acts:
        with pytest.raises(InvalidInputError) as caught:
            act()
    assert [row.key for row in storage.list("")] == before
    assert archive["x"].state() == {"fine": 1}
    assert caught.value.hint is not None
    return caught.value


# Kept -----------------------------------------------------------------------------------------------------------------

KEPT: list[Any] = [
    None, True, False, 0, -1, 127, 128, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1,
    10**100, -(10**100), 1 << 9000,
    0.0, -0.0, 1.5, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"),
    "", "text", "ü🦊\u0000\uffff", "x" * 40_000, b"", b"\x00\xff", b"y" * 40_000,
    [], {}, [[]], [{}], {"": ""}, {"a": {"b": {"c": []}}},
    (), (1,), ((), ((),)), ("x" * 40_000,), tuple(range(20_000)), (1, {"k": (2, [3])}),
    set(), {1, "a", None, (1, 2)}, frozenset(), frozenset({1, frozenset({2})}), set(range(5000)), {True, 0, 2.5, b"b"},
    datetime.datetime.fromisoformat("2024-02-29T23:59:59.000001"), datetime.datetime.fromisoformat("0001-01-01"),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))),
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4), datetime.time(1, 2, tzinfo=datetime.UTC), datetime.time(1, fold=1),
    datetime.timedelta(days=-1, microseconds=1), datetime.timedelta.max, datetime.timedelta.min,
    decimal.Decimal("1.10"), decimal.Decimal("-0"), decimal.Decimal("NaN"), decimal.Decimal("-Infinity"),
    decimal.Decimal("1E+9999"), decimal.Decimal("sNaN"),
    uuid.UUID(int=0), uuid.UUID("12345678-1234-5678-1234-567812345678"),
    {1: "int", -1: "negative", 2**64 - 1: "large", 1.5: "float", None: "none", b"k": "bytes", "1": "text", False: "bool"},
    {float("inf"): 1}, {number: str(number) for number in range(1000)}, dict.fromkeys(range(5), "v" * 2000),
]  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    """As `same`, for values with a NaN in them too, or whose `==` passes over differences."""
    if isinstance(one, decimal.Decimal | datetime.datetime | datetime.time):
        return type(one) is type(other) and repr(one) == repr(other)
    return same(one, other)


@pytest.mark.parametrize("place", PLACES)
def test_what_can_be_kept_comes_back_as_it_was(place: str) -> None:
    around, _ = PLACES[place]
    storage = empty()
    archive = open_on(storage)
    ids = [archive.save(around(value), run="r").id for value in KEPT]
    reader = open_on(storage)
    for value, id in zip(KEPT, ids, strict=True):
        plain = around(0)
        found = reader[id].state()
        assert list(found) == list(plain)
        assert equal(_inside(found, place), value), f"{value!r:.80}"


def _inside(state: Any, place: str) -> Any:
    paths: dict[str, list[Any]] = {
        "small": ["x"],
        "in a list": ["log", 100],
        "in a large dict": ["x"],
        "beside a huge text": ["x", 1],
        "in a tuple": ["x", 1, 0],
    }
    for part in paths[place]:
        state = state[part]
    return state


@pytest.mark.parametrize("value", KEPT, ids=lambda value: repr(value)[:20])
def test_any_value_may_be_a_whole_state(value: Any) -> None:
    assert equal(restored(value), value)


def test_the_order_of_a_dict_is_kept_and_counts() -> None:
    for count in (3, 40, 500):
        pairs = [(f"key {number * 7919 % count}", "v" * (number % 90)) for number in range(count)]
        forward, backward = dict(pairs), dict(reversed(pairs))
        assert list(restored(forward)) == list(forward)
        assert list(restored(backward)) == list(backward)
        archive = open_on(empty())
        assert archive.save(forward, run="r").digest != archive.save(backward, run="r").digest


def test_bytes_like_values_come_back_as_bytes() -> None:
    """The one exception: the encoder sees no difference between the three, and SPEC.md says so."""
    for size in (0, 5, 50_000, 2_000_000):
        plain = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        for value in (bytearray(plain), memoryview(plain)):
            found = restored({"v": value, "list": [value]})
            assert type(found["v"]) is bytes
            assert found == {"v": plain, "list": [plain]}


def test_the_same_object_in_several_places_is_no_cycle() -> None:
    shared: dict[str, Any] = {"messages": messages(50), "t": (1, [2])}
    state = {"a": shared, "b": [shared, shared], "c": ({"d": shared}, shared)}
    assert same(restored(state), state)


def test_a_state_that_changes_after_it_was_saved_changes_nothing_in_the_archive() -> None:
    storage = empty()
    archive = open_on(storage)
    state: dict[str, Any] = {"messages": messages(100), "blob": bytearray(b"x" * 9000), "n": 1}
    first = archive.save(state, run="r")
    digest = first.digest
    state["messages"][3]["content"] = "changed"
    state["blob"][5] = 0
    state["messages"].append("more")
    assert open_on(storage)[first.id].state()["messages"] == messages(100)
    second = archive.save(state, run="r", parent=first)
    assert open_on(storage)[first.id].digest == digest
    assert open_on(storage)[first.id].state()["blob"] == b"x" * 9000
    assert open_on(storage)[second.id].state() == {**state, "blob": bytes(state["blob"])}


# Refused --------------------------------------------------------------------------------------------------------------


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("x",)


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Text(str):
    __slots__ = ()


class Numbers(list[int]):
    pass


@dataclasses.dataclass
class Record:
    n: int = 1


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the kind that people have


class Zone(datetime.tzinfo):
    def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)

    def dst(self, _: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(0)

    def tzname(self, _: datetime.datetime | None) -> str:
        return "mine"


UNSUPPORTED: dict[str, Any] = {
    "object": object(),
    "class": Plain,
    "instance": Plain(a=1),
    "slots": Slots(),
    "function": lambda: None,
    "module": time,
    "lock": threading.Lock(),
    "generator": (number for number in range(3)),
    "iterator": iter([1]),
    "range": range(3),
    "complex": 1j,
    "enum": Colour.RED,
    "int enum": Level.LOW,
    "text enum": Word.YES,
    "text subclass": Text("x"),
    "list subclass": Numbers([1]),
    "ordered dict": collections.OrderedDict(a=1),
    "default dict": collections.defaultdict(list),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1]),
    "named tuple": Point(1, 2),
    "dataclass": Record(),
    "exception": ValueError("x"),
    "own time zone": datetime.datetime(2024, 1, 1, tzinfo=Zone()),
    "strided memory": memoryview(b"abcdef")[::2],
    "ellipsis": ...,
    "set of objects": {Plain()},
    "frozen set of objects": frozenset({Colour.RED}),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_kept_is_refused_with_its_path(name: str) -> None:
    for around, path in PLACES.values():
        error = refusal(around(UNSUPPORTED[name]))
        assert error.code == "unsupported_type"
        assert str(error.context["path"]).startswith(path)


BAD_KEYS = [
    (1, 2), datetime.date(2024, 1, 1), uuid.UUID(int=1), frozenset({1}), 2**64, -(2**63) - 1,
    Word.YES, Level.LOW, Text("k"), Colour.RED,
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_keys_that_cannot_be_kept_are_refused_with_their_place(key: Any) -> None:
    for around, path in PLACES.values():
        for value in ({key: 1}, {"a": 1, key: "x" * 3000}, {**{str(n): n for n in range(400)}, key: 1}):
            error = refusal(around(value))
            assert error.code == "unsupported_type"
            assert str(error.context["path"]).startswith(path)


def test_the_path_goes_into_the_object() -> None:
    error = refusal({"tools": [1, 2, 3, Plain(name="search", handler=lambda: None)]})
    assert error.context["path"] == 'state["tools"][3].handler'
    assert "function" in str(error)


def test_objects_that_hold_themselves_are_refused_and_not_followed() -> None:
    one = Plain(name="a")
    other = Plain(one=one)
    one.__dict__.update(other=other, me=one, all=[one, other])
    assert refusal({"agent": one}).code == "unsupported_type"
    assert refusal({"agents": [other] * 50 + messages(60)}).code == "unsupported_type"


SURROGATES = ["\ud800", "a\udfff", "x" * 2_000_000 + "\ud8ff", "ü" * 9000 + "\udc80"]


@pytest.mark.parametrize("text", SURROGATES, ids=lambda text: str(len(text)))
@pytest.mark.parametrize("place", PLACES)
def test_lone_surrogates_are_refused_by_name(text: str, place: str) -> None:
    around, path = PLACES[place]
    for value in (text, [text], {"k": text}, {"k": (1, text)}):
        error = refusal(around(value))
        assert error.code == "lone_surrogate"
        assert str(error.context["path"]).startswith(path)
        assert "surrogate" in str(error)
    error = refusal(around({text: 1}))
    assert error.code == "lone_surrogate"
    str(error).encode()  # can be printed


# Cycles and depth -----------------------------------------------------------------------------------------------------


def _list_cycle() -> Any:
    one: list[Any] = [1]
    one.append(one)
    return one


def _dict_cycle() -> Any:
    one: dict[str, Any] = {"a": {"b": []}}
    one["a"]["b"].append(one)
    return one


def _tuple_cycle() -> Any:
    one: list[Any] = []
    one.append((1, (2, one)))
    return one


def _wide_tuple_cycle() -> Any:
    one: dict[str, Any] = {}
    one["t"] = tuple([one] * 5)
    return one


def _large_cycle() -> Any:
    one: list[Any] = messages(200)
    one[150] = {"deep": {"deeper": (one,)}}
    return one


@pytest.mark.parametrize("make", [_list_cycle, _dict_cycle, _tuple_cycle, _wide_tuple_cycle, _large_cycle])
@pytest.mark.parametrize("place", PLACES)
def test_cycles_are_refused_with_their_path(make: Callable[[], Any], place: str) -> None:
    around, path = PLACES[place]
    error = refusal(around(make()))
    assert error.code == "cycle"
    assert str(error.context["path"]).startswith(path)


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "dict": lambda value: {"a": value},
    "tuple": lambda value: (value,),
    "wide dict": lambda value: {"a": value, "b": "x" * 300},
    "wide tuple": lambda value: (1, value, "x"),
    "int keys": lambda value: {1: value},
}


def nested(wrapper: str, levels: int, inside: Any = 1) -> Any:
    value = inside
    for _ in range(levels):
        value = WRAPPERS[wrapper](value)
    return value


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_two_hundred_levels_are_kept(wrapper: str) -> None:
    state = nested(wrapper, 200)
    found = restored(state)
    for _ in range(200):
        assert type(found) is type(state)
        key = ("a" if "a" in found else 1) if type(found) is dict else int(len(found) > 1)
        found, state = found[key], state[key]
    assert found == state == 1


@pytest.mark.parametrize("levels", [300, 1000, 50_000])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_three_hundred_levels_and_more_are_refused(wrapper: str, levels: int) -> None:
    archive = open_on(empty())
    for state in (nested(wrapper, levels), {"log": [*messages(60), nested(wrapper, levels)]}):
        with pytest.raises(InvalidInputError) as caught:
            archive.save(state, run="r")
        assert caught.value.code == "too_deep"
        assert len(str(caught.value)) < 500


def test_levels_of_all_kinds_count_together() -> None:
    """Each tuple is packed on its own, and each has room for 200 levels: together they must not have 40,000."""
    state: Any = 1
    for _ in range(30):
        state = (nested("list", 190, state),)
    with pytest.raises(InvalidInputError) as caught:
        open_on(empty()).save(state, run="r")
    assert caught.value.code == "too_deep"


def test_what_is_saved_deep_in_the_stack_is_saved() -> None:
    def deeper(levels: int, work: Callable[[], Any]) -> Any:
        return deeper(levels - 1, work) if levels else work()

    state = {"t": nested("tuple", 60), "l": nested("list", 190)}
    assert same(deeper(300, lambda: restored(state)), state)


# Memory -----------------------------------------------------------------------------------------------------------------


def _free_bytes() -> int:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.partition("MemAvailable:")[2].split()[0]) * 1024


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_text_of_two_gigabytes() -> None:
    if _free_bytes() < 10 * 2**30:
        pytest.skip("needs 10 GiB of free memory")
    storage = MemoryStorage()
    archive: Archive = open_on(storage, create=True)
    block = "".join(f"{number:08x} " for number in range(2**16))
    count = 2**31 // len(block) + 1
    text = block * count
    id = archive.save({"text": text, "after": [1, 2]}, run="r").id
    size = len(text)
    assert size >= 2**31
    del text, archive
    found = open_on(storage)[id]
    assert found["after"] == [1, 2]

    class Checking:
        """A file that compares what is written with the text."""

        position = 0

        def write(self, data: Any) -> int:
            start = self.position % len(block)
            wanted = (block * (len(data) // len(block) + 2))[start : start + len(data)]
            assert bytes(data) == wanted.encode()
            self.position += len(data)
            return len(data)

    file = Checking()
    assert found.write_to(file, path=("text",), format="raw") == size  # type: ignore[arg-type]
    assert file.position == size
    again = open_on(storage)[id].state()
    assert len(again["text"]) == size
    assert again["text"] == block * count
