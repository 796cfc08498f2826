"""`Branches` gives, for any record of any tree in any order, the records from the root to it.

Method: random trees and random orders of questions, held against the plain definition.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snapstore.importers.step import Branches, content_id, stable_bytes


@given(st.lists(st.integers(min_value=0), max_size=40), st.lists(st.integers(min_value=0), max_size=60))
def test_records_are_the_path_from_the_root(parents: list[int], questions: list[int]) -> None:
    branches = Branches()
    paths: list[list[str]] = []
    for number, choice in enumerate(parents):
        parent = choice % (number + 1) - 1  # -1 starts another tree
        branches.add(str(number), None if parent < 0 else str(parent), f"record {number}")
        paths.append([*(paths[parent] if parent >= 0 else []), f"record {number}"])
    for question in questions:
        if paths:
            wanted = question % len(paths)
            assert branches.records(str(wanted)) == paths[wanted]


def test_a_following_record_is_appended_to_the_same_list() -> None:
    branches = Branches()
    branches.add("a", None, {"n": 1})
    first = branches.records("a")
    branches.add("b", "a", {"n": 2})
    assert branches.records("b") is first
    assert first == [{"n": 1}, {"n": 2}]


def test_content_ids_follow_parent_and_content() -> None:
    assert content_id("p", b"x") == content_id("p", b"x")
    assert len({content_id("p", b"x"), content_id("p", b"y"), content_id("q", b"x"), content_id("", b"px")}) == 4


def test_stable_bytes_do_not_depend_on_key_order_and_take_any_text() -> None:
    assert stable_bytes({"a": 1, "b": "\ud800"}) == stable_bytes({"b": "\ud800", "a": 1})
