"""What people call a snapshot finds it, whatever its id holds, and nothing else.

Method: a small archive in memory with ordinary and odd ids.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import snapstore
from snapstore.cli import resolve
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError

ODD_IDS = ["a:b:c", "x~2", "latest:odd", "späß 漢字", "a/b/../c", "with messages[0]", "UPPER-case"]


@pytest.fixture
def archive() -> Iterator[snapstore.Archive]:
    with snapstore.open("memory://", create=True) as opened:
        parent = None
        for n in range(4):
            parent = opened.save({"n": n}, run="line", parent=parent, id=f"step-{n}-abcdef")
        opened.save({"side": True}, run="side", id="side-1", parent="step-1-abcdef")
        for id in ODD_IDS:
            opened.save({"id": id}, run="odd", id=id)
        opened.save({}, run="empty", id="empty-state")
        opened.save(7, run="empty", id="number-state", parent="empty-state")
        opened.save([], run="odd", id="last-one")
        yield opened


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("step-2-abcdef", "step-2-abcdef"),
        ("step-2", "step-2-abcdef"),
        ("side", "side-1"),
        ("step-3~", "step-2-abcdef"),
        ("step-3-abcdef~1", "step-2-abcdef"),
        ("step-3~3", "step-0-abcdef"),
        ("step-3~0", "step-3-abcdef"),
        ("step-3~1~1", "step-1-abcdef"),
        ("side-1~2", "step-0-abcdef"),
        *((id, id) for id in ODD_IDS),
        ("späß", "späß 漢字"),
        ("UPPE", "UPPER-case"),
        ("latest", "last-one"),
        ("empty-state", "empty-state"),
        ("empt", "empty-state"),
        ("numb~1", "empty-state"),
    ],
)
def test_snapshots_are_found(archive: snapstore.Archive, text: str, id: str) -> None:
    assert resolve.snapshot(archive, text).id == id


@pytest.mark.parametrize(
    ("text", "id", "path"),
    [
        ("step-2-abcdef:n", "step-2-abcdef", ("n",)),
        ("step-2:n", "step-2-abcdef", ("n",)),
        ("step-3~1:n", "step-2-abcdef", ("n",)),
        ("a:b:c", "a:b:c", ()),
        ("a:b:c:id", "a:b:c", ("id",)),
        ('a:b:c:["x:y"]', "a:b:c", ("x:y",)),
        ("x~2:id", "x~2", ("id",)),
        ("latest:odd:id", "latest:odd", ("id",)),
        ("latest:[0]", "last-one", (0,)),
        ("step-1:", "step-1-abcdef", ()),
    ],
)
def test_paths_are_told_from_ids(archive: snapstore.Archive, text: str, id: str, path: tuple[str, ...]) -> None:
    found, steps = resolve.snapshot_and_path(archive, text)
    assert (found.id, steps) == (id, path)


def test_latest_refers_to_the_run_when_one_is_named(archive: snapstore.Archive) -> None:
    assert resolve.snapshot(archive, "latest", run="line").id == "step-3-abcdef"
    assert resolve.snapshot(archive, "latest~1", run="line").id == "step-2-abcdef"
    with pytest.raises(NotFoundError) as caught:
        resolve.snapshot(archive, "latest", run="none")
    assert caught.value.code == "run_not_found"


@pytest.mark.parametrize("text", ["nothing", "", "ste", "step-9", "step-9:n", ":", "~", "~1", "nothing~1"])
def test_what_is_not_there_is_not_found(archive: snapstore.Archive, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve.snapshot_and_path(archive, text)
    assert caught.value.code == "snapshot_not_found"


def test_a_beginning_of_several_ids_is_ambiguous(archive: snapstore.Archive) -> None:
    with pytest.raises(ConflictError) as caught:
        resolve.snapshot(archive, "step")
    assert caught.value.code == "ambiguous_id"
    assert caught.value.hint is not None
    assert "step-0-abcdef" in caught.value.hint


def test_deleted_snapshots_do_not_count(archive: snapstore.Archive) -> None:
    for n in (0, 1, 3):
        archive.delete(f"step-{n}-abcdef")
    assert resolve.snapshot(archive, "step").id == "step-2-abcdef"
    archive.delete("step-2-abcdef")
    with pytest.raises(NotFoundError):
        resolve.snapshot(archive, "step")


def test_a_history_ends_somewhere(archive: snapstore.Archive) -> None:
    with pytest.raises(NotFoundError) as caught:
        resolve.snapshot(archive, "step-3~4")
    assert caught.value.code == "ancestor_not_found"
    assert caught.value.context["generations"] == 3
    with pytest.raises(InvalidInputError):
        resolve.snapshot(archive, "step-3~999999")


def test_an_empty_archive_has_no_latest() -> None:
    with snapstore.open("memory://", create=True) as empty, pytest.raises(NotFoundError, match="no snapshots yet"):
        resolve.snapshot(empty, "latest")
