"""States as JSON that any language reads without losing a type; `manifests/archives/README.md` describes the form.

Only the way there is here. The way back is written a second time, for the tests, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
from typing import Any

import blake3

# Longer texts and bytes are written once, beside the states, and named by digest.
LONG = 120


class Tagger:
    """Turns values into tagged JSON and collects the long ones in `long`."""

    def __init__(self) -> None:
        self.long: dict[str, Any] = {}

    def tagged(self, value: Any) -> Any:
        """Return a value as JSON."""
        kind = type(value)
        if kind in (str, bytes) and len(value) > LONG:
            name = blake3.blake3(repr(value).encode()).hexdigest()[:12]
            self.long[name] = value if kind is str else {"$bytes": value.hex()}
            return {"$long": name}
        if kind is dict:
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {key: self.tagged(item) for key, item in value.items()}
            return {"$dict": [[self.tagged(key), self.tagged(item)] for key, item in value.items()]}
        if kind is list:
            return [self.tagged(item) for item in value]
        if kind in (tuple, set, frozenset):
            items = [self.tagged(item) for item in (value if kind is tuple else sorted(value, key=repr))]
            return {f"${kind.__name__}": items}
        return leaf(value)


def leaf(value: Any) -> Any:
    """Return a value that holds no others as JSON."""
    if value is None or type(value) in (bool, str) or (type(value) is int and abs(value) <= 2**53):
        return value
    if type(value) is int:
        return {"$int": str(value)}
    if type(value) is float:
        return {"$float": struct.pack(">d", value).hex()}
    if type(value) is bytes:
        return {"$bytes": value.hex()}
    if type(value) is datetime.timedelta:
        return {"$timedelta": [value.days, value.seconds, value.microseconds]}
    if type(value) in (datetime.datetime, datetime.time):
        return {f"${type(value).__name__}": [value.replace(tzinfo=None).isoformat(), value.fold, zone(value.tzinfo)]}
    if type(value) in (datetime.date, decimal.Decimal, uuid.UUID):
        return {f"${type(value).__name__.lower()}": str(value)}
    raise TypeError(type(value).__name__)


def zone(value: Any) -> Any:
    """Return a time zone as None, seconds east of UTC, or a name."""
    if isinstance(value, datetime.timezone):
        return leaf(value.utcoffset(None).total_seconds())
    return None if value is None else str(value)
