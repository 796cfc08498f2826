"""Malformed input is named by file and line, and what comes before it is not lost.

Method: each kind of damage is put in the third line of an otherwise good file.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from snapstore.errors import InvalidInputError
from snapstore.importers import Source
from snapstore.importers.records import read_document, read_lines

DAMAGE = {
    "cut": b'{"a": ',
    "two values": b"{} {}",
    "not utf-8": b'{"a": "\xff"}',
    "not json": b"hello",
    "deep": b"[" * 100_000,
    "long number": b'{"a": ' + b"9" * 5_000 + b"}",
    "nul": b"\x00",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_malformed_line_is_named(source: Callable[..., Source], damage: bytes) -> None:
    lines = read_lines(source(b'{"n": 1}\n\n' + damage + b'\n{"n": 4}\n'))
    assert next(lines).value == {"n": 1}
    with pytest.raises(InvalidInputError) as caught:
        next(lines)
    assert caught.value.code == "malformed_input"
    assert caught.value.context["file"] == "file.x"
    assert caught.value.context["line"] == 3
    assert "file.x" in str(caught.value)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_malformed_document_is_named(source: Callable[..., Source], damage: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_document(source(damage))
    assert caught.value.context["file"] == "file.x"


def test_odd_but_good_lines_are_read(source: Callable[..., Source]) -> None:
    text = '\ufeff{"a": 1}\r\n   \r\n [2] \r\n"last, without an end of line"'
    lines = list(read_lines(source(text)))
    assert [line.value for line in lines] == [{"a": 1}, [2], "last, without an end of line"]
    assert [line.number for line in lines] == [1, 3, 4]
    assert lines[-1].fraction == 1.0


def test_an_empty_source_has_no_lines(source: Callable[..., Source]) -> None:
    assert list(read_lines(source(b""))) == []
