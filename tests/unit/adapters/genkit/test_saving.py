"""Saving and reading plain snapshots: the JavaScript dialect.

Goal: what a mutator returns is what is there afterwards, whole and the reader's own, under the id that the contract says;
and nothing is there when it skips, fails, or returns what cannot be kept.
Method: a store on an archive in memory; every read is made twice, by the store that wrote and by one that knows nothing.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from genkit import GenkitError
from hypothesis import given, settings
from hypothesis import strategies as st

from snapstore.adapters.genkit import SnapshotCore
from snapstore.adapters.genkit.documents import Json
from snapstore.errors import InvalidInputError
from tests.unit.adapters.genkit.sessions import Sessions, run, text_of, turn
from tests.unit.archives import World


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def refused(sessions: Sessions, id: str | None, snapshot: Any) -> GenkitError:
    with pytest.raises(GenkitError) as caught:
        sessions.put(id, snapshot)
    return caught.value


def noting(seen: list[Json | None], made: Json) -> Callable[[Json | None], Json]:
    """A mutator that notes what it gets."""

    def mutator(current: Json | None) -> Json:
        seen.append(current)
        return made

    return mutator


# What comes back --------------------------------------------------------------------------------------------------------


def test_a_snapshot_comes_back_whole(sessions: Sessions) -> None:
    snapshot = turn(
        "hello",
        sessionId="s",
        parentId="",
        updatedAt="2026-06-18T12:00:01Z",
        finishReason="stop",
        error={"status": "INTERNAL", "message": "boom", "details": {"at": [1, 2.5, None, True]}},
    )
    assert sessions.put("a", snapshot) == "a"
    assert sessions.get("a") == {"snapshotId": "a", **snapshot}


@pytest.mark.parametrize(
    "snapshot",
    [
        {},
        {"createdAt": "2026-06-18T12:00:00Z"},
        {"state": None, "status": None, "parentId": None},
        {"state": {}, "status": ""},
        {"status": "aborting", "state": {"sessionId": "s"}},
        {"status": "a status of the future", "fieldOfTheFuture": {"x": [1]}},
        {"status": 7, "heartbeatAt": 8, "createdAt": 9},
        {"state": [1, "no session state at all"]},
        {"state": {"fields": {}, "state": 1, "beside": True}, "absent": ["state"], "snapshot": {"a": 1}},
    ],
)
def test_missing_empty_and_unknown_fields_stay_what_they_are(sessions: Sessions, snapshot: Json) -> None:
    sessions.put("a", snapshot)
    assert sessions.get("a") == {"snapshotId": "a", **snapshot}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["createdAt", "parentId", "status", "finishReason", "error", "updatedAt", "custom", ""])


@settings(max_examples=60, deadline=None)
@given(fields=st.dictionaries(FIELDS, JSON_VALUES), states=st.lists(JSON_VALUES, min_size=1, max_size=2), data=st.data())
def test_any_json_comes_back_exactly(fields: Json, states: list[Any], data: st.DataObject) -> None:
    core = SnapshotCore(World().archive)
    for state in states:  # the second over the first: both ways of writing
        more = data.draw(st.dictionaries(FIELDS, JSON_VALUES))
        snapshot = {"snapshotId": "a", **fields, **more, "state": {"custom": state}}
        assert core.save("a", lambda _: snapshot) == snapshot  # noqa: B023
        assert repr(core.get(snapshot_id="a")) == repr_in_order(snapshot, core.get(snapshot_id="a"))


def repr_in_order(snapshot: Json, order: Json | None) -> str:
    """The text of a snapshot with its fields in the order of another: 1, 1.0 and True differ in it."""
    assert order is not None
    assert set(order) == set(snapshot)
    return repr({name: snapshot[name] for name in order})


def test_a_change_that_python_calls_equal_is_a_change(sessions: Sessions) -> None:
    for value in (1, True, 1.0, -0.0, 0):
        sessions.put("a", turn("x", custom=value) | {"state": {"sessionId": "s", "custom": value}})
        found = sessions.get("a")
        assert found is not None
        assert repr(found["state"]["custom"]) == repr(found["custom"]) == repr(value)


def test_large_fields_are_kept_like_small_ones(sessions: Sessions) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    error = {"message": "m" * 20_000, "details": {"stack": "é" * 30_000, "deep": deep}}
    small = turn("x", status="pending")
    for snapshot in (small, {**small, "error": error}, {**small, "error": error, "status": "failed"}, small):
        sessions.put("a", snapshot)
        assert sessions.get("a") == {"snapshotId": "a", **snapshot}
    many = {f"field{number}": "x" * 900 for number in range(20)}
    sessions.put("b", {**small, **many})
    assert sessions.get("b") == {"snapshotId": "b", **small, **many}


def test_what_is_read_and_what_was_saved_are_the_caller_s_own(sessions: Sessions) -> None:
    snapshot = turn("first")
    sessions.put("a", snapshot)
    snapshot["state"]["messages"].clear()
    found = sessions.get("a")
    assert found is not None
    found["state"]["messages"].clear()
    seen: list[Json | None] = []

    def spoil(current: Json | None) -> None:
        seen.append(current)
        assert current is not None
        current["state"]["messages"].clear()

    for _ in range(2):
        assert sessions.save("a", spoil) is None
        assert text_of(sessions.get("a")) == "first"


def test_a_rewrite_replaces_the_whole(sessions: Sessions) -> None:
    sessions.put("a", turn("x", error={"message": "old"}, finishReason="failed", status="failed"))
    sessions.put("a", {"createdAt": "later", "status": "completed"})
    assert sessions.get("a") == {"snapshotId": "a", "createdAt": "later", "status": "completed"}


def test_an_absent_snapshot_is_none(sessions: Sessions) -> None:
    assert sessions.get("nobody") is None
    assert sessions.newest("nowhere") is None


def test_a_deleted_snapshot_can_be_saved_again(sessions: Sessions) -> None:
    sessions.put("a", turn("old"))
    sessions.world.cold().delete("genkit:a")
    assert sessions.get("a") is None
    seen: list[Json | None] = []
    sessions.save("a", noting(seen, turn("new")))
    assert seen[-1] is None
    assert text_of(sessions.get("a")) == "new"


# Under which id ---------------------------------------------------------------------------------------------------------


def test_the_id_of_the_call_wins_over_that_of_the_result(sessions: Sessions) -> None:
    assert sessions.put("a", {**turn("x"), "snapshotId": "b"}) == "a"
    assert sessions.get("b") is None
    assert text_of(sessions.get("a")) == "x"


@pytest.mark.parametrize("none", [None, ""])
def test_without_an_id_the_result_s_counts_and_is_overwritten_blindly(sessions: Sessions, none: str | None) -> None:
    sessions.put("b", turn("old"))
    seen: list[Json | None] = []
    for store in (sessions.store, sessions.elsewhere()):
        assert run(store.saveSnapshot(none, noting(seen, {**turn("new"), "snapshotId": "b"}))) == "b"
        assert text_of(sessions.get("b")) == "new"
    assert seen == [None, None]


def test_without_any_id_a_new_one_is_drawn(sessions: Sessions) -> None:
    drawn = {sessions.put(None, turn("x")) for _ in range(3)}
    assert len(drawn) == 3
    for id in drawn:
        assert id is not None
        assert (uuid.UUID(id).version, str(uuid.UUID(id))) == (4, id)
        assert text_of(sessions.get(id)) == "x"


@pytest.mark.parametrize(
    "id",
    ["../x", "a/b", "a\\b", ".", "..", "a\0b", " ", "__x__", "a|b:c", "%2F", "irregular", "x" * 10_000, "日本", "a@b\n"],
)
def test_ids_are_data(sessions: Sessions, id: str) -> None:
    sessions.put("other", turn("other", session=id))
    assert sessions.put(id, turn("x", session=id, parentId="other")) == id
    assert text_of(sessions.get(id)) == "x"
    assert sessions.newest_id(id) == id
    keys = sessions.world.keys()
    assert all("\0" not in key and not {"", ".", ".."} & set(key.split("/")) for key in keys)


@pytest.mark.parametrize("id", ["x" * 20_000, "\ud800"])
def test_an_id_that_cannot_be_kept_is_refused(sessions: Sessions, id: str) -> None:
    assert refused(sessions, id, turn("x")).status == "INVALID_ARGUMENT"
    assert refused(sessions, "a", turn("x", session=id)).status == "INVALID_ARGUMENT"
    assert sessions.get("a") is None


def test_snapshots_without_a_session_are_found_by_id_alone(sessions: Sessions) -> None:
    for id in ("a", "b"):
        sessions.put(id, turn(id, session=None))
    sessions.put("c", turn("c", session="", sessionId=""))
    assert [text_of(sessions.get(id)) for id in "abc"] == ["a", "b", "c"]
    assert sessions.newest() is None


# What is refused --------------------------------------------------------------------------------------------------------


def test_a_skipped_save_writes_nothing(sessions: Sessions) -> None:
    sessions.put("a", turn("x"))
    assert sessions.world.cost(lambda: sessions.put("a", None)).writes == 0
    for id in ("nobody", None):
        assert sessions.world.cost(lambda: sessions.put(id, None)).writes == 0  # noqa: B023
    assert text_of(sessions.get("a")) == "x"


@pytest.mark.parametrize("id", ["there", "not there", None])
def test_what_a_mutator_raises_passes_through(sessions: Sessions, id: str | None) -> None:
    sessions.put("there", turn("x"))

    class OwnError(Exception):
        pass

    def broken(current: Json | None) -> Json:
        raise OwnError(text_of(current))

    def attempt() -> None:
        with pytest.raises(OwnError, match="x" if id == "there" else "None"):
            sessions.save(id, broken)

    assert sessions.world.cost(attempt).writes == 0


async def _late(current: Json | None) -> Json:
    return turn("x")


@pytest.mark.parametrize("id", ["there", "not there", None])
def test_a_coroutine_is_no_mutator(sessions: Sessions, id: str | None) -> None:
    sessions.put("there", turn("old"))
    with pytest.raises(GenkitError, match="synchronous") as caught:
        sessions.save(id, _late)
    assert caught.value.status == "INVALID_ARGUMENT"
    assert text_of(sessions.get("there")) == "old"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "snapshot.state.custom.x"),
        (float("-inf"), "snapshot.state.custom.x"),
        ("half \ud800", "snapshot.state.custom.x"),
        ({"\udfff": 1}, "snapshot.state.custom.x"),
        ({1: 1}, "snapshot.state.custom.x"),
        ((1, 2), "snapshot.state.custom.x"),
        (b"bytes", "snapshot.state.custom.x"),
        (2**64, "snapshot.state.custom.x"),
        ([0, [object()]], "snapshot.state.custom.x[1][0]"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(sessions: Sessions, value: Any, place: str) -> None:
    sessions.put("there", turn("old"))
    bad = {**turn("new"), "state": {"custom": {"x": value}}}
    for id in ("there", "not there", None):
        error = refused(sessions, id, bad)
        assert error.status == "INVALID_ARGUMENT"
        assert f"{place} " in error.original_message.encode("utf-8", "replace").decode()
    assert text_of(sessions.get("there")) == "old"
    assert sessions.get("not there") is None


def test_words_of_enums_are_text(sessions: Sessions) -> None:
    """Genkit's statuses are such words, and a mutator in the dialect of plain dicts may use them."""
    word = enum.StrEnum("word", {"ABORTED": "aborted"})
    sessions.put("a", {**turn("x"), "status": word.ABORTED, "state": {"custom": [word.ABORTED]}})
    for store in (sessions.store, sessions.elsewhere()):
        found = run(store.getSnapshot({"snapshotId": "a"}))
        assert found is not None
        assert repr([found["status"], found["state"]]) == "['aborted', {'custom': ['aborted']}]"
    error = refused(sessions, "b", {"state": {"custom": {word.ABORTED: 1}}})
    assert "snapshot.state.custom is of type dict (its keys are not all text)" in error.original_message


@pytest.mark.parametrize("levels", [300, 100_000])
def test_endless_nesting_is_refused(sessions: Sessions, levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    assert refused(sessions, "a", {"state": {"custom": deep}}).status == "INVALID_ARGUMENT"
    while isinstance(deep, list):
        deep = deep.pop()  # freeing it at once would overflow the stack


@pytest.mark.parametrize("made", [[], "text", 7, True])
def test_only_a_dict_is_a_snapshot(sessions: Sessions, made: Any) -> None:
    assert refused(sessions, "a", made).status == "INVALID_ARGUMENT"


def test_a_snapshot_stays_in_its_session(sessions: Sessions) -> None:
    sessions.put("a", turn("x", session="s"))
    sessions.put("free", turn("x", session=None))
    for id, session in (("a", "t"), ("free", "s")):
        error = refused(sessions, id, turn("y", session=session))
        assert error.status == "FAILED_PRECONDITION"
        assert "cannot be rewritten by session" in error.original_message
        assert text_of(sessions.get(id)) == "x"
    sessions.put("a", turn("y", session=None))  # naming none is no change
    assert text_of(sessions.newest("s")) == "y"


@pytest.mark.parametrize("opts", [{}, {"snapshotId": "a", "sessionId": "s"}, {"snapshotId": "", "sessionId": ""}])
def test_exactly_one_id_is_asked_for(sessions: Sessions, opts: Json) -> None:
    with pytest.raises(GenkitError, match="getSnapshot requires exactly one of 'snapshotId' or 'sessionId'") as caught:
        run(sessions.store.getSnapshot(opts))
    assert caught.value.status == "INVALID_ARGUMENT"


def test_an_empty_id_counts_as_absent(sessions: Sessions) -> None:
    sessions.put("a", turn("x"))
    for opts in ({"snapshotId": "a", "sessionId": ""}, {"snapshotId": "", "sessionId": "s"}):
        assert text_of(run(sessions.store.getSnapshot(opts))) == "x"


@pytest.mark.parametrize("session", [7, ["s"], {"id": "s"}])
def test_a_session_id_is_text(sessions: Sessions, session: Any) -> None:
    assert refused(sessions, "a", turn("x", sessionId=session)).status == "INVALID_ARGUMENT"


def test_the_core_speaks_in_errors_of_ours() -> None:
    core = SnapshotCore(World().archive)
    with pytest.raises(InvalidInputError) as caught:
        core.get()
    assert caught.value.code == "one_id_needed"
