"""A preview shows the beginning of a value and never looks at much more than that.

Method: values that count how much of them is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from snapstore.cli.output import columns_of
from snapstore.cli.preview import MAX_NODES, kind, preview


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True], "b": "x"}, '{a: [1, 2.5, null, true], b: "x"}'),
        ("line\nbreak", '"line\\nbreak"'),
        (b"abc", "<3 bytes>"),
        ([], "[]"),
        ({3: (1,)}, "{3: [1]}"),
        pytest.param(10**5_000, "<number of 16,610 bits>", id="long number"),
        ("\x1b[31mred", '"\\u001b[31mred"'),
    ],
)
def test_previews(value: Any, text: str) -> None:
    assert preview(value) == text


@pytest.mark.parametrize("value", ["x" * 10**6, [1] * 10**6, [[[["deep"] * 99] * 99] * 99], {"漢字" * 50: 1}], ids=len)
def test_a_preview_keeps_to_its_columns(value: Any) -> None:
    for columns in (10, 60):
        assert columns_of(preview(value, columns)) <= columns
        assert preview(value, columns).endswith("…")


class Counting(Mapping[str, int]):
    """A map of a million pairs that counts the values it was asked for."""

    asked = 0

    def __len__(self) -> int:
        return 10**6

    def __iter__(self) -> Iterator[str]:
        return (str(n) for n in range(10**6))

    def __getitem__(self, key: str) -> int:
        self.asked += 1
        return 1


def test_a_preview_looks_at_few_values() -> None:
    value = Counting()
    preview(value, 10_000)
    assert value.asked <= MAX_NODES


def test_kinds_have_their_lengths() -> None:
    assert [kind(v) for v in ("abc", b"ab", None, True, 1.5, [1], {"a": 1}, Counting())] == [
        "text of 3",
        "bytes of 2",
        "null",
        "true/false",
        "number",
        "list of 1",
        "map of 1",
        "map of 1,000,000",
    ]
