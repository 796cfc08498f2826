"""The picture says what the history says, for any history.

Method: a small reader follows the lines of a picture from sign to sign and gives back the edges that a person would
see; for generated histories they are exactly the parents, no sign hangs loose, and no two lanes wait for one row.
Pictures of common shapes are written out.
"""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snapstore.cli.lanes import Drawn, Row, draw, sort


def picture(rows: list[Row[str]]) -> list[str]:
    """Return the drawing as lines of text, ids beside the rows."""
    lines: list[str] = []
    for drawn in draw(rows):
        lines += [*drawn.before, f"{drawn.lane}  {drawn.id}", *drawn.after]
    return lines


# ------------------------------------------------------------------------------------------- reading a picture

Wires = dict[int, set[int]]


def read_edges(drawn: list[Drawn[int]]) -> set[tuple[int, int]]:
    """Return the (child, parent) pairs that the picture shows."""
    edges: set[tuple[int, int]] = set()
    wires: Wires = {}
    previous: int | None = None
    for row in drawn:
        lines = [*row.before, None, *row.after]
        for number, line in enumerate(lines):
            if line is None:
                wires = at_row(row, previous, wires, edges)
            else:
                following = lines[number + 1] if number + 1 < len(lines) else ""
                wires = along(line, following or "", wires)
        previous = row.id
    return edges


def at_row(row: Drawn[int], previous: int | None, wires: Wires, edges: set[tuple[int, int]]) -> Wires:
    """End the wires at the row's sign and start a new one there; all others must pass."""
    star = 2 * row.column
    assert row.lane[star] == "*"
    assert row.lane.count("*") == 1
    passing = {x for x, sign in enumerate(row.lane) if sign == "|"}
    assert passing <= set(wires), "a sign without a wire"
    ended = set(wires) - passing - {star}
    assert all(wires[x] == {previous} for x in ended), "only the row above may end, and it does when it has no parents"
    edges |= {(child, row.id) for child in wires.get(star, ())}
    return {**{x: wires[x] for x in passing}, star: {row.id}}


def along(line: str, following: str, wires: Wires) -> Wires:
    r"""Lead wires through a line of `| / \ _`."""
    line, following = line.ljust(160), following.ljust(160)
    result: Wires = defaultdict(set)
    used = set()
    for x, children in wires.items():
        if line[x] == "|":
            result[x] |= children
            used.add(x)
            if line[x + 1] == "\\" and "\\" not in line[:x]:
                result[x + 2] |= children
                used.add(x + 1)
        elif line[x + 1] == "\\":
            result[x + 2] |= children
            used.add(x + 1)
        elif x > 0 and line[x - 1] == "/":
            used.add(x - 1)
            to = x - 2
            while line[to - 1] == "_":
                used.add(to - 1)
                to -= 2
            crossing = to > 0 and following[to - 1] == "/" and following[to] == "|"
            result[-to if crossing else to] |= children  # a negative place: on its way through the following line
        elif x < 0:
            assert line[-x - 1] == "/"
            used.add(-x - 1)
            result[-x - 2] |= children
        # Anything else: the wire ends here, which only a row without parents may do.
    assert used == {x for x, sign in enumerate(line) if sign != " "}, (line, wires)
    return dict(result)


@st.composite
def histories(draw_: st.DrawFn) -> list[Row[int]]:
    """Histories with newest rows first; parents are later rows, or rows that are not shown."""
    size = draw_(st.integers(1, 25))
    rows = []
    for i in range(size):
        known = st.integers(i + 1, min(size - 1, i + 12)) if i + 1 < size else st.nothing()
        parents = draw_(st.lists(known | st.integers(1000, 1002), max_size=3))
        rows.append(Row(i, tuple(parents)))
    return rows


@given(histories())
@settings(max_examples=200)
def test_a_picture_shows_exactly_the_parents(rows: list[Row[int]]) -> None:
    drawn = list(draw(rows))
    assert [one.id for one in drawn] == [row.id for row in rows]
    wanted = {(row.id, parent) for row in rows for parent in row.parents if parent < 1000}
    assert read_edges(drawn) == wanted
    for one in drawn:
        for line in (*one.before, one.lane, *one.after):
            assert line == line.rstrip()


@given(histories())
def test_there_are_no_more_lanes_than_rows_awaited(rows: list[Row[int]]) -> None:
    awaited: set[int] = set()
    for row, drawn in zip(rows, draw(rows), strict=True):
        awaited.add(row.id)
        assert len(drawn.lane) == 2 * len(awaited) - 1
        awaited.discard(row.id)
        awaited |= set(row.parents)


@given(histories())
def test_signs_that_touch_mean_a_parent(rows: list[Row[int]]) -> None:
    drawn = list(draw(rows))
    for row, one, after in zip(rows, drawn, drawn[1:], strict=False):
        if one.column == after.column and not one.after and not after.before:
            assert after.id in row.parents


@given(histories(), st.randoms(use_true_random=False))
def test_sort_puts_children_first_and_keeps_good_orders(rows: list[Row[int]], rng: object) -> None:
    assert sort(rows) == rows
    shuffled = list(rows)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    place = {row.id: i for i, row in enumerate(sort(shuffled))}
    assert len(place) == len(rows)
    assert all(place[row.id] < place[parent] for row in rows for parent in row.parents if parent in place)


def test_sort_survives_circles_and_repetitions() -> None:
    rows = [Row("a", ("b",)), Row("b", ("a",)), Row("a", ()), Row("c", ("c",))]
    assert [row.id for row in sort(rows)] == ["a", "b", "c"]


# ------------------------------------------------------------------------------------------- pictures

PICTURES = {
    "a line": (
        [Row("c", "b"), Row("b", "a"), Row("a")],
        ["*  c", "*  b", "*  a"],
    ),
    "a merge": (
        [Row("m", "xy"), Row("y", "b"), Row("x", "b"), Row("b")],
        ["*  m", "|\\", "| *  y", "* |  x", "|/", "*  b"],
    ),
    "three leaves of one row": (
        [Row("c", "p"), Row("b", "p"), Row("a", "p"), Row("p")],
        ["*  c", "| *  b", "|/", "| *  a", "|/", "*  p"],
    ),
    "a join far to the left": (
        [Row("a", "p"), Row("b", "q"), Row("c", "r"), Row("d", "p"), Row("e", "s")],
        ["*  a", "| *  b", "| | *  c", "| | | *  d", "| |_|/", "|/| |", "| | | *  e"],
    ),
    "a join moves the lanes right of it": (
        [Row("a", "p"), Row("b", "q"), Row("c", "r"), Row("q", "p"), Row("r", "p"), Row("p")],
        ["*  a", "| *  b", "| | *  c", "| * |  q", "|/ /", "| *  r", "|/", "*  p"],
    ),
    "a merge moves the lanes right of it": (
        [Row("a", "x"), Row("b", "y"), Row("x", "pq"), Row("y")],
        ["*  a", "| *  b", "* |  x", "|\\ \\", "| | *  y"],
    ),
    "roots stay apart": (
        [Row("a"), Row("b"), Row("c", "e"), Row("d"), Row("e")],
        ["*  a", "", "*  b", "", "*  c", "| *  d", "*  e"],
    ),
    "three parents": (
        [Row("m", "abc"), Row("a", "r"), Row("b", "r"), Row("c", "r"), Row("r")],
        ["*  m", "|\\", "|\\ \\", "* | |  a", "| * |  b", "|/ /", "| *  c", "|/", "*  r"],
    ),
    "part of a history": (
        [Row("b", "x"), Row("a", "y")],
        ["*  b", "| *  a"],
    ),
}


@pytest.mark.parametrize(("rows", "lines"), PICTURES.values(), ids=PICTURES)
def test_pictures(rows: list[Row[str]], lines: list[str]) -> None:
    assert picture(rows) == lines


def test_thousands_of_rows_cost_what_their_lanes_cost() -> None:
    rows = [Row(i, (i + 1,) if i % 100 else (i + 1, i + 50)) for i in range(20_000)]
    drawn = list(draw(sort(rows)))
    assert len(drawn) == 20_000
    assert max(len(one.lane) for one in drawn) < 10
