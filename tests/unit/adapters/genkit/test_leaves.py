"""Which snapshot of a session is the newest.

Goal: one rule in every history a runtime can leave behind: a leaf, newest by the instant of `createdAt`, ties in the order
of first saves; and a clear refusal where there is no such snapshot.
Method: histories built through the store in different orders, read by the store that wrote them and by one that knows
nothing; a generated history is held against the rule written down as a few lines over a plain dict.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from genkit import GenkitError
from hypothesis import given, settings
from hypothesis import strategies as st

from snapstore.adapters.genkit import SnapshotCore
from snapstore.adapters.genkit.documents import Json
from snapstore.errors import ConflictError
from tests.unit.adapters.genkit.sessions import Sessions, text_of, turn
from tests.unit.archives import World

NOON = "2026-06-18T12:00:00Z"
LATER = "2026-06-18T12:00:01Z"


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def test_the_last_of_a_chain_is_the_newest_whatever_its_status(sessions: Sessions) -> None:
    parent = None
    for number, status in enumerate(["completed", "failed", "aborted", "pending", "aborting"]):
        sessions.put(str(number), turn(status, parentId=parent, status=status))
        parent = str(number)
        assert sessions.newest_id() == parent


def test_a_snapshot_that_others_continue_is_not_the_newest_however_new(sessions: Sessions) -> None:
    sessions.put("root", turn("root", at="2030-01-01T00:00:00Z"))
    sessions.put("child", turn("child", parentId="root", at=NOON))
    assert sessions.newest_id() == "child"


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_of_two_branches_the_newer_counts_not_the_one_saved_last(sessions: Sessions, order: str) -> None:
    sessions.put("root", turn("root", at=NOON))
    times = {"A": LATER, "B": "2026-06-18T12:00:02Z"}
    for name in order:
        sessions.put(name, turn(name, parentId="root", at=times[name]))
    assert sessions.newest_id() == "B"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("2026-06-18T12:00:00+02:00", "2026-06-18T11:00:00Z"),
        ("2026-06-18T12:00:00.9Z", "2026-06-18T12:00:00.95+00:00"),
        ("2026-06-18T12:00:00.100Z", "2026-06-18T12:00:00.100001Z"),
        ("2026-06-18T12:00:00", "2026-06-18T12:00:00.001Z"),
    ],
)
def test_times_are_instants_not_texts(sessions: Sessions, older: str, newer: str) -> None:
    sessions.put("newer", turn("newer", at=newer))
    sessions.put("older", turn("older", at=older))
    assert sessions.newest_id() == "newer"


def test_ties_go_to_the_one_saved_last_and_a_rewrite_keeps_its_place(sessions: Sessions) -> None:
    sessions.put("z", turn("z", at=NOON))
    sessions.put("a", turn("a", at="2026-06-18T14:00:00+02:00"))
    assert sessions.newest_id() == "a"
    sessions.put("z", turn("z again", at=NOON))
    assert sessions.newest_id() == "a"
    sessions.put("z", turn("z later", at=LATER))  # its time counts, only its place in ties does not move
    assert sessions.newest_id() == "z"


def test_a_time_that_is_none_counts_as_the_time_of_the_save(sessions: Sessions) -> None:
    sessions.put("dated", turn("dated", at=NOON))
    for bad in ("yesterday", "", None, 7):
        sessions.put("undated", {**turn("undated"), "createdAt": bad})
        assert sessions.newest_id() == "undated"


def test_a_snapshot_that_names_itself_continues_what_it_continued(sessions: Sessions) -> None:
    # What a detached turn of Genkit JS 1.42 writes: pending, and at the end itself as its parent, with a new time.
    sessions.put("first", turn("first", at=NOON))
    sessions.put("second", turn("second", parentId="first", status="pending", at=NOON))
    sessions.put("second", turn("second", parentId="second", at=LATER))
    assert sessions.newest_id() == "second"
    assert sessions.world.archive["genkit:second"].parents == ("genkit:first",)
    found = sessions.get("second")
    assert found is not None
    assert found["parentId"] == "second"
    strict = Sessions(reject_branching=True)
    strict.put("first", turn("first"))
    strict.put("second", turn("second", parentId="first", status="pending"))
    strict.put("second", turn("second", parentId="second"))
    assert strict.newest_id() == "second"


def test_naming_itself_is_understood_also_where_parents_are_out_of_order(sessions: Sessions) -> None:
    sessions.put("first", turn("first", at=LATER, parentId="missing"))
    sessions.put("second", turn("second", parentId="first", status="pending", at=NOON))
    sessions.put("second", turn("second", parentId="second", at=NOON))
    assert sessions.newest_id() == "second"


def test_a_snapshot_may_name_itself_from_the_start(sessions: Sessions) -> None:
    sessions.put("a", turn("a", parentId="a"))
    assert sessions.newest_id() == "a"
    assert sessions.world.archive["genkit:a"].parents == ()


def test_the_parent_may_come_after_its_child(sessions: Sessions) -> None:
    sessions.put("child", turn("child", parentId="root", at=NOON))
    assert sessions.newest_id() == "child"
    sessions.put("root", turn("root", at=LATER))
    assert sessions.newest_id() == "child"
    sessions.put("grandchild", turn("grandchild", parentId="child", at=NOON))
    sessions.put("unrelated", turn("other", session="t"))
    assert (sessions.newest_id(), sessions.newest_id("t")) == ("grandchild", "unrelated")


def test_a_parent_in_another_session_hides_nothing(sessions: Sessions) -> None:
    sessions.put("theirs", turn("theirs", session="t"))
    sessions.put("ours", turn("ours", parentId="theirs"))
    assert (sessions.newest_id("t"), sessions.newest_id()) == ("theirs", "ours")
    assert sessions.world.archive["genkit:ours"].parents == ("genkit:theirs",)  # and what they share is stored once


def test_a_rewrite_may_name_another_parent(sessions: Sessions) -> None:
    sessions.put("a", turn("a", at=NOON))
    sessions.put("b", turn("b", at=LATER))
    sessions.put("c", turn("c", parentId="a", at=NOON))
    assert sessions.newest_id() == "b"
    sessions.put("c", turn("c", parentId="b", at=NOON))
    assert sessions.newest_id() in {"a", "c"}
    sessions.put("a", turn("a", at="2026-06-18T11:00:00Z"))
    assert sessions.newest_id() == "c"


def test_a_history_that_bites_its_tail_has_no_newest(sessions: Sessions) -> None:
    sessions.put("a", turn("a", parentId="b"))
    sessions.put("b", turn("b", parentId="a"))
    with pytest.raises(GenkitError, match="has no leaf snapshot") as caught:
        sessions.newest()
    assert caught.value.status == "FAILED_PRECONDITION"
    assert text_of(sessions.get("a")) == "a"


def test_branches_are_refused_when_asked_to() -> None:
    sessions = Sessions(reject_branching=True)
    sessions.put("root", turn("root"))
    sessions.put("A", turn("A", parentId="root"))
    assert sessions.newest_id() == "A"
    sessions.put("B", turn("B", parentId="root"))
    with pytest.raises(GenkitError, match=r"branching snapshots \(2 leaves\)") as caught:
        sessions.newest()
    assert caught.value.status == "FAILED_PRECONDITION"
    sessions.put("C", turn("C", parentId="missing", session="t"))
    sessions.put("D", turn("D", session="t"))
    with pytest.raises(GenkitError, match=r"branching snapshots \(2 leaves\)"):
        sessions.newest("t")


def test_names_are_read_also_where_they_are_too_long_for_a_list(sessions: Sessions) -> None:
    root = "r" * 3000
    sessions.put("child", turn("child", parentId=root, at=NOON))
    sessions.put(root, turn("root", at=LATER))
    assert sessions.newest_id() == "child"


def test_what_others_put_into_the_run_of_a_session_is_none_of_its_snapshots(sessions: Sessions) -> None:
    sessions.put("a", turn("a"))
    sessions.world.archive.fork("genkit:a", run="genkit:s")
    sessions.world.archive.save({}, run="genkit:s", id="genkit:a/b")
    assert sessions.newest_id() == "a"


# The rule as a model ----------------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c", "d", "e"]
SAVES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, "", None]), st.integers(0, 3)), min_size=1, max_size=9
)


def expected(saves: list[tuple[str, Any, int]]) -> str | None:
    """The newest of a session by the rule; None when there is no leaf.

    Returns:
        The snapshot that nothing else names, newest by time, then by first save. One that names itself continues what it
        named when it was created.
    """
    first: dict[str, Any] = {}
    rows: dict[str, tuple[Any, int]] = {}
    for name, parent, second in saves:
        first.setdefault(name, parent if parent in rows else None)
        rows[name] = (parent, second)
    order = list(first)
    named = {first[name] if parent == name else parent for name, (parent, _) in rows.items()}
    leaves = [name for name in rows if name not in named]
    return max(leaves, key=lambda name: (rows[name][1], order.index(name)), default=None)


@settings(max_examples=60, deadline=None)
@given(saves=SAVES)
def test_generated_histories_follow_the_rule(saves: list[tuple[str, Any, int]]) -> None:
    world = World()
    core = SnapshotCore(world.archive)
    for name, parent, second in saves:
        at = datetime.datetime(2026, 1, 1, 0, 0, second, tzinfo=datetime.UTC).isoformat()
        snapshot: Json = turn(name, parentId=parent, at=at)
        assert core.save(name, lambda _: snapshot) is not None  # noqa: B023
    for reader in (core, SnapshotCore(world.cold())):
        if expected(saves) is None:
            with pytest.raises(ConflictError) as caught:
                reader.get(session_id="s")
            assert caught.value.code == "no_leaf"
        else:
            found = reader.get(session_id="s")
            assert found is not None
            assert found["snapshotId"] == expected(saves)
