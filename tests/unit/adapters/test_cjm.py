"""The store of workflow state: the contract of cjm-fasthtml-interactions.

Goal: a program that changes one line sees what it saw before, loses no update, and waits for the storage no longer than it must.
Method: random calls are compared with the package's own store, where that one is right; what it gets wrong is stated here
test by test. Another process is another handle on the same memory, or a real process.
"""

from __future__ import annotations

import copy
import datetime
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cjm_fasthtml_interactions.core.state_store import InMemoryWorkflowStateStore, WorkflowStateStore
from cjm_fasthtml_interactions.core.state_store import get_session_id as their_session_id
from hypothesis import given, settings
from hypothesis import strategies as st

import snapstore
from snapstore import clock
from snapstore.adapters.cjm import (
    TRUST_S,
    SnapWorkflowStateStore,
    UnstorableError,
    get_session_id,
    set_session_id,
)
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_on
from tests.unit.archives import World

SAVE = {"put": 2, "put_create": 1}
"""What one change costs: pack, change marker, and the register that must not exist."""


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


# The protocol ---------------------------------------------------------------------------------------------------------

names = st.sampled_from(["f", "g"])
keys = st.sampled_from(["name", "mail", "", "_step_a"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)
calls = st.one_of(
    st.tuples(st.just("get_current_step"), names, names),
    st.tuples(st.just("set_current_step"), names, names, st.sampled_from(["one", "two", ""])),
    st.tuples(st.just("get_state"), names, names),
    st.tuples(st.just("update_state"), names, names, st.dictionaries(keys, plain, max_size=3)),
    st.tuples(st.just("clear_state"), names, names),
)


@settings(max_examples=60, deadline=None)
@given(script=st.lists(st.tuples(st.booleans(), calls), max_size=12))
def test_it_answers_like_the_store_of_the_package(script: list[tuple[bool, tuple[Any, ...]]]) -> None:
    world = World()
    ours = [SnapWorkflowStateStore(world.archive, trust_s=0), another(world)]
    theirs = InMemoryWorkflowStateStore()
    sessions: dict[str, dict[str, str]] = {"f": {}, "g": {}}
    for which, (call, flow, session, *rest) in script:
        sess = sessions[session]
        expected = getattr(theirs, call)(flow, sess, *copy.deepcopy(rest))
        found = getattr(ours[which], call)(flow, sess, *rest)
        assert found == expected
        if call == "get_state":
            assert list(found) == list(expected), "the order of the keys is part of a form"


def test_it_is_a_workflow_state_store_to_the_package(store: SnapWorkflowStateStore) -> None:
    assert isinstance(store, WorkflowStateStore)


def test_it_needs_nothing_of_the_package() -> None:
    """Whoever brings a session id of another framework does not install FastHTML."""
    code = "import sys, snapstore.adapters.cjm; sys.exit(any(name.startswith(('cjm_', 'fasthtml')) for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reading_gives_a_session_its_id_and_clearing_leaves_it(store: SnapWorkflowStateStore) -> None:
    sess: dict[str, str] = {}
    assert store.get_state("f", sess) == {}
    drawn = dict(sess)
    assert list(drawn) == ["_workflow_session_id"]
    store.set_current_step("f", sess, "one")
    store.clear_state("f", sess)
    assert sess == drawn


def test_ids_are_those_of_the_package() -> None:
    """A session that began with the package's own helper goes on with ours, and the other way round."""
    sess: dict[str, str] = {}
    drawn = their_session_id(sess)
    assert get_session_id(sess) == drawn
    other: dict[str, str] = {}
    assert get_session_id(other) == their_session_id(other) != drawn
    set_session_id(sess, "chosen")
    assert their_session_id(sess) == "chosen"
    set_session_id(sess, "elsewhere", key="mine")
    assert (get_session_id(sess), get_session_id(sess, "mine"), get_session_id("plain")) == ("chosen", "elsewhere", "plain")


@pytest.mark.parametrize("sess", [None, 5, ["s"], object()])
def test_what_is_no_session_is_refused(store: SnapWorkflowStateStore, sess: Any) -> None:
    with pytest.raises(InvalidInputError, match="mutable mapping or a session id"):
        store.get_state("f", sess)
    with pytest.raises(InvalidInputError, match="mutable mapping or a session id"):
        set_session_id(sess, "s")


def test_a_session_object_and_its_id_are_the_same_session(store: SnapWorkflowStateStore) -> None:
    sess = {"_workflow_session_id": "s"}
    store.update_state("f", sess, {"a": 1})
    assert store.get_state("f", "s") == {"a": 1}


def test_no_two_sessions_meet_whatever_their_names(store: SnapWorkflowStateStore) -> None:
    """The package joins with a colon, so ("a:b", "c") and ("a", "b:c") are one session to it."""
    pairs = [
        ("a:b", "c"),
        ("a", "b:c"),
        ("a/b", "c"),
        ("a", "b/c"),
        ("a%2Fb", "c"),
        ("a", ""),
        ("", "a"),
        ("../a", "c"),
        ("a", "c@1"),
    ]
    for number, (flow, session) in enumerate(pairs):
        store.update_state(flow, session, {"n": number})
    assert [store.get_state(flow, session) for flow, session in pairs] == [{"n": number} for number in range(len(pairs))]


def test_the_state_is_the_readers_own_and_so_is_what_was_given(store: SnapWorkflowStateStore) -> None:
    """The package's store hands out its own nested values."""
    mine = {"tags": ["a"]}
    store.update_state("f", "s", mine)
    mine["tags"].append("later")
    read = store.get_state("f", "s")
    read["tags"].append("mine")
    store.set_current_step("f", "s", "two")
    assert store.get_state("f", "s") == {"tags": ["a"]}


def test_values_come_back_with_their_types(store: SnapWorkflowStateStore, world: World) -> None:
    values: dict[Any, Any] = {
        "date": datetime.date(2026, 11, 21),
        "pair": (1, "b"),
        "bytes": b"\0\xff",
        "set": {1, 2},
        "big": 2**80,
        "nested": [{"z": 1, "a": [None, True]}],
        7: "a key that is no text",
    }
    store.update_state("f", "s", values)
    read = another(world).get_state("f", "s")
    assert read == values
    assert [type(value) for value in read.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("updates", "place"),
    [
        ({"fine": 1, "upload": object()}, 'state["upload"]'),
        ({"form": {"rows": [1, lambda: None]}}, 'state["form"]["rows"][1]'),
        ({"text": "half \ud800"}, 'state["text"]'),
    ],
)
def test_what_cannot_be_stored_is_a_type_error_that_names_the_key(
    store: SnapWorkflowStateStore, world: World, caplog: pytest.LogCaptureFixture, updates: dict[str, Any], place: str
) -> None:
    store.update_state("f", "s", {"fine": 0})
    before = contents(world)
    with pytest.raises(TypeError) as raised:
        store.update_state("f", "s", updates)
    assert isinstance(raised.value, UnstorableError)
    assert isinstance(raised.value, InvalidInputError), "whoever catches our errors catches this one"
    assert raised.value.context["path"] == place
    assert place in caplog.text, "StepFlow swallows the error: the log is all that its user sees"
    with pytest.raises(UnstorableError):
        store.update_step_state("f", "s", "one", updates)
    assert contents(world) == before


def test_a_step_that_is_no_text_is_refused(store: SnapWorkflowStateStore, world: World) -> None:
    before = contents(world)
    with pytest.raises(InvalidInputError, match="must be text"):
        store.set_current_step("f", "s", 3)  # type: ignore[arg-type]
    assert contents(world) == before


def test_namespaces_keep_tenants_apart(world: World) -> None:
    stores = [SnapWorkflowStateStore(world.archive, namespace) for namespace in (None, "a", "b")]
    for number, store in enumerate(stores):
        store.update_state("f", "s", {"n": number})
    assert [store.get_state("f", "s") for store in stores] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [len(store.list_sessions("f")) for store in stores] == [1, 1, 1]
    with pytest.raises(NotFoundError, match="no such namespace"):
        open_on(world.memory, namespace="c")


# Writing nothing, and writing at the same time ------------------------------------------------------------------------


def test_a_call_that_changes_nothing_writes_nothing(store: SnapWorkflowStateStore, world: World) -> None:
    store.update_state("f", "s", {"n": 1, "odd": float("nan")})
    store.set_current_step("f", "s", "one")
    store.set_session_label("f", "s", "label")
    before = contents(world)
    store.update_state("f", "s", {"n": 1, "odd": float("nan")})
    store.update_state("f", "s", {})
    store.set_current_step("f", "s", "one")
    store.set_session_label("f", "s", "label")
    store.clear_step_state("f", "s", "one")
    store.clear_state("f", "never there")
    store.update_state("f", "never there", {})
    assert contents(world) == before


def test_equal_is_not_the_same(store: SnapWorkflowStateStore) -> None:
    """1, 1.0 and True are equal to Python and different to whoever reads them from the archive."""
    for value in (1, True, 1.0):
        store.update_state("f", "s", {"n": value})
        assert type(store.get_state("f", "s")["n"]) is type(value)


def test_a_call_that_changes_nothing_here_may_change_something_there(world: World) -> None:
    """What this process remembers says that there is nothing to do; the storage says otherwise."""
    one, other = (another(world, trust_s=None) for _ in range(2))
    one.update_state("f", "s", {"n": 1})
    one.set_current_step("f", "s", "one")
    other.update_state("f", "s", {"n": 2})
    other.set_current_step("f", "s", "two")
    one.update_state("f", "s", {"n": 1})
    one.set_current_step("f", "s", "one")
    third = another(world)
    assert (third.get_state("f", "s"), third.get_current_step("f", "s")) == ({"n": 1}, "one")


def test_forty_updates_at_the_same_time_lose_nothing(world: World) -> None:
    stores = [another(world, trust_s=trust_s) for trust_s in (0, None, None, TRUST_S)]

    def work(number: int) -> None:
        mine = stores[number % 4]
        mine.update_state("f", "s", {f"key{number}": number})
        mine.update_step_state("f", "s", "one", {f"key{number}": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    everything = {f"key{number}": number for number in range(40)}
    assert another(world).get_state("f", "s") == {**everything, "_step_one": everything}


RIVAL = """
import sys, snapstore
from snapstore.adapters.cjm import SnapWorkflowStateStore
store = SnapWorkflowStateStore(snapstore.open(sys.argv[1], durability="os"))
for number in range(12):
    store.update_state("f", "s", {f"{sys.argv[2]} {number}": number})
    store.set_current_step("f", "s", f"{sys.argv[2]} {number}")
"""


def test_two_processes_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    archive = snapstore.open(url, create=True, durability="os")
    rivals = [subprocess.Popen([sys.executable, "-c", RIVAL, url, name]) for name in ("left", "right")]
    assert [rival.wait() for rival in rivals] == [0, 0]
    store = SnapWorkflowStateStore(archive)
    assert store.get_state("f", "s") == {f"{name} {number}": number for name in ("left", "right") for number in range(12)}
    assert store.get_current_step("f", "s") in {"left 11", "right 11"}
    assert len(store.history("f", "s")) == 48, "each change is a version of its own"


def test_a_change_after_another_process_cleared_does_not_bring_back_what_was_there(world: World) -> None:
    one, other = another(world, trust_s=None), another(world)
    one.update_state("f", "s", {"secret": 1})
    for _ in range(2):
        other.update_state("f", "s", {"more": 2})
        other.clear_state("f", "s")
    one.update_state("f", "s", {"new": 3})
    assert another(world).get_state("f", "s") == one.get_state("f", "s") == {"new": 3}


# What it costs --------------------------------------------------------------------------------------------------------


def test_a_change_is_one_round_trip_and_reading_it_back_none(world: World) -> None:
    store = another(world, trust_s=None)
    first = world.cost(lambda: store.get_current_step("f", "s"))
    assert dict(first.requests) == {"list": 1}
    writes: list[Callable[[], object]] = [
        lambda: store.update_state("f", "s", {"name": "Ada"}),
        lambda: store.set_current_step("f", "s", "two"),
        lambda: store.update_step_state("f", "s", "two", {"n": 1}),
    ]
    for write in writes:
        usage = world.cost(write)
        assert (dict(usage.requests), usage.round_trips) == (SAVE, 1)
    reads: list[Callable[[], object]] = [
        lambda: store.get_state("f", "s"),
        lambda: store.get_current_step("f", "s"),
        lambda: store.session_exists("f", "s"),
        lambda: store.get_session_summary("f", "s"),
    ]
    assert [world.cost(read).total for read in reads] == [0, 0, 0, 0]


def test_reads_are_answered_from_memory_for_as_long_as_they_are_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default covers one request of StepFlow, and no longer: another process may serve the next."""
    now = [clock.now_ms()]
    monkeypatch.setattr(clock, "now_ms", lambda: now[0])
    one, other = SnapWorkflowStateStore(world.archive), another(world)
    one.set_current_step("f", "s", "one")
    other.set_current_step("f", "s", "two")
    assert world.cost(lambda: one.get_current_step("f", "s")).total == 0
    now[0] += int(TRUST_S * 1000)
    assert one.get_current_step("f", "s") == "two"
    assert world.cost(lambda: [one.get_state("f", "s") for _ in range(3)]).total == 0
    now[0] += int(TRUST_S * 1000)
    usage = world.cost(lambda: [one.get_state("f", "s") for _ in range(3)])
    assert dict(usage.requests) == {"get": 1}, "one look whether there is a next version"
