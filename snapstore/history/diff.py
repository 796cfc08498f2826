"""Compare two states by their trees: equal digests are never opened.

Lists are aligned by what they have in common at the front and at the back; what lies between is compared item
by item. So an appended message is one addition, and an insertion does not show as a change of all that follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from snapstore.format.node import LIST, MAP, NODE, TREE, Entry, Node
from snapstore.history.tree import Tree

__all__ = ["Change", "compare", "path_text"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two states.

    Attributes:
        path: keys and indexes from the root; indexes count in the newer state, for removals in the older.
        kind: "added", "removed" or "changed".
        old: the value before; None when added.
        new: the value after; None when removed.
    """

    path: tuple[Any, ...]
    kind: Literal["added", "removed", "changed"]
    old: Any
    new: Any

    def __str__(self) -> str:
        """The kind and the path, for example `added $.messages[12].content`."""
        return f"{self.kind} {path_text(self.path)}"


def path_text(path: tuple[Any, ...]) -> str:
    """A path as text: `$.messages[12].content`; keys that are no names are quoted."""
    text = "$"
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            text += f".{part}"
        elif isinstance(part, str):
            escaped = part.encode("utf-8", "backslashreplace").decode().replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f"[{part!r}]"
    return text


def compare(old: Tree, new: Tree) -> Iterator[Change]:
    """All differences from `old` to `new`, in the order of the newer state."""
    if old.root.digest != new.root.digest or old.root.kind != new.root.kind:
        yield from _Comparison(old, new).values((), old.root, new.root)


class _Comparison:
    """A walk over two trees at once. A side is an `Entry` (TREE or root LEAF) or a plain value."""

    def __init__(self, old: Tree, new: Tree) -> None:
        self._old = old
        self._new = new

    def values(self, path: tuple[Any, ...], old: Any, new: Any) -> Iterator[Change]:
        """Compare two values."""
        old_node, new_node = _node(self._old, old), _node(self._new, new)
        if old_node is not None and new_node is not None and old_node.kind == new_node.kind:
            if old_node.digest == new_node.digest:
                return
            if old_node.kind == LIST:
                yield from self._lists(path, old_node, new_node)
                return
            if old_node.kind == MAP:
                yield from self._maps(path, self._pairs(self._old, old_node), self._pairs(self._new, new_node))
                return
        yield from self._plain(path, _load(self._old, old), _load(self._new, new))

    def _plain(self, path: tuple[Any, ...], old: Any, new: Any) -> Iterator[Change]:
        if type(old) is dict and type(new) is dict:
            yield from self._maps(path, old, new)
        elif type(old) is list and type(new) is list:
            yield from self._sequences(path, old, new, 0)
        elif not _same(old, new):
            yield Change(path, "changed", old, new)

    def _maps(self, path: tuple[Any, ...], old: dict[Any, Any], new: dict[Any, Any]) -> Iterator[Change]:
        for key, value in old.items():
            if key not in new:
                yield Change((*path, key), "removed", _load(self._old, value), None)
        for key, value in new.items():
            if key not in old:
                yield Change((*path, key), "added", None, _load(self._new, value))
            else:
                yield from self.values((*path, key), old[key], value)

    def _pairs(self, tree: Tree, node: Node) -> dict[Any, Any]:
        return dict(tree.pairs(node))

    def _lists(self, path: tuple[Any, ...], old: Node, new: Node) -> Iterator[Change]:
        first, old_entries, new_entries = self._trim(old, new)
        old_items = list(self._old.all_items(old_entries))
        new_items = list(self._new.all_items(new_entries))
        yield from self._sequences(path, old_items, new_items, first)

    def _sequences(self, path: tuple[Any, ...], old: list[Any], new: list[Any], first: int) -> Iterator[Change]:
        """Compare what remains of two lists, whose first item has the index `first` in both."""
        front = 0
        while front < min(len(old), len(new)) and _equal(old[front], new[front]):
            front += 1
        back = 0
        while back < min(len(old), len(new)) - front and _equal(old[-1 - back], new[-1 - back]):
            back += 1
        old_rest, new_rest = old[front : len(old) - back], new[front : len(new) - back]
        shared = min(len(old_rest), len(new_rest))
        for index in range(shared):
            yield from self.values((*path, first + front + index), old_rest[index], new_rest[index])
        for index in range(shared, len(old_rest)):
            yield Change((*path, first + front + index), "removed", _load(self._old, old_rest[index]), None)
        for index in range(shared, len(new_rest)):
            yield Change((*path, first + front + index), "added", None, _load(self._new, new_rest[index]))

    def _trim(self, old: Node, new: Node) -> tuple[int, list[Entry], list[Entry]]:
        """The level-0 entries of two lists without their common front and back, and the index where they begin.

        Both are opened from the root down, and only where they differ.
        """
        old.entry.node, new.entry.node = old, new
        left, right, first = [(old.entry, old.level)], [(new.entry, new.level)], 0
        while True:
            skipped = _common(left, right)
            first += sum(entry.count for entry, _ in left[:skipped])
            left, right = left[skipped:], right[skipped:]
            skipped = _common(left[::-1], right[::-1])
            left, right = left[: len(left) - skipped], right[: len(right) - skipped]
            deepest = max((level for _, level in (*left, *right)), default=_ITEM)
            if deepest == _ITEM:
                return first, [entry for entry, _ in left], [entry for entry, _ in right]
            left, right = self._open(self._old, left, deepest), self._open(self._new, right, deepest)

    def _open(self, tree: Tree, entries: list[_Level], deepest: int) -> list[_Level]:
        """Replace the nodes of the deepest level by what they list."""
        tree.reader.load_nodes(entry for entry, level in entries if level == deepest)
        opened: list[_Level] = []
        for entry, level in entries:
            if level != deepest:
                opened.append((entry, level))
                continue
            children = tree.reader.node(entry).entries
            opened += [(child, deepest - 1 if child.kind == NODE else _ITEM) for child in children]
        return opened


_Level = tuple[Entry, int]
_ITEM = -1
"""In place of a node's level: the entry is a chunk or an item."""


def _common(left: list[_Level], right: list[_Level]) -> int:
    count = 0
    for (one, _), (other, _) in zip(left, right, strict=False):
        if (one.kind, one.digest, one.payload, one.key) != (other.kind, other.digest, other.payload, other.key):
            break
        count += 1
    return count


def _node(tree: Tree, side: Any) -> Node | None:
    return tree.reader.loaded_node(side) if isinstance(side, Entry) and side.kind == TREE else None


def _load(tree: Tree, side: Any) -> Any:
    return tree.value(side) if isinstance(side, Entry) else side


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, Entry) and isinstance(new, Entry):
        return old.digest == new.digest
    return not isinstance(old, Entry) and not isinstance(new, Entry) and _same(old, new)


def _same(old: Any, new: Any) -> bool:
    """Equality of plain values that tells 1 from True and 1.0, and takes NaN as equal to itself."""
    if type(old) is not type(new):
        return False
    if type(old) is dict:
        return list(old) == list(new) and all(_same(old[key], new[key]) for key in old)
    if type(old) in (list, tuple):
        return len(old) == len(new) and all(map(_same, old, new))
    if type(old) is float and math.isnan(old):
        return math.isnan(new)
    return bool(old == new)
