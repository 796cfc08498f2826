"""Every value that a state may hold becomes a row of a scan, a null that was asked for, or an error that names it.

Goal: one odd value in a million snapshots must not end an analysis with an error that says neither where nor what, and no
column may hold something else than what was saved.
Method: values of every type of the format, drawn at random and from the edges of what types hold, saved and scanned as every
type of column; with `on_error="null"`, with "raise", and with types found out from these very values.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import sys
import zoneinfo
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snapstore.errors import InvalidInputError
from snapstore.scan.columns import TYPES, inferred, json_text
from snapstore.scan.planning import Scan
from tests.unit.archives import World

EAST, WEST = (datetime.timezone(datetime.timedelta(hours=hours)) for hours in (5, -5))
FIRST, LAST = datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001 - zones come later
ZONES = [None, datetime.UTC, EAST, WEST, zoneinfo.ZoneInfo("Europe/Berlin")]

EDGES: list[Any] = [
    *[sign * (2**bits + more) for sign in (1, -1) for bits in (53, 63, 64, 1023, 1024) for more in (-1, 0, 1)],
    *[10**640 - 1, 10**640, -(10**5000)],
    *[math.nan, math.inf, -math.inf, -0.0, 1e300, 2.0**63, -(2.0**63)],
    *map(decimal.Decimal, ["sNaN", "NaN123", "-Infinity", "1e400", "-1e999999", "1e-400", "0.1", "-0"]),
    *[moment.replace(tzinfo=zone) for moment in (FIRST, LAST) for zone in ZONES],
    *[datetime.date.min, datetime.date.max, datetime.time.max, datetime.timedelta.min, datetime.timedelta.max],
    *["", "\x00", '"\r\n', "\u2028", b"", b"\xff\x00", (), [], {}, set(), frozenset(), None, True],
]


def edge(number: int) -> Any:
    """By number: hypothesis prints what it samples from, and Python refuses to print the longest of these."""
    return EDGES[number]


SCALARS = (
    st.integers(0, len(EDGES) - 1).map(edge)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(st.characters(codec="utf-8"), max_size=9)
    | st.binary(max_size=9)
    | st.datetimes(timezones=st.sampled_from(ZONES))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
)


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # lists, and signaling NaNs
        return False
    return True


HASHABLE = st.recursive(SCALARS.filter(hashable), lambda one: st.tuples(one, one), max_leaves=3)
KEYS = (
    st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.binary(max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.tuples(inside)
        | st.dictionaries(KEYS | st.none() | st.floats(), inside, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.frozensets(HASHABLE, max_size=3)
    ),
    max_leaves=6,
)


def rows(scanned: Scan) -> Iterator[tuple[str, Any]]:
    for batch in scanned:
        yield from zip(batch["id"].to_pylist(), batch["c"].to_pylist(), strict=True)


def stored(values: list[Any]) -> World:
    world = World()
    for number, value in enumerate(values):
        world.archive.save({"c": value, "several": [value]}, run="r", id=f"s{number}")
    return world


def held_or_named(values: list[Any]) -> None:
    """Assert that every type of column holds the values, makes null of some when asked to, and names the first of these."""
    world = stored(values)
    for kind in TYPES:
        types: dict[str, str] = {"c": kind}
        found = dict(rows(world.archive.scan("c", types=types, on_error="null")))
        misfits = [id for number, id in enumerate(found) if found[id] is None and values[number] is not None]
        assert kind not in {"json", "string"} or not misfits
        lists = dict(rows(world.archive.scan({"c": "several[*]"}, types=types, on_error="null")))
        # As text: NaN is not equal to itself.
        assert repr(lists) == repr({id: [value] for id, value in found.items()})
        if not misfits:
            assert repr(dict(rows(world.archive.scan("c", types=types)))) == repr(found)
            continue
        with pytest.raises(InvalidInputError) as caught:
            list(world.archive.scan("c", types=types))
        assert caught.value.code == "value_misfit"
        assert {"id": misfits[0], "path": "c", "type": kind}.items() <= caught.value.context.items()
        assert str(caught.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_any_value_fits_is_null_or_is_named_in_any_column(values: list[Any]) -> None:
    held_or_named(values)


@pytest.mark.parametrize("number", range(len(EDGES)))
def test_values_at_the_edge_fit_are_null_or_are_named(number: int) -> None:
    held_or_named([EDGES[number], [EDGES[number]]])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_a_type_that_is_found_out_holds_what_it_was_found_from(values: list[Any]) -> None:
    for path in ("c", "several[*]"):
        found = dict(rows(stored(values).archive.scan({"c": path})))
        shown = [one if path == "c" else one[0] for one in found.values()]
        assert [one is None for one in shown] == [value is None for value in values]
    assert inferred(values) == inferred(reversed(values))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**53 + 1, 0.5], "json"),
        ([2**53, 0.5], "float64"),
        ([10**5000], "json"),
        ([FIRST.replace(tzinfo=EAST)], "json"),
        ([LAST.replace(tzinfo=EAST)], "timestamp"),
    ],
)
def test_a_value_at_the_edge_decides_the_type(values: list[Any], kind: str) -> None:
    assert inferred(values) == kind


@pytest.mark.parametrize("limit", [640, 4300, 0])
def test_long_numbers_are_json_whatever_the_limit_of_this_process(limit: int) -> None:
    """Tasks of one scan run in many processes: the same value must be the same text in all of them, and one that is read back."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    try:
        kept, long = 10**640 - 1, -(10**5000)
        assert json.loads(json_text([kept])) == [kept]
        assert int(json.loads(json_text(long)), 16) == long
    finally:
        sys.set_int_max_str_digits(before)
