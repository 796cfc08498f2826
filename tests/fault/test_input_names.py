"""Ids, runs and graphs as they come off the wire: hostile, strange and long ones.

Goal: every text is a name of its own, kept exactly, that never leaves the archive's folder; what is no text, empty, too
long or not Unicode is refused with a code before anything is written.
Method: each name goes through the whole interface of an archive in memory and on a local folder; each bad one is tried at
every door.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_on
from snapstore.snapshot import SnapshotDraft
from tests.fault.witness import empty

NAMES = [
    "../x", "a/b", ".", "..", "...", "\0", " ", "  ", "|", ":", "a:b", "/", "//", "/etc/passwd", "\\", "a\\b", "\n", "\r\n", "\t",
    "~", "~" + "0" * 64, "%2E%2E", "%", "A", "a", "con", "nul", "x.", "x ", "*?<>\"'", "-", "--help", "0", "None",
    "🦊", "É", "é", "e\u0301", "\u202e", "\ufeff", "snapstore.json", ".snapstore", "runs",
    "x" * 120, "x" * 121, "X" * 41, "🦊" * 30, "x" * 10_000, "🦊" * 2_500,
]  # fmt: skip

LONGEST = "y" * 16 * 1024

BAD: list[tuple[Any, str]] = [
    ("", "name_empty"),
    ("\ud800", "name_not_unicode"),
    ("ok\udcff", "name_not_unicode"),
    ("x" * (16 * 1024 + 1), "name_too_long"),
    (5, "name_not_text"),
    (b"x", "name_not_text"),
    (["x"], "name_not_text"),
    (1.5, "name_not_text"),
]


def label(name: Any) -> str:
    return repr(name)[:24]


@pytest.fixture(params=["memory", "local"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "memory":
        return open_on(empty())
    return snapstore.open(tmp_path / "above" / "archive", create=True, durability="os")


def test_every_name_is_kept_and_stands_for_itself(archive: Archive) -> None:
    for number, name in enumerate(NAMES):
        archive.save({"n": number}, run=name, graph=name, node=name, id=name, status="s", metadata={"name": "x"})
    for number, name in enumerate(NAMES):
        found = archive[name]
        assert found.state() == {"n": number}
        assert (found.id, found.run, found.graph, found.node) == (name, name, name, name)
        latest = archive.latest(name)
        assert latest is not None
        assert latest.id == name
        by_node = archive.latest(name, node=name)
        assert by_node is not None
        assert by_node.id == name
        assert [one.id for one in archive.log(name)] == [name]
        assert [one.id for one in archive.leaves(name)] == [name]
        assert [row.id for row in archive.list(graph=name)] == [name]
        assert [row.id for row in archive.list(run=name)] == [name]
    assert {row.id for row in archive.list()} == set(NAMES)


def test_every_name_can_be_changed_forked_and_deleted(archive: Archive) -> None:
    def more(draft: SnapshotDraft | None) -> SnapshotDraft:
        assert draft is not None
        draft.state["more"] = draft.status = "done"
        return draft

    for name in NAMES[::2]:
        archive.save({"n": 1}, run="r", graph=name, id=name)
        changed = archive.update(name, more)
        assert changed is not None
        assert changed.state() == {"n": 1, "more": "done"}
        fork = archive.fork(name, run=name + "f", new_id=name + "f", patch={name: 2})
        assert archive[name + "f"].state() == {"n": 1, "more": "done", name: 2}
        assert fork.parents == (name,)
        archive.delete(name)
        assert archive.get(name) is None
        with pytest.raises(NotFoundError) as caught:
            archive[name]
        assert caught.value.code == "snapshot_not_found"


def test_the_longest_name_there_may_be(archive: Archive) -> None:
    archive.save({"n": 1}, run=LONGEST, graph=LONGEST, id=LONGEST, node=LONGEST)
    assert archive[LONGEST].id == LONGEST
    child = archive.save({"n": 2}, run=LONGEST, parent=LONGEST)
    assert child.parents == (LONGEST,)
    assert [one.id for one in archive.log(LONGEST)] == [child.id, LONGEST]


def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "above" / "archive"
    archive = snapstore.open(root, create=True, durability="os")
    for name in NAMES:
        archive.save({"n": 1}, run=name, graph=name, id=name)
        snapstore.open(root, create=True, durability="os", namespace=name).save({"n": 2}, run=name, graph=name, id=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["above"]
    assert sorted(path.name for path in (tmp_path / "above").iterdir()) == ["archive"]
    top = {path.name for path in root.iterdir()}
    assert top == {".snapstore", "changes", "ns", "probes", "runs", "snapshots", "snapstore.json"}
    assert len(list((root / "ns").iterdir())) == len(NAMES)
    assert all(len(part.encode()) <= 255 for path in root.rglob("*") for part in path.relative_to(root).parts)


def test_names_that_differ_in_case_alone_do_not_meet_on_a_disk_that_ignores_it(tmp_path: Path) -> None:
    archive = snapstore.open(tmp_path / "archive", create=True, durability="os")
    for name in ("Run", "run", "RUN"):
        archive.save({"name": name}, run=name, graph=name, id=name)
    paths = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert len({path.casefold() for path in paths}) == len(paths)


DOORS: dict[str, Callable[[Archive, Any], Any]] = {
    "save id": lambda archive, name: archive.save({}, run="r", id=name),
    "save run": lambda archive, name: archive.save({}, run=name),
    "save graph": lambda archive, name: archive.save({}, run="r", graph=name),
    "get": lambda archive, name: archive.get(name),
    "item": lambda archive, name: archive[name],
    "update": lambda archive, name: archive.update(name, lambda draft: SnapshotDraft(state={})),
    "update run": lambda archive, name: archive.update("new", lambda draft: SnapshotDraft(state={}), run=name),
    "update graph": lambda archive, name: archive.update("new", lambda draft: SnapshotDraft(state={}), graph=name),
    "fork": lambda archive, name: archive.fork(name),
    "fork new id": lambda archive, name: archive.fork("x", new_id=name),
    "fork run": lambda archive, name: archive.fork("x", run=name),
    "delete": lambda archive, name: archive.delete(name),
    "run": lambda archive, name: archive.run(name),
    "run graph": lambda archive, name: archive.run("r", graph=name).save({}),
    "latest": lambda archive, name: archive.latest(name),
    "log": lambda archive, name: archive.log(name),
    "leaves": lambda archive, name: archive.leaves(name),
    "list graph": lambda archive, name: list(archive.list(graph=name)),
    "list run": lambda archive, name: list(archive.list(run=name)),
    "diff": lambda archive, name: list(archive.diff("x", name)),
    "watch": lambda archive, name: next(archive.watch(name, timeout_s=0)),
    "namespace": lambda archive, name: open_on(archive.storage, create=True, namespace=name),
}

# None means something at these doors: a name is drawn, or everything is listed.
NONE_IS_FINE = {"save id", "fork new id", "fork run", "update run", "list graph", "list run", "watch", "namespace"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("name", "code"), [*BAD, (None, "name_not_text")], ids=label)
def test_what_is_no_name_is_refused_at_every_door(door: str, name: Any, code: str) -> None:
    if name is None and door in NONE_IS_FINE:
        return
    if name == "" and door in {"fork run", "update run"}:
        return  # as good as none
    storage = empty()
    archive = open_on(storage)
    archive.save({}, run="r", id="x")
    before = [row.key for row in storage.list("")]
    with pytest.raises(InvalidInputError) as caught:
        DOORS[door](archive, name)
    assert caught.value.code == code
    assert len(str(caught.value)) < 500, "a long name is cut in the message"
    assert [row.key for row in storage.list("")] == before


@pytest.mark.parametrize("node", [5, b"x", "\ud800", "x" * 20_000], ids=label)
def test_a_node_that_is_no_text_is_refused(node: Any) -> None:
    archive = open_on(empty())
    with pytest.raises(InvalidInputError):
        archive.save({}, run="r", node=node)
    archive.save({}, run="r", id="x", node="")
    with pytest.raises(InvalidInputError):
        archive.update("x", lambda draft: SnapshotDraft(state={}, node=node))


@pytest.mark.parametrize("status", [None, 5, b"x", "\ud800", "x" * 1025, ["x"]], ids=label)
def test_a_status_that_is_no_short_text_is_refused(status: Any) -> None:
    storage = empty()
    archive = open_on(storage)
    archive.save({}, run="r", id="x", status="")
    before = [row.key for row in storage.list("")]
    acts: list[Callable[[], Any]] = [
        lambda: archive.save({}, run="r", status=status),
        lambda: archive.save({}, run="r", id="x", status=status),
        lambda: archive.update("x", lambda draft: SnapshotDraft(state={}, status=status)),
        lambda: archive.update("y", lambda draft: SnapshotDraft(state={}, status=status)),
    ]
    for act in acts:
        with pytest.raises(InvalidInputError) as caught:
            act()
        assert caught.value.code == "invalid_status"
    assert [row.key for row in storage.list("")] == before
    assert archive["x"].status == ""


METADATA: list[tuple[Any, str]] = [
    ("text", "metadata"),
    ([1], "metadata"),
    ({"a": float("nan")}, "metadata['a']"),
    ({"a": {"b": [1, float("inf")]}}, "metadata['a']['b'][1]"),
    ({"a": object()}, "metadata['a']"),
    ({"a": b"bytes"}, "metadata['a']"),
    ({1: 2}, "metadata"),
    ({"a": "\ud800"}, "metadata['a']"),
    ({"a": "x" * 8200}, "metadata"),
    ({"a": ["y"] * 3000}, "metadata"),
]


@pytest.mark.parametrize(("metadata", "place"), METADATA, ids=label)
def test_metadata_that_is_no_small_json_object_is_refused(metadata: Any, place: str) -> None:
    storage = empty()
    archive = open_on(storage)
    archive.save({}, run="r", id="x", metadata={"fine": [1, 2.5, None, True, "ü"]})
    before = [row.key for row in storage.list("")]
    acts: list[Callable[[], Any]] = [
        lambda: archive.save({}, run="r", metadata=metadata),
        lambda: archive.update("x", lambda draft: SnapshotDraft(state={}, metadata=metadata)),
        lambda: archive.fork("x", metadata=metadata),
    ]
    for act in acts:
        with pytest.raises(InvalidInputError) as caught:
            act()
        assert "metadata" in str(caught.value)
        assert caught.value.context.get("path", place) == place
    assert [row.key for row in storage.list("")] == before
    assert archive["x"].metadata == {"fine": [1, 2.5, None, True, "ü"]}


def test_a_cyclic_or_very_deep_metadata_is_refused() -> None:
    archive = open_on(empty())
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    deep: dict[str, Any] = {}
    for _ in range(2000):
        deep = {"deeper": deep}
    for metadata in (cycle, deep):
        with pytest.raises(InvalidInputError):
            archive.save({}, run="r", metadata=metadata)


def test_parents_that_are_not_there_are_named() -> None:
    archive = open_on(empty())
    archive.save({}, run="r", id="x")
    archive.save({}, run="r", id="gone")
    archive.delete("gone")
    for parent in ("nowhere", ["x", "nowhere"], "gone", ["gone"]):
        with pytest.raises(NotFoundError) as caught:
            archive.save({}, run="r", parent=parent)
        assert caught.value.context["id"] in {"nowhere", "gone"}
    with pytest.raises(InvalidInputError) as own:
        archive.save({}, run="r", id="x", parent="x")
    assert own.value.code == "own_parent"
    with pytest.raises(InvalidInputError) as many:
        archive.save({}, run="r", parent=[archive.save({}, run="r").id for _ in range(65)])
    assert many.value.code == "too_many_parents"


def test_long_names_of_many_parents_are_refused_clearly() -> None:
    """64 parents with ids of 16 KiB would make a document of a megabyte."""
    archive = open_on(empty())
    parents = [archive.save({}, run="r", id=f"{number:02}" + "x" * 16_000).id for number in range(20)]
    with pytest.raises(snapstore.SnapstoreError) as caught:
        archive.save({}, run="r", parent=parents)
    assert "too large" in str(caught.value)
    assert archive.save({}, run="r", parent=parents[:10]).parents == tuple(parents[:10])
