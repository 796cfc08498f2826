"""Tenants: one store, many archives below one.

Goal: what one tenant saves no other can find, watch or overwrite, and a request that names no tenant reaches none.
Method: a store whose prefix comes from the context of each request, as a server would pass it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from genkit import GenkitError
from genkit.exp.agent import SessionSnapshot, SessionState, SnapshotStatus

from snapstore.adapters.genkit import SessionStore
from snapstore.adapters.genkit.documents import Json
from snapstore.opening import open_on
from tests.unit.adapters.genkit.sessions import run, text_of, turn
from tests.unit.archives import World


def tenant(context: Any) -> str:
    return str(context["auth"]["tenant"]) if context else ""


def only_once(text: str) -> Callable[[Json | None], Json | None]:
    return lambda current: turn(text) if current is None else None


def of(name: str) -> dict[str, Any]:
    return {"auth": {"tenant": name}}


@pytest.mark.parametrize("names", [("a", "b"), ("../a", "a"), ("a/b", "a"), ("ns", ".")])
def test_tenants_do_not_meet(names: tuple[str, str]) -> None:
    world = World()
    for store in (SessionStore(world.archive, prefix=tenant), SessionStore(world.cold(), prefix=tenant)):
        for name in names:
            options = {"context": of(name)}
            run(store.saveSnapshot("x", only_once(name), options))
            assert text_of(run(store.getSnapshot({"snapshotId": "x", **options}))) == name
            assert text_of(run(store.getSnapshot({"sessionId": "s", **options}))) == name
    assert world.archive.get("genkit:x") is None
    assert run(SessionStore(world.archive).getSnapshot({"snapshotId": "x"})) is None


def test_the_python_dialect_has_the_same_tenants() -> None:
    store = SessionStore(World().archive, prefix=tenant)

    async def scenario() -> None:
        made = SessionSnapshot(snapshot_id="x", created_at="", status=SnapshotStatus.PENDING, state=SessionState(session_id="s"))
        await store.save_snapshot("x", lambda _: made, context=of("a"))
        assert await store.get_snapshot(snapshot_id="x", context=of("b")) is None
        assert await store.get_snapshot(session_id="s", context=of("b")) is None
        theirs = await store.on_snapshot_status_change("x", context=of("a"))
        assert await anext(theirs) == "pending"
        await store.save_snapshot("x", lambda _: made.model_copy(update={"status": SnapshotStatus.FAILED}), context=of("b"))
        await theirs.aclose()
        found = await store.get_snapshot(snapshot_id="x", context=of("a"))
        assert found is not None
        assert found.status == "pending"

    run(scenario())


@pytest.mark.parametrize("answer", ["", "  ", None, 7])
def test_a_request_without_a_tenant_reaches_none(answer: Any) -> None:
    store = SessionStore(World().archive, prefix=lambda _: answer)

    async def watch() -> None:
        store.onSnapshotStateChange("x", print)

    for call in (
        store.saveSnapshot("x", lambda _: turn("x")),
        store.getSnapshot({"snapshotId": "x"}),
        store.get_snapshot(snapshot_id="x"),
        store.save_snapshot("x", lambda _: None),
        store.on_snapshot_status_change("x"),
        watch(),
    ):
        with pytest.raises(GenkitError, match="prefix") as caught:
            run(call)
        assert caught.value.status == "INVALID_ARGUMENT"


def test_a_namespace_is_a_store_of_its_own_and_tenants_lie_below_it() -> None:
    world = World()
    plain, named = SessionStore(world.archive), SessionStore(world.archive, "app")
    tenants = SessionStore(world.archive, "app", prefix=tenant)
    for name, store, options in (("plain", plain, {}), ("named", named, {}), ("tenant", tenants, {"context": of("t")})):
        run(store.saveSnapshot("x", only_once(name), options))
    assert text_of(run(plain.getSnapshot({"snapshotId": "x"}))) == "plain"
    assert text_of(run(named.getSnapshot({"snapshotId": "x"}))) == "named"
    assert text_of(run(tenants.getSnapshot({"snapshotId": "x", "context": of("t")}))) == "tenant"
    below = open_on(open_on(world.memory, namespace="app").storage, namespace="t")
    assert text_of({"state": below["genkit:x"].state()}) == "tenant"


def test_a_tenant_is_opened_once() -> None:
    world = World()
    store = SessionStore(world.archive, prefix=tenant)
    options = {"context": of("a")}
    run(store.saveSnapshot("x", lambda _: turn("x"), options))
    usage = world.cost(lambda: run(store.saveSnapshot("y", lambda _: turn("y", parentId="x"), options)))
    assert (dict(usage.requests), usage.round_trips) == ({"put": 2, "put_create": 1}, 1)


def test_snapshots_are_filed_under_their_agent() -> None:
    world = World()
    run(SessionStore(world.archive, agent="support/eu").saveSnapshot("x", lambda _: turn("x")))
    run(SessionStore(world.archive).saveSnapshot("y", lambda _: turn("y")))
    assert [info.id for info in world.archive.list(graph="genkit:support%2Feu")] == ["genkit:x"]
    rows = list(world.archive.list(graph="genkit"))
    assert [(info.id, info.run, info.metadata["snapshot"]) for info in rows] == [
        ("genkit:y", "genkit:s", {"createdAt": "2026-06-18T12:00:00Z"})
    ]
