"""A scan gives what restoring every snapshot and following the paths would give.

Goal: whoever analyses states through a scan gets the values that are in them, with the snapshot they belong to, whatever the
states look like and whatever happens to the archive meanwhile.
Method: random states with random edits, and random paths made from what is in them, beside the same paths followed through
`snap.state()`; then the particular cases by hand: types, errors, deleted, rewritten and damaged snapshots, other processes.
"""

from __future__ import annotations

import datetime
import json
import math
import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import snapstore
from snapstore.archive import Archive
from snapstore.errors import CorruptionError, InvalidInputError, NotFoundError
from snapstore.opening import open_on
from snapstore.scan import columns
from snapstore.scan.paths import parse
from snapstore.scan.planning import Progress, Scan, ScanTask, scan
from snapstore.scan.walk import ABSENT, follow
from snapstore.storage.memory import MemoryStorage
from snapstore.testing.faults import Corrupt, flip, truncate
from tests.stateful.states import edited, some_state
from tests.unit.archives import World, conversation, message


def table(scanned: Scan) -> pa.Table:
    """All batches together."""
    return pa.Table.from_batches(list(scanned), schema=scanned.schema)


def rows(scanned: Scan, name: str) -> dict[str, Any]:
    """One column by snapshot id."""
    found = table(scanned)
    return dict(zip(found["id"].to_pylist(), found[name].to_pylist(), strict=True))


@pytest.fixture
def world() -> World:
    return World()


# Any state, any path ----------------------------------------------------------------------------------------------------


def some_path(value: Any, rng: random.Random) -> str:
    """A path that leads somewhere in the value, most of the time."""
    text = "$"
    while rng.random() < 0.85:
        if isinstance(value, dict) and value:
            key = rng.choice(list(value))
            if not isinstance(key, (str, int)) or rng.random() < 0.2:
                text, value = text + "[*]", value[key]
            else:
                text += f"[{key}]" if isinstance(key, int) else '["' + key.replace("\\", "\\\\").replace('"', '\\"') + '"]'
                value = value[key]
        elif isinstance(value, (list, tuple)) and value:
            place = rng.randrange(-len(value), len(value))
            text += rng.choice([f"[{place}]", "[*]", f"[{place}:]", f"[:{place}]", f"[{place}:{place + 9}]"])
            value = value[place]
        else:
            break
    return text + rng.choice(["", "", "", "", ".role", "[0]", "[*]"])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6))
def test_any_paths_through_any_states_are_what_restoring_gives(seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    run = world.archive.run("r")
    state = some_state(seed)
    saved = [run.save(state)]
    for number in range(rng.randrange(5)):
        state = edited(state, seed + number)
        saved.append(run.save(state))
    paths = list({some_path(state, rng) for _ in range(6)})
    kept = world.cold()
    scanned = scan(kept.storage, (snap.id for snap in saved), paths, types=dict.fromkeys(paths, "json"))
    found = table(scanned)
    assert found["id"].to_pylist() == [snap.id for snap in saved]
    for path in paths:
        expected: list[Any] = []
        for snap in saved:
            value = follow(snap.state(), parse(path).steps)
            if parse(path).gives_list:
                expected.append(None if value is ABSENT else [as_json(one) for one in value])
            else:
                expected.append(None if value is ABSENT else as_json(value))
        assert found[path].to_pylist() == expected, path


def as_json(value: Any) -> str | None:
    return None if value is None else columns.json_text(value)


DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "tau-bench" / "gpt-4o-airline.json"


@pytest.mark.skipif(not DATA.exists(), reason="real histories are not beside the checkout")
def test_real_histories_message_by_message(world: World) -> None:
    expected: dict[str, list[Any]] = {}
    for number, record in enumerate(json.loads(DATA.read_text(encoding="utf-8"))[:12]):
        run = world.archive.run(f"task-{number}")
        for count in range(1, len(record["traj"]) + 1):
            messages = record["traj"][:count]
            snap = run.save({"messages": messages, "reward": record["reward"]})
            calls = [call["function"]["name"] for one in messages for call in one.get("tool_calls") or ()]
            expected[snap.id] = [[one["role"] for one in messages], calls, messages[-1].get("content"), record["reward"]]
    paths = ["messages[*].role", "messages[*].tool_calls[*].function.name", "messages[-1].content", "reward"]
    found = table(scan(world.meter, expected, paths)).to_pylist()
    assert {row["id"]: [row[path] for path in paths] for row in found} == expected
    assert len(expected) > 250


# What a row holds -------------------------------------------------------------------------------------------------------


def test_rows_come_by_graph_and_run_oldest_first_with_their_types(world: World) -> None:
    archive = world.archive
    late = archive.run("b", graph="late")
    ids = [late.save({"cost": n, "at": datetime.datetime(2026, 1, n + 1, tzinfo=datetime.UTC)}, node="plan").id for n in range(3)]
    first = archive.save({"cost": 0.5, "text": "ü", "raw": b"\x00"}, run="z", graph="early", status="failed").id
    scanned = scan(archive.storage, [*reversed(ids), first], ["cost", "at", "text", "raw", "messages[*]"])
    found = table(scanned)
    assert found["id"].to_pylist() == [first, *ids]
    assert found["run"].to_pylist() == ["z", "b", "b", "b"]
    assert found["graph"].to_pylist() == ["early", "late", "late", "late"]
    assert found["node"].to_pylist() == [None, "plan", "plan", "plan"]
    assert found["status"].to_pylist() == ["failed", "completed", "completed", "completed"]
    assert found["created_at"].to_pylist() == [archive[id].created_at for id in [first, *ids]]
    assert found["cost"].to_pylist() == [0.5, 0.0, 1.0, 2.0]
    assert found["messages[*]"].to_pylist() == [None] * 4
    assert [str(found.schema.field(name).type) for name in ("cost", "at", "text", "raw", "messages[*]")] == [
        *["double", "timestamp[us, tz=UTC]", "string", "binary", "list<item: string>"]
    ]


def test_an_empty_scan_has_a_schema(world: World) -> None:
    scanned = scan(world.archive.storage, ["nobody"], ["cost"])
    assert table(scanned).num_rows == 0
    assert scanned.estimate.snapshots == scanned.estimate.bytes_most == 0
    assert scanned.tasks == ()


def test_it_is_an_arrow_stream(world: World) -> None:
    ids = [world.archive.save({"cost": n}, run="r").id for n in range(3)]
    found = pa.RecordBatchReader.from_stream(scan(world.archive.storage, ids, {"money": "cost"})).read_all()
    assert found["money"].to_pylist() == [0, 1, 2]


def test_rows_of_lists_are_read_by_id_and_registers_as_they_are(world: World) -> None:
    snap = world.archive.save({"cost": 1}, run="r")
    infos = list(world.archive.list())
    world.meter.reset()
    assert rows(scan(world.meter, infos, ["cost"]), "cost") == {snap.id: 1}
    assert world.meter.reset().requests == {"get": 1, "get_ranges": 1}
    assert rows(scan(world.meter, [snap.register], ["cost"]), "cost") == {snap.id: 1}
    assert world.meter.reset().requests == {"get_ranges": 1}


def test_a_text_that_stands_alone_is_no_path_per_letter(world: World) -> None:
    snap = world.archive.save({"cost": 1}, run="r")
    assert rows(scan(world.archive.storage, [snap.id], "cost"), "cost") == {snap.id: 1}


def test_progress_ends_with_everything_read(world: World) -> None:
    ids = [world.archive.save({"cost": n}, run="r").id for n in range(5)]
    seen: list[Progress] = []
    table(scan(world.archive.storage, ids, ["cost"], progress=seen.append))
    assert (seen[-1].done, seen[-1].total, seen[-1].skipped, seen[-1].requests) == (5, 5, 0, 5)
    assert seen[-1].bytes_read == world.stored_bytes("runs/")


# Types ------------------------------------------------------------------------------------------------------------------


def test_a_value_that_does_not_fit_is_an_error_that_names_it_or_null(world: World) -> None:
    good = world.archive.save({"cost": 1, "n": [1]}, run="r").id
    bad = world.archive.save({"cost": "free", "n": [1, None, "x"]}, run="r").id
    types = {"cost": "float64", "n[*]": "int64"}
    with pytest.raises(InvalidInputError) as caught:
        table(scan(world.archive.storage, [good, bad], ["cost"], types={"cost": "float64"}))
    assert caught.value.code == "value_misfit"
    assert caught.value.context == {"id": bad, "path": "cost", "type": "float64", "value": "'free'"}
    found = table(scan(world.archive.storage, [good, bad], ["cost", "n[*]"], types=types, on_error="null"))
    assert found["cost"].to_pylist() == [1.0, None]
    assert found["n[*]"].to_pylist() == [[1], [1, None, None]]


def test_a_whole_number_beyond_64_bits_is_named(world: World) -> None:
    id = world.archive.save({"n": 2**70}, run="r").id
    with pytest.raises(InvalidInputError, match="does not fit the type"):
        table(scan(world.archive.storage, [id], ["n"], types={"n": "int64"}))
    assert rows(scan(world.archive.storage, [id], ["n"]), "n") == {id: str(2**70)}


def test_a_type_comes_from_all_over_the_snapshots_and_not_from_the_first(world: World) -> None:
    ids = [world.archive.save({"cost": n if n < 60 else n / 7, "text": n if n != 99 else "x"}, run="r").id for n in range(100)]
    found = table(scan(world.archive.storage, ids, ["cost", "text"]))
    assert found["cost"].to_pylist()[-1] == 99 / 7
    assert found["text"].to_pylist()[-2:] == ["98", "x"]


def test_texts_beside_nested_values_stay_texts(world: World) -> None:
    ids = [world.archive.save({"content": content}, run="r").id for content in ("hi", [{"type": "text", "text": "hi"}], math.pi)]
    found = table(scan(world.archive.storage, ids, ["content"]))["content"].to_pylist()
    assert found == ["hi", '[{"type":"text","text":"hi"}]', str(math.pi)]


def test_another_way_to_handle_errors_is_refused(world: World) -> None:
    with pytest.raises(InvalidInputError, match="no such way"):
        scan(world.archive.storage, [], ["a"], on_error="ignore")  # type: ignore[arg-type]


# What happens meanwhile ---------------------------------------------------------------------------------------------------


def test_deleted_snapshots_are_left_out(world: World) -> None:
    ids = [world.archive.save({"cost": n}, run="r").id for n in range(3)]
    world.archive.delete(ids[1])
    assert rows(scan(world.archive.storage, ids, ["cost"]), "cost") == {ids[0]: 0, ids[2]: 2}


def collect(world: World, archive: Archive, id: str) -> None:
    """Delete a snapshot and the packs that it alone needs, as a collector would."""
    packs = [ref.key for ref in archive[id].register.closure.values()]
    archive.delete(id)
    world.memory.delete_many(packs)


def test_snapshots_deleted_and_collected_since_planning_are_skipped(world: World) -> None:
    ids = [world.archive.save({"cost": n}, run=f"r{n}").id for n in range(3)]
    scanned = scan(world.archive.storage, ids, ["cost"], types={"cost": "int64"})
    collect(world, world.archive, ids[1])
    assert rows(scanned, "cost") == {ids[0]: 0, ids[2]: 2}
    assert scanned.skipped == [ids[1]]


def test_snapshots_deleted_since_planning_come_as_long_as_they_can_be_read(world: World) -> None:
    """A scan shows what was current when it was planned: what its tasks give must not depend on which of them ran first."""
    ids = [world.archive.save({"cost": n}, run="r").id for n in range(3)]
    scanned = scan(world.archive.storage, ids, ["cost"], types={"cost": "int64"})
    world.archive.delete(ids[1])
    assert rows(scanned, "cost") == {ids[0]: 0, ids[1]: 1, ids[2]: 2}
    assert scanned.skipped == []


def test_a_snapshot_rewritten_and_collected_since_planning_comes_as_it_is_now(world: World) -> None:
    id = world.archive.save({"cost": 1}, run="r").id
    scanned = scan(world.archive.storage, [id], ["cost"], types={"cost": "int64"})
    old = [ref.key for ref in world.archive[id].register.closure.values()]
    world.archive.save({"cost": 2}, run="r", id=id, status="again")
    world.memory.delete_many(old)
    found = table(scanned)
    assert (found["cost"].to_pylist(), found["status"].to_pylist()) == ([2], ["again"])


def test_a_create_that_never_finished_is_skipped(world: World) -> None:
    snap = world.archive.save({"cost": 1}, run="r")
    world.memory.delete_many([ref.key for ref in snap.register.closure.values()])
    scanned = scan(world.archive.storage, [snap.id], ["cost"])
    assert rows(scanned, "cost") == {}
    assert scanned.skipped == [snap.id]


def test_a_pack_that_is_gone_is_an_error_and_not_a_missing_row(world: World) -> None:
    run = world.archive.run("r")
    first = run.save(conversation(400))
    last = run.save({**conversation(400), "cost": 2.0})
    world.memory.delete_many([first.register.closure[1].key])
    with pytest.raises(NotFoundError) as caught:
        table(scan(world.archive.storage, [last.id], ["messages[*].role"]))
    assert caught.value.code == "snapshot_incomplete"
    assert caught.value.context["id"] == last.id
    # What does not need the lost pack is still there.
    assert rows(scan(world.archive.storage, [last.id], ["cost"]), "cost") == {last.id: 2.0}


@pytest.mark.parametrize("damage", [*[flip(bit) for bit in range(80, 8000, 971)], truncate(500), truncate(0)])
def test_damage_is_an_error_or_does_not_matter_but_never_a_wrong_value(world: World, damage: Any) -> None:
    snap = world.archive.save(conversation(100), run="r")
    expected = [one["content"] for one in conversation(100)["messages"]]
    corrupt = Corrupt(world.memory, "runs/*", damage)
    try:
        found = rows(scan(corrupt, [snap.register], ["messages[*].content"]), "messages[*].content")
    except CorruptionError:
        return
    assert found == {snap.id: expected}


def test_a_damaged_chunk_names_the_snapshot(world: World) -> None:
    snap = world.archive.save(conversation(100), run="r")
    corrupt = Corrupt(world.memory, "runs/*", flip(2000))
    with pytest.raises(CorruptionError) as caught:
        table(scan(corrupt, [snap.register], ["messages[*].content"]))
    assert caught.value.context["id"] == snap.id


# Other processes ------------------------------------------------------------------------------------------------------------


def executed(task: ScanTask) -> list[dict[str, Any]]:
    """Execute a task in a process of its own."""
    return [row for batch in task.read() for row in batch.to_pylist()]


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with snapstore.open(tmp_path / "runs", create=True, durability="os") as opened:
        yield opened


@pytest.mark.parametrize("namespace", [None, "tenant/7"])
def test_tasks_run_in_other_processes_and_give_the_same_rows(archive: Archive, namespace: str | None) -> None:
    if namespace is not None:
        archive = open_on(archive.storage, create=True, namespace=namespace)
    ids = []
    for number in range(3):
        run = archive.run(f"run-{number}", graph="g")
        state = conversation(number + 1)
        for step in range(4):
            state["messages"].append(message(step))
            ids.append(run.save(state).id)
    scanned = scan(archive.storage, ids, ["messages[*].role", "cost"])
    tasks = scanned.tasks
    assert [task.schema for task in tasks] == [scanned.schema] * len(tasks)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [row for several in pool.map(executed, tasks) for row in several]
    assert found == table(scanned).to_pylist()
    assert len(found) == sum(task.rows for task in tasks) == 12


def test_a_task_tells_no_secrets_and_reads_from_a_storage_that_is_given() -> None:
    world = World(MemoryStorage("private"))
    id = world.archive.save({"cost": 1}, run="r").id
    (task,) = scan(world.archive.storage, [id], ["cost"]).tasks
    assert task.url == "memory://private"
    assert [batch["cost"].to_pylist() for batch in task.read(world.memory)] == [[1]]
