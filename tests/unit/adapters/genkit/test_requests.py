"""What the store asks of the storage, and what becomes of heartbeats.

Goal: a turn costs what a save costs, a change of status writes no state, a heartbeat is one conditional write and nothing
else, and a long session is found from one listing; and a heartbeat is still read back for what it was.
Method: a meter around a storage in memory. Another process is played by a store that shares nothing but the storage.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from genkit.exp.agent import SessionSnapshot, SessionState, SnapshotStatus

from snapstore import clock
from snapstore.adapters.genkit import SessionStore
from snapstore.adapters.genkit.documents import Json, instant_of
from snapstore.snapshot import instant
from tests.unit.adapters.genkit.sessions import Sessions, run, text_of, turn
from tests.unit.archives import conversation

NEW = {"put": 2, "put_create": 1}
"""Pack and change marker, and the register that must not exist."""

HEARTBEAT = {"put_if": 1}
STATUS = {"put_if": 1, "put": 1}
"""The register that must not have changed, and a change marker."""


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def at(offset_s: float = 0.0, digits: str = "milliseconds") -> str:
    """A moment so many seconds from now as a runtime spells it."""
    moment = instant(clock.now_ms()) + datetime.timedelta(seconds=offset_s)
    return moment.isoformat(timespec=digits).removesuffix("+00:00") + "Z"


def working(text: str = "x", **fields: Any) -> Json:
    """A turn in the background."""
    return {**turn(text), "status": "pending", "heartbeatAt": at(), **fields}


def beat(heartbeat: str) -> Callable[[Json | None], Json]:
    """The mutator of a runtime that beats."""

    def mutator(current: Json | None) -> Json:
        assert current is not None
        return {**current, "heartbeatAt": heartbeat}

    return mutator


def spent(sessions: Sessions, call: Callable[[], object]) -> tuple[dict[str, int], int]:
    usage = sessions.world.cost(call)
    return dict(usage.requests), usage.round_trips


def heartbeats(sessions: Sessions, id: str = "a") -> tuple[str, str]:
    """The heartbeat as the store that beats and another one read it."""
    return tuple(run(s.getSnapshot({"snapshotId": id}))["heartbeatAt"] for s in (sessions.store, sessions.elsewhere()))  # type: ignore[index]


# Requests ---------------------------------------------------------------------------------------------------------------


def test_every_turn_is_three_writes_in_one_round_trip(sessions: Sessions) -> None:
    parent = None
    state = {"sessionId": "s", **conversation(1000)}
    for number in range(5):
        state["messages"].append({"role": "model", "content": str(number)})
        made = {"createdAt": at(), "parentId": parent, "state": state}
        assert spent(sessions, lambda: sessions.put(str(number), made)) == (NEW, 1)  # noqa: B023
        parent = str(number)
    stored = sessions.world.archive["genkit:4"].stored_bytes
    assert stored < 0.02 * sessions.world.archive["genkit:4"].size_bytes  # the rest is shared with the turn before


def test_a_heartbeat_is_one_conditional_write(sessions: Sessions) -> None:
    state = {"sessionId": "s", **conversation(500)}
    sessions.put("a", {**working(), "state": state})
    for number in range(5):
        assert spent(sessions, lambda: sessions.save("a", beat(at()))) == (HEARTBEAT, 1)
        assert sessions.world.archive["genkit:a"].version == number + 2
    assert sessions.world.stored_bytes("runs/") == sessions.world.archive["genkit:a"].stored_bytes  # no second pack


def test_a_heartbeat_of_genkit_python_is_one_conditional_write(sessions: Sessions) -> None:
    store = sessions.store
    now = instant(clock.now_ms()).isoformat()
    made = SessionSnapshot(
        snapshot_id="a",
        created_at=now,
        heartbeat_at=now,
        status=SnapshotStatus.PENDING,
        parent_id="",
        state=SessionState(session_id="s", messages=[]),
    )
    run(store.save_snapshot("a", lambda _: made))

    def beats(existing: SessionSnapshot | None) -> SessionSnapshot:
        assert existing is not None
        return existing.model_copy(update={"heartbeat_at": instant(clock.now_ms()).isoformat()})

    for _ in range(3):
        assert spent(sessions, lambda: run(store.save_snapshot("a", beats))) == (HEARTBEAT, 1)


def test_a_change_of_status_writes_no_state(sessions: Sessions) -> None:
    sessions.put("a", working())
    assert spent(sessions, lambda: sessions.save("a", lambda now: {**(now or {}), "status": "aborting"})) == (STATUS, 1)
    elsewhere = sessions.elsewhere()
    flip = lambda current: {**current, "status": "aborted"} if current is not None else None
    requests, _ = spent(sessions, lambda: run(elsewhere.saveSnapshot("a", flip)))
    assert {verb: count for verb, count in requests.items() if verb.startswith("put")} == STATUS
    found = sessions.get("a")
    assert found is not None
    assert (found["status"], text_of(found)) == ("aborted", "x")


def test_a_skipped_save_reads_and_writes_nothing_more_than_it_must(sessions: Sessions) -> None:
    sessions.put("a", working())
    assert spent(sessions, lambda: sessions.put("a", None)) == ({"get": 1}, 1)  # the decision counts on what is there now
    assert spent(sessions, lambda: sessions.put("nobody", None)) == ({"get": 1}, 1)


def test_the_newest_of_a_session_is_found_from_one_listing(sessions: Sessions) -> None:
    for number in range(60):
        sessions.put(str(number), turn(str(number), parentId=str(number - 1) if number else None))
    for store in (sessions.store, sessions.elsewhere()):
        usage = sessions.world.cost(lambda: run(store.getSnapshot({"sessionId": "s"})))  # noqa: B023
        # The listing beside the look whether the session is out of order; the leaf's pack, its register, and its state.
        assert usage.requests["list"] == 1
        assert usage.total <= 12
        assert usage.round_trips <= 5


def test_a_snapshot_that_names_itself_brings_no_session_out_of_order(sessions: Sessions) -> None:
    sessions.put("first", turn("first"))
    sessions.put("second", turn("second", parentId="first", status="pending"))
    # What is kept in memory is compared with what is there, then its new state is written, and no mark for the session.
    replaced = ({"get": 1, "put": 2, "put_if": 1}, 3)
    assert spent(sessions, lambda: sessions.put("second", turn("done", parentId="second"))) == replaced


def test_a_session_out_of_order_stays_right_when_it_is_read_one_by_one(sessions: Sessions) -> None:
    sessions.put("0", turn("0", parentId="missing"))
    for number in range(1, 20):
        sessions.put(str(number), turn(str(number), parentId=str(number - 1)))
    assert sessions.newest_id() == "19"
    usage = sessions.world.cost(lambda: run(sessions.store.getSnapshot({"sessionId": "s"})))
    assert usage.total > 20  # what the mark costs; without it the look would be as above, and wrong once "missing" comes


# Heartbeats -------------------------------------------------------------------------------------------------------------


def near(first: str, second: str) -> bool:
    a, b = instant_of(first), instant_of(second)
    assert a is not None
    assert b is not None
    return abs((a - b).total_seconds()) < 5  # the time of the write stands for it: milliseconds, unless the machine stands


@pytest.mark.parametrize("digits", ["milliseconds", "microseconds"])
def test_a_heartbeat_is_exact_here_and_the_time_of_its_write_elsewhere(sessions: Sessions, digits: str) -> None:
    first = working(heartbeatAt=at(digits=digits))
    sessions.put("a", first)
    assert heartbeats(sessions) == (first["heartbeatAt"], first["heartbeatAt"])  # stored with the rest
    for _ in range(3):
        given = at(digits=digits)
        sessions.save("a", beat(given))
        here, elsewhere = heartbeats(sessions)
        assert here == given
        assert near(elsewhere, given)
        assert elsewhere.endswith("Z")
        assert instant_of(elsewhere) >= instant_of(given).replace(microsecond=0)  # type: ignore[operator, union-attr]


def test_a_heartbeat_far_from_the_clock_is_stored_as_given(sessions: Sessions) -> None:
    # What a test or a mended clock writes: the runtime must find the turn dead, or alive, as it was told.
    sessions.put("a", working())
    for given in ("2020-01-01T00:00:00Z", at(3600), "at noon", "2020-01-01T00:00:00.123456+02:00"):
        sessions.save("a", beat(given))
        assert heartbeats(sessions) == (given, given)
    sessions.save("a", beat(at()))  # stored once more, and from then on the time of the write is enough again
    assert spent(sessions, lambda: sessions.save("a", beat(at()))) == (HEARTBEAT, 1)


def test_a_mutator_sees_the_last_heartbeat(sessions: Sessions) -> None:
    sessions.put("a", working())
    given = at(0.001)
    sessions.save("a", beat(given))
    seen: list[str] = []
    for store in (sessions.store, sessions.elsewhere()):
        run(store.saveSnapshot("a", lambda current: seen.append(current["heartbeatAt"])))  # type: ignore[index]
    assert seen[0] == given
    assert near(seen[-1], given)


def test_the_heartbeat_of_a_finished_snapshot_stands_still(sessions: Sessions) -> None:
    sessions.put("a", working())
    sessions.save("a", beat(at()))
    run(sessions.elsewhere().saveSnapshot("a", lambda current: {**(current or {}), "status": "completed"}))
    here, elsewhere = heartbeats(sessions)
    assert here == elsewhere
    sessions.save("a", lambda current: {**(current or {}), "finishReason": "stop"})
    assert heartbeats(sessions) == (here, here)


def test_a_beat_that_changes_more_changes_it(sessions: Sessions) -> None:
    sessions.put("a", working())
    for more in ({"updatedAt": at()}, {"note": 1}, {"note": True}, {"state": {"sessionId": "s", "custom": 1}}):
        sessions.save("a", lambda current: {**(current or {}), "heartbeatAt": at(), **more})  # noqa: B023
        found = run(sessions.elsewhere().getSnapshot({"snapshotId": "a"}))
        assert found is not None
        assert repr([found[name] for name in more]) == repr([*more.values()])
        assert near(found["heartbeatAt"], at())


def test_a_heartbeat_may_go(sessions: Sessions) -> None:
    for last in ("completed", "pending"):
        sessions.put("a", working())
        sessions.save("a", beat(at()))
        sessions.put("a", turn("x", status=last))
        found = sessions.get("a")
        assert found == {"snapshotId": "a", **turn("x", status=last)}


def test_a_store_decides_on_what_others_wrote(sessions: Sessions) -> None:
    elsewhere = sessions.elsewhere()
    sessions.put("a", working("mine"))
    run(elsewhere.saveSnapshot("a", lambda _: working("theirs")))
    sessions.save("a", beat(at()))
    assert text_of(run(sessions.elsewhere().getSnapshot({"snapshotId": "a"}))) == "theirs"


def test_a_state_changed_in_the_archive_is_seen_before_it_is_replaced(sessions: Sessions) -> None:
    sessions.put(
        "a",
        working(
            "mine",
        ),
    )

    def edit(draft: Any) -> Any:
        draft.state["custom"] = {"edited": 1}
        return draft

    sessions.world.cold().update("genkit:a", edit)

    def add(current: Json | None) -> Json:
        assert current is not None
        state = {**current["state"], "custom": {**current["state"]["custom"], "added": 2}}
        return {**current, "state": state}

    sessions.save("a", add)
    found = run(sessions.elsewhere().getSnapshot({"snapshotId": "a"}))
    assert found is not None
    assert found["state"]["custom"] == {"edited": 1, "added": 2}


def test_many_turns_in_the_background_still_beat_right(sessions: Sessions) -> None:
    store: SessionStore = sessions.store
    for number in range(40):  # more than are kept in memory
        sessions.put(f"t{number}", working(str(number), session=None))
    for number in range(40):
        assert run(store.saveSnapshot(f"t{number}", beat(at()))) == f"t{number}"
        found = run(sessions.elsewhere().getSnapshot({"snapshotId": f"t{number}"}))
        assert text_of(found) == str(number)
