"""Rules of SPEC.md that no single example can show: what a writer must refuse, and what it must write beside.

Goal: a rule that is only written down is not kept. Method: one test for each, through the archive as a user calls it.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

import snapstore
from snapstore.errors import InvalidInputError
from snapstore.format import names, values

# SPEC.md, Limits: 64 keys of this size and their digests fit into one frame of 2 MiB, so every node can be read again.


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> snapstore.Archive:
    """Give an empty archive in memory."""
    return snapstore.open(f"memory://rules-{request.node.name}", create=True)


def nested(depth: int, kind: type) -> Any:
    """Return so many containers within each other, around a number."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if kind is dict else kind([value])
    return value


@pytest.mark.parametrize("others", [0, 63, 99])
def test_keys_up_to_the_limit_come_back(archive: snapstore.Archive, others: int) -> None:
    size = values.KEY_LIMIT_BYTES - len(values.text_header(values.KEY_LIMIT_BYTES - 3))
    state = {f"{number:03}" + "k" * (size - 3): "text " * 500 for number in range(others + 1)}
    id = archive.save(state, run="r").id
    assert snapstore.open(archive.url)[id].state() == state


@pytest.mark.parametrize("value", [1, "text " * 500], ids=["small", "large"])
@pytest.mark.parametrize("size", [values.KEY_LIMIT_BYTES, 3_000_000])
def test_longer_keys_are_refused(archive: snapstore.Archive, size: int, value: object) -> None:
    with pytest.raises(InvalidInputError, match="key"):
        archive.save({"outer": {"k" * size: value, "other": 1}}, run="r")
    assert not list(archive.storage.list(names.RUNS_PREFIX))


@pytest.mark.parametrize("kind", [list, dict, tuple, frozenset])
@pytest.mark.parametrize("beside", [{}, {"large": "text " * 500}], ids=["alone", "in a tree"])
def test_nesting_comes_back_up_to_the_limit_and_is_refused_or_comes_back_beyond(
    archive: snapstore.Archive, kind: type, beside: dict[str, Any]
) -> None:
    for depth in (values.MAX_DEPTH - 1, values.MAX_DEPTH, values.MAX_DEPTH + 1, 254, 255, 256, 400):
        state = {"deep": nested(depth - 1, kind), **beside}
        try:
            id = archive.save(state, run="r").id
        except InvalidInputError as error:
            code: str | None = error.code
        else:
            code = None
            assert snapstore.open(archive.url)[id].state() == state
        assert code in ({None} if depth <= values.MAX_DEPTH else {None, "too_deep"})


def test_refusing_takes_no_time(archive: snapstore.Archive) -> None:
    value: Any = object()
    for _ in range(60):
        value = (value,)
    started = time.monotonic()
    with pytest.raises(InvalidInputError):
        archive.save({"inside": value}, run="r")
    assert time.monotonic() - started < 2


def test_edge_markers_name_every_further_parent(archive: snapstore.Archive) -> None:
    parents = [archive.save({"n": number}, run="r", id=f"p{number}").id for number in range(4)]
    archive.save({"merged": 1}, run="r", id="m", parent=parents)
    for _ in range(2):
        rows = [(names.parse_pack_key(row.key), row.size) for row in archive.storage.list(names.run_prefix("r"))]
        mine = [(pack, size) for pack, size in rows if pack is not None and pack.id12 == names.short_digest("m")]
        edges = {pack.parent12 for pack, size in mine if not size}
        assert edges == {names.short_digest(parent) for parent in parents[1:]}
        assert {pack.parent12 for pack, size in mine if size} == {names.short_digest(parents[0])}
        assert [snapshot.id for snapshot in archive.leaves("r")] == ["m"]
        archive.save({"merged": 2}, run="r", id="m", parent=parents)
