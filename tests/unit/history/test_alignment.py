"""Two sequences are aligned as a reader would: what is common is never named, and little else is.

Goal: the gaps turn the old sequence into the new one, whatever the two are; for plain edits they are exactly the edits.
Method: edits by hand; random sequences with many repetitions.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snapstore.history.alignment import gaps


def between(old: str, new: str) -> list[tuple[str, str]]:
    """What each gap replaces by what."""
    return [(old[gap.old_start : gap.old_end], new[gap.new_start : gap.new_end]) for gap in gaps(old, new)]


def test_common_parts_are_never_in_a_gap() -> None:
    assert between("abc", "abc") == []
    assert between("", "") == []
    assert between("abc", "abcd") == [("", "d")]
    assert between("abc", "xabc") == [("", "x")]
    assert between("abcdef", "abdef") == [("c", "")]
    assert between("abcdef", "aXcdeYYf") == [("b", "X"), ("", "YY")]
    assert between("abc", "xyz") == [("abc", "xyz")]


def test_what_moved_is_a_removal_and_an_addition() -> None:
    assert between("abcdef", "bcdefa") == [("a", ""), ("", "a")]


def test_repeated_elements_are_aligned_by_their_neighbours() -> None:
    assert between("0000", "000") == [("0", "")]
    assert between("0a0b0", "0a00b0") == [("", "0")]
    assert between("xx1xx2xx", "xx1xxx2xx") == [("", "x")]


@given(st.text("abcdefgh", max_size=40), st.text("abcdefgh", max_size=40))
def test_the_gaps_turn_one_into_the_other(old: str, new: str) -> None:
    built, position, last = "", 0, (0, 0)
    for gap in gaps(old, new):
        assert (gap.old_start, gap.new_start) >= last
        assert old[gap.old_start : gap.old_end] != new[gap.new_start : gap.new_end]
        built += old[position : gap.old_start] + new[gap.new_start : gap.new_end]
        position, last = gap.old_end, (gap.old_end, gap.new_end)
    assert built + old[position:] == new


def test_it_takes_time_in_proportion_to_the_length() -> None:
    """Ten thousand changed items are compared in some milliseconds, not in their square."""
    old = list(range(100_000))
    new = [-n if n % 10 == 0 else n for n in old]
    assert len(list(gaps(old, new))) == 9_999
