"""Build the tree of a state, reusing whatever the tree before it already holds.

The state is encoded by the C encoder, container by container; the old tree is then *verified against the new
bytes*: as long as old chunk after old chunk has the digest of the bytes at its position, nothing below it has
changed and nothing is encoded, cut or stored again. From the first difference on, items are encoded one by
one and cut at content-defined boundaries, so the result is the same as without the old tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from snapstore.config import ITEM_MAX_BYTES, SEGMENTS_MAX, VALUE_TREE_BYTES
from snapstore.digest import digest, hasher
from snapstore.format import values
from snapstore.format.node import BYTES, INLINE, LEAF, LIST, MAP, NODE, OPAQUE, TEXT, TREE, Entry, Node
from snapstore.history.cutting import BIG_BYTES, cut_bytes, group_entries
from snapstore.history.items import Items
from snapstore.packs.builder import PackBuilder
from snapstore.packs.closure import usage_of

__all__ = ["Built", "TreeBuilder"]

HUGE_BYTES = 1024 * 1024
"""A text or bytes value beyond this is never copied into the encoding of the container around it."""

SMALL_MAP_PAIRS = 64
"""In a dict with at most so many pairs each value beyond VALUE_TREE_BYTES is a tree of its own: it is a record
with fields. A larger dict is a collection, and its values are cut like the items of a list."""


UNKNOWN_CHUNKS = 2
"""So many new chunks are stored before the rest are looked for in the whole old tree: making that table costs a
millisecond for 5 MB, and an append has one or two. Moved content repeats more."""


@dataclass(frozen=True, slots=True)
class Built:
    """A finished tree.

    Attributes:
        root: a LEAF (small state) or TREE entry.
        digest: BLAKE3 of the whole encoding, hex.
        size_bytes: length of the whole encoding.
    """

    root: Entry
    digest: str
    size_bytes: int


class TreeBuilder:
    """Builds one tree.

    Args:
        packs: takes the new chunks.
        old: the root of a tree to reuse, every node of it loaded; None for the first save.
        merged: pack ordinals whose chunks and nodes must be stored again.
    """

    def __init__(self, packs: PackBuilder, old: Entry | None = None, merged: frozenset[int] = frozenset()) -> None:
        self._packs = packs
        self._old = old
        self._merged = merged
        self._hasher = hasher()
        self._size = 0
        self._covered = 0  # above 0 while the bytes of an enclosing container have been hashed already
        self._above: set[int] = set()
        self._leaves: dict[bytes, Entry] | None = None
        self._stored: dict[bytes, Entry] = {}
        self._unknown = 0

    def build(self, state: Any) -> Built:
        """Build the tree of `state`; stores new chunks, but not yet nodes."""
        value = self._value(state, self._old, (), VALUE_TREE_BYTES)
        if isinstance(value, bytes):
            name = digest(value)
            if self._old is not None and self._old.kind == LEAF and self._old.digest == name:
                root = self._kept(self._old, memoryview(value))
            else:
                root = Entry(LEAF, name, len(value), 1)
                self._packs.add(root, value)
        else:
            root = value
        return Built(root, self._hasher.digest().hex(), self._size)

    # Values -----------------------------------------------------------------------------------------------

    def _value(self, value: Any, old: Entry | None, path: tuple[Any, ...], limit: int) -> bytes | Entry:
        """Encode one value: as bytes up to `limit`, else as a tree. Hashes what it stands for."""
        base = old if old is not None and old.kind == TREE else None
        kind = type(value)
        if kind is str or kind is bytes:
            return self._raw(value, base, path, limit)
        if kind is dict and len(value) <= SMALL_MAP_PAIRS:
            return self._container(value, None, base, path, limit)
        if (kind is dict or kind is list) and _holds_huge(value):
            return self._container(value, None, base, path, limit)
        encoded = values.encode(value, path)
        if kind is not dict and kind is not list and len(encoded) > limit:
            return self._cut(OPAQUE, encoded, b"", base)
        self._feed(encoded)
        if len(encoded) <= limit:
            return encoded
        self._covered += 1
        entry = self._container(value, encoded, base, path, limit)
        self._covered -= 1
        return entry

    def _container(
        self, value: Any, encoded: bytes | None, base: Entry | None, path: tuple[Any, ...], limit: int
    ) -> bytes | Entry:
        if id(value) in self._above:
            values.refuse(path, "contains itself", "cycle")
        if len(path) >= values.MAX_DEPTH:
            values.refuse(path[:8], f"is nested deeper than {values.MAX_DEPTH} levels", "too_deep")
        self._above.add(id(value))
        kind = MAP if type(value) is dict else LIST
        before = _node_of(base, kind)
        header = values.map_header(len(value)) if kind == MAP else values.array_header(len(value))
        self._feed(header)
        items = Items(self.leaf, kind, before)
        if kind == MAP:
            self._pairs(value, items, before, path)
        else:
            self._items(value, encoded, items, before, path)
        self._above.discard(id(value))
        if encoded is None:
            small = items.as_bytes(limit - len(header))
            if small is not None:
                return header + small
        entry = self._assembled(kind, items.finish(), before, base)
        if encoded is not None and kind == LIST:
            items.remember_front(cast("Node", entry.node), memoryview(encoded)[len(header) :])
        return entry

    def _items(self, value: list[Any], encoded: bytes | None, items: Items, before: Node | None, path: tuple[Any, ...]) -> None:
        start = 0
        trees = _OldTrees([])
        if before is not None:
            old = _level_zero(before)
            if encoded is not None:
                view = memoryview(encoded)[len(values.array_header(len(value))) :]
                items.entries, start = self._prefix(items, before, old, view)
            rest = old[len(items.entries) :]
            items.expect(rest)
            trees = _OldTrees(rest)
        for index in range(start, len(value)):
            child = self._item(value[index], (*path, index), trees)
            items.add_tree(child) if isinstance(child, Entry) else items.add(child)

    def _item(self, item: Any, path: tuple[Any, ...], old: _OldTrees) -> bytes | Entry:
        """Encode an item of a list or of a large dict; most are small, and a large one is often an old one."""
        kind = type(item)
        if (kind is not str and kind is not bytes) or len(item) <= ITEM_MAX_BYTES:
            data = values.encode(item, path)
            if len(data) <= ITEM_MAX_BYTES:
                self._feed(data)
                return data
            same = old.same(len(data), partial(self._matches, view=memoryview(data)))
            if same is not None:
                self._feed(data)
                return self._kept(same, memoryview(data))
        return self._value(item, old.next(), path, ITEM_MAX_BYTES)

    def _pairs(self, value: dict[Any, Any], items: Items, before: Node | None, path: tuple[Any, ...]) -> None:
        leaves = _level_zero(before) if before is not None else []
        items.expect(leaves)
        old = {entry.key: entry for entry in leaves if entry.kind == TREE}
        record = len(value) <= SMALL_MAP_PAIRS
        for key, item in value.items():
            key_bytes = values.encode_key(key, path)
            self._feed(key_bytes)
            known = old.get(key_bytes)
            if record:
                child = self._value(item, known, (*path, key), VALUE_TREE_BYTES)
            else:
                child = self._item(item, (*path, key), _OldTrees([known] if known is not None else []))
            if isinstance(child, bytes):
                items.add(key_bytes + child)
                continue
            if child is not known:
                child.key = key_bytes
            items.add_tree(child)

    def _raw(self, value: str | bytes, base: Entry | None, path: tuple[Any, ...], limit: int) -> bytes | Entry:
        if len(value) <= limit:
            encoded = values.encode(value, path)
            if len(encoded) <= limit:
                self._feed(encoded)
                return encoded
        data = values.text_bytes(value, path) if isinstance(value, str) else value
        if len(data) > values.MAX_ITEM_BYTES:
            values.refuse(path, "is larger than 4 GiB - 1 bytes", "too_large")
        if isinstance(value, str):
            return self._cut(TEXT, data, values.text_header(len(data)), base)
        return self._cut(BYTES, data, values.bytes_header(len(data)), base)

    def _cut(self, kind: int, data: bytes, header: bytes, base: Entry | None) -> Entry:
        """Cut raw bytes into chunks, keeping the leading chunks that did not change."""
        view = memoryview(data)
        self._feed(header)
        self._feed(view)
        before = _node_of(base, kind)
        items = Items(self.leaf, kind, before)
        start = 0
        if before is not None:
            old = _level_zero(before)
            if (before.length > BIG_BYTES) == (len(data) > BIG_BYTES):
                items.entries, _ = self._prefix(items, before, old, view)
                start = sum(entry.length for entry in items.entries)
            items.expect(old[len(items.entries) :])
        for chunk in cut_bytes(view[start:], len(data)) if start < len(data) else ():
            items.add_chunk(chunk, 0)
        entry = self._assembled(kind, items.entries, before, base)
        items.remember_front(cast("Node", entry.node), view)
        return entry

    # The old tree against the new bytes --------------------------------------------------------------------

    def _prefix(self, items: Items, before: Node, old: list[Entry], view: memoryview) -> tuple[list[Entry], int]:
        """The leading old entries that the new content repeats, and how many items they hold.

        The last matching chunk is given back unless everything matched: where it ends may have depended on
        what followed.
        """
        count, position = items.unchanged_front(before, view)
        while count < len(old):
            end = position + old[count].length
            if end > len(view) or not self._matches(old[count], view[position:end]):
                break
            count, position = count + 1, end
        complete = count == len(old) and position == len(view)
        if count and not complete and old[count - 1].kind != TREE:
            count -= 1
        kept = old[:count]
        if self._merged:
            position = 0
            for index, entry in enumerate(kept):
                kept[index] = self._kept(entry, view[position : position + entry.length])
                position += entry.length
        return kept, sum([entry.count for entry in kept])

    def _matches(self, entry: Entry, view: memoryview) -> bool:
        if entry.kind == LEAF:
            return digest(view) == entry.digest
        if entry.kind == INLINE:
            return view == entry.payload
        node = cast("Node", entry.node)
        return self._same(node, view) if entry.kind == TREE else self._same_content(node, view)

    def _same(self, node: Node, view: memoryview) -> bool:
        """Whether `view` is the encoding of the value whose root is `node`."""
        header = node.header()
        if len(view) != len(header) + node.length or view[: len(header)] != header:
            return False
        return self._same_content(node, view[len(header) :])

    def _same_content(self, node: Node, view: memoryview) -> bool:
        position = 0
        for entry in node.entries:
            start = position + len(entry.key)
            end = position + entry.span
            if view[position:start] != entry.key or not self._matches(entry, view[start:end]):
                return False
            position = end
        return True

    # Merging: storing again what lies in packs that are to be left behind -----------------------------------

    def _kept(self, entry: Entry, view: memoryview) -> Entry:
        """The entry itself, or its copy in this save's pack if its bytes lie in a merged pack."""
        if not self._merged or entry.kind == INLINE:
            return entry
        if entry.kind == LEAF:
            if not any(segment[0] in self._merged for segment in entry.place):
                return entry
            return self._store(Entry(LEAF, entry.digest, entry.length, entry.count), view)
        node = cast("Node", entry.node)
        content = view[len(node.header()) :] if entry.kind == TREE else view
        moved = self._kept_node(node, content)
        if moved is node:
            return entry
        return moved.as_item(entry.key) if entry.kind == TREE else moved.entry

    def _kept_node(self, node: Node, view: memoryview) -> Node:
        in_merged = any(segment[0] in self._merged for segment in node.entry.place)
        if not in_merged and self._merged.isdisjoint(usage_of(node)):
            return node
        position, entries = 0, []
        for entry in node.entries:
            start = position + len(entry.key)
            end = position + entry.span
            entries.append(self._kept(entry, view[start:end]))
            position = end
        return Node(node.kind, node.level, entries, node.identity)

    # Chunks and nodes -----------------------------------------------------------------------------------------

    def leaf(self, data: bytes | memoryview, count: int, near: dict[bytes, Entry], tail: Entry | None) -> Entry:
        """The entry for one chunk: a known one, the old last chunk grown longer, or a new one.

        Args:
            data: the chunk.
            count: items in it.
            near: chunks of the same container in the old tree.
            tail: the last chunk of the same container in the old tree.
        """
        name = digest(data)
        stored = self._stored.get(name)
        if stored is not None and stored.count == count:
            return stored
        known = near.get(name)
        entry = Entry(LEAF, name, len(data), count)
        if known is None and tail is not None and self._grows(tail, data):
            self._stored[name] = entry
            self._packs.add_growth(entry, data, tail)
            return entry
        if known is None:
            self._unknown += 1
            known = self._old_leaves().get(name) if self._unknown > UNKNOWN_CHUNKS else None
        if known is not None and known.count == count:
            return self._kept(known, memoryview(data))
        return self._store(entry, data)

    def _grows(self, tail: Entry, data: bytes | memoryview) -> bool:
        return (
            tail.length < len(data)
            and len(tail.place) < SEGMENTS_MAX
            and not any(segment[0] in self._merged for segment in tail.place)
            and digest(data[: tail.length]) == tail.digest
        )

    def _store(self, entry: Entry, data: bytes | memoryview) -> Entry:
        known = self._stored.get(entry.digest)
        if known is not None and known.count == entry.count:
            return known
        self._stored[entry.digest] = entry
        self._packs.add(entry, data)
        return entry

    def _old_leaves(self) -> dict[bytes, Entry]:
        if self._leaves is None:
            self._leaves = {}
            if self._old is not None and self._old.node is not None:
                self._leaves.update((entry.digest, entry) for entry in _all_leaves(self._old.node))
        return self._leaves

    def _assembled(self, kind: int, entries: list[Entry], before: Node | None, base: Entry | None) -> Entry:
        """Group entries into nodes up to one root, reusing old nodes that list exactly the same."""
        levels = _levels(before) if before is not None else []
        level = 0
        while True:
            old = levels[level] if level < len(levels) else []
            nodes = list(self._grouped(kind, level, entries, old))
            if len(nodes) == 1:
                return base if base is not None and nodes[0] is base.node else nodes[0].as_item()
            entries = [node.entry for node in nodes]
            level += 1

    def _grouped(self, kind: int, level: int, entries: list[Entry], old: list[Node]) -> Iterator[Node]:
        # Where a group ends depends on its own entries alone, so old groups in front that did not change stay as they
        # are; the last one may have ended only because there was no more.
        start = 0
        for node in old[:-1]:
            end = start + len(node.entries)
            if entries[start:end] != node.entries:
                break
            yield self._unmoved(node)
            start = end
        reusable = {id(node.entries[0]): node for node in old}
        for group in group_entries(entries[start:] if start else entries):
            known = reusable.get(id(group[0]))
            yield self._unmoved(known) if known is not None and known.entries == group else Node(kind, level, group)

    def _unmoved(self, node: Node) -> Node:
        """The node itself, or its copy for this save's pack if it lies in a merged one."""
        if self._merged and any(segment[0] in self._merged for segment in node.entry.place):
            return Node(node.kind, node.level, node.entries, node.identity)
        return node

    def _feed(self, data: bytes | memoryview) -> None:
        if not self._covered:
            self._hasher.update(data)
            self._size += len(data)


class _OldTrees:
    """The large items of an old list that have not come again yet, in order."""

    def __init__(self, old: list[Entry]) -> None:
        self._left = [entry for entry in old if entry.kind == TREE]

    def same(self, length: int, matches: Callable[[Entry], bool]) -> Entry | None:
        """Take the first one of this length that matches."""
        for index, entry in enumerate(self._left):
            if entry.length == length and matches(entry):
                return self._left.pop(index)
        return None

    def next(self) -> Entry | None:
        """Take the first one: most likely what a changed item was before."""
        return self._left.pop(0) if self._left else None


def _holds_huge(value: Any, depth: int = 0) -> bool:
    """Whether a huge text or bytes value lies near the top of a container."""
    narrow = len(value) <= SMALL_MAP_PAIRS and depth < 4
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind is str or kind is bytes:
            if len(item) > HUGE_BYTES:
                return True
        elif narrow and (kind is dict or kind is list) and _holds_huge(item, depth + 1):
            return True
    return False


def _node_of(base: Entry | None, kind: int) -> Node | None:
    """The root node of an old value if it is of the same kind."""
    return base.node if base is not None and base.node is not None and base.node.kind == kind else None


def _level_zero(root: Node) -> list[Entry]:
    return root.front.entries if root.front is not None else list(root.leaves())


def _levels(root: Node) -> list[list[Node]]:
    """The nodes of one sequence by level, without the trees of its items."""
    levels = [[root]]
    while levels[-1][0].level:
        levels.append([cast("Node", entry.node) for node in levels[-1] for entry in node.entries])
    return levels[::-1]


def _all_leaves(node: Node) -> Iterator[Entry]:
    for entry in node.entries:
        if entry.kind == LEAF:
            yield entry
        elif entry.kind in (NODE, TREE):
            yield from _all_leaves(cast("Node", entry.node))
