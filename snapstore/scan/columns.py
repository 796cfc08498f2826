"""Columns: what a path is called in the table, and of which type its values are.

| type | holds | other values |
|---|---|---|
| `bool` | true and false | do not fit |
| `int64` | whole numbers of 64 bits, also 3.0 | do not fit |
| `float64` | numbers, decimals rounded | do not fit, nor do whole numbers and decimals that a double cannot hold |
| `string` | texts as they are | as JSON text |
| `json` | everything as JSON text, so that the text "1" and the number 1 differ | |
| `binary` | bytes | do not fit |
| `timestamp` | moments with a time zone, as UTC, microseconds | do not fit, nor do those outside the years 1 to 9999 UTC |
| `datetime` | moments without a time zone, microseconds | do not fit |

A column whose type is not given gets one from a sample spread evenly over the snapshots in question, by a rule that knows no
order: numbers are `int64`, or `float64` as soon as one of them is a double; one text makes it `string`; nothing at all makes it
`string` too; what is left, nested or mixed, is `json`, and so is what that type would not hold all of. Null fits every type.

In JSON text, bytes are base64, tuples and sets are lists, moments are ISO 8601, keys are texts, and a whole number of more than
640 digits is a text in hex (`0x…`): readers refuse such numbers, and to tell their decimal digits takes minutes.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from snapstore.errors import InvalidInputError
from snapstore.scan.paths import Path, parse

__all__ = ["MISFIT", "ROW_COLUMNS", "TYPES", "Column", "columns_of", "exact_kinds", "fitted", "inferred", "json_text"]

ROW_COLUMNS: Final = ("id", "run", "graph", "node", "status", "created_at")
"""What stands before the paths in every row; named and typed as in the index."""

TYPES: Final = ("bool", "int64", "float64", "string", "json", "binary", "timestamp", "datetime")

UNTYPED: Final = ""
"""In place of a type until a sample has been read."""

_EXACT: Final[Mapping[str, frozenset[type]]] = {
    "bool": frozenset([bool]),
    "int64": frozenset([int]),
    "float64": frozenset([float]),
    "string": frozenset([str]),
    "binary": frozenset([bytes]),
}

_OF_KINDS: Final[Mapping[frozenset[type], str]] = {
    frozenset([bool]): "bool",
    frozenset([int]): "int64",
    frozenset([float]): "float64",
    frozenset([int, float]): "float64",
    frozenset([bytes]): "binary",
}

_HEX_FROM: Final = 10**640
"""Python writes the digits of whole numbers below this whatever its limit is: `sys.int_info.str_digits_check_threshold`."""

MISFIT: Final = object()
"""In place of a value that does not fit the type of its column."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a scan.

    Attributes:
        name: in the table.
        text: the path as it was typed.
        type: one of TYPES; empty when a sample decides.
    """

    name: str
    text: str
    type: str = UNTYPED

    @property
    def path(self) -> Path:
        """The path."""
        return parse(self.text)


def columns_of(paths: str | Sequence[str] | Mapping[str, str], types: Mapping[str, str] | None) -> tuple[Column, ...]:
    """The columns that a caller asks for.

    Args:
        paths: paths, which name their columns; or names and their paths.
        types: types by column name, for those that are not to be found out.

    Raises:
        InvalidInputError: `invalid_path`, `no_paths`, `column_twice`, `unknown_type`, `unknown_column`.
    """
    named = dict(paths) if isinstance(paths, Mapping) else None
    texts = list(named.values()) if named is not None else [paths] if isinstance(paths, str) else list(paths)
    names = list(named) if named is not None else texts
    if types is not None and not isinstance(types, Mapping):
        raise InvalidInputError("types are given by column name", code="unknown_type", hint='types={"cost": "float64"}')
    if not texts:
        raise InvalidInputError("a scan needs at least one path", code="no_paths", hint='paths=["cost"]')
    for text in texts:
        parse(text)
    for name in names:
        if not isinstance(name, str):
            raise InvalidInputError("a column's name is a text", code="invalid_path", hint='{"my_name": "cost"}', column=name)
        if names.count(name) > 1 or name in ROW_COLUMNS:
            raise InvalidInputError(
                "two columns would have the same name",
                code="column_twice",
                hint=f'every row has {", ".join(ROW_COLUMNS)}; write "$.{name}", or {{"my_name": "{name}"}}',
                column=name,
            )
    given = dict(types or {})
    for name, kind in given.items():
        if name not in names:
            raise InvalidInputError("a type is given for no column", code="unknown_column", column=name, columns=names)
        if kind not in TYPES:
            raise InvalidInputError("no such type", code="unknown_type", hint=f"one of {', '.join(TYPES)}", type=kind)
    return tuple(Column(name, text, given.get(name, UNTYPED)) for name, text in zip(names, texts, strict=True))


def inferred(kept: Iterable[Any]) -> str:
    """The type for values like these; it holds all of them."""
    values = [value for value in kept if value is not None]
    kinds = frozenset(map(type, values))
    if not kinds or str in kinds:
        return "string"
    if kinds == {datetime.datetime}:
        kind = "datetime" if values[0].tzinfo is None else "timestamp"
    else:
        kind = _OF_KINDS.get(kinds, "json")
    return kind if kind == "json" or all(fitted(value, kind) is not MISFIT for value in values) else "json"


def exact_kinds(kept: Iterable[Any], kind: str) -> bool:
    """Whether all values are already what the type holds; most columns are, and then none is looked at by itself."""
    allowed = _EXACT.get(kind)
    return allowed is not None and set(map(type, kept)) - {type(None)} <= allowed


def fitted(value: Any, kind: str) -> Any:
    """A value as its column holds it, MISFIT when it does not fit."""
    if value is None:
        return None
    if kind == "json":
        return json_text(value)
    if kind == "string":
        return value if type(value) is str else json_text(value)
    found = type(value)
    if kind in ("int64", "float64"):
        return _number(value, found, kind)
    if (kind, found) in (("bool", bool), ("binary", bytes)):
        return value
    if found is datetime.datetime:
        return _moment(value, kind)
    return MISFIT


def _number(value: Any, found: type, kind: str) -> Any:
    if kind == "float64":
        return value if found is float else _double(value) if found in {int, decimal.Decimal} else MISFIT
    if found is float and value.is_integer():
        value, found = int(value), int
    return value if found is int and -(2**63) <= value < 2**63 else MISFIT


def _double(value: int | decimal.Decimal) -> Any:
    """A whole number as the double that is equal to it, a decimal as the nearest one; both only where there is one."""
    try:
        held = float(value)
    except (OverflowError, ValueError):  # beyond all doubles; a signaling NaN
        return MISFIT
    if isinstance(value, int):
        return held if int(held) == value else MISFIT
    return MISFIT if math.isinf(held) and value.is_finite() else held


def _moment(value: datetime.datetime, kind: str) -> Any:
    if kind not in {"timestamp", "datetime"} or (value.tzinfo is not None) != (kind == "timestamp"):
        return MISFIT
    try:
        return value.astimezone(datetime.UTC) if kind == "timestamp" else value
    except OverflowError:  # the first and last hours of the calendar, elsewhere
        return MISFIT


def json_text(value: Any) -> str:
    """A value as JSON text; NaN and infinities as Python and most readers spell them."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    if type(value) is int and not -_HEX_FROM < value < _HEX_FROM:
        return hex(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)  # durations, decimals and UUIDs


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain)
