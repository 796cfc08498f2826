"""User metadata comes back as it was given, or is refused with the path of the value.

Goal: floats, non-ASCII keys and the order of keys survive; what JSON cannot hold exactly is never stored.
Method: generated objects; every refusal by hand, with its code and path.
"""

from __future__ import annotations

import contextlib
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import FormatError, InvalidInputError
from snapstore.format.limits import METADATA_DEPTH_LIMIT, METADATA_LIMIT_BYTES
from snapstore.format.metadata import metadata_from_text, metadata_to_text
from tests.unit.format.strategies import metadata_objects


def nested(levels: int) -> dict[str, Any]:
    """Return metadata with so many levels of objects and arrays."""
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


class Colour(StrEnum):
    RED = "red"


@given(metadata_objects)
def test_metadata_comes_back_to_the_type_and_the_order(metadata: dict[str, Any]) -> None:
    text = metadata_to_text(metadata)
    back = metadata_from_text(text)
    assert repr(back) == repr(metadata)
    assert metadata_to_text(back) == text


def test_absent_metadata_is_an_empty_object() -> None:
    assert metadata_to_text(None) == metadata_to_text({}) == "{}"
    assert metadata_from_text("{}") == {}


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"a": float("nan")}, "metadata['a']"),
        ({"a": [1, {"b": float("inf")}]}, "metadata['a'][1]['b']"),
        ({"a": b"bytes"}, "metadata['a']"),
        ({"a": (1, 2)}, "metadata['a']"),
        ({"a": {1}}, "metadata['a']"),
        ({"a": Colour.RED}, "metadata['a']"),
        ({"a": 2**64}, "metadata['a']"),
        ({"a": -(2**63) - 1}, "metadata['a']"),
        ({"a": "\ud800"}, "metadata['a']"),
        ({"a": {1: 2}}, "metadata['a']"),
        ({1: 2}, "metadata"),
        ({"\udc00": 2}, "metadata"),
    ],
    ids=ascii,
)
def test_what_json_cannot_hold_is_refused_with_its_path(metadata: Any, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        metadata_to_text(metadata)
    assert (caught.value.code, caught.value.context["path"]) == ("metadata_unsupported", path)


@pytest.mark.parametrize("metadata", [[], "text", 1, [("a", 1)], ()])
def test_metadata_is_a_dict(metadata: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        metadata_to_text(metadata)
    assert caught.value.code == "metadata_unsupported"


def test_size_is_bounded_both_ways() -> None:
    fits = {"a": "é" * ((METADATA_LIMIT_BYTES - 8) // 2)}
    assert metadata_from_text(metadata_to_text(fits)) == fits
    with pytest.raises(InvalidInputError) as caught:
        metadata_to_text({"a": fits["a"] + "é"})
    assert caught.value.code == "metadata_too_large"
    with pytest.raises(FormatError):
        metadata_from_text('{"a":"' + "é" * (METADATA_LIMIT_BYTES // 2) + '"}')


def test_depth_is_bounded_both_ways() -> None:
    fits = nested(METADATA_DEPTH_LIMIT)
    assert metadata_from_text(metadata_to_text(fits)) == fits
    with pytest.raises(InvalidInputError) as caught:
        metadata_to_text(nested(METADATA_DEPTH_LIMIT + 1))
    assert caught.value.code == "metadata_too_deep"
    with pytest.raises(FormatError):
        metadata_from_text('{"a":' * METADATA_DEPTH_LIMIT + "{}" + "}" * METADATA_DEPTH_LIMIT)


def test_wide_metadata_is_not_taken_for_deep() -> None:
    wide: dict[str, Any] = {"a": [[] for _ in range(100)]}
    assert metadata_from_text(metadata_to_text(wide)) == wide


def test_metadata_that_contains_itself_is_refused() -> None:
    metadata: dict[str, Any] = {}
    metadata["a"] = metadata
    with pytest.raises(InvalidInputError) as caught:
        metadata_to_text(metadata)
    assert caught.value.code == "metadata_too_deep"


@given(st.text(st.sampled_from('{}[]":,019.eE-truNa\\ud8 '), max_size=30))
def test_any_text_is_an_object_or_refused(text: str) -> None:
    with contextlib.suppress(FormatError):
        assert type(metadata_from_text(text)) is dict


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"a":NaN}', '{"a":Infinity}', "{" * 8000, '{"a":1}x'])
def test_texts_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        metadata_from_text(text)
