"""Trees are cut as SPEC.md says, whatever was there before.

Goal: equal states have equal trees, so that they are stored once by any writer; and a tree does not depend on its history.
Method: `cutter.py`, written from the text alone, cuts the same states and must arrive at the same root digest; states are
made by drawing, built at once, and built again on top of trees of other states.
"""

from __future__ import annotations

import random
from typing import Any

import blake3
import pytest

from snapstore.format import values
from snapstore.format.node import Entry
from snapstore.history.build import TreeBuilder
from snapstore.history.cutting import BIG_BYTES, cut_bytes
from snapstore.packs.builder import PackBuilder
from tests.format import cutter

DATA = blake3.blake3(b"snapstore").digest(length=400_000)


def built(state: Any, old: Entry | None = None) -> Entry:
    """Return the root that snapstore builds, on top of an old tree if there is one."""
    packs = PackBuilder(1, lambda _ordinal, _body: None)
    tree = TreeBuilder(packs, old).build(state)
    if tree.root.node is not None:
        packs.add_nodes(tree.root.node)
    packs.finish(b"{}", tree.root, dict)
    assert tree.digest == cutter.blake(values.encode(state)).hex()
    return tree.root


def expected(state: Any) -> tuple[bytes, int]:
    """Return digest and length of the root as SPEC.md has it."""
    tree = cutter.cut(state)
    return (cutter.blake(tree), len(tree)) if isinstance(tree, bytes) else (tree.digest, tree.length)


def text(draw: random.Random, size: int) -> str:
    """Return text of about this size, sometimes not ASCII."""
    return "".join(draw.choice(["word ", "other ", "é", "\n"]) for _ in range(size // 4))


def drawn(draw: random.Random, size: int, depth: int = 0) -> Any:
    """Return a state of about this size in bytes."""
    kind = draw.choice(["list", "dict", "record", "text", "bytes", "tuple", "numbers"] if size > 200 else ["text", "small"])
    if depth > 5 or kind == "text":
        return text(draw, size)
    if kind == "bytes":
        start = draw.randrange(1000)
        return DATA[start : start + size]
    if kind == "small":
        return draw.choice([None, 1.5, draw.randrange(-(2**70), 2**70), {"a": 1}, [1, 2], (1,), "x" * size])
    if kind == "numbers":
        return [draw.randrange(10**9) for _ in range(size // 6)]
    if kind == "tuple":
        return tuple(drawn(draw, size // 5, depth + 1) for _ in range(5))
    count = {"list": draw.choice([1, 7, 40]), "dict": 70, "record": draw.choice([1, 5, 64])}[kind]
    parts = [drawn(draw, int(size * draw.random() * 2 / count), depth + 1) for _ in range(count)]
    return (
        parts if kind == "list" else {draw.choice([f"key {n}", n, (f"{n}" * 40).encode()]): part for n, part in enumerate(parts)}
    )


def changed(draw: random.Random, value: Any) -> Any:
    """Return a value with one change somewhere: at the end, at the front, in the middle, deep inside."""
    if isinstance(value, list) and value:
        place = draw.randrange(len(value) + 1)
        if draw.random() < 0.5 or place == len(value):
            return [*value[:place], drawn(draw, draw.choice([20, 400])), *value[place + draw.randrange(2) :]]
        return [*value[:place], changed(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, dict) and value:
        key = draw.choice(list(value))
        if draw.random() < 0.2:
            return {other: item for other, item in value.items() if other != key}
        return {**value, key: changed(draw, value[key])}
    if isinstance(value, str | bytes) and value:
        place = draw.randrange(len(value) + 1)
        return value[:place] + value[:7] + value[place:]  # type: ignore[operator]
    return drawn(draw, 300)


@pytest.mark.parametrize("seed", range(24))
def test_trees_are_those_of_the_text_with_and_without_a_past(seed: int) -> None:
    draw = random.Random(seed)
    state = drawn(draw, draw.choice([900, 5_000, 30_000, 90_000]))
    root = built(state)
    for _ in range(4):
        assert (root.digest, root.length) == expected(state)
        state = changed(draw, state)
        root = built(state, root)
    assert (root.digest, root.length) == expected(state)


@pytest.mark.parametrize("size", [*range(1018, 1030), *range(2040, 2056), *range(16380, 16388), *range(32764, 32772)])
@pytest.mark.parametrize("kind", ["item", "pair", "collection", "text", "bytes", "state"])
def test_trees_are_those_of_the_text_at_every_limit(size: int, kind: str) -> None:
    value = "x" * size
    states: dict[str, Any] = {
        "item": [1, value, 2, ["y" * 3000]],
        "pair": {"before": 1, "key": value, "after": [2]},
        "collection": {**{f"k{number}": number for number in range(70)}, "key": value, "after": "y" * 3000},
        "text": value,
        "bytes": value.encode(),
        "state": {"a": ["y" * (size - 40)], "b": 1},
    }
    root = built(states[kind])
    assert (root.digest, root.length) == expected(states[kind])


@pytest.mark.parametrize("size", [64, 65])
def test_a_collection_begins_behind_64_pairs(size: int) -> None:
    state = {f"record {number}": {"fields": "y" * 1500, "number": number} for number in range(size)}
    root = built(state)
    assert (root.digest, root.length) == expected(state)


@pytest.mark.parametrize(("whole", "parameters"), [(BIG_BYTES, cutter.SMALL), (BIG_BYTES + 1, cutter.LARGE)])
def test_bytes_are_cut_by_the_text_s_fastcdc(whole: int, parameters: tuple[int, int, int, int, int]) -> None:
    minimum, mean, maximum, *_ = parameters
    edges = [0, 1, minimum, minimum + 1, mean, mean + 1, maximum, maximum + 1, 300_000]
    for size in [*edges, *range(minimum - 3, minimum + 300, 7), *range(mean - 3, mean + 40)]:
        ends, end = [], 0
        for chunk in cut_bytes(memoryview(DATA)[:size], whole):
            end += len(chunk)
            ends.append(end)
        assert ends == cutter.cut_ends(DATA[:size], parameters)
