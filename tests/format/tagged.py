"""Reads states that are written down as tagged JSON, and compares values to the type and the bit.

The form is described in `manifests/archives/README.md`; what writes it is in `scripts/golden`, apart from this on purpose.
"""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any


def untagged(value: Any, long: dict[str, Any]) -> Any:
    """Return the value that tagged JSON stands for; `long` holds the texts and bytes that are named by digest."""
    if isinstance(value, list):
        return [untagged(item, long) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {key: untagged(item, long) for key, item in value.items()}
    assert len(value) == 1, value
    content = value[tag]
    if tag == "$long":
        return untagged(long[content], long)
    if tag == "$dict":
        return {untagged(key, long): untagged(item, long) for key, item in content}
    if tag in CONTAINERS:
        return CONTAINERS[tag](untagged(item, long) for item in content)
    return LEAVES[tag](content)


def moment(kind: Any) -> Callable[[list[Any]], Any]:
    """Return what reads a date and time or a time of day: text, fold and zone."""

    def read(parts: list[Any]) -> Any:
        text, fold, zone = parts
        if isinstance(zone, dict):
            offset = struct.unpack(">d", bytes.fromhex(zone["$float"]))[0]
            zone = datetime.timezone(datetime.timedelta(seconds=offset))
        elif zone is not None:
            zone = zoneinfo.ZoneInfo(zone)
        return kind.fromisoformat(text).replace(fold=fold, tzinfo=zone)

    return read


CONTAINERS: dict[str, Callable[[Any], Any]] = {"$tuple": tuple, "$set": set, "$frozenset": frozenset}
LEAVES: dict[str, Callable[[Any], Any]] = {
    "$int": int,
    "$float": lambda content: struct.unpack(">d", bytes.fromhex(content))[0],
    "$bytes": bytes.fromhex,
    "$datetime": moment(datetime.datetime),
    "$time": moment(datetime.time),
    "$date": datetime.date.fromisoformat,
    "$timedelta": lambda content: datetime.timedelta(*content),
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
}


def exact(value: Any) -> Any:
    """Return something that is equal for two values only if they are the same in type, order and every bit."""
    kind = type(value)
    if kind is dict:
        return (kind, [(exact(key), exact(item)) for key, item in value.items()])
    if kind in (list, tuple):
        return (kind, [exact(item) for item in value])
    if kind in (set, frozenset):
        return (kind, sorted((exact(item) for item in value), key=repr))
    if kind is float:
        return (kind, struct.pack(">d", value))
    if kind in (datetime.datetime, datetime.time):
        zone = getattr(value.tzinfo, "key", None) or value.utcoffset()
        return (kind, value.replace(tzinfo=None).isoformat(), value.fold, zone)
    return (kind, str(value) if kind is decimal.Decimal else value)
