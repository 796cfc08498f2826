"""Plain values: columns of Arrow as the values that JSON and people know.

| Arrow | plain |
|---|---|
| moments | ISO 8601 with milliseconds, or more where needed; with Z for UTC where there is a time zone |
| dates, times of day, durations | ISO 8601 |
| bytes | hex digits |
| NaN and infinity | null |
| decimals | a whole number where they have no fraction by type, else a double |
| lists, structs, maps | lists, objects, objects with text keys |

Everything else is as Python has it, or as text.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from snapstore.errors import InvalidInputError
from snapstore.export.streams import arrow

__all__ = ["plain_values", "type_refused"]

Converter: TypeAlias = "Callable[[Any], Any] | None"


def plain_values(array: Any, name: str) -> list[Any]:
    """The values of an Arrow array, plain.

    Args:
        array: of any type.
        name: of its column.

    Raises:
        InvalidInputError: `type_refused`: moments that Python has not, outside the years 1 to 9999 or with nanoseconds.
    """
    try:
        return _plain_values(array)
    except (ValueError, OverflowError) as error:
        raise type_refused("Text", name, array.type, str(error)) from error


def type_refused(format: str, column: str | None, kind: Any, reason: str | None = None) -> InvalidInputError:
    """Make the error for a column of a type that a format lacks, or with values that its type there would not hold."""
    context = {"column": column, "type": None if kind is None else str(kind), "reason": reason}
    return InvalidInputError(
        f"{format} cannot hold this column",
        code="type_refused",
        hint="cast it to text, or round it: CAST(x AS VARCHAR), date_trunc('microseconds', x)",
        **{name: value for name, value in context.items() if value is not None},
    )


def _plain_values(array: Any) -> list[Any]:
    pa = arrow()
    kind = array.type
    if pa.types.is_timestamp(kind):
        # A tenth of the time that datetimes with their zones would take.
        moments = array.cast(pa.timestamp(kind.unit, "UTC")) if kind.tz else array
        texts = pa.compute.strftime(moments, "%Y-%m-%dT%H:%M:%S" + ("Z" if kind.tz else ""))
        # Engines give milliseconds back as microseconds; the text is that of the milliseconds.
        found: list[Any] = pa.compute.replace_substring_regex(texts, r"(\.\d{3})0+(Z?)$", r"\1\2").to_pylist()
        return found
    if pa.types.is_floating(kind) and pa.compute.all(pa.compute.is_finite(array)).as_py() is not False:
        return list(array.to_pylist())
    convert = _converter(kind)
    kept = array.to_pylist()
    return kept if convert is None else [None if value is None else convert(value) for value in kept]


def _converter(kind: Any) -> Converter:
    """What makes a value of a type plain; None where it is already."""
    types = arrow().types
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind):
        return None
    if types.is_floating(kind):
        return lambda value: value if math.isfinite(value) else None
    if types.is_decimal(kind):
        return int if kind.scale <= 0 else float
    if types.is_dictionary(kind):
        return _converter(kind.value_type)
    if types.is_map(kind):
        return _of_map(_always(_converter(kind.key_type)), _always(_converter(kind.item_type)))
    if types.is_struct(kind):
        fields = {field.name: _always(_converter(field.type)) for field in kind}
        return lambda value: {name: fields[name](one) for name, one in value.items()}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inside = _always(_converter(kind.value_type))
        return lambda value: [inside(one) for one in value]
    return _text


def _always(convert: Converter) -> Callable[[Any], Any]:
    """A converter for values that may be null."""
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _of_map(key: Callable[[Any], Any], item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: {_key(key(one)): item(other) for one, other in value}


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime):
        return _moment(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _duration(0, 0, value // datetime.timedelta(microseconds=1) * 1000)
    if hasattr(value, "nanoseconds"):  # pyarrow.MonthDayNano, what intervals of SQL are
        return _duration(value.months, value.days, value.nanoseconds)
    return str(value)


def _moment(value: datetime.datetime) -> str:
    spec = "microseconds" if value.microsecond % 1000 else "milliseconds"
    if value.tzinfo is None:
        return value.isoformat(timespec=spec)
    return value.astimezone(datetime.UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def _duration(months: int, days: int, nanoseconds: int) -> str:
    """A duration as ISO 8601: P1M2DT3.5S; seconds are not carried into minutes."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    fraction = f".{rest % 10**9:09d}".rstrip("0") if rest % 10**9 else ""
    parts = (f"{months}M" if months else "") + (f"{days}D" if days else "")
    return f"P{parts}T{sign}{rest // 10**9}{fraction}S" if rest or not parts else f"P{parts}"
