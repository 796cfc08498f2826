"""Paths read as people write them, and a wrong one says where it goes wrong.

Goal: every form that the documentation shows means what it says, and a mistake costs a glance and not an hour of empty columns.
Method: texts beside the steps they stand for; wrong texts beside the character, from 1, that the error must point at; plain
values beside what a path gives on them.
"""

from __future__ import annotations

from typing import Any

import pytest

from snapstore.errors import InvalidInputError
from snapstore.scan.paths import Each, Index, Key, Part, Step, parse
from snapstore.scan.walk import ABSENT, follow


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("cost", [Key("cost")]),
        ("$.cost", [Key("cost")]),
        (".cost", [Key("cost")]),
        ("$", []),
        ("messages[*].role", [Key("messages"), Each(), Key("role")]),
        ("messages[-1].content", [Key("messages"), Index(-1), Key("content")]),
        ("messages[-3:].tool", [Key("messages"), Part(-3, None), Key("tool")]),
        ("messages[ 2:+5 ][0]", [Key("messages"), Part(2, 5), Index(0)]),
        ("a[:]", [Key("a"), Part(None, None)]),
        ('a.b["odd key"].c', [Key("a"), Key("b"), Key("odd key"), Key("c")]),
        (r'["say \"hi\" \\ [*]"]', [Key('say "hi" \\ [*]')]),
        ("['*']", [Key("*")]),
        ("[0]", [Index(0)]),
        ("tools.*.name", [Key("tools"), Each(), Key("name")]),
        ("ünï code.x-y", [Key("ünï code"), Key("x-y")]),
    ],
)
def test_a_path_is_read(text: str, steps: list[Step]) -> None:
    assert parse(text).steps == tuple(steps)


@pytest.mark.parametrize(
    ("text", "character"),
    [
        *[("", 1), (".", 2), ("$cost", 2), ("a..b", 3), ("a.", 3), ("a[", 2), ("a[1", 2), ("a[x]", 3), ("a[1:2:3]", 3)],
        *[
            ("a[]", 3),
            ("a[*]b", 5),
            ('a["b"', 6),
            ('a["b]', 3),
            ('a["b"x]', 6),
            ("a]", 2),
            ("a['it''s']", 7),
            ('a"b', 2),
            (f"[{'9' * 30}]", 2),
        ],
    ],
)
def test_a_wrong_path_names_the_character(text: str, character: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert caught.value.code == "invalid_path"
    assert caught.value.context == {"path": text, "character": character}
    assert "messages[*].role" in str(caught.value.hint)


STATE: dict[Any, Any] = {
    "cost": 0.5,
    "messages": [{"role": "user"}, {"role": "tool", "calls": [{"n": 1}, {}]}, "text", {"role": None, "calls": []}],
    "tools": {"a": {"n": 1}, "b": {"n": 2}, "c": 3},
    "pair": (1, 2),
    7: "seven",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cost", 0.5),
        ("cost.deeper", ABSENT),
        ("nothing", ABSENT),
        ("[7]", "seven"),
        ('["7"]', ABSENT),
        ("messages[0].role", "user"),
        ("messages[4]", ABSENT),
        ("messages[-5]", ABSENT),
        ("messages.role", ABSENT),
        # One element per message, so that columns of one list can be laid side by side.
        ("messages[*].role", ["user", "tool", None, None]),
        ("messages[1:3].role", ["tool", None]),
        ("messages[9:]", []),
        ("messages[*].calls[*].n", [1, None]),
        ("messages[*].calls[0].n", [None, 1, None, None]),
        ("tools[*].n", [1, 2, None]),
        ("tools[0:1]", ABSENT),
        ("cost[*]", ABSENT),
        ("pair[*]", [1, 2]),
        ("pair[-1]", 2),
    ],
)
def test_what_a_path_gives(text: str, expected: Any) -> None:
    assert follow(STATE, parse(text).steps) == expected
