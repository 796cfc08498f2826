"""Values become columns of a type that is declared or found out, never by luck.

Goal: the table of types in the documentation is true of every kind of value a state may hold, and the rule that finds types
out gives the same answer for the same values in any order, since tasks of one scan have to agree.
Method: values beside their column form; samples in both orders.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from typing import Any

import pytest

from snapstore.errors import InvalidInputError
from snapstore.scan.columns import MISFIT, TYPES, columns_of, fitted, inferred, json_text

BERLIN = datetime.timezone(datetime.timedelta(hours=2))
NOON = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=BERLIN)
LOCAL = datetime.datetime(2026, 1, 2, 12, 0)  # noqa: DTZ001 - a moment without a zone is what is tested


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        *[("bool", True, True), ("bool", 1, MISFIT)],
        *[("int64", 3, 3), ("int64", 3.0, 3), ("int64", 3.5, MISFIT), ("int64", True, MISFIT), ("int64", 2**63, MISFIT)],
        *[("int64", -(2**63), -(2**63)), ("int64", math.inf, MISFIT), ("int64", "3", MISFIT)],
        *[
            ("float64", 3, 3.0),
            ("float64", 2**53 + 1, MISFIT),
            ("float64", 2**1023, 2.0**1023),
            ("float64", decimal.Decimal("0.1"), 0.1),
        ],
        *[("float64", 10**400, MISFIT), ("float64", "1", MISFIT), ("float64", False, MISFIT)],
        *[("string", "a", "a"), ("string", 1, "1"), ("string", {"a": [1]}, '{"a":[1]}'), ("string", True, "true")],
        *[("json", "a", '"a"'), ("json", 1, "1"), ("json", "ü", '"ü"')],
        *[("binary", b"a", b"a"), ("binary", "a", MISFIT)],
        *[("timestamp", NOON, NOON), ("timestamp", LOCAL, MISFIT), ("datetime", LOCAL, LOCAL), ("datetime", NOON, MISFIT)],
    ],
)
def test_a_value_fits_its_type_or_not(kind: str, value: Any, expected: Any) -> None:
    found = fitted(value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("kind", TYPES)
def test_null_fits_every_type(kind: str) -> None:
    assert fitted(None, kind) is None


def test_every_value_of_a_state_has_a_json_text() -> None:
    value = {
        "bytes": b"\x00\xff",
        "tuple": (1, None),
        "set": {2, 1},
        "day": datetime.date(2026, 1, 2),
        "moment": NOON,
        "span": datetime.timedelta(seconds=90),
        "price": decimal.Decimal("1.10"),
        "id": uuid.UUID(int=1),
        7: "number",
        True: "bool",
        b"k": "bytes",
    }
    assert json_text(value) == (
        '{"bytes":"AP8=","tuple":[1,null],"set":[1,2],"day":"2026-01-02","moment":"2026-01-02T12:00:00+02:00",'
        '"span":"0:01:30","price":"1.10","id":"00000000-0000-0000-0000-000000000001","7":"number","true":"bool","aw==":"bytes"}'
    )


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        *[([], "string"), ([None], "string"), (["a", None], "string"), (["a", 1, {}], "string")],
        *[([1, 2], "int64"), ([1, 2.5], "float64"), ([0.5, None], "float64"), ([2**63], "json"), ([True, None], "bool")],
        *[([True, 1], "json"), ([{}], "json"), ([[1]], "json"), ([b"a"], "binary"), ([1, b"a"], "json")],
        *[([NOON], "timestamp"), ([LOCAL], "datetime"), ([NOON, LOCAL], "json"), ([datetime.date(2026, 1, 1)], "json")],
    ],
)
def test_a_type_is_found_out_whatever_the_order(sample: list[Any], kind: str) -> None:
    assert inferred(sample) == kind
    assert inferred(reversed(sample)) == kind


def test_columns_are_called_like_their_paths_or_as_the_caller_says() -> None:
    assert [column.name for column in columns_of("cost", None)] == ["cost"]
    assert [column.name for column in columns_of(["$.node", "messages[*].role"], None)] == ["$.node", "messages[*].role"]
    named = columns_of({"roles": "messages[*].role"}, {"roles": "string"})
    assert [(column.name, column.text, column.type) for column in named] == [("roles", "messages[*].role", "string")]


@pytest.mark.parametrize(
    ("paths", "types", "code"),
    [
        ([], None, "no_paths"),
        (["a["], None, "invalid_path"),
        (["cost", "cost"], None, "column_twice"),
        (["node"], None, "column_twice"),
        (["cost"], {"costs": "float64"}, "unknown_column"),
        (["cost"], {"cost": "double"}, "unknown_type"),
        (["cost"], ["float64"], "unknown_type"),
        ({1: "cost"}, None, "invalid_path"),
    ],
)
def test_wrong_columns_are_refused(paths: Any, types: Any, code: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        columns_of(paths, types)
    assert caught.value.code == code
