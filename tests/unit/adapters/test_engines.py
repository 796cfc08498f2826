"""What the sources for cluster engines share, without any engine.

Goal: options that are texts mean what arguments mean, and wrong ones are named before a cluster starts; parts can be sent to
other processes and give every row once.
Method: a small archive in a folder; parts sent as `multiprocessing` sends them, which is how engines do.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.adapters.engines import Part, from_texts, planned
from snapstore.errors import InvalidInputError


@pytest.fixture
def url(tmp_path: Path) -> str:
    with snapstore.open(tmp_path / "runs", create=True, durability="os") as archive:
        for number in range(6):
            graph, facts = "odd" if number % 2 else "even", {"third": number % 3 == 0}
            archive.save({"cost": number}, run="r", graph=graph, node=f"n{number // 2}", id=f"s{number}", metadata=facts)
    return str(tmp_path / "runs")


def test_texts_mean_what_arguments_mean(url: str) -> None:
    texts = {"url": url, "paths": '["cost"]', "types": '{"cost": "string"}', "graph": "odd", "since": "0", "storage.region": "x"}
    assert from_texts(texts) == {
        "url": url,
        "paths": ["cost"],
        "types": {"cost": "string"},
        "graph": "odd",
        "since": 0,
        "storage_options": {"region": "x"},
    }
    filters = from_texts({"url": url, "paths": "cost", "node": "7", "limit": "7", "metadata": '{"model": "large", "try": 2}'})
    assert (filters["node"], filters["limit"], filters["metadata"]) == ("7", 7, {"model": "large", "try": 2})
    assert from_texts({"url": url, "paths": "cost"})["paths"] == "cost"
    assert from_texts({"url": url, "paths": '{"spent": "cost"}'})["paths"] == {"spent": "cost"}
    assert from_texts({"url": url, "paths": "7"})["paths"] == "7"


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"path": "cost"}, {"since": "yesterday"}, {"types": "float64"}, {"types": '["float64"]'}, {"until": "1.5"}],
        *[{"limit": "ten"}, {"limit": "true"}, {"metadata": "model=large"}],
    ],
)
def test_wrong_texts_are_named(url: str, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_texts({"url": url, "paths": "cost", **wrong})
    assert caught.value.code == "invalid_option"
    assert next(iter(wrong)) in str(caught.value)
    with pytest.raises(InvalidInputError, match="url"):
        from_texts({"paths": "cost"})


def test_parts_are_sent_and_give_every_row_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snapstore.scan.planning.TASK_SNAPSHOTS", 2)
    plan = planned(url, "cost", graph="even")
    parts: list[Part] = [ForkingPickler.loads(ForkingPickler.dumps(part)) for part in plan.parts]
    assert len(parts) == 2
    batches = [batch for part in parts for batch in part.read()]
    assert all(batch.schema == plan.schema for batch in batches)
    assert [row["id"] for batch in batches for row in batch.to_pylist()] == ["s0", "s2", "s4"]


def test_filters_are_those_of_lists(url: str) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"node": "n1"}, ["s2", "s3"]),
        ({"metadata": {"third": True}}, ["s0", "s3"]),
        ({"limit": 2}, ["s4", "s5"]),
        ({"graph": "odd", "limit": 1}, ["s5"]),
    ]
    for filters, expected in cases:
        found = planned(url, "cost", **filters)
        rows = [row["id"] for part in found.parts for batch in part.read() for row in batch.to_pylist()]
        assert sorted(rows) == expected, filters


def test_credentials_are_in_no_log(url: str) -> None:
    [part] = planned(url, "cost", storage_options={}).parts
    assert "storage_options" not in repr(Part(part.task, {"secret_access_key": "hidden"}))
