"""Compare two states by their trees: equal digests are never opened.

Lists are aligned by what they have in common (see `alignment`); what lies between is compared item by item. So an
appended message is one addition, and an insertion does not show as a change of all that follows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, Literal

from snapstore.format import values
from snapstore.format.node import LIST, MAP, NODE, TREE, Entry, Node
from snapstore.history.alignment import gaps
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
                yield from self._list_nodes(path, old_node, new_node)
                return
            if old_node.kind == MAP:
                yield from self._map_nodes(path, old_node, new_node)
                return
        yield from self._plain(path, self._old.loaded(old), self._new.loaded(new))

    def _plain(self, path: tuple[Any, ...], old: Any, new: Any) -> Iterator[Change]:
        if type(old) is dict and type(new) is dict:
            yield from self._maps(path, old, new)
        elif type(old) is list and type(new) is list:
            yield from self._lists(path, old, new)
        elif values.encode(old) != values.encode(new):
            yield Change(path, "changed", old, new)

    def _maps(self, path: tuple[Any, ...], old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[Change]:
        for key, value in old.items():
            if key not in new:
                yield Change((*path, key), "removed", self._old.loaded(value), None)
        for key, value in new.items():
            if key not in old:
                yield Change((*path, key), "added", None, self._new.loaded(value))
            else:
                yield from self.values((*path, key), old[key], value)

    def _map_nodes(self, path: tuple[Any, ...], old: Node, new: Node) -> Iterator[Change]:
        # A key stands once in a dict: what is not in a gap on one side is not in a gap on the other.
        gaps = self._gaps(old, new)
        old_pairs = self._old.all_pairs([entry for gap in gaps for entry, _ in gap.old])
        new_pairs = self._new.all_pairs([entry for gap in gaps for entry, _ in gap.new])
        yield from self._maps(path, dict(old_pairs), dict(new_pairs))

    def _list_nodes(self, path: tuple[Any, ...], old: Node, new: Node) -> Iterator[Change]:
        gaps = self._gaps(old, new)
        old_items = self._old.all_items([entry for gap in gaps for entry, _ in gap.old])
        new_items = self._new.all_items([entry for gap in gaps for entry, _ in gap.new])
        for gap in gaps:
            before = list(islice(old_items, _count(gap.old)))
            after = list(islice(new_items, _count(gap.new)))
            yield from self._lists(path, before, after, gap.old_first, gap.new_first)

    def _lists(
        self, path: tuple[Any, ...], old: list[Any], new: list[Any], old_first: int = 0, new_first: int = 0
    ) -> Iterator[Change]:
        """Compare stretches of two lists, whose first items have the given indexes."""
        for gap in gaps([_name(item) for item in old], [_name(item) for item in new]):
            old_rest, new_rest = old[gap.old_start : gap.old_end], new[gap.new_start : gap.new_end]
            shared = min(len(old_rest), len(new_rest))
            at_old, at_new = old_first + gap.old_start, new_first + gap.new_start
            for index in range(shared):
                yield from self.values((*path, at_new + index), old_rest[index], new_rest[index])
            for index in range(shared, len(old_rest)):
                yield Change((*path, at_old + index), "removed", self._old.loaded(old_rest[index]), None)
            for index in range(shared, len(new_rest)):
                yield Change((*path, at_new + index), "added", None, self._new.loaded(new_rest[index]))

    def _gaps(self, old: Node, new: Node) -> list[_Stretch]:
        """What two lists or dicts do not share, as chunks and items; opened from the root down, and only where they differ."""
        old.entry.node, new.entry.node = old, new
        stretches = [_Stretch([(old.entry, old.level)], [(new.entry, new.level)], 0, 0)]
        while True:
            stretches = [smaller for stretch in stretches for smaller in stretch.split()]
            sides = [*(entry for one in stretches for entry in one.old), *(entry for one in stretches for entry in one.new)]
            deepest = max((level for _, level in sides), default=_ITEM)
            if deepest == _ITEM:
                return stretches
            for tree, entries in ((self._old, [one.old for one in stretches]), (self._new, [one.new for one in stretches])):
                tree.reader.load_nodes(entry for several in entries for entry, level in several if level == deepest)
            for one in stretches:
                one.old, one.new = _opened(self._old, one.old, deepest), _opened(self._new, one.new, deepest)


_Level = tuple[Entry, int]
_ITEM = -1
"""In place of a node's level: the entry is a chunk or an item."""


@dataclass(slots=True)
class _Stretch:
    """Entries of two containers that are not known to be the same, and the indexes of their first items."""

    old: list[_Level]
    new: list[_Level]
    old_first: int
    new_first: int

    def split(self) -> Iterator[_Stretch]:
        """The parts of it that differ."""
        old_at = [0, *accumulate(entry.count for entry, _ in self.old)]
        new_at = [0, *accumulate(entry.count for entry, _ in self.new)]
        for gap in gaps([_identity(entry) for entry, _ in self.old], [_identity(entry) for entry, _ in self.new]):
            yield _Stretch(
                self.old[gap.old_start : gap.old_end],
                self.new[gap.new_start : gap.new_end],
                self.old_first + old_at[gap.old_start],
                self.new_first + new_at[gap.new_start],
            )


def _opened(tree: Tree, entries: list[_Level], deepest: int) -> list[_Level]:
    """The entries, with the nodes of the deepest level replaced by what they list."""
    opened: list[_Level] = []
    for entry, level in entries:
        if level != deepest:
            opened.append((entry, level))
        else:
            children = tree.reader.node(entry).entries
            opened += [(child, deepest - 1 if child.kind == NODE else _ITEM) for child in children]
    return opened


def _identity(entry: Entry) -> Hashable:
    return entry.kind, entry.digest, entry.payload, entry.key


def _name(item: Any) -> Hashable:
    """What tells an item of a list from others: its digest, or its encoding, in which 1, True and 1.0 differ."""
    return (TREE, item.digest) if isinstance(item, Entry) else values.encode(item)


def _count(entries: list[_Level]) -> int:
    return sum(entry.count for entry, _ in entries)


def _node(tree: Tree, side: Any) -> Node | None:
    return tree.reader.loaded_node(side) if isinstance(side, Entry) and side.kind == TREE else None
