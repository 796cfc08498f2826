"""Ranges of an object: few requests, and always exactly the bytes asked for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import CorruptionError, InvalidInputError
from snapstore.storage.ranges import MAX_GAP_BYTES, Span, assemble, cut, plan_spans

BODY = bytes(range(256)) * 2


@st.composite
def ranges_inside(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draw ranges of BODY, suffixes among them."""
    ranges = []
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(-1, len(BODY)))
        length = draw(st.integers(0, len(BODY) + 100 if start < 0 else len(BODY) - start))
        ranges.append((start, length))
    return ranges


def expected(ranges: list[tuple[int, int]]) -> list[bytes]:
    """Return the ranges by plain slicing."""
    return [BODY[max(0, len(BODY) - n) :] if start < 0 else BODY[start : start + n] for start, n in ranges]


def read(span: Span) -> bytes:
    """Answer a span as a server would."""
    return BODY[-span.length :] if span.start < 0 else BODY[span.start : span.start + span.length]


@given(ranges_inside(), st.integers(0, 50))
def test_spans_bring_exactly_what_was_asked_for(ranges: list[tuple[int, int]], gap: int) -> None:
    spans = plan_spans(ranges, max_gap_bytes=gap)
    assert assemble(ranges, spans, [read(span) for span in spans], "key") == expected(ranges)
    assert cut(BODY, ranges, "key") == expected(ranges)
    # No byte comes twice, and no more than the gap lies between two ranges of a span.
    plain = [span for span in spans if span.start >= 0]
    for before, after in pairwise(plain):
        assert after.start > before.start + before.length + gap


def test_neighbours_share_a_request() -> None:
    assert plan_spans([(0, 10), (10, 10), (5, 3)]) == [Span(0, 20, (0, 2, 1))]
    assert plan_spans([(0, 10), (10 + MAX_GAP_BYTES, 5)]) == [Span(0, 15 + MAX_GAP_BYTES, (0, 1))]
    far = 11 + MAX_GAP_BYTES
    assert plan_spans([(far, 5), (0, 10)]) == [Span(0, 10, (1,)), Span(far, 5, (0,))]
    assert plan_spans([(-1, 4), (0, 1)]) == [Span(0, 1, (1,)), Span(-1, 4, (0,))]


def test_nothing_needs_no_request() -> None:
    assert plan_spans([]) == []
    assert plan_spans([(5, 0), (-1, 0)]) == []
    assert assemble([(5, 0), (-1, 0)], [], [], "key") == [b"", b""]


@pytest.mark.parametrize("span", [(0, 513), (512, 1), (600, 1)])
def test_a_range_outside_is_truncation(span: tuple[int, int]) -> None:
    with pytest.raises(CorruptionError):
        cut(BODY, [(0, 1), span], "key")
    spans = plan_spans([(0, 1), span])
    with pytest.raises(CorruptionError) as caught:
        assemble([(0, 1), span], spans, [read(span) for span in spans], "key")
    assert caught.value.code == "object_truncated"
    assert caught.value.context["key"] == "key"


def test_negative_lengths_are_refused() -> None:
    for ranges in ([(0, -1)], [(-1, -1)]):
        with pytest.raises(InvalidInputError):
            plan_spans(ranges)
        with pytest.raises(InvalidInputError):
            cut(BODY, ranges, "key")
