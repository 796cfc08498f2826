"""Plain JSON lines: one snapshot per line; grown and rewritten files continue where they still agree."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from snapstore.errors import InvalidInputError
from snapstore.importers import Source, Step
from snapstore.importers.jsonl import read

MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}, {"role": "user"}]


def test_each_line_adds_one_record(source: Callable[..., Source]) -> None:
    given = [(step, copy.deepcopy(step.build())) for step in read(source(MESSAGES, name="a/b"))]
    assert [state for _, state in given] == [{"messages": MESSAGES[:n]} for n in (1, 2, 3)]
    steps = [step for step, _ in given]
    assert [step.parent_id for step in steps] == [None, steps[0].id, steps[1].id]
    assert {(step.run, step.graph, step.status) for step in steps} == {("a/b", "jsonl", "completed")}
    assert [step.node for step in steps] == ["user", "assistant", "user"]
    assert [step.line for step in steps] == [1, 2, 3]
    assert steps[-1].fraction == 1.0


def test_records_without_a_role_are_called_records(source: Callable[..., Source]) -> None:
    assert [copy.deepcopy(step.build()) for step in read(source('1\n{"role": "x"}\n'))][-1] == {"records": [1, {"role": "x"}]}


def ids(steps: list[Step]) -> list[str]:
    return [step.id for step in steps]


def test_a_grown_file_continues_and_a_rewritten_one_branches(source: Callable[..., Source]) -> None:
    old = ids(list(read(source(MESSAGES))))
    grown = ids(list(read(source([*MESSAGES, {"role": "assistant"}]))))
    rewritten = ids(list(read(source([MESSAGES[0], {"role": "system"}, MESSAGES[2]]))))
    assert grown[:3] == old
    assert rewritten[0] == old[0]
    assert not set(rewritten[1:]) & set(old)


def test_runs_do_not_share_ids(source: Callable[..., Source]) -> None:
    one, other = ids(list(read(source(MESSAGES, name="a")))), ids(list(read(source(MESSAGES, name="b"))))
    assert not set(one) & set(other)
    assert ids(list(read(source(MESSAGES, name="a", run="b")))) == other


def test_what_comes_before_a_malformed_line_is_given(source: Callable[..., Source]) -> None:
    steps = read(source('{"role": "user"}\n{"role": "assistant"}\n{oops\n'))
    assert [next(steps).line, next(steps).line] == [1, 2]
    with pytest.raises(InvalidInputError, match=r"file=file\.x line=3"):
        next(steps)
