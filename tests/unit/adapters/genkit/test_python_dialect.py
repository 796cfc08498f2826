"""The dialect of Genkit Python: model objects, stamps, and statuses that end a snapshot's life.

Goal: what `genkit.exp.agent` expects of a session store, and what it may rely on in its own words: `GenkitError` with a
status and a reason.
Method: Genkit's own model classes through a store in memory; every rule is asked of the store, not of its parts.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from genkit import GenkitError, Message, Part, RuntimeErrorReason
from genkit.exp import agent
from genkit.exp.agent import SessionSnapshot, SessionState, SnapshotStatus
from pydantic import BaseModel

from snapstore.adapters.genkit import SessionStore
from tests.unit.adapters.genkit.sessions import Sessions, run, turn

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def snapshot(id: str = "a", session: str | None = "s", custom: Any = None, **fields: Any) -> SessionSnapshot:
    state = SessionState(session_id=session, messages=[Message(role="user", content=[Part.from_text("hi")])], custom=custom)
    return SessionSnapshot(**{"snapshot_id": id, "created_at": "2026-06-18T12:00:00Z", "state": state, **fields})


def save(store: SessionStore, id: str, made: Any) -> SessionSnapshot | None:
    return run(store.save_snapshot(id, made if callable(made) else lambda _: made))


def get(store: SessionStore, **ids: Any) -> SessionSnapshot | None:
    return run(store.get_snapshot(**ids))


def test_a_snapshot_comes_back_as_a_model(sessions: Sessions) -> None:
    made = snapshot(
        parent_id="",
        session_id="s",
        status=SnapshotStatus.FAILED,
        finish_reason="failed",
        error={"status": "INTERNAL", "message": "boom", "details": {"line": 7}},
        custom={"plan": [1, 2.5, None], "done": False},
    )
    saved = save(sessions.store, "a", made)
    assert saved == made
    for store in (sessions.store, sessions.elsewhere()):
        assert get(store, snapshot_id="a") == get(store, session_id="s") == made
    assert get(sessions.store, snapshot_id="b") is None
    assert get(sessions.store, session_id="t") is None


def test_the_store_stamps_what_is_missing(sessions: Sessions) -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(milliseconds=1)
    saved = save(sessions.store, "a", snapshot(id="another", created_at=""))
    assert saved is not None
    assert (saved.snapshot_id, saved.session_id, saved.status) == ("a", "s", SnapshotStatus.COMPLETED)
    assert before <= datetime.datetime.fromisoformat(saved.created_at) <= datetime.datetime.now(datetime.UTC)
    assert get(sessions.store, snapshot_id="a") == saved


def test_the_mutator_sees_what_is_there_and_may_leave_it(sessions: Sessions) -> None:
    made = save(sessions.store, "a", snapshot())
    seen: list[SessionSnapshot | None] = []
    for store in (sessions.store, sessions.elsewhere()):
        assert save(store, "a", lambda current: seen.append(current)) is None
        assert seen[-1] == made
        seen[-1].state.messages.clear()  # type: ignore[union-attr]
    assert save(sessions.store, "b", lambda current: seen.append(current)) is None
    assert seen[-1] is None
    assert get(sessions.store, snapshot_id="a") == made


class Plan(BaseModel):
    when: datetime.datetime
    steps: tuple[int, ...] = ()
    note: str | None = None


def test_custom_state_is_stored_as_its_json(sessions: Sessions) -> None:
    plan = Plan(when=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), steps=(1, 2))
    save(sessions.store, "a", snapshot(custom=plan))
    found = get(sessions.store, snapshot_id="a")
    assert found is not None
    assert found.state is not None
    assert found.state.custom == {"when": "2026-01-02T00:00:00Z", "steps": [1, 2]}
    assert Plan.model_validate(found.state.custom) == plan


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "half \ud800", object(), {"f": print}])
def test_what_json_cannot_hold_is_refused(sessions: Sessions, value: Any) -> None:
    with pytest.raises(GenkitError) as caught:
        save(sessions.store, "a", snapshot(custom={"x": value}))
    assert caught.value.status == "INVALID_ARGUMENT"
    assert get(sessions.store, snapshot_id="a") is None


FINAL = [SnapshotStatus.COMPLETED, SnapshotStatus.FAILED, SnapshotStatus.ABORTED]


@pytest.mark.parametrize("there", FINAL)
@pytest.mark.parametrize("wanted", list(SnapshotStatus))
def test_nothing_comes_after_a_final_status(sessions: Sessions, there: SnapshotStatus, wanted: SnapshotStatus) -> None:
    save(sessions.store, "a", snapshot(status=there))
    for store in (sessions.store, sessions.elsewhere()):
        if wanted is there:
            assert save(store, "a", snapshot(status=wanted, custom={"more": 1})) is not None
            continue
        with pytest.raises(GenkitError, match="already has terminal status") as caught:
            save(store, "a", snapshot(status=wanted))
        assert caught.value.status == "FAILED_PRECONDITION"
    found = get(sessions.store, snapshot_id="a")
    assert found is not None
    assert found.status is there


@pytest.mark.parametrize("there", [SnapshotStatus.PENDING, SnapshotStatus.ABORTING, SnapshotStatus.EXPIRED])
def test_any_status_may_follow_one_that_is_not_final(sessions: Sessions, there: SnapshotStatus) -> None:
    for number, wanted in enumerate(SnapshotStatus):
        save(sessions.store, str(number), snapshot(status=there))
        saved = save(sessions.elsewhere(), str(number), snapshot(status=wanted))
        assert saved is not None
        assert saved.status is wanted


def test_a_snapshot_stays_in_its_session(sessions: Sessions) -> None:
    save(sessions.store, "a", snapshot())
    with pytest.raises(GenkitError, match="belongs to session 's'") as caught:
        save(sessions.store, "a", snapshot(session="t"))
    assert caught.value.status == "FAILED_PRECONDITION"


def test_a_coroutine_is_no_mutator(sessions: Sessions) -> None:
    async def late(current: SessionSnapshot | None) -> SessionSnapshot:
        return snapshot()

    for id in ("there", "not there"):
        save(sessions.store, "there", snapshot())
        with pytest.raises(GenkitError, match="synchronous") as caught:
            save(sessions.store, id, late)
        assert caught.value.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({}, RuntimeErrorReason.INVALID_INPUT),
        ({"snapshot_id": "a", "session_id": "s"}, RuntimeErrorReason.INVALID_INPUT),
        ({"snapshot_id": " "}, RuntimeErrorReason.INVALID_SNAPSHOT_ID),
        ({"snapshot_id": ""}, RuntimeErrorReason.INVALID_SNAPSHOT_ID),
        ({"session_id": "\t"}, RuntimeErrorReason.SESSION_ID_REQUIRED),
        ({"snapshot_id": 7}, RuntimeErrorReason.INVALID_SNAPSHOT_ID),
        ({"session_id": ["s"]}, RuntimeErrorReason.SESSION_ID_REQUIRED),
    ],
)
def test_ids_are_checked_with_genkit_s_reasons(sessions: Sessions, ids: dict[str, Any], reason: RuntimeErrorReason) -> None:
    with pytest.raises(GenkitError) as caught:
        get(sessions.store, **ids)
    assert (caught.value.status, caught.value.reason) == ("INVALID_ARGUMENT", reason)


@pytest.mark.parametrize("id", ["", " ", None, 7])
def test_without_an_id_nothing_can_be_saved_or_watched(sessions: Sessions, id: Any) -> None:
    """Genkit Python reserves the id; only JavaScript leaves it to the store to draw one."""
    for call in (sessions.store.save_snapshot(id, lambda _: snapshot()), sessions.store.on_snapshot_status_change(id)):
        with pytest.raises(GenkitError) as caught:
            run(call)
        assert caught.value.reason is RuntimeErrorReason.INVALID_SNAPSHOT_ID
    assert get(sessions.store, session_id="s") is None


@pytest.mark.parametrize("made", [{"snapshotId": "a"}, "a", 7])
def test_only_a_model_is_a_snapshot(sessions: Sessions, made: Any) -> None:
    with pytest.raises(GenkitError, match="SessionSnapshot or None") as caught:
        save(sessions.store, "a", made)
    assert caught.value.status == "INVALID_ARGUMENT"


def test_both_dialects_see_the_same_snapshots(sessions: Sessions) -> None:
    sessions.put("js", turn("from js", status=None))
    found = get(sessions.store, snapshot_id="js")
    assert found is not None
    assert found.status is SnapshotStatus.COMPLETED  # a missing one means completed
    save(sessions.store, "py", snapshot(session="t", status=SnapshotStatus.PENDING))
    plain = sessions.newest("t")
    assert plain is not None
    assert (plain["snapshotId"], plain["sessionId"], plain["status"]) == ("py", "t", "pending")


def test_what_a_newer_runtime_wrote_is_refused_by_the_models_and_kept(sessions: Sessions) -> None:
    for id, more in (("status", {"status": "paused"}), ("field", {"mood": "good"})):
        sessions.put(id, turn("x", **more))
        for call in (sessions.store.get_snapshot(snapshot_id=id), sessions.store.save_snapshot(id, lambda _: snapshot())):
            with pytest.raises(GenkitError, match="does not fit the models") as caught:
                run(call)
            assert caught.value.status == "FAILED_PRECONDITION"
        assert sessions.get(id) == {"snapshotId": id, **turn("x", **more)}


def test_genkit_takes_it_for_a_store_and_a_subscriber(sessions: Sessions) -> None:
    store: agent.SessionStore[Any] = sessions.store  # the type checker's part of the test
    anything: object = store
    assert isinstance(anything, agent.SnapshotSubscriber)


# Without genkit ---------------------------------------------------------------------------------------------------------

WITHOUT_GENKIT = """
import asyncio, json, sys
sys.modules["genkit"] = None  # as if it were not installed
import snapstore
from snapstore.adapters.genkit import SessionStore
from snapstore.errors import ConflictError, InvalidInputError, MissingExtraError

store = SessionStore(snapstore.open("memory://without-genkit", create=True))

async def main():
    said = [await store.saveSnapshot("a", lambda _: {"sessionId": "s"}), await store.getSnapshot({"sessionId": "s"})]
    for call, kind in (
        (lambda: store.getSnapshot({}), InvalidInputError),
        (lambda: store.saveSnapshot("a", lambda _: {"sessionId": "t"}), ConflictError),
    ):
        try:
            await call()
        except kind as error:
            said.append(error.status)
    try:
        await store.get_snapshot(snapshot_id="a")
    except MissingExtraError as error:
        said.append(error.hint)
    return said

print(json.dumps(asyncio.run(main())))
"""


def test_plain_dicts_need_no_genkit() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_GENKIT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    id, found, invalid, failed, hint = json.loads(done.stdout)
    assert (id, found) == ("a", {"snapshotId": "a", "sessionId": "s"})
    assert (invalid, failed) == ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert "snapstore[genkit]" in hint


def test_the_adapter_loads_genkit_only_when_it_is_needed() -> None:
    code = "import sys, snapstore.adapters.genkit; print('genkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
