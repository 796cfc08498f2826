"""Previews: the beginning of a value in one line, at a cost that does not follow the value's size.

Gated on characters and on the number of nodes, because one huge text is cheap and a million small values are not
(the lesson of every viewer of agent traces that froze).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snapstore.cli.output import cut, printable

MAX_NODES = 60
"""Values looked at for one preview; a line of a terminal shows about a dozen."""

_MAX_TEXT_CHARS = 400
"""Characters of one text that are looked at; a line shows fewer."""

_MAX_NUMBER_BITS = 1024
"""Longer numbers are named by their size: Python refuses to write very long ones."""


def preview(value: Any, columns: int = 60) -> str:
    """Return the beginning of a value as one printable line of at most so many columns."""
    parts: list[str] = []
    length = 0
    for part in _parts(value, [MAX_NODES]):
        parts.append(part)
        length += len(part)
        if length > columns + 1:
            break
    return cut(printable("".join(parts)), columns)


def kind(value: Any) -> str:
    """Return the kind of a value in words, with its length: `list of 3`, `map of 2`, `text of 10`, `number`."""
    if isinstance(value, str):
        return f"text of {len(value):,}"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"bytes of {len(value):,}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, int | float):
        return "number"
    if is_map(value):
        return f"map of {len(value):,}"
    if is_list(value):
        return f"list of {len(value):,}"
    return type(value).__name__


def is_map(value: Any) -> bool:
    """Whether a value has keys: a dict, or a snapshot's lazy view of one."""
    return isinstance(value, Mapping)


def is_list(value: Any) -> bool:
    """Whether a value has places: a list or tuple, or a snapshot's lazy view of one."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def _parts(value: Any, nodes_left: list[int]) -> Iterator[str]:
    """Yield the pieces of the line; `nodes_left` counts down and ends it."""
    nodes_left[0] -= 1
    if nodes_left[0] < 0:
        yield "…"
    elif isinstance(value, str):
        yield json.dumps(value[:_MAX_TEXT_CHARS], ensure_ascii=False) + ("…" if len(value) > _MAX_TEXT_CHARS else "")
    elif isinstance(value, bytes | bytearray | memoryview):
        yield f"<{len(value):,} bytes>"
    elif is_map(value):
        yield "{"
        for number, key in enumerate(value):
            yield (", " if number else "") + (key if isinstance(key, str) else repr(key))[:_MAX_TEXT_CHARS] + ": "
            yield from _parts(value[key], nodes_left)
            if nodes_left[0] <= 0:
                break
        yield "}"
    elif is_list(value):
        yield "["
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _parts(item, nodes_left)
            if nodes_left[0] <= 0:
                break
        yield "]"
    elif value is None or isinstance(value, bool):
        yield json.dumps(value)
    elif isinstance(value, int) and value.bit_length() > _MAX_NUMBER_BITS:
        yield f"<number of {value.bit_length():,} bits>"
    else:
        yield str(value)[:_MAX_TEXT_CHARS]
