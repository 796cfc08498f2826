"""What `encode` accepts, `decode` returns equal and of the same type; everything else is refused by its path.

Goal: the promise "what you saved is what you get, to the type", at the place where it is kept.
Method: generated values of every kept type, compared by value and type; the bytes of plain values compared with two other
MessagePack libraries; refusals and damaged bytes by hand. (How the archive answers bad input is tested with the faults.)
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import math
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import CorruptionError, InvalidInputError, MissingExtraError
from snapstore.format import values

KEYS = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.binary(max_size=20),
    st.floats(allow_nan=False),
)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text(), st.binary())
ZONES = st.sampled_from(
    [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, minutes=-30)), zoneinfo.ZoneInfo("Europe/Berlin")]
)
RICH = st.one_of(
    PLAIN,
    st.integers(-(10**60), 10**60),
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.times(timezones=st.sampled_from([None, datetime.UTC])),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.frozensets(st.integers() | st.text(), max_size=5),
    st.sets(st.integers() | st.tuples(st.text(), st.integers()), max_size=5),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6) | st.tuples(inner, inner),
        max_leaves=30,
    )


def same(one: Any, other: Any) -> bool:
    """Equality to the type, through containers, with the order of dicts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return [*map(_typed, one)] == [*map(_typed, other)] and all(map(same, one.values(), other.values()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime.datetime | datetime.time):
        return bool(one == other) and one.fold == other.fold and repr(one.tzinfo) == repr(other.tzinfo)
    return repr(one) == repr(other) if isinstance(one, float | decimal.Decimal) else bool(one == other)


def _typed(key: Any) -> tuple[str, str]:
    return type(key).__name__, repr(key)


@given(nested(RICH))
def test_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(values.decode(values.encode(value)), value)


@given(nested(PLAIN).filter(lambda value: "tuple" not in repr(type(value))))
def test_encoding_is_a_function_of_the_value(value: Any) -> None:
    """Digests name content: two spellings of one value would be stored twice."""
    encoded = values.encode(value)
    assert values.encode(values.decode(encoded)) == encoded


JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=40,
)


@given(JSONLIKE)
def test_plain_values_are_plain_messagepack(value: Any) -> None:
    """Any MessagePack library reads a state: the archive outlives the program."""
    encoded = values.encode(value)
    assert msgpack.packb(value) == encoded
    assert msgpack.unpackb(encoded) == value
    assert msgspec.msgpack.decode(encoded) == value


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 2**64 - 1, -(2**63), 2**64, -(2**63) - 1, 10**400, ""])
def test_numbers_at_the_edges(value: Any) -> None:
    assert same(values.decode(values.encode([value, {"x": value}])), [value, {"x": value}])


def test_nan_is_kept() -> None:
    assert math.isnan(values.decode(values.encode(math.nan)))
    assert math.isnan(values.decode(values.encode({"x": [math.nan]}))["x"][0])
    assert decimal.Decimal(values.decode(values.encode(decimal.Decimal("NaN")))).is_nan()


def test_keys_that_python_takes_for_equal_come_back_as_they_were() -> None:
    for key in (1, True, 1.0):
        assert _typed(next(iter(values.decode(values.encode({key: 0}))))) == _typed(key)


def test_sets_are_encoded_alike_whatever_their_order() -> None:
    """The order of a set differs from process to process."""
    assert values.encode({"b", "a", "c"}) == values.encode({"c", "b", "a"})
    assert values.decode(values.encode({frozenset({1}), (1, 2), "x"})) == {frozenset({1}), (1, 2), "x"}


def test_moments_keep_zone_and_fold() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    twice = datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin)
    found = values.decode(values.encode(twice))
    assert (found.fold, found.tzinfo, found.utcoffset()) == (1, berlin, datetime.timedelta(hours=1))
    odd = datetime.timezone(datetime.timedelta(seconds=3661, microseconds=7))
    assert values.decode(values.encode(datetime.time(1, 2, tzinfo=odd))).tzinfo == odd


def test_a_zone_that_this_machine_does_not_know_is_said() -> None:
    data = values.encode([(datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),)])
    with pytest.raises(MissingExtraError) as caught:
        values.decode(data.replace(b"Europe/Berlin", b"Europe/Elsewh"))
    assert (caught.value.code, caught.value.context["zone"]) == ("unknown_time_zone", "Europe/Elsewh")
    assert "tzdata" in str(caught.value.hint)


def test_bytes_in_other_clothes_come_back_as_bytes() -> None:
    for value in (bytearray(b"abc"), memoryview(b"abc")):
        assert same(values.decode(values.encode({"x": value})), {"x": b"abc"})


# Refusals -------------------------------------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@dataclass
class Tool:
    name: str
    handler: Any


class Odd(datetime.tzinfo):
    """A zone of the caller's own making, which no reader could make again."""

    def utcoffset(self, _moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(0)

    dst = utcoffset

    def tzname(self, _moment: datetime.datetime | None) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"tools": [0, 1, 2, Tool("x", print)]}, 'state["tools"][3].handler'),
        ({"a": {"b": (1, object())}}, 'state["a"]["b"][1]'),
        ({"a": {1: {2.5: b"x", None: {1j}}}}, 'state["a"][1][None][0]'),
        ([Color.RED], "state[0]"),
        ([Number.ONE], "state[0]"),
        ([Text("x")], "state[0]"),
        ({"x": datetime.datetime(2026, 1, 1, tzinfo=Odd())}, 'state["x"]'),
        ({"x": "\ud800"}, 'state["x"]'),
        ({"\ud800": 1}, 'state["\\ud800"]'),
        ({"x": {("a", "b"): 1}}, 'state["x"]'),
        ({"x": {2**64: 1}}, 'state["x"]'),
        ({"x": {datetime.date(2026, 1, 1): 1}}, 'state["x"]'),
        (print, "state"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_kept_is_refused_by_its_path(value: Any, path: str) -> None:
    """A subclass or an enum would come back as something else: kept to the type, or refused."""
    with pytest.raises(InvalidInputError) as caught:
        values.encode(value)
    assert f"{path} " in f"{caught.value} "
    assert caught.value.code in {"unsupported_type", "lone_surrogate"}


def test_a_circle_is_refused() -> None:
    circle: list[Any] = [1]
    circle.append({"again": circle})
    with pytest.raises(InvalidInputError) as caught:
        values.encode({"x": circle})
    assert caught.value.code == "cycle"
    shared = [1, 2]
    assert values.decode(values.encode([shared, shared])) == [shared, shared]


def test_nesting_is_kept_to_200_levels() -> None:
    def deep(levels: int) -> Any:
        value: Any = []
        for _ in range(levels - 1):
            value = [value]
        return value

    assert values.decode(values.encode(deep(values.MAX_DEPTH))) == deep(values.MAX_DEPTH)
    with pytest.raises(InvalidInputError) as caught:
        values.encode(deep(2000))
    assert caught.value.code == "too_deep"


def test_a_key_has_a_limit() -> None:
    assert values.encode_key("k" * (values.KEY_LIMIT_BYTES - 5), ())
    with pytest.raises(InvalidInputError) as caught:
        values.encode_key("k" * (values.KEY_LIMIT_BYTES + 1), ("docs",))
    assert caught.value.code == "key_too_large"
    assert 'state["docs"]' in str(caught.value)


# Damage ---------------------------------------------------------------------------------------------------------------


def _deep_tuple(levels: int) -> bytes:
    """A tuple in a tuple, and so on: each is decoded by a call within the last."""
    data = b"\x90"
    for _ in range(levels):
        data = b"\x91" + ormsgpack.packb(ormsgpack.Ext(values.EXT_TUPLE, data))
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x92\x01",
        b"\xa5abc",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xa1\xff",
        ormsgpack.packb(ormsgpack.Ext(99, b"")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_UUID, b"short")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_TUPLE, b"\x92")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_TUPLE, b"\x01")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_SET, b"\x91\x90")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_DECIMAL, b"x")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_DATE, b"\xff")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_DATETIME, b"\x90")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_TIMEDELTA, b"\x93\x01\x02\xa1x")),
        ormsgpack.packb(ormsgpack.Ext(values.EXT_TIMEDELTA, b"\x91\xcf" + b"\xff" * 8)),
        b"\x91" * 5000 + b"\x01",
        _deep_tuple(3000),
    ],
    ids=lambda data: data[:8].hex(),
)
def test_damaged_bytes_are_a_corruption(data: bytes) -> None:
    with pytest.raises(CorruptionError):
        values.decode(data)


def test_the_innermost_cause_is_named() -> None:
    with pytest.raises(CorruptionError) as caught:
        values.decode(values.encode([({1, (uuid.UUID(int=7),)},)]).replace(b"\xd8\x0a", b"\xd8\x63"))
    assert (caught.value.code, caught.value.context) == ("value_unknown_type", {"extension": 0x63})


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_a_corruption(data: bytes) -> None:
    with contextlib.suppress(CorruptionError):
        values.decode(data)


# Headers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 15, 16, 31, 32, 255, 256, 65535, 65536, 100_000])
def test_headers_are_those_of_the_encoder(count: int) -> None:
    """The tree encodes containers piece by piece behind headers of its own making."""
    for value, header in (
        ([None] * count, values.array_header(count)),
        (dict.fromkeys(range(count)), values.map_header(count)),
        ("x" * count, values.text_header(count)),
        (b"x" * count, values.bytes_header(count)),
    ):
        assert values.encode(value).startswith(header)
        assert values.decode(header + values.encode(value)[len(header) :]) == value


def test_paths_as_text() -> None:
    assert values.path_text(()) == "state"
    assert values.path_text(("tools", 3, b"x", None, 'say "hi"')) == 'state["tools"][3][b\'x\'][None]["say \\"hi\\""]'
    assert values.path_text(("k" * 100,)) == f'state["{"k" * 57}..."]'
