"""tau-bench: trials are sibling branches; from the snapshots the whole document can be put together again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snapstore.errors import InvalidInputError
from snapstore.importers import Source, Step
from snapstore.importers.service import find_sources
from snapstore.importers.tau_bench import SUFFIXES, read

SYSTEM, HELLO, ASK = {"role": "system"}, {"role": "user", "content": "hello"}, {"role": "assistant"}
TOOL = {"role": "tool", "name": "book"}


def results(*trajectories: list[dict[str, Any]], rewards: list[float] | None = None) -> str:
    return json.dumps(
        [
            {"task_id": 7, "reward": (rewards or [1.0] * 9)[n], "info": {"n": n}, "traj": messages, "trial": n}
            for n, messages in enumerate(trajectories)
        ]
    )


def rebuilt(steps: list[tuple[Step, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the results that the final states hold, each with its messages, as the document has them."""
    return [
        {"task_id": state["task_id"], "traj": state["messages"], **result}
        for _, state in steps
        for result in state.get("results", [])
    ]


def taken(source: Source) -> list[tuple[Step, dict[str, Any]]]:
    """Return the steps with copies of their states."""
    return [(step, copy.deepcopy(step.build())) for step in read(source)]


def test_trials_share_their_common_beginning(source: Callable[..., Source]) -> None:
    text = results([SYSTEM, HELLO, ASK], [SYSTEM, HELLO, TOOL, ASK], [SYSTEM, ASK], rewards=[1.0, 0.0, 0.5])
    steps = taken(source(text, name="air"))
    places = [step.id.rpartition("-")[0] for step, _ in steps]
    assert places == ["air/7/0/0", "air/7/0/1", "air/7/0/2", "air/7/1/2", "air/7/1/3", "air/7/2/1"]
    by_place = dict(zip(places, steps, strict=True))
    assert by_place["air/7/1/2"][0].parent_id == by_place["air/7/0/1"][0].id
    assert by_place["air/7/2/1"][0].parent_id == by_place["air/7/0/0"][0].id
    assert [step.metadata["trials"] for step, _ in steps] == [[0, 1, 2], [0, 1], [0], [1], [1], [2]]
    assert [step.status for step, _ in steps] == ["running", "running", "completed", "running", "failed", "completed"]
    assert [step.node for step, _ in steps] == ["system", "user", "assistant", "book", "assistant", "assistant"]
    assert {(step.run, step.graph) for step, _ in steps} == {("air/7", "air")}
    assert sorted(rebuilt(steps), key=lambda r: int(r["trial"])) == json.loads(text)


def test_a_trial_that_is_the_beginning_of_another_keeps_its_result(source: Callable[..., Source]) -> None:
    text = results([SYSTEM, HELLO, ASK], [SYSTEM, HELLO], [SYSTEM, HELLO])
    steps = taken(source(text))
    assert len(steps) == 3
    assert steps[1][0].metadata["rewards"] == [1.0, 1.0]
    assert sorted(rebuilt(steps), key=lambda r: int(r["trial"])) == json.loads(text)


def test_another_experiment_under_the_same_name_has_other_ids(source: Callable[..., Source]) -> None:
    one, same = taken(source(results([SYSTEM, HELLO]))), taken(source(results([SYSTEM, HELLO])))
    other = taken(source(results([SYSTEM, ASK])))
    rewarded = taken(source(results([SYSTEM, HELLO], rewards=[0.0])))
    assert [step.id for step, _ in one] == [step.id for step, _ in same]
    assert one[0][0].id == other[0][0].id == rewarded[0][0].id
    assert len({one[1][0].id, other[1][0].id, rewarded[1][0].id}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        '[{"task_id": 1}]',
        '[{"traj": []}]',
        '[{"task_id": 1, "traj": [1]}]',
        '[{"task_id": 1, "traj": [], "trial": "x"}]',
    ],
)
def test_other_documents_are_refused(source: Callable[..., Source], text: str) -> None:
    with pytest.raises(InvalidInputError, match="malformed"):
        list(read(source(text)))


def test_real_results_come_through_whole(data: Path) -> None:
    (one,) = find_sources(data / "tau-bench", SUFFIXES)
    document = json.loads(Path(one.label).read_text(encoding="utf-8"))
    ends, ids, count = [], set(), 0
    for step in read(one):
        count += 1
        ids.add(step.id)
        assert step.parent_id is None or step.parent_id in ids, "parents first"
        if "rewards" in step.metadata:
            ends.append((step, copy.deepcopy(step.build())))
    assert len(ids) == count < sum(len(result["traj"]) for result in document), "beginnings are shared"
    order = lambda result: (result["task_id"], result["trial"])
    assert sorted(rebuilt(ends), key=order) == sorted(document, key=order)
