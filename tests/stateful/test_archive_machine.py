"""An archive against a dict: whatever is done to both, they show the same.

Goal: saving, overwriting, updating, forking, deleting, listing, partial reads and diffs agree with a model that keeps whole
states in a dict, through any sequence of calls and any number of handles; and the tree of a state does not depend on how the
state came to be.
Method: hypothesis draws the calls; states come from seeds and are edited in their middle, so that trees, growing chunks and
merging saves occur by themselves. One storage in memory, and once a local folder.
"""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import snapstore
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_on
from snapstore.snapshot import ListView, MapView, Snapshot, SnapshotDraft
from tests.fault.witness import empty, same
from tests.stateful.states import applied, edited, some_state, sorted_dicts

SEEDS = st.integers(0, 10**6)
PICKS = st.integers(0, 10**6)
RUNS = st.sampled_from(["r", "Run 2", "ü/.."])
GRAPHS = st.sampled_from(["default", "g 2"])
WORDS = st.sampled_from(["completed", "running", "", "waiting for input"])
NODES = st.sampled_from([None, "plan", "act", ""])
METADATA = st.sampled_from([{}, {"model": "large"}, {"cost": 1.5, "tags": ["a", "ü"]}])


@dataclass
class Known:
    """What the model knows of one snapshot."""

    run: str
    graph: str
    state: Any
    created_at: Any
    version: int
    node: str | None = None
    status: str = "completed"
    metadata: dict[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()


class ArchiveMachine(RuleBasedStateMachine):
    """The calls, and what must hold after each."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[str, Known] = {}
        self.dead: dict[str, int] = {}
        # By run, what its listing shows: (id, creation time) -> every parent that a version in this run had.
        self.listed: dict[str, dict[tuple[str, Any], set[str]]] = {}
        self.count = 0

    @initialize()
    def start(self) -> None:
        self.storage = empty()
        self.archive = self.opened()

    def opened(self) -> Archive:
        """Another handle on the archive."""
        return open_on(self.storage)

    def picked(self, number: int) -> str:
        return list(self.live)[number % len(self.live)]

    def noted(self, snapshot: Snapshot, known: Known) -> None:
        """Take over what an acknowledged write made, after a look at what it says of itself."""
        self.live[snapshot.id] = known
        self.dead.pop(snapshot.id, None)
        self.listed.setdefault(known.run, {}).setdefault((snapshot.id, known.created_at), set()).update(known.parents)
        self.check_fields(snapshot, snapshot.id)

    def check_fields(self, snapshot: Snapshot, id: str) -> None:
        known = self.live[id]
        assert (snapshot.id, snapshot.run, snapshot.graph) == (id, known.run, known.graph)
        assert (snapshot.node, snapshot.status, dict(snapshot.metadata)) == (known.node, known.status, known.metadata)
        assert (snapshot.parents, snapshot.version) == (known.parents, known.version)
        assert snapshot.created_at == known.created_at <= snapshot.updated_at

    # Writing ------------------------------------------------------------------------------------------------------------

    @rule(seed=SEEDS, run=RUNS, graph=GRAPHS, node=NODES, status=WORDS)
    def save_without_parent(self, seed: int, run: str, graph: str, node: str | None, status: str) -> None:
        state = some_state(seed)
        metadata = {"seed": seed, "tags": ["a", "ü"], "cost": 1.5}
        snapshot = self.archive.save(state, run=run, graph=graph, node=node, status=status, metadata=metadata)
        self.noted(snapshot, Known(run, graph, state, snapshot.created_at, 1, node, status, metadata))

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, seed=SEEDS, run=st.none() | RUNS)
    def save_a_child(self, pick: int, seed: int, run: str | None) -> None:
        parent = self.picked(pick)
        before = self.live[parent]
        state, run = edited(before.state, seed), run or before.run
        snapshot = self.archive.save(state, run=run, graph=before.graph, parent=parent)
        assert snapshot.created_at > before.created_at
        self.noted(snapshot, Known(run, before.graph, state, snapshot.created_at, 1, parents=(parent,)))

    @precondition(lambda self: len(self.live) > 1)
    @rule(picks=st.lists(PICKS, min_size=2, max_size=4), seed=SEEDS)
    def save_a_merge(self, picks: list[int], seed: int) -> None:
        parents = tuple(dict.fromkeys(map(self.picked, picks)))
        before = self.live[parents[0]]
        state = edited(before.state, seed)
        snapshot = self.archive.save(state, run=before.run, graph=before.graph, parent=list(parents))
        self.noted(snapshot, Known(before.run, before.graph, state, snapshot.created_at, 1, parents=parents))

    @rule(run=RUNS, seed=SEEDS, count=st.sampled_from([1, 2, 12]))
    def append_to_a_run(self, run: str, seed: int, count: int) -> None:
        handle = self.archive.run(run)
        latest = handle.latest()
        state = some_state(seed) if latest is None else self.live[latest.id].state
        parents = () if latest is None else (latest.id,)
        for step in range(count):
            state = edited(state, seed + step)
            snapshot = handle.save(state)
            self.noted(snapshot, Known(run, "default", state, snapshot.created_at, 1, parents=parents))
            parents = (snapshot.id,)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, seed=SEEDS, run=st.none() | RUNS, graph=GRAPHS, status=WORDS)
    def overwrite(self, pick: int, seed: int, run: str | None, graph: str, status: str) -> None:
        id = self.picked(pick)
        before = self.live[id]
        state = edited(before.state, seed) if seed % 4 else some_state(seed)
        snapshot = self.archive.save(state, run=run or before.run, graph=graph, id=id, status=status)
        known = Known(run or before.run, graph, state, before.created_at, before.version + 1, None, status, {}, before.parents)
        self.noted(snapshot, known)

    @precondition(lambda self: len(self.live) > 1)
    @rule(pick=PICKS, parent=PICKS, seed=SEEDS)
    def overwrite_with_another_parent(self, pick: int, parent: int, seed: int) -> None:
        id, other = self.picked(pick), self.picked(parent)
        before = self.live[id]
        state = edited(before.state, seed)
        if self.live[other].created_at >= before.created_at:
            with pytest.raises(InvalidInputError) as caught:
                self.archive.save(state, run=before.run, graph=before.graph, id=id, parent=other)
            assert caught.value.code in {"parent_newer", "own_parent"}
            return
        # A handle that does not know the id tries to create it first; the pack of that try would name the parent for good.
        assert self.archive.update(id, lambda _: None) is None
        snapshot = self.archive.save(state, run=before.run, graph=before.graph, id=id, parent=other)
        self.noted(snapshot, Known(before.run, before.graph, state, before.created_at, before.version + 1, parents=(other,)))

    @rule(id=st.sampled_from(["x", "../y", "z" * 200]), seed=SEEDS, run=RUNS)
    def save_under_a_given_id(self, id: str, seed: int, run: str) -> None:
        state = some_state(seed)
        before = self.live.get(id)
        snapshot = self.archive.save(state, run=run, id=id)
        if before is None:
            known = Known(run, "default", state, snapshot.created_at, self.dead.get(id, 0) + 1)
        else:
            known = Known(run, "default", state, before.created_at, before.version + 1, parents=before.parents)
        self.noted(snapshot, known)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, seed=SEEDS, status=WORDS)
    def update_the_content(self, pick: int, seed: int, status: str) -> None:
        id = self.picked(pick)
        before = self.live[id]

        def mutator(draft: SnapshotDraft | None) -> SnapshotDraft:
            assert draft is not None
            assert same(draft.state, before.state)
            draft.state = edited(draft.state, seed)
            draft.status = status
            return draft

        snapshot = self.archive.update(id, mutator)
        assert snapshot is not None
        before.state, before.status, before.version = edited(before.state, seed), status, before.version + 1
        self.noted(snapshot, before)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, status=WORDS, node=NODES, metadata=METADATA)
    def update_the_status(self, pick: int, status: str, node: str | None, metadata: Any) -> None:
        id = self.picked(pick)
        before = self.live[id]

        def mutator(draft: SnapshotDraft | None) -> SnapshotDraft:
            assert draft is not None
            assert (draft.status, draft.node, draft.metadata) == (before.status, before.node, before.metadata)
            draft.status, draft.node, draft.metadata = status, node, dict(metadata)
            return draft

        snapshot = self.archive.update(id, mutator)
        assert snapshot is not None
        before.status, before.node, before.metadata, before.version = status, node, dict(metadata), before.version + 1
        self.noted(snapshot, before)

    @rule(id=st.sampled_from(["x", "new id"]), seed=SEEDS, skip=st.booleans())
    def update_or_create(self, id: str, seed: int, skip: bool) -> None:
        before = self.live.get(id)
        state = some_state(seed)
        snapshot = self.archive.update(id, lambda _: None if skip else SnapshotDraft(state=state), run="r")
        if skip:
            assert snapshot is None
            return
        assert snapshot is not None
        if before is None:
            known = Known("r", "default", state, snapshot.created_at, self.dead.get(id, 0) + 1)
        else:
            known = Known(before.run, before.graph, state, before.created_at, before.version + 1, parents=before.parents)
        self.noted(snapshot, known)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, run=RUNS, seed=SEEDS, patched=st.booleans())
    def fork(self, pick: int, run: str, seed: int, patched: bool) -> None:
        id = self.picked(pick)
        before = self.live[id]
        state = edited(before.state, seed) if patched else before.state
        snapshot = self.archive.fork(id, run, patch=(lambda _: state) if patched else None)
        assert snapshot.created_at > before.created_at
        known = Known(run, before.graph, state, snapshot.created_at, 1, before.node, before.status, before.metadata, (id,))
        self.noted(snapshot, known)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS)
    def delete(self, pick: int) -> None:
        id = self.picked(pick)
        self.archive.delete(id)
        self.dead[id] = self.live.pop(id).version + 1
        assert self.archive.get(id) is None
        self.archive.delete(id)

    @rule()
    def go_on_in_another_process(self) -> None:
        self.archive = self.opened()

    # Reading ------------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, cold=st.booleans())
    def read(self, pick: int, cold: bool) -> None:
        id = self.picked(pick)
        snapshot = (self.opened() if cold else self.archive)[id]
        self.check_fields(snapshot, id)
        assert same(snapshot.state(), self.live[id].state)
        assert len(snapshot.register.closure) <= 64

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, seed=SEEDS)
    def read_in_part(self, pick: int, seed: int) -> None:
        id = self.picked(pick)
        state = self.live[id].state
        if type(state) in (dict, list):
            check_part(self.opened()[id].view(), state, random.Random(seed))

    @rule(id=st.sampled_from(["x", "nothing", "new id"]))
    def look_for(self, id: str) -> None:
        assert (id in self.archive) == (id in self.live)
        if id not in self.live:
            with pytest.raises(NotFoundError):
                self.archive[id]

    @precondition(lambda self: self.live)
    @rule(a=PICKS, b=PICKS)
    def diff(self, a: int, b: int) -> None:
        old, new = self.picked(a), self.picked(b)
        changes = list(self.opened().diff(old, new))
        found = applied(self.live[old].state, changes)
        assert same(sorted_dicts(found), sorted_dicts(self.live[new].state))

    @rule(run=RUNS)
    def walk(self, run: str) -> None:
        for archive in (self.archive, self.opened()):
            mine = {id: known for id, known in self.live.items() if known.run == run}
            newest = sorted(mine, key=lambda one: mine[one].created_at, reverse=True)
            log = archive.log(run)
            assert [mine[one.id].created_at for one in log] == [mine[id].created_at for id in newest]
            assert {one.id for one in log} == set(mine)
            assert [one.id for one in archive.log(run, limit=3)] == [one.id for one in log][:3]
            assert {one.id for one in archive.leaves(run)} == self.leaves(run)
            latest = archive.latest(run)
            assert (latest is None) == (not mine)
            if latest is not None:
                assert mine[latest.id].created_at == mine[newest[0]].created_at
                assert same(latest.state(), mine[latest.id].state)
            for snapshot in log:
                self.check_fields(snapshot, snapshot.id)
            for node in ("plan", "act"):
                by_node = archive.latest(run, node=node)
                of_node = [id for id in newest if mine[id].node == node]
                assert (by_node is None) == (not of_node)
                if by_node is not None:
                    assert mine[by_node.id].created_at == mine[of_node[0]].created_at

    def leaves(self, run: str) -> set[str]:
        """The live snapshots of a run that nothing live continues; a history goes on through what is not live any more."""
        listed = self.listed.get(run, {})
        alive = {(id, known.created_at) for id, known in self.live.items() if known.run == run}
        continued: set[tuple[str, Any]] = set()
        for id, created_at in sorted(listed, key=lambda one: one[1], reverse=True):
            if (id, created_at) in alive:
                parents = set(self.live[id].parents)
            elif (id, created_at) in continued:
                parents = listed[id, created_at]
            else:
                continue
            continued |= {one for one in listed if one[0] in parents and one[1] < created_at}
        return {id for id, _ in alive - continued}

    @rule(graph=st.none() | GRAPHS, status=st.none() | WORDS, limit=st.none() | st.integers(0, 30))
    def list(self, graph: str | None, status: str | None, limit: int | None) -> None:
        wanted = [id for id, one in self.live.items() if graph in {None, one.graph} and status in {None, one.status}]
        wanted.sort()
        wanted.sort(key=lambda one: self.live[one].created_at, reverse=True)
        rows = [row.id for row in self.archive.list(graph=graph, status=status, limit=limit)]
        assert rows == wanted[:limit]
        if wanted:
            half = wanted[len(wanted) // 2]
            behind = [row.id for row in self.archive.list(graph=graph, status=status, before=half)]
            assert behind == wanted[len(wanted) // 2 + 1 :]

    @invariant()
    def nothing_is_lost(self) -> None:
        self.count += 1
        if self.count % 8 == 0 and self.live:
            archive = self.opened()
            for id in list(self.live)[-12:]:
                assert same(archive[id].state(), self.live[id].state)

    def teardown(self) -> None:
        if not hasattr(self, "archive"):
            return
        archive = self.opened()
        for id, known in self.live.items():
            assert same(archive[id].state(), known.state)
        for id in self.dead:
            assert archive.get(id) is None


def check_part(view: Any, plain: Any, rng: random.Random) -> None:
    """Compare a view with what it shows, along some random path."""
    assert len(view) == len(plain)
    if type(plain) is dict:
        assert list(view) == list(plain)
        assert "no such key" not in view
        if plain:
            key = rng.choice(list(plain))
            assert key in view
            _check_child(view[key], plain[key], rng)
        with pytest.raises(KeyError):
            view["no such key"]
        return
    length = len(plain)
    for _ in range(4):
        start, stop = (rng.choice([None, rng.randrange(-length - 2, length + 3)]) for _ in range(2))
        step = rng.choice([None, 1, 2, -1, -3])
        assert same(_loaded(view[start:stop:step]), plain[start:stop:step])
    if plain:
        index = rng.randrange(-length, length)
        _check_child(view[index], plain[index], rng)
    with pytest.raises(IndexError):
        view[length]
    assert same(_loaded(list(view)), plain)


def _check_child(found: Any, plain: Any, rng: random.Random) -> None:
    if isinstance(found, ListView | MapView):
        assert same(found.load(), plain)
        check_part(found, plain, rng)
    else:
        assert same(found, plain)


def _loaded(items: list[Any]) -> list[Any]:
    return [item.load() if isinstance(item, ListView | MapView) else item for item in items]


class LocalMachine(ArchiveMachine):
    """The same on a local folder."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        snapstore.open(self.folder.name, create=True, durability="os").close()
        self.archive = self.opened()

    def opened(self) -> Archive:
        return snapstore.open(self.folder.name, durability="os")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


def profile(examples: int, steps: int) -> settings:
    """Settings for so many sequences of so many calls; states are large and machines slow, so nothing has a deadline."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


def test_an_archive_in_memory_behaves_like_a_dict() -> None:
    run_state_machine_as_test(ArchiveMachine, settings=profile(20, 30))


def test_an_archive_in_a_folder_behaves_like_a_dict() -> None:
    run_state_machine_as_test(LocalMachine, settings=profile(2, 15))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("machine", "examples"), [(ArchiveMachine, 150), (LocalMachine, 30)])
def test_an_archive_behaves_like_a_dict_for_long(machine: type[ArchiveMachine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=profile(examples, 60))


# The tree of a state depends on the state alone ------------------------------------------------------------------------------


def root_of(archive: Archive, state: Any, parent: str | None) -> tuple[str, Snapshot]:
    """The digest of the root of a state's tree, saved as the child of a snapshot."""
    snapshot = archive.save(state, run="r", parent=parent)
    assert snapshot.register.root is not None
    return snapshot.register.root.digest, snapshot


def check_canonical(seed: int, saves: int) -> None:
    """Build a state by so many edits, and compare each tree with that of the same state saved at once."""
    archive = open_on(empty())
    state: Any = some_state(seed)
    parent: str | None = None
    for step in range(saves):
        digest, snapshot = root_of(archive, state, parent)
        alone, whole = root_of(open_on(empty()), state, None)
        assert digest == alone
        assert (snapshot.digest, snapshot.size_bytes) == (whole.digest, whole.size_bytes)
        parent = snapshot.id
        state = edited(state, seed + step)


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_tree_of_a_state_does_not_depend_on_its_history(seed: int) -> None:
    check_canonical(seed, 6)


@pytest.mark.slow
@pytest.mark.timeout(600)
@given(seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_the_tree_of_a_state_does_not_depend_on_a_long_history(seed: int) -> None:
    check_canonical(seed, 20)


@functools.cache
def chain() -> tuple[Archive, list[Any]]:
    """A long run: 40 edits, so that packs are merged several times."""
    archive = open_on(empty())
    run = archive.run("r")
    states = [some_state(4)]
    for step in range(40):
        states.append(edited(states[-1], step))
    for number, state in enumerate(states):
        run.save(state, id=f"s{number}")
    return archive, states


def test_a_chain_of_edits_merges_packs_and_keeps_every_state() -> None:
    archive, states = chain()
    sizes = [len(archive[f"s{number}"].register.closure) for number in range(len(states))]
    assert any(later < earlier for earlier, later in itertools.pairwise(sizes)), "nothing was merged"
    assert max(sizes) <= 24
    for number, state in enumerate(states):
        assert same(open_on(archive.storage)[f"s{number}"].state(), state)


@given(a=st.integers(0, 40), b=st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_any_two_states_of_a_chain_differ_by_their_diff(a: int, b: int) -> None:
    archive, states = chain()
    found = applied(states[a], list(archive.diff(f"s{a}", f"s{b}")))
    assert same(sorted_dicts(found), sorted_dicts(states[b]))
