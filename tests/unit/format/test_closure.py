"""A closure has one folder-grouped form, and a damaged one never becomes a key.

Goal: what is read back equals what was written; no folder or name of a document leads outside `runs/` and `packs/`.
Method: generated closures both ways; every kind of wrong entry by hand.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from snapstore.errors import FormatError
from snapstore.format import names
from snapstore.format.closure import PackRef, closure_from_document, closure_to_document
from snapstore.format.limits import CLOSURE_LIMIT, INTEGER_LIMIT
from tests.unit.format.strategies import closures

NAME = "fffffffffffe-000000000001-000000000000-" + "0" * 32
OTHER = "fffffffffffe-000000000001-000000000000-" + "1" * 32
EXTRA = "ab" + "0" * 30


@given(closures(max_size=20))
def test_closures_come_back_by_ascending_ordinal(closure: dict[int, PackRef]) -> None:
    back = closure_from_document(closure_to_document(closure))
    assert back == closure
    assert list(back) == sorted(back)
    assert all(names.parse_pack_key(pack.key) is not None for pack in back.values())


def test_packs_are_grouped_by_folder_in_the_order_of_ordinals() -> None:
    closure = {
        3: PackRef(3, "runs/a", OTHER, 30, 0, 30),
        1: PackRef(1, "runs/a", NAME, 10, 2, 8),
        2: PackRef(2, "packs/ab", EXTRA, 20, 0, 0),
    }
    assert closure_to_document(closure) == {
        "runs/a": [[1, NAME, 10, 2, 8], [3, OTHER, 30, 0, 30]],
        "packs/ab": [[2, EXTRA, 20, 0, 0]],
    }
    assert closure[1].key == f"runs/a/{NAME}"


def test_no_packs_is_the_empty_object() -> None:
    assert closure_to_document({}) == {}
    assert closure_from_document({}) == {}


def entries(count: int) -> list[list[Any]]:
    """Return so many entries of one folder."""
    return [[number, f"{NAME[:-4]}{number:04x}", 1, 0, 1] for number in range(1, count + 1)]


def test_a_folder_is_as_long_as_an_encoded_name() -> None:
    assert wrong({"runs/" + "a" * 121: [[1, NAME, 1, 0, 1]]}) == [(f'$["runs/{"a" * 121}"]', "wrong_value")]
    assert len(closure_from_document({"runs/" + "a" * 120: [[1, NAME, 1, 0, 1]]})) == 1


def test_the_largest_closure_is_read_and_no_larger_one() -> None:
    assert len(closure_from_document({"runs/a": entries(CLOSURE_LIMIT)})) == CLOSURE_LIMIT
    assert wrong({"runs/a": entries(CLOSURE_LIMIT + 1)}) == [("$", "too_many")]
    halves = {"runs/a": entries(40), "runs/b": [[n + 100, *rest] for n, *rest in entries(40)]}
    assert wrong(halves) == [("$", "too_many")]


def wrong(document: object) -> list[tuple[str, str]]:
    """Return (path, kind) of each problem."""
    with pytest.raises(FormatError) as caught:
        closure_from_document(document)
    return [(problem.path, problem.kind) for problem in caught.value.context["problems"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "folder",
    [
        *["", "runs", "runs/", "runs/.", "runs/..", "runs/../packs", "runs/A", "runs/a/b", "/runs/a", "runs/%2", "runs/é"],
        *["index", "snapshots/ab", "packs/", "packs/a", "packs/AB", "packs/abc", "packs/../x"],
    ],
)
def test_folders_of_another_form_are_refused(folder: str) -> None:
    name = EXTRA if folder.startswith("packs") else NAME
    assert [kind for _, kind in wrong({folder: [[1, name, 1, 0, 1]]})] == ["wrong_value"]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        [],
        [1, NAME, 1, 0],
        [1, NAME, 1, 0, 1, 1],
        [0, NAME, 1, 0, 1],
        [-1, NAME, 1, 0, 1],
        [True, NAME, 1, 0, 1],
        ["1", NAME, 1, 0, 1],
        [1, None, 1, 0, 1],
        [1, "", 1, 0, 1],
        [1, "../" + NAME, 1, 0, 1],
        [1, NAME + "\n", 1, 0, 1],
        [1, NAME.upper(), 1, 0, 1],
        [1, EXTRA, 1, 0, 1],
        [1, NAME, 1, 0, 2],
        [1, NAME, 1, 1, 0],
        [1, NAME, 1, -1, 0],
        [1, NAME, INTEGER_LIMIT + 1, 0, 0],
        [INTEGER_LIMIT + 1, NAME, 1, 0, 0],
        [1, NAME, 1.0, 0, 1],
    ],
    ids=repr,
)
def test_entries_of_another_form_are_refused(entry: object) -> None:
    assert wrong({"runs/a": [entry]}) == [('$["runs/a"][0]', "wrong_value")]


def test_names_below_packs_belong_to_their_folder() -> None:
    assert wrong({"packs/ab": [[1, "cd" + "0" * 30, 1, 0, 1]]}) == [('$["packs/ab"][0]', "wrong_value")]
    assert wrong({"packs/ab": [[1, NAME, 1, 0, 1]]}) == [('$["packs/ab"][0]', "wrong_value")]


def test_one_ordinal_is_one_pack() -> None:
    assert wrong({"runs/a": [[1, NAME, 1, 0, 1], [1, OTHER, 1, 0, 1]]}) == [('$["runs/a"][1]', "duplicate")]
    assert wrong({"runs/a": [[1, NAME, 1, 0, 1]], "runs/b": [[1, OTHER, 1, 0, 1]]}) == [('$["runs/b"][0]', "duplicate")]
    assert wrong({"runs/a": [[1, NAME, 1, 0, 1], [2, NAME, 1, 0, 1]]}) == [('$["runs/a"][1]', "duplicate")]


def test_there_is_one_spelling_of_a_closure() -> None:
    assert wrong({"runs/a": [[2, NAME, 1, 0, 1], [1, OTHER, 1, 0, 1]]}) == [('$["runs/a"][1]', "wrong_order")]
    assert wrong({"runs/a": []}) == [('$["runs/a"]', "wrong_value")]
    assert wrong({"runs/a": {}}) == [('$["runs/a"]', "wrong_value")]
    assert wrong([]) == [("$", "wrong_type")]
    assert wrong(None) == [("$", "wrong_type")]
