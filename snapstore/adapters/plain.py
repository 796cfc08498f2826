"""Plain JSON values: what contracts that come from JavaScript may hold, checked and copied in one walk."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from snapstore.errors import InvalidInputError
from snapstore.format.values import MAX_DEPTH

__all__ = ["json_copy"]


def json_copy(value: Any, path: str) -> Any:
    """A deep copy of a JSON value: what the caller changes afterwards, even before it is written, does not show in it.

    Args:
        value: dicts with text keys, lists, text, finite numbers, booleans and None; no subclasses of them, which would
            come back as something else.
        path: what the value is called in an error.

    Raises:
        InvalidInputError: `not_json`, with the path of the first value that JSON cannot hold.
    """
    return _copied(value, path, 1)


def _copied(value: Any, path: str, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, path)
    if value is None or kind is bool or kind is int:
        return value
    if kind is float:
        if not math.isfinite(value):
            _refuse(path, f"is {value}")
        return value
    if kind is not dict and kind is not list:
        _refuse(path, f"is of type {kind.__name__}")
    if depth > MAX_DEPTH:
        _refuse(path, f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if kind is list:
        return [_copied(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    copy = {}
    for key, item in value.items():
        if type(key) is not str:
            _refuse(path, f"has the key {key!r:.60}, which is no text")
        copy[_text(key, path)] = _copied(item, f"{path}.{key}", depth + 1)
    return copy


def _text(text: str, path: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            _refuse(path, f"has half a surrogate pair at character {error.start}")
    return text


def _refuse(path: str, problem: str) -> NoReturn:
    shown = path if len(path) <= 200 else path[:197] + "..."
    raise InvalidInputError(
        f"{shown} {problem}: JSON cannot hold it".encode("utf-8", "backslashreplace").decode(),
        code="not_json",
        hint="use dicts with text keys, lists, text, finite numbers, booleans and None",
    )
