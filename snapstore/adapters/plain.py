"""Plain JSON values: what contracts that come from JavaScript may hold, checked and copied in one walk."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

from snapstore.errors import InvalidInputError
from snapstore.format.values import MAX_DEPTH

__all__ = ["json_copy"]

Convert = Callable[[Any], Any]


def json_copy(value: Any, path: str, *, convert: Convert | None = None, integers: range | None = None) -> Any:
    """A deep copy of a JSON value: what the caller changes afterwards, even before it is written, does not show in it.

    Args:
        value: dicts with text keys, lists, text, finite numbers, booleans and None; no subclasses of them, which would
            come back as something else.
        path: what the value is called in an error.
        convert: makes a JSON value of anything else, or raises TypeError or ValueError; None refuses it.
        integers: those that are allowed; None for all.

    Raises:
        InvalidInputError: `not_json`, with the path of the first value that JSON cannot hold.
    """
    return _copied(value, path, 1, convert, integers)


def _copied(value: Any, path: str, depth: int, convert: Convert | None, integers: range | None) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, path)
    if value is None or kind is bool:
        return value
    if kind is int or kind is float:
        return _number(value, path, integers)
    if depth > MAX_DEPTH:
        _refuse(path, f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if kind is list:
        return [_copied(item, f"{path}[{index}]", depth + 1, convert, integers) for index, item in enumerate(value)]
    if kind is dict and (convert is None or all(type(key) is str for key in value)):
        return {_key(key, path): _copied(item, f"{path}.{key}", depth + 1, convert, integers) for key, item in value.items()}
    return _copied(_converted(value, path, convert), path, depth, None, integers)


def _converted(value: Any, path: str, convert: Convert | None) -> Any:
    if convert is None:
        _refuse(path, f"is of type {type(value).__name__}")
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        _refuse(path, f"is of type {type(value).__name__} ({error})")


def _number(value: float, path: str, integers: range | None) -> float:
    if type(value) is float and not math.isfinite(value):
        _refuse(path, f"is {value}")
    if type(value) is int and integers is not None and value not in integers:
        _refuse(path, f"is an integer outside {integers.start}..{integers.stop - 1}")
    return value


def _key(key: Any, path: str) -> str:
    if type(key) is not str:
        _refuse(path, f"has the key {key!r:.60}, which is no text")
    return _text(key, path)


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
