"""Paths read as people type them, and every path that is shown can be typed again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.cli import paths
from snapstore.errors import InvalidInputError, NotFoundError

STATE = {"messages": [{"content": "a"}, {"content": "b"}], "my key": {"x.y": 1}, 'q"[': 2, 7: "seven", "": "blank"}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("", (), STATE),
        ("$", (), STATE),
        ("messages", ("messages",), STATE["messages"]),
        (".messages", ("messages",), STATE["messages"]),
        ("$.messages[1].content", ("messages", 1, "content"), "b"),
        ("messages[-1].content", ("messages", -1, "content"), "b"),
        ("messages[ 0 ]", ("messages", 0), {"content": "a"}),
        ("messages[-1:]", ("messages", slice(-1, None)), [{"content": "b"}]),
        ("messages[:1]", ("messages", slice(None, 1)), [{"content": "a"}]),
        ('["my key"]["x.y"]', ("my key", "x.y"), 1),
        ("['my key']['x.y']", ("my key", "x.y"), 1),
        ("my key['x.y']", ("my key", "x.y"), 1),
        ('["q\\"["]', ('q"[',), 2),
        ("[7]", (7,), "seven"),
        ('[""]', ("",), "blank"),
    ],
)
def test_paths_as_people_type_them(text: str, path: tuple[Any, ...], value: Any) -> None:
    assert paths.parse(text) == path
    assert paths.follow(STATE, path) == value


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(KEYS | st.integers(-(10**17), 10**17) | st.builds(slice, st.none() | st.integers(-99, 99))))
def test_a_shown_path_reads_as_itself(path: list[Any]) -> None:
    assert paths.parse(paths.format(path)) == tuple(path)


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("a..b", 3),
        ("a[", 2),
        ("a[x]", 3),
        ("a[1.5]", 3),
        ('a["x', 2),
        ('a["x]', 3),
        ('a["x"', 6),
        ("a[0]b", 5),
        ("a.", 3),
        ("]", 1),
        ("a[" + "9" * 5_000 + "]", 3),
        ("a[1:2:3]", 3),
    ],
)
def test_what_is_no_path_is_refused_with_its_place(text: str, character: int) -> None:
    with pytest.raises(InvalidInputError, match="not a path") as caught:
        paths.parse(text)
    assert caught.value.context["character"] == character
    assert caught.value.code == "invalid_path"


def test_many_places_are_no_path_here_and_a_key_may_be_called_so() -> None:
    """Scans take `*` for every item; a command that shows one value would otherwise show the value of a key `*`."""
    for text in ("messages[*].role", "*", "tools.*"):
        with pytest.raises(InvalidInputError, match="not a path to one value") as caught:
            paths.parse(text)
        assert "for scans" in (caught.value.hint or "")
    assert paths.parse(paths.format(["*"])) == ("*",)


@pytest.mark.parametrize(
    ("text", "found"), [("messages[9].content", "messages"), ("nothing", "$"), ("messages[0].content.x", "messages[0].content")]
)
def test_a_path_that_leads_nowhere_names_the_part_that_is_there(text: str, found: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        paths.follow(STATE, paths.parse(text))
    assert caught.value.code == "path_not_found"
    assert caught.value.context["found"] == found
