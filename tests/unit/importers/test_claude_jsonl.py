"""Sessions: `parentUuid` is followed into branches, whatever the order, and odd records find a place.

Method: small sessions of one-letter records; `history` writes each step as `parent>id` with the letters of its state.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import InvalidInputError
from snapstore.importers import Source, Step
from snapstore.importers.claude_jsonl import read


def record(uuid: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"uuid": uuid, "parentUuid": parent, "type": "user", **fields}


def history(steps: list[Step]) -> list[str]:
    """Return `parent>id state` of each step."""
    return [
        f"{step.parent_id or ''}>{step.id} " + "".join(r.get("uuid", "-") for r in step.build()["messages"]) for step in steps
    ]


def test_branches_follow_the_parents(source: Callable[..., Source]) -> None:
    session = [record("a"), record("b", "a"), record("c", "b"), record("d", "a"), record("e", "c"), record("f", "d")]
    assert history(list(read(source(session)))) == [">a a", "a>b ab", "b>c abc", "a>d ad", "c>e abce", "d>f adf"]


def test_records_may_stand_before_their_parents(source: Callable[..., Source]) -> None:
    session = [record("c", "b"), record("d", "a"), record("b", "a"), record("a")]
    assert history(list(read(source(session)))) == [">a a", "a>d ad", "a>b ab", "b>c abc"]


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_any_order_gives_the_same_snapshots(seed: int, size: int) -> None:
    rng = random.Random(seed)
    session = [record(str(n), str(rng.randrange(n)) if n else None) for n in range(size)]
    shuffled = rng.sample(session, size)
    make = _make()
    given_in_order, given_shuffled = list(read(make(session))), list(read(make(shuffled)))
    assert sorted(history(given_in_order)) == sorted(history(given_shuffled))
    done: set[str] = set()
    for step in given_shuffled:
        assert step.parent_id is None or step.parent_id in done
        done.add(step.id)


def _make() -> Callable[[list[dict[str, Any]]], Source]:
    import io
    import json

    def make(records: list[dict[str, Any]]) -> Source:
        data = "".join(json.dumps(one) + "\n" for one in records).encode()
        return Source("x", "x", len(data), lambda: io.BytesIO(data))

    return make


def test_a_parent_outside_the_file_starts_a_history(source: Callable[..., Source]) -> None:
    steps = list(read(source([record("b", "gone"), record("c", "b")])))
    assert history(steps) == [">b b", "b>c bc"]
    assert steps[0].metadata["missing_parent"] == "gone"


def test_records_without_uuid_come_between(source: Callable[..., Source]) -> None:
    note, late = {"type": "file-history-snapshot"}, {"type": "summary", "leafUuid": "a"}
    steps = list(read(source([{"type": "summary"}, record("a"), note, record("b", "a"), record("c", "a"), late])))
    s, n, last = steps[0].id, steps[2].id, steps[5].id
    assert [(step.parent_id, step.id) for step in steps] == [
        (None, s),
        (s, "a"),
        ("a", n),
        (n, "b"),
        ("a", "c"),
        ("a", last),
    ]
    again = list(read(source([{"type": "summary"}, record("a"), note])))
    assert [step.id for step in again] == [s, "a", n]


def test_a_compaction_keeps_the_history_and_empties_the_state(source: Callable[..., Source]) -> None:
    session = [record("a"), record("b", "a"), record("c", None, logicalParentUuid="b"), record("d", "c")]
    assert history(list(read(source(session)))) == [">a a", "a>b ab", "b>c c", "c>d cd"]


def test_repeated_records_are_taken_once_and_changed_ones_become_siblings(source: Callable[..., Source]) -> None:
    session = [record("a"), record("b", "a"), record("b", "a"), record("b", "a", text="other"), record("c", "b")]
    steps = list(read(source(session)))
    assert [step.id[:2] for step in steps] == ["a", "b", "b.", "c"]
    assert [step.parent_id for step in steps] == [None, "a", "a", "b"]


def test_runs_are_named_after_the_session(source: Callable[..., Source]) -> None:
    named = [record("a", sessionId="s-1"), record("b", "a", sessionId="s-1")]
    assert {step.run for step in read(source(named, name="file"))} == {"s-1"}
    assert {step.run for step in read(source(named, name="file", run="mine"))} == {"mine"}
    two = [record("a", sessionId="s-1"), record("b", "a", sessionId="s-2")]
    assert {step.run for step in read(source(two, name="file"))} == {"file"}


def test_metadata_keeps_small_facts(source: Callable[..., Source]) -> None:
    session = [record("a", timestamp="2026-01-01T00:00:00Z", isSidechain=True, message={"model": "large", "x": [1]})]
    (step,) = read(source(session))
    assert dict(step.metadata) == {"timestamp": "2026-01-01T00:00:00Z", "model": "large", "sidechain": True}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("[]", "must be an object"),
        ('{"uuid": 3}', "uuid must be text"),
        ('{"uuid": ""}', "uuid is empty"),
        ('{"uuid": "z", "parentUuid": 1}', "parentUuid must be text"),
        ("{", "not valid JSON"),
    ],
)
def test_records_before_a_malformed_line_are_given(source: Callable[..., Source], bad: str, problem: str) -> None:
    steps = read(source('{"uuid": "a"}\n{"uuid": "b", "parentUuid": "a"}\n' + bad + '\n{"uuid": "c"}\n'))
    assert [next(steps).id, next(steps).id] == ["a", "b"]
    with pytest.raises(InvalidInputError, match=problem) as caught:
        next(steps)
    assert caught.value.context["line"] == 3


def test_a_circle_is_named_after_the_rest_is_given(source: Callable[..., Source]) -> None:
    steps = read(source([record("a"), record("b", "c"), record("c", "b"), record("d", "d")]))
    assert next(steps).id == "a"
    with pytest.raises(InvalidInputError, match="circle") as caught:
        next(steps)
    assert caught.value.context["line"] == 2
