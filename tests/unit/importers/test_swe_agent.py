"""SWE-agent trajectories: the last snapshot is the whole document, every other a beginning of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapstore.errors import InvalidInputError
from snapstore.importers import Source
from snapstore.importers.service import find_sources
from snapstore.importers.swe_agent import SUFFIXES, read

DOCUMENT: dict[str, Any] = {
    "environment": "main",
    "trajectory": [{"action": "ls -F\n"}, {"action": ""}, {"action": "submit", "role": "x"}],
    "history": [{"role": "system"}],
    "info": {"exit_status": "submitted", "model_stats": {"api_calls": 3, "odd": [1]}},
}


def test_states_are_beginnings_of_the_document(source: Callable[..., Source]) -> None:
    given = [(step, copy.deepcopy(step.build())) for step in read(source(DOCUMENT, name="t"))]
    states = [state for _, state in given]
    assert states[:2] == [{"environment": "main", "trajectory": DOCUMENT["trajectory"][:n]} for n in (1, 2)]
    assert states[2] == DOCUMENT
    steps = [step for step, _ in given]
    assert [(step.node, step.status) for step in steps] == [
        ("ls", "running"),
        (None, "running"),
        ("submit", "completed"),
    ]
    assert [step.parent_id for step in steps] == [None, steps[0].id, steps[1].id]
    assert dict(steps[2].metadata) == {"exit_status": "submitted", "api_calls": 3}
    assert {(step.run, step.graph) for step in steps} == {("t", "swe-agent")}


def test_a_longer_trajectory_of_the_same_name_continues_the_run(source: Callable[..., Source]) -> None:
    longer = {**DOCUMENT, "trajectory": [*DOCUMENT["trajectory"], {"action": "ls"}]}
    short, long = list(read(source(DOCUMENT))), list(read(source(longer)))
    assert [step.id for step in short[:2]] == [step.id for step in long[:2]]
    assert short[2].id != long[2].id, "the end holds the rest of its document, the step on the way does not"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"trajectory": [], "history": []},
        {"trajectory": "x"},
        {"history": [1]},
    ],
)
def test_other_documents_are_refused(source: Callable[..., Source], document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="malformed"):
        list(read(source(document)))
    with pytest.raises(InvalidInputError, match="malformed"):
        list(read(source("[]")))


def test_real_trajectories_come_through_whole(data: Path) -> None:
    sources = find_sources(data / "swe-agent", SUFFIXES)
    assert len(sources) == 10
    for one in sources:
        document = json.loads(Path(one.label).read_text(encoding="utf-8"))
        steps = list(read(one))
        assert len(steps) == len(document.get("trajectory") or document["history"])
        assert steps[-1].build() == document
        assert len({step.id for step in steps}) == len(steps)
