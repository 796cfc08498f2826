"""The sessions of the workflow store: the API of cjm-workflow-state, the history of a session, and undo.

Goal: sessions are made once, found again, named and deleted as in the store for SQLite, and what was done can be taken back.
Method: calls on an archive in memory through two handles, as two processes would make them; each answer as a user sees it.
"""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from snapstore.adapters.cjm import SnapWorkflowStateStore
from snapstore.errors import ConflictError
from tests.unit.archives import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(world: World) -> SnapWorkflowStateStore:
    return SnapWorkflowStateStore(world.archive, trust_s=0)


def another(world: World, **options: Any) -> SnapWorkflowStateStore:
    """The store of another process: it knows nothing yet, and asks each time unless told otherwise."""
    return SnapWorkflowStateStore(world.cold(), **{"trust_s": 0, **options})


def contents(world: World) -> list[tuple[str, bytes]]:
    return [(info.key, world.memory.get(info.key).data) for info in world.memory.list("")]


# Sessions -------------------------------------------------------------------------------------------------------------


def test_a_session_is_made_once(store: SnapWorkflowStateStore, world: World) -> None:
    assert store.create_session("f", "s", label="first") == "s"
    assert store.session_exists("f", "s")
    assert (store.get_state("f", "s"), store.get_current_step("f", "s")) == ({}, None)
    store.update_state("f", "began by itself", {"n": 1})
    for session in ("s", "began by itself"):
        for process in (store, another(world)):
            with pytest.raises(ConflictError) as raised:
                process.create_session("f", session, label="second")
            assert raised.value.code == "session_exists"
    assert [one.label for one in store.list_sessions("f", order_by="label")] == ["first", None]
    drawn = {store.create_session("f") for _ in range(3)}
    assert len(drawn) == 3
    assert all(store.session_exists("f", session) for session in drawn)
    assert not store.session_exists("g", "s")


def test_a_summary_says_what_the_session_is(store: SnapWorkflowStateStore, world: World) -> None:
    assert store.get_session_summary("f", "s/1") is None
    store.create_session("f", "s/1", label="Ada's")
    made = store.get_session_summary("f", "s/1")
    assert made is not None
    assert (made.created_at, made.current_step, made.label) == (made.updated_at, None, "Ada's")
    store.update_state("f", "s/1", {"text": "x" * 1000})
    store.set_current_step("f", "s/1", "two")
    found = another(world).get_session_summary("f", "s/1")
    assert found is not None
    assert (found.flow_id, found.session_id, found.label, found.current_step) == ("f", "s/1", "Ada's", "two")
    assert found.created_at == made.created_at
    assert found.created_at < found.updated_at, "texts sort like times"
    assert datetime.datetime.fromisoformat(found.updated_at).utcoffset() == datetime.timedelta(0)
    assert made.state_size_bytes < 10
    assert 1000 < found.state_size_bytes < 1020
    assert another(world).list_sessions("f") == [found]


def test_sessions_are_listed_in_the_wanted_order(store: SnapWorkflowStateStore) -> None:
    for session, label in (("a", "pear"), ("b", None), ("c", "Apple"), ("d", "")):
        store.create_session("f", session, label)
    store.set_current_step("f", "b", "two")

    def listed(**options: Any) -> str:
        return "".join(one.session_id for one in store.list_sessions("f", **options))

    assert listed() == "bdca"
    assert listed(descending=False) == "acdb"
    assert listed(order_by="created_at") == "dcba"
    assert listed(order_by="label", descending=False) == "bdca", "those without a label first, as SQLite has it"
    assert listed(order_by="label") == "acdb"
    with pytest.raises(ValueError, match="no such order"):
        store.list_sessions("f", order_by="state; drop table")


def test_only_the_sessions_of_the_flow_are_listed(store: SnapWorkflowStateStore, world: World) -> None:
    """The flow is no pattern and no prefix; plain snapshots and cleared sessions are no sessions."""
    for flow in ("a", "a%", "a_", "ab", "a:b", "a/b"):
        store.create_session(flow, f"of {flow}")
    world.archive.save({}, run="cjm", graph="a")
    store.create_session("a", "cleared")
    store.clear_state("a", "cleared")
    for flow in ("a", "a%", "a_", "ab", "a:b", "a/b"):
        assert [one.session_id for one in another(world).list_sessions(flow)] == [f"of {flow}"]
    assert store.list_sessions("none") == []


def test_a_label_is_set_changed_and_taken_away(store: SnapWorkflowStateStore, world: World) -> None:
    store.set_session_label("f", "nobody", "label")
    assert not store.session_exists("f", "nobody")
    store.update_state("f", "s", {"n": 1})
    store.set_current_step("f", "s", "two")
    for label in ("one", "zwei \u00fc", None):
        store.set_session_label("f", "s", label)
        store.update_state("f", "s", {"label was": label})
        reader = another(world)
        summary = reader.get_session_summary("f", "s")
        assert summary is not None
        assert summary.label == label
        assert (reader.get_state("f", "s"), reader.get_current_step("f", "s")) == ({"n": 1, "label was": label}, "two")


@pytest.mark.parametrize("verb", ["delete_session", "clear_state"])
def test_a_deleted_session_is_gone_and_may_begin_anew(store: SnapWorkflowStateStore, world: World, verb: str) -> None:
    store.create_session("f", "s", label="old")
    store.update_state("f", "s", {"secret": 1})
    old = store.get_session_summary("f", "s")
    for process in (another(world), store):
        getattr(process, verb)("f", "s")
        assert not store.session_exists("f", "s")
        assert (store.get_session_summary("f", "s"), store.history("f", "s"), store.list_sessions("f")) == (None, [], [])
    assert not [row for row in world.archive.list() if "secret" in (world.archive[row.id].state() or {})]
    store.set_current_step("f", "s", "one")
    new = store.get_session_summary("f", "s")
    assert new is not None
    assert old is not None
    assert new.label is None
    assert new.created_at > old.updated_at
    assert store.get_state("f", "s") == {}


def test_each_step_has_a_part_of_the_state(store: SnapWorkflowStateStore, world: World) -> None:
    assert store.get_step_state("f", "s", "one") == {}
    store.update_state("f", "s", {"own": 1})
    store.update_step_state("f", "s", "one", {"a": 1, "b": [1]})
    store.update_step_state("f", "s", "one", {"b": [2]})
    store.update_step_state("f", "s", "two", {"a": 3})
    reader = another(world)
    assert reader.get_step_state("f", "s", "one") == {"a": 1, "b": [2]}
    assert reader.get_state("f", "s") == {"own": 1, "_step_one": {"a": 1, "b": [2]}, "_step_two": {"a": 3}}
    store.clear_step_state("f", "s", "one")
    assert reader.get_step_state("f", "s", "one") == {}
    assert reader.get_state("f", "s") == {"own": 1, "_step_two": {"a": 3}}
    assert reader.get_current_step("f", "s") is None


# History and undo -----------------------------------------------------------------------------------------------------


def walked(store: SnapWorkflowStateStore) -> list[tuple[str | None, dict[str, Any]]]:
    return [(past.step, past.state()) for past in store.history("f", "s")]


def now(store: SnapWorkflowStateStore) -> tuple[str | None, dict[str, Any]]:
    return store.get_current_step("f", "s"), store.get_state("f", "s")


def test_history_shows_every_change_newest_first(store: SnapWorkflowStateStore, world: World) -> None:
    assert store.history("f", "s") == []
    store.update_state("f", "s", {"n": 1})
    store.set_current_step("f", "s", "two")
    store.set_session_label("f", "s", "Ada's")
    another(world).update_state("f", "s", {"n": 2})
    assert walked(store) == [("two", {"n": 2}), ("two", {"n": 1}), ("two", {"n": 1}), (None, {"n": 1})]
    history = store.history("f", "s")
    assert [past.label for past in history] == ["Ada's", "Ada's", None, None]
    times = [past.at for past in history]
    assert times == sorted(times, reverse=True)
    fork = world.archive.fork(history[2].snapshot.id, run="elsewhere")
    assert fork.state() == {"n": 1}, "an old state of a session can be continued elsewhere"


def test_undo_goes_further_back_each_time_until_nothing_is_left(store: SnapWorkflowStateStore, world: World) -> None:
    store.update_state("f", "s", {"n": 1})
    store.set_current_step("f", "s", "two")
    store.update_state("f", "s", {"n": 2})
    wanted = [("two", {"n": 1}), (None, {"n": 1}), (None, {})]
    for expected, process in zip(wanted, (store, another(world), store), strict=True):
        assert process.undo("f", "s")
        assert now(store) == expected
    before = contents(world)
    assert not store.undo("f", "s")
    assert not another(world).undo("f", "s")
    assert not store.undo("f", "never there")
    assert contents(world) == before
    assert walked(store)[:3] == wanted[::-1]
    assert ("two", {"n": 2}) in walked(store), "what was taken back is still known"


def test_a_change_after_an_undo_follows_what_was_restored(store: SnapWorkflowStateStore) -> None:
    """As in an editor: what was taken back before the change does not come again by going back."""
    for number in (1, 2, 3):
        store.update_state("f", "s", {"n": number})
    store.undo("f", "s")
    store.undo("f", "s")
    store.update_state("f", "s", {"n": 10})
    store.update_state("f", "s", {"n": 11})
    found = []
    while store.undo("f", "s"):
        found.append(now(store)[1])
    assert found == [{"n": 10}, {"n": 1}, {}]


def test_undo_passes_over_what_it_cannot_be_seen_to_take_back(store: SnapWorkflowStateStore) -> None:
    """A label is no part of what is undone, neither as a step back nor as a loss."""
    store.update_state("f", "s", {"n": 1})
    store.update_state("f", "s", {"n": 2})
    store.update_state("f", "s", {"n": 3})
    store.undo("f", "s")
    store.set_session_label("f", "s", "named after the undo")
    store.undo("f", "s")
    assert now(store) == (None, {"n": 1})
    store.update_state("f", "s", {"n": 4})
    store.set_session_label("f", "s", "named last")
    store.undo("f", "s")
    assert now(store) == (None, {"n": 1})
    summary = store.get_session_summary("f", "s")
    assert summary is not None
    assert summary.label == "named last"


def test_undo_takes_back_what_another_process_did_last(world: World) -> None:
    one, other = (another(world, trust_s=None) for _ in range(2))
    one.update_state("f", "s", {"n": 1})
    other.update_state("f", "s", {"n": 2})
    assert one.undo("f", "s")
    assert now(another(world)) == (None, {"n": 1})


def test_undos_at_the_same_time_each_take_back_one_change(world: World) -> None:
    store = another(world)
    for number in range(9):
        store.update_state("f", "s", {"n": number})
    stores = [another(world, trust_s=None) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda one: one.undo("f", "s"), stores))
    assert now(store) == (None, {"n": 4})


def test_undo_ends_where_the_session_was_cleared(store: SnapWorkflowStateStore) -> None:
    store.update_state("f", "s", {"secret": 1})
    store.clear_state("f", "s")
    assert not store.undo("f", "s")
    store.set_current_step("f", "s", "one")
    assert store.undo("f", "s")
    assert now(store) == (None, {})
    assert not store.undo("f", "s")


def test_undo_ends_where_upkeep_has_removed_the_oldest_versions(store: SnapWorkflowStateStore, world: World) -> None:
    """What was before them is not known: an empty state would be a guess that costs the user everything."""
    for number in range(4):
        store.update_state("f", "s", {"n": number})
    for past in store.history("f", "s")[2:]:
        world.archive.delete(past.snapshot.id)
    assert store.undo("f", "s")
    assert not store.undo("f", "s")
    assert now(store) == (None, {"n": 2})
