"""Which texts are keys, and what a truncated object is called."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import InvalidInputError
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import Storage, check_key, check_keys, check_prefix, is_key, object_truncated

ALLOWED = string.ascii_letters + string.digits + "._~%=-"
segments = st.text(ALLOWED, min_size=1, max_size=20).filter(lambda text: text not in {".", "..", ".snapstore"})


@given(st.lists(segments, min_size=1, max_size=5))
def test_segments_of_allowed_characters_are_keys(parts: list[str]) -> None:
    key = "/".join(parts)
    assert is_key(key)
    assert check_key(key) == key
    assert check_prefix(key + "/") == key + "/"


@given(st.text(max_size=20))
def test_everything_else_is_not(text: str) -> None:
    parts = text.split("/")
    right = all(part and part not in {".", ".."} and all(c in ALLOWED for c in part) for part in parts)
    assert is_key(text) == (right and parts[0] != ".snapstore")


@pytest.mark.parametrize("key", [".snapstore", ".snapstore/locks/00", "a/..", "../a", "a/./b", "a\n", "x" * 256])
def test_dangerous_names_are_refused(key: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_key(key)
    assert caught.value.code == "invalid_key"
    assert caught.value.hint
    with pytest.raises(InvalidInputError):
        check_keys(["fine", key])


def test_names_that_only_look_dangerous_are_fine() -> None:
    for key in (".snapstore-x", "a/.snapstore/b", "...", "..a", "a..", "%2e%2e/x"):
        assert is_key(key)


def test_the_longest_names() -> None:
    assert is_key("x" * 255)
    assert is_key("/".join(["x" * 255] * 3))
    assert not is_key("/".join(["x" * 255] * 4))


def test_prefixes() -> None:
    assert check_prefix("") == ""
    for prefix in ("a", "/", "a//", "a/../", ".snapstore/"):
        with pytest.raises(InvalidInputError):
            check_prefix(prefix)


def test_truncation_names_the_object_and_the_sizes() -> None:
    error = object_truncated("a/b", wanted=10, size=3)
    assert str(error) == "the object is shorter than expected key=a/b wanted_bytes=10 size_bytes=3"
    assert error.code == "object_truncated"


def test_backends_are_recognised() -> None:
    assert isinstance(MemoryStorage(), Storage)
    assert not isinstance({}, Storage)
