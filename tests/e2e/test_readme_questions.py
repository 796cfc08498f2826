"""The questions of the README, asked of real histories.

Goal: the five questions that README.md asks of a history are answered right, not only asked. Method: the section's own code runs,
block by block, over an archive that the importers filled; the answers are counted again, straight from the files that were
imported. The files are real runs of agents where they lie beside the project; a task of the same form, and the session that is
shipped, stand in for them elsewhere, so that the answers are always checked.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

import snapstore
from snapstore.importers import import_path
from tests.e2e.readme import ROOT, blocks

SAMPLE = ROOT / "scripts" / "sample_session.jsonl"
DATA = ROOT.parent / "shared" / "data"
TAU_BENCH = DATA / "tau-bench" / "gpt-4o-airline.json"
SWE_AGENT = DATA / "swe-agent"

TASKS = (1, 16, 41, 48)
"""Tasks of tau-bench that are imported: these 16 trials of 200 hold failing tools and branches enough."""

Json = dict[str, Any]


@dataclass(frozen=True)
class History:
    """What was imported, as the files have it.

    Attributes:
        trials: results of tau-bench: trials of one task are branches of one run.
        replayed: the trial that is a run of its own besides, `ticket-42`.
    """

    trials: list[Json]

    @property
    def replayed(self) -> Json:
        """The longest trial."""
        return max(self.trials, key=lambda trial: len(trial["traj"]))

    def beginnings(self) -> set[tuple[Any, str]]:
        """Every distinct beginning of the trials of a task, which is one snapshot."""
        return {(trial["task_id"], json.dumps(trial["traj"][:end])) for trial in self.trials for end in lengths(trial)}


def lengths(trial: Json) -> range:
    return range(1, len(trial["traj"]) + 1)


def made() -> list[Json]:
    """Trials of the form of tau-bench: two tasks, in which a tool fails and the trials go different ways."""
    asked = [{"role": "user", "content": "Seat 12A on LH2080, please."}]
    found = [*asked, {"role": "tool", "name": "find_booking", "content": "X4J9QZ"}]
    taken = [*found, {"role": "tool", "name": "change_seat", "content": "Error: 12A is taken"}]
    ways = [taken, [*taken, {"role": "tool", "name": "change_seat", "content": "12C it is"}], [*found, asked[0]], found]
    places = [(task, trial) for task in (1, 2) for trial in range(4)]
    return [{"task_id": task, "trial": trial, "reward": 1.0, "traj": ways[(task + trial) % 4]} for task, trial in places]


def real() -> list[Json]:
    if not TAU_BENCH.is_file():
        pytest.skip("no real histories beside the project")
    return [trial for trial in json.loads(TAU_BENCH.read_text(encoding="utf-8")) if trial["task_id"] in TASKS]


@pytest.fixture(params=[made, real], ids=["made", "real"])
def history(request: pytest.FixtureRequest) -> History:
    """Trials of an airline's desk."""
    trials: list[Json] = request.param()
    return History(trials)


@pytest.fixture
def names(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Json]:
    """Names of the section's code after it has run, in the archive `runs` that it speaks of."""
    monkeypatch.chdir(tmp_path)
    with snapstore.open("runs", create=True, durability="os") as archive:
        trials = tmp_path / "desk.json"
        trials.write_text(json.dumps(history.trials), encoding="utf-8")
        import_path(archive, "tau-bench", trials, graph="support")
        ticket = tmp_path / "ticket.jsonl"
        ticket.write_text("\n".join(map(json.dumps, history.replayed["traj"])), encoding="utf-8")
        import_path(archive, "jsonl", ticket, run="ticket-42")
        shutil.copy(SAMPLE, tmp_path / "session.jsonl")
        import_path(archive, "claude-jsonl", tmp_path / "session.jsonl", run="tide-tables")
        paid = next(one for one in archive.log("tide-tables") if "usage" in one["messages"][-1].get("message", {}))
        archive.fork(paid.id, run="tide-tables-again")  # ends with a message that was paid for once
        if SWE_AGENT.is_dir():
            import_path(archive, "swe-agent", SWE_AGENT)
        found: Json = {"archive": archive}
        for block in blocks("Ask your history questions"):
            if block.language == "python":
                block.run(found)
        yield found


def test_the_questions_have_the_right_answers(history: History, names: Json) -> None:
    archive = names["archive"]
    check_tokens(names["tokens"])
    check_failures(names["failures"], history)
    check_branches(list(names["branches"].rows()), history)
    check_space(list(names["space"].rows()), archive)
    assert names["said"] == [message.get("content") for message in history.replayed["traj"]]
    check_outside(names["rows"], archive)


def check_tokens(tokens: duckdb.DuckDBPyRelation) -> None:
    records = map(json.loads, SAMPLE.read_text(encoding="utf-8").splitlines())
    spent: Counter[str] = Counter()
    for record in records:
        usage = record.get("message", {}).get("usage")
        if usage:
            spent[record["timestamp"][:10]] += usage["output_tokens"]
    assert tokens.columns == ["graph", "day", "tokens"]
    assert tokens.fetchall() == [("claude", day, count) for day, count in sorted(spent.items())]


def check_failures(failures: duckdb.DuckDBPyRelation, history: History) -> None:
    calls: Counter[str] = Counter(["find_booking", "change_seat", "change_seat"])  # what the section saves by itself
    failed: Counter[str] = Counter(["change_seat"])
    for _, beginning in history.beginnings():
        last = json.loads(beginning)[-1]
        if last["role"] == "tool":
            calls[last["name"]] += 1
            failed[last["name"]] += last["content"].startswith("Error")
    expected = sorted(((tool, failed[tool], count) for tool, count in calls.items()), key=lambda row: (-row[1], row[0]))
    assert failures.fetchall() == expected


def check_branches(branches: list[Json], history: History) -> None:
    children: dict[tuple[Any, str], set[str]] = {}
    for trial in history.trials:
        for end, longer in pairwise(lengths(trial)):
            start = (trial["task_id"], json.dumps(trial["traj"][:end]))
            children.setdefault(start, set()).add(json.dumps(trial["traj"][:longer]))
    expected = Counter((f"desk/{task}", len(ways)) for (task, _), ways in children.items() if len(ways) > 1)
    expected["tide-tables", 2] += 2  # the user of the shipped session changed his mind once, and it was forked once
    assert expected.total() >= 3, "there is something to find"
    assert Counter((row["run"], row["ways"]) for row in branches) == expected
    assert [row["ways"] for row in branches] == sorted((row["ways"] for row in branches), reverse=True)


def check_space(space: list[Json], archive: snapstore.Archive) -> None:
    listed = list(archive.list())
    assert {row["run"] for row in space} == {row.run for row in listed}
    for row in space:
        own = [one for one in listed if one.run == row["run"]]
        assert row["snapshots"] == len(own)
        assert row["stored"] == sum(one.stored_bytes for one in own)
        assert row["full_copies"] == sum(one.size_bytes for one in own)
    assert space == sorted(space, key=lambda row: (-row["stored"], row["run"]))


def check_outside(rows: duckdb.DuckDBPyRelation, archive: snapstore.Archive) -> None:
    """Before, and after snapshots were changed and deleted: files hold old rows then, and the query knows which count."""
    assert {row[0] for row in rows.select("id").fetchall()} == {row.id for row in archive.list()}
    gone, changed = (row.id for row in archive.list(graph="support", limit=2))
    archive.delete(gone)
    archive.save({"messages": []}, id=changed, run="ticket-44", graph="support", status="closed")
    archive.index.refresh()
    again = {row[0]: row[1] for row in rows.select("id, status").fetchall()}
    assert again == {row.id: row.status for row in archive.list()}
    assert again[changed] == "closed"
