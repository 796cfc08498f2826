"""Canonical JSON has one spelling per document, and every problem is reported with its place.

Goal: bytes that decode are exactly the bytes that encode, and equal what any JSON library writes for them.
Method: generated documents against the standard library, then every kind of problem by hand, then mutated bytes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import FormatError
from snapstore.format import canonical
from snapstore.format.canonical import Problem, Problems
from snapstore.format.limits import DOCUMENT_LIMIT_BYTES
from tests.unit.format.strategies import json_objects


def problems_of(data: bytes) -> list[tuple[str, str]]:
    """Return (path, kind) of each problem of invalid bytes."""
    with pytest.raises(FormatError) as caught:
        canonical.decode(data)
    assert caught.value.code == "invalid_document"
    found = caught.value.context["problems"]
    assert isinstance(found, Problems)
    return [(problem.path, problem.kind) for problem in found]


@given(json_objects)
def test_bytes_are_those_of_the_standard_library_and_come_back(document: dict[str, Any]) -> None:
    data = canonical.encode(document)
    plain = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert data == plain.encode()
    assert canonical.decode(data) == document
    assert json.loads(data) == document


@given(json_objects)
def test_another_spelling_is_refused(document: dict[str, Any]) -> None:
    for data in (json.dumps({"": document}, indent=1).encode(), canonical.encode(document) + b"\n"):
        with pytest.raises(FormatError):
            canonical.decode(data)


INVALID: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "empty": (b"", [("$", "not_json")]),
    "not json": (b"{", [("$", "not_json")]),
    "two documents": (b"{}{}", [("$", "not_json")]),
    "not utf-8": (b'{"a":"\xff"}', [("$", "not_utf8")]),
    "utf-8 of a surrogate": (b'{"a":"\xed\xa0\x80"}', [("$", "not_utf8")]),
    "byte order mark": (b"\xef\xbb\xbf{}", [("$", "not_json")]),
    "array": (b"[]", [("$", "wrong_type")]),
    "null": (b"null", [("$", "wrong_type")]),
    "space": (b'{"a": 1}', [("$", "not_canonical")]),
    "order": (b'{"b":1,"a":2}', [("$", "not_canonical")]),
    "escaped letter": (b'{"a":"\\u0062"}', [("$", "not_canonical")]),
    "escaped slash": (b'{"a":"\\/"}', [("$", "not_canonical")]),
    "minus zero": (b'{"a":-0}', [("$", "not_canonical")]),
    "duplicate": (b'{"a":1,"a":1}', [("$.a", "duplicate_key")]),
    "nested duplicate": (b'{"a":[{"b":1,"b":2}]}', [("$.a[0].b", "duplicate_key")]),
    "float": (b'{"a":1.5}', [("$.a", "float")]),
    "whole float": (b'{"a":[1.0]}', [("$.a[0]", "float")]),
    "exponent": (b'{"a":1e3}', [("$.a", "float")]),
    "nan": (b'{"a":NaN}', [("$.a", "float")]),
    "infinity": (b'{"a":-Infinity}', [("$.a", "float")]),
    "large": (b'{"a":9007199254740993}', [("$.a", "integer_out_of_range")]),
    "large negative": (b'{"a":[0,-9007199254740993]}', [("$.a[1]", "integer_out_of_range")]),
    "huge": (b'{"a":' + b"9" * 4000 + b"}", [("$.a", "integer_out_of_range")]),
    "absurd": (b'{"a":' + b"9" * 5000 + b"}", [("$", "not_json")]),
    "non-ascii key": ('{"é":1}'.encode(), [('$["\\u00e9"]', "non_ascii_key")]),
    "surrogate": (b'{"a":"\\ud800"}', [("$.a", "lone_surrogate")]),
    "several": (b'{"a":1.5,"b":[NaN,"\\udfff"]}', [("$.a", "float"), ("$.b[0]", "float"), ("$.b[1]", "lone_surrogate")]),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", [("$", "too_deep")]),
}


@pytest.mark.parametrize("name", INVALID)
def test_every_problem_has_its_place_and_kind(name: str) -> None:
    data, expected = INVALID[name]
    assert problems_of(data) == expected


def test_the_largest_integers_are_kept() -> None:
    data = b'{"a":[9007199254740992,-9007199254740992,9007199254740991]}'
    assert canonical.encode(canonical.decode(data)) == data


def test_characters_above_the_first_plane_and_controls_are_kept() -> None:
    document = {"a": '🚀\u2028\x7f\x00"\\/'}
    data = canonical.encode(document)
    assert data == '{"a":"🚀\u2028\x7f\\u0000\\"\\\\/"}'.encode()
    assert canonical.decode(data) == document


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": 1.0}, [Problem("$.a", "float")]),
        ({"a": {"b c": float("nan")}}, [Problem('$.a["b c"]', "float")]),
        ({"a": 2**53 + 1}, [Problem("$.a", "integer_out_of_range")]),
        ({"a": "\ud800"}, [Problem("$.a", "lone_surrogate")]),
        ({"a": b""}, [Problem("$.a", "wrong_type")]),
        ({"a": (1,)}, [Problem("$.a", "wrong_type")]),
        ({1: 2}, [Problem("$", "wrong_type")]),
        ({"é": 2}, [Problem('$["\\u00e9"]', "non_ascii_key")]),
        ({"\ud800": 2}, [Problem('$["\\ud800"]', "non_ascii_key")]),
    ],
    ids=repr,
)
def test_values_that_a_document_cannot_hold_are_not_encoded(value: Any, expected: list[Problem]) -> None:
    with pytest.raises(FormatError) as caught:
        canonical.encode(value)
    assert list(caught.value.context["problems"]) == expected  # type: ignore[call-overload]


def test_nesting_is_bounded_when_writing() -> None:
    document: dict[str, Any] = {}
    for _ in range(60):
        document = {"a": document}
    with pytest.raises(FormatError) as caught:
        canonical.encode(document)
    assert [problem.kind for problem in caught.value.context["problems"]] == ["too_deep"]  # type: ignore[attr-defined]


def test_a_document_that_contains_itself_is_refused() -> None:
    document: dict[str, Any] = {}
    document["a"] = document
    with pytest.raises(FormatError):
        canonical.encode(document)
    with pytest.raises(FormatError):
        canonical.dump(document, "document")


def test_size_is_bounded_both_ways() -> None:
    text = "x" * DOCUMENT_LIMIT_BYTES
    for act in (lambda: canonical.encode({"a": text}), lambda: canonical.decode(f'{{"a":"{text}"}}'.encode())):
        with pytest.raises(FormatError) as caught:
            act()
        assert caught.value.code == "document_too_large"


def test_long_lists_of_problems_are_printed_shortly() -> None:
    with pytest.raises(FormatError) as caught:
        canonical.encode({"a": [1.5] * 1000})
    assert len(caught.value.context["problems"]) == 1000  # type: ignore[arg-type]
    assert str(Problems([Problem("$", "float")] * 10)).endswith("; and 2 more")
    assert len(str(caught.value)) < 500


@given(json_objects, st.data())
def test_any_mutated_bytes_are_refused_or_canonical(document: dict[str, Any], data: st.DataObject) -> None:
    whole = bytearray(canonical.encode(document))
    index = data.draw(st.integers(0, len(whole) - 1))
    whole[index] ^= data.draw(st.integers(1, 255))
    for changed in (bytes(whole), bytes(whole[:index])):
        try:
            decoded = canonical.decode(changed)
        except FormatError:
            continue
        assert canonical.encode(decoded) == changed


@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]":,0123456789.eE+-truefalsn\\ud8'), max_size=40).map(str.encode))
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    try:
        decoded = canonical.decode(data)
    except FormatError:
        return
    assert canonical.encode(decoded) == data
