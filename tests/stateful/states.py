"""States for the state machine: made and edited from a seed, so that hypothesis has small numbers to shrink."""

from __future__ import annotations

import copy
import datetime
import decimal
import random
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

from snapstore.history.diff import Change

SIZES = (0, 20, 300, 1_000, 1_500, 5_000, 20_000, 40_000, 120_000)
"""Bytes of texts, around and beyond what the tree keeps in one piece: 1, 2, 6, 16 and 32 KiB."""

TREES = (dict, list)


def some_text(rng: random.Random, size: int) -> str:
    """A text of about this many characters; a third of it repeats, some of it is not ASCII."""
    words = ["snapshot", "tool", "ünïcode", "🦊", "call", str(rng.randrange(10**9)), rng.randbytes(8).hex()]
    parts = []
    while size > 0:
        parts.append(rng.choice(words) if rng.random() < 0.5 else rng.randbytes(12).hex())
        size -= len(parts[-1])
    return " ".join(parts)


def some_scalar(rng: random.Random) -> Any:
    """A value of any type that a state may hold, containers aside."""
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randrange(-5, 300),
        lambda: rng.getrandbits(rng.choice([8, 31, 63, 64, 65, 200])) * rng.choice([1, -1]),
        lambda: rng.choice([0.0, -0.0, 1.5, float("inf"), float("nan"), rng.random()]),
        lambda: some_text(rng, rng.choice(SIZES)),
        lambda: rng.randbytes(rng.choice(SIZES)),
        lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=rng.randrange(10**8)),
        lambda: datetime.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=rng.randrange(2)),
        lambda: datetime.date.fromordinal(rng.randrange(1, 3_000_000)),
        lambda: datetime.time(rng.randrange(24), rng.randrange(60)),
        lambda: datetime.timedelta(microseconds=rng.randrange(-(10**12), 10**12)),
        lambda: decimal.Decimal(rng.randrange(-(10**9), 10**9)).scaleb(rng.randrange(-9, 9)),
        lambda: uuid.UUID(int=rng.getrandbits(128)),
        lambda: tuple(rng.randrange(100) for _ in range(rng.choice([0, 3, 3000]))),
        lambda: frozenset(rng.randrange(10**6) for _ in range(rng.choice([0, 3, 1000]))),
        lambda: {some_text(rng, 10) for _ in range(3)},
        lambda: (1, {"in": [rng.randrange(9), (None,)]}),
    ]
    return rng.choice(makers)()


def some_message(rng: random.Random) -> dict[str, Any]:
    """A message of an agent; one in twelve is long."""
    size = rng.choice([20_000, 50_000]) if rng.random() < 0.08 else rng.randrange(20, 600)
    return {"role": rng.choice(["user", "tool"]), "content": some_text(rng, size), "cost": rng.random(), "n": rng.randrange(100)}


def some_value(rng: random.Random, depth: int = 0) -> Any:
    """A value: mostly containers near the top, mostly scalars below."""
    kind = rng.random() + depth * 0.15
    if kind < 0.25:
        return [some_message(rng) for _ in range(rng.choice([0, 1, 5, 30, 120]))]
    if kind < 0.35:
        return {f"key{rng.randrange(10**6)}": some_scalar(rng) for _ in range(rng.choice([0, 3, 20, 90]))}
    if kind < 0.4:
        return {number * 3: some_text(rng, 60) for number in range(rng.choice([2, 200]))}
    if kind < 0.5:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(6))]
    if kind < 0.65:
        return {name: some_value(rng, depth + 1) for name in rng.sample(["a", "b", "c", "d", "e f", "ü"], 3)}
    return some_scalar(rng)


def some_state(seed: int) -> Any:
    """A whole state: nearly always a dict, sometimes anything."""
    rng = random.Random(seed)
    if rng.random() < 0.1:
        return some_value(rng)
    state = {"messages": [some_message(rng) for _ in range(rng.choice([0, 2, 20, 100]))]}
    return {
        **state,
        **{name: some_value(rng) for name in rng.sample(["plan", "memory", "tools", "files", "n"], rng.randrange(4))},
    }


def edited(state: Any, seed: int) -> Any:
    """A copy of a state with one to three edits somewhere in it."""
    rng = random.Random(seed)
    state = copy.deepcopy(state)
    for _ in range(rng.choice([1, 1, 2, 3])):
        state = _edited(state, rng)
    return state


def _edited(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.75:
        key = rng.choice(list(value))
        value[key] = _edited(value[key], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.25:
        index = rng.randrange(len(value))
        value[index] = _edited(value[index], rng)
        return value
    if type(value) is list:
        return _edited_list(value, rng)
    if type(value) is dict:
        return _edited_dict(value, rng)
    if type(value) in (str, bytes) and value:
        return _edited_text(value, rng)
    return some_scalar(rng)


def _edited_list(value: list[Any], rng: random.Random) -> list[Any]:
    chosen = rng.random()
    index = rng.randrange(len(value) + 1)
    if chosen < 0.45:
        value += [some_message(rng) for _ in range(rng.choice([1, 1, 2, 12]))]
    elif chosen < 0.6:
        value[index:index] = [some_value(rng, 2) for _ in range(rng.randrange(1, 3))]
    elif chosen < 0.75:
        del value[index : index + rng.choice([1, 1, 10])]
    elif chosen < 0.85 and value:
        value[index % len(value)] = some_value(rng, 1)
    elif chosen < 0.95:
        value[:] = value[index:] + value[:index]
    else:
        del value[rng.choice([0, 1, len(value)]) :]
    return value


def _edited_dict(value: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    keys = list(value)
    chosen = rng.random()
    if chosen < 0.4 or not keys:
        value[f"new{rng.randrange(10**6)}"] = some_value(rng, 1)
    elif chosen < 0.6:
        del value[rng.choice(keys)]
    elif chosen < 0.8:
        value[rng.choice(keys)] = some_value(rng, 1)
    else:
        moved = rng.choice(keys)
        value[moved] = value.pop(moved)
    return value


def _edited_text(value: Any, rng: random.Random) -> Any:
    at = rng.randrange(len(value) + 1)
    inserted = some_text(rng, rng.choice([1, 20, 3000]))
    part = inserted if isinstance(value, str) else inserted.encode()
    if rng.random() < 0.6:
        return value[:at] + part + value[at:]
    return value[:at] + value[at + rng.choice([1, 100]) :]


# Reading a diff -----------------------------------------------------------------------------------------------------------


def applied(old: Any, changes: Sequence[Change]) -> Any:
    """The older state with all changes of a diff made, dict order aside: what a diff promises to tell."""
    return _applied(old, [(change.path, change) for change in changes])


def _applied(old: Any, changes: list[tuple[tuple[Any, ...], Change]]) -> Any:
    if not changes:
        return old
    whole = [change for path, change in changes if not path]
    if whole:
        assert len(changes) == 1, "a value is changed as a whole or in parts"
        assert whole[0].kind == "changed"
        return whole[0].new
    assert type(old) in TREES, "only containers have parts"
    here = [(path[0], change) for path, change in changes if len(path) == 1]
    removed = {part for part, change in here if change.kind == "removed"}
    added = {part: change.new for part, change in here if change.kind == "added"}
    assert len(removed) + len(added) == sum(change.kind != "changed" for _, change in here), "nothing is named twice"
    below: dict[Any, list[tuple[tuple[Any, ...], Change]]] = {}
    for path, change in changes:
        if len(path) > 1 or change.kind == "changed":
            below.setdefault(path[0], []).append((path[1:], change))
    if isinstance(old, dict):
        assert removed <= set(old)
        assert not set(added) & (set(old) - removed)
        kept = {key: _applied(value, below.pop(key, [])) for key, value in old.items() if key not in removed}
        assert not below, "only what is there can change"
        return {**kept, **added}
    assert removed <= set(range(len(old)))
    rest = iter([item for index, item in enumerate(old) if index not in removed])
    new = [added[index] if index in added else next(rest) for index in range(len(old) - len(removed) + len(added))]
    return [_applied(item, below[index]) if index in below else item for index, item in enumerate(new)]


def sorted_dicts(value: Any) -> Any:
    """The value with every dict that a diff looks into in the order of its keys: a diff does not tell their order."""
    if type(value) is dict:
        return {key: sorted_dicts(value[key]) for key in sorted(value, key=repr)}
    return [sorted_dicts(item) for item in value] if type(value) is list else value
