"""Paths into one state as people type them: `messages[-1].content`, `tools["my key"][0]`, `["odd.key"]`.

They are those of scans (`snapstore.scan.paths`), without `*`, which leads to many values. Here a step is text, the key of a
map; a number, a place in a list, negative from its end, or a number that is a key; or a slice, a part of a list. No text at
all is the whole state. `parse` and `format` are inverse to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.scan import paths

Step: TypeAlias = "str | int | slice"
Path: TypeAlias = "tuple[Step, ...]"

_PLAIN_KEY = re.compile(r"(?!\*$)[^.\[\]\"'\s$:~][^.\[\]\"'\s:]*")


def parse(text: str) -> Path:
    """Return the steps of a path.

    Raises:
        InvalidInputError: `invalid_path`, with the character where it stops making sense.
    """
    try:
        return tuple(_step(step) for step in paths.parse(text).steps) if text else ()
    except InvalidInputError as error:
        error.hint = 'write it like messages[-1].content or tools["my key"][0]; * is for scans'
        raise


def _step(step: paths.Step) -> Step:
    match step:
        case paths.Key():
            return step.text
        case paths.Index():
            return step.number
        case paths.Part():
            return slice(step.start, step.stop)
        case paths.Each():
            raise InvalidInputError("not a path to one value: it has a *", code="invalid_path")


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
