"""Paths into a state as people type them: `messages[-1].content`, `tools["my key"][0]`, `["odd.key"]`.

A path is a sequence of steps: text names a key of a map; a number in brackets is a place in a list, negative from its
end, or a number that is a key; `[a:b]` is a part of a list. A leading `$` or `.` is allowed. `parse` and `format` are
inverse to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from snapstore.errors import InvalidInputError, NotFoundError

Step: TypeAlias = "str | int | slice"
Path: TypeAlias = "tuple[Step, ...]"

_NAME = re.compile(r"""[^.\[\]"']+""")
_NUMBER = re.compile(r"[+-]?\d+")
_SLICE = re.compile(r"([+-]?\d+)?:([+-]?\d+)?")
_PLAIN_KEY = re.compile(r"[^.\[\]\"'\s$:~][^.\[\]\"'\s:]*")

_MAX_NUMBER_DIGITS = 18
"""Longer numbers cannot be places in a list, and Python refuses to read very long ones."""


def parse(text: str) -> Path:
    """Return the steps of a path.

    Raises:
        InvalidInputError: `invalid_path`, with the character where it stops making sense.
    """
    steps: list[Step] = []
    at = 1 if text.startswith("$") else 0
    while at < len(text):
        if text[at] == "[":
            step, at = _bracket(text, at)
        else:
            if text[at] == ".":
                at += 1
            elif steps:
                raise _problem(text, at, "expected '.' or '['")
            match = _NAME.match(text, at)
            if match is None:
                raise _problem(text, at, "expected a name")
            step, at = match[0], match.end()
        steps.append(step)
    return tuple(steps)


def _bracket(text: str, at: int) -> tuple[Step, int]:
    """Return the step in the brackets that open at `at`, and where they end."""
    if text[at + 1 : at + 2] in {'"', "'"}:
        return _quoted(text, at + 1)
    end = text.find("]", at)
    if end < 0:
        raise _problem(text, at, "the bracket is not closed")
    inside = text[at + 1 : end].strip()
    if len(inside) <= 2 * _MAX_NUMBER_DIGITS:
        if _NUMBER.fullmatch(inside):
            return int(inside), end + 1
        match = _SLICE.fullmatch(inside)
        if match:
            return slice(*(int(part) if part else None for part in match.groups())), end + 1
    raise _problem(text, at, "expected a number, a range a:b or a quoted key in the brackets")


def _quoted(text: str, at: int) -> tuple[str, int]:
    quote, key, i = text[at], [], at + 1
    while i < len(text) and text[i] != quote:
        if text[i] == "\\" and i + 1 < len(text):
            i += 1
        key.append(text[i])
        i += 1
    if text[i : i + 2] != quote + "]":
        raise _problem(text, at, "the quoted key is not closed")
    return "".join(key), i + 2


def _problem(text: str, at: int, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"not a path: {problem}",
        code="invalid_path",
        hint='write it like messages[-1].content or tools["my key"][0]',
        path=text,
        character=at + 1,
    )


def format(path: Iterable[Any]) -> str:
    """Return the text of a path; keys that are neither text nor whole numbers are shown, but cannot be typed."""
    text = ""
    for step in path:
        if isinstance(step, str):
            if _PLAIN_KEY.fullmatch(step):
                text += f".{step}" if text else step
            else:
                text += '["' + step.replace("\\", "\\\\").replace('"', '\\"') + '"]'
        elif isinstance(step, slice):
            text += f"[{'' if step.start is None else step.start}:{'' if step.stop is None else step.stop}]"
        else:
            text += f"[{step!r}]"
    return text


def follow(value: Any, path: Path) -> Any:
    """Return what stands at a path; works on a snapshot, on its lazy views and on plain values.

    Raises:
        NotFoundError: `path_not_found`, naming the part of the path that is there.
    """
    for number, step in enumerate(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError, LookupError) as error:
            if isinstance(error, NotFoundError) and error.code != "path_not_found":
                raise
            raise NotFoundError(
                "the state has nothing at this path",
                code="path_not_found",
                path=format(path),
                found=format(path[:number]) or "$",
            ) from error
    return value
