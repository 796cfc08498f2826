"""Paths into many states: `cost`, `messages[-1].content`, `messages[*].role`, `tools.*["odd key"]`, `messages[-3:].tool`.

A path is a sequence of steps from the root of a state:

| step | on a list | on a dict |
|---|---|---|
| `name`, `["any text"]` | nothing | the value of this key |
| `[3]`, `[-1]` | the item at this place, negative from the end | the value of this number as a key |
| `[a:b]` | the items of this part, as in Python | nothing |
| `[*]`, `.*` | every item | every value, in order |

A path without `*` and `[a:b]` gives one value per state, null where there is none. A path with them gives one flat list per
state, however many there are, null where the first of them finds nothing to go through. In the list stands one element per
item of the last `*` or `[a:b]`, null where the item lacks the rest of the path: so `messages[*].role` and
`messages[*].content` have the same length. An item that an inner `*` cannot go through adds nothing.

A leading `$` or `.` is allowed; `$` alone is the whole state. Tuples count as lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from snapstore.errors import InvalidInputError

__all__ = ["Each", "Index", "Key", "Part", "Path", "Step", "Steps", "gives_list", "parse"]


@dataclass(frozen=True, slots=True)
class Key:
    """The value of a text key."""

    text: str


@dataclass(frozen=True, slots=True)
class Index:
    """The item at a place of a list, negative from its end; or the value of a number as a key of a dict."""

    number: int


@dataclass(frozen=True, slots=True)
class Part:
    """The items of a list from `start` to before `stop`, either open."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Each:
    """Every item of a list, every value of a dict."""


Step: TypeAlias = "Key | Index | Part | Each"
Steps: TypeAlias = "tuple[Step, ...]"


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was understood.

    Attributes:
        text: as it was typed.
        steps: from the root.
    """

    text: str
    steps: Steps

    @property
    def gives_list(self) -> bool:
        """Whether it gives a list per state and not one value."""
        return gives_list(self.steps)

    @property
    def into_lists(self) -> bool:
        """Whether it goes into lists, which are what grows in a state."""
        return any(not isinstance(step, Key) for step in self.steps)


@lru_cache(maxsize=1024)
def gives_list(steps: Steps) -> bool:
    """Whether any of the steps may lead to more than one place."""
    return any(isinstance(step, (Part, Each)) for step in steps)


_NAME = re.compile(r"""[^.\[\]"']+""")
_NUMBER = re.compile(r"[+-]?\d{1,18}")
_PART = re.compile(r"([+-]?\d{1,18})?:([+-]?\d{1,18})?")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)


@lru_cache(maxsize=1024)
def parse(text: str) -> Path:
    """Return a path from its text.

    Raises:
        InvalidInputError: code `invalid_path`, with the character, from 1, at which it stops making sense.
    """
    if not isinstance(text, str):
        raise InvalidInputError("a path is a text", code="invalid_path", path=text)
    steps: list[Step] = []
    at = 1 if text.startswith("$") else 0
    if not text:
        raise _problem(text, 0, "it is empty")
    while at < len(text):
        if text[at] == "[":
            step, at = _bracket(text, at)
        else:
            if text[at] == ".":
                at += 1
            elif at:
                raise _problem(text, at, "expected '.' or '['")
            match = _NAME.match(text, at)
            if match is None:
                raise _problem(text, at, "expected a name")
            step, at = Each() if match[0] == "*" else Key(match[0]), match.end()
        steps.append(step)
    return Path(text, tuple(steps))


def _bracket(text: str, at: int) -> tuple[Step, int]:
    """Return the step in the brackets that open at `at`, and where they end."""
    quoted = _QUOTED.match(text, at + 1)
    if quoted is not None:
        if text[quoted.end() : quoted.end() + 1] != "]":
            raise _problem(text, quoted.end(), "expected ']'")
        return Key(_ESCAPED.sub(r"\1", quoted[2])), quoted.end() + 1
    end = text.find("]", at)
    if end < 0:
        raise _problem(text, at, "the bracket is not closed")
    inside = text[at + 1 : end].strip()
    if inside == "*":
        return Each(), end + 1
    if _NUMBER.fullmatch(inside):
        return Index(int(inside)), end + 1
    part = _PART.fullmatch(inside)
    if part is None:
        raise _problem(text, at + 1, "expected a number, a part a:b, * or a quoted key in the brackets")
    start, stop = (int(number) if number else None for number in part.groups())
    return Part(start, stop), end + 1


def _problem(text: str, at: int, problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"not a path: {problem}",
        code="invalid_path",
        hint='write it like cost, messages[-1].content, messages[*].role or tools["odd key"]',
        path=text,
        character=at + 1,
    )
