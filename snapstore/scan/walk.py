"""Follow paths through one stored state, as far as its bytes are at hand.

A walk notes everything that it lacks and is tried again when that has come, together with the walks of other snapshots. What
it found stays with it, and goes into a memo by digest: a chunk that a thousand snapshots share is decoded once per path.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from snapstore.errors import NotFoundError
from snapstore.format import values
from snapstore.format.node import BYTES, INLINE, LEAF, LIST, MAP, NODE, TEXT, TREE, Entry, Node, Segment
from snapstore.format.register import PackRef
from snapstore.history.tree import Tree
from snapstore.packs.reader import PackReader
from snapstore.scan.pages import PageCache
from snapstore.scan.paths import Each, Index, Key, Part, Step, Steps, gives_list

__all__ = ["ABSENT", "PENDING", "Memo", "Walk", "follow"]


class _Mark:
    """A value that no state holds."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Mark("ABSENT")
"""There is nothing at the path."""

PENDING: Final = _Mark("PENDING")
"""It is not known yet: bytes are missing."""

MEMO_BYTES: Final = 64 * 1024 * 1024
"""Results kept for later snapshots, counted as the bytes of the chunks that they came from, which are more."""

_Place = tuple[int, bytes, int, Steps, int, int]
"""What a result is the result of: kind and digest of an entry, its count, the rest of the path, and the part of its items."""


class Memo:
    """Results by what they came from; the ones used last are kept."""

    def __init__(self) -> None:
        self._results: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Any) -> Any:
        """A result, or PENDING."""
        found = self._results.get(key)
        if found is None:
            return PENDING
        self._results.move_to_end(key)
        return found[0]

    def put(self, key: Any, result: Any, size_bytes: int) -> None:
        """Keep a result."""
        if key in self._results:
            return
        self._results[key] = (result, size_bytes)
        self._bytes += size_bytes
        while self._bytes > MEMO_BYTES:
            self._bytes -= self._results.popitem(last=False)[1][1]


def follow(value: Any, steps: Sequence[Step]) -> Any:
    """What stands at a path of a plain value: a value, a list where the path gives one, or ABSENT."""
    for number, step in enumerate(steps):
        if isinstance(step, (Each, Part)):
            items = _several(value, step)
            rest = tuple(steps[number + 1 :])
            return ABSENT if items is None else _joined([follow(item, rest) for item in items], rest)
        value = _one(value, step)
        if value is ABSENT:
            return ABSENT
    return value


def _one(value: Any, step: Key | Index) -> Any:
    if isinstance(value, dict):
        return value.get(step.text if isinstance(step, Key) else step.number, ABSENT)
    if isinstance(value, (list, tuple)) and isinstance(step, Index) and -len(value) <= step.number < len(value):
        return value[step.number]
    return ABSENT


def _several(value: Any, step: Each | Part) -> Iterable[Any] | None:
    if isinstance(value, (list, tuple)):
        return value if isinstance(step, Each) else value[step.start : step.stop]
    return value.values() if isinstance(value, dict) and isinstance(step, Each) else None


def _joined(results: list[Any], rest: Steps) -> list[Any]:
    """One flat list out of what the items gave."""
    if gives_list(rest):
        return [one for found in results if found is not ABSENT for one in found]
    return [None if found is ABSENT else found for found in results]


class Walk:
    """The paths of a scan through the state of one snapshot.

    Args:
        pages: what is at hand.
        memo: results of other walks.
        root: of the state's tree.
        closure: its packs.
        paths: the steps of every column.

    Attributes:
        results: what stands at each path: a value, a list where the path gives one, ABSENT, or PENDING.
        held_bytes: how much was decoded for it that no walk before had decoded.
    """

    def __init__(self, pages: PageCache, memo: Memo, root: Entry, closure: Mapping[int, PackRef], paths: Sequence[Steps]) -> None:
        self._pages = pages
        self._memo = memo
        self._root = root
        self._closure = closure
        self._paths = paths
        self._found: dict[Any, Any] = {}
        self._reader = PackReader(pages, closure)
        self.results: list[Any] = [PENDING] * len(paths)
        self.held_bytes = 0

    def advance(self) -> bool:
        """Go as far as possible; whether every path has its result.

        Raises:
            NotFoundError: `pack_missing`.
            CorruptionError: what is stored is damaged.
        """
        for number, steps in enumerate(self._paths):
            if self.results[number] is PENDING:
                self.results[number] = self._value(self._root, steps)
        # The frames that a reader keeps are many times what is at hand, and many walks wait at the same time.
        self._reader = PackReader(self._pages, self._closure)
        done = PENDING not in self.results
        if done:
            self._found.clear()
        return done

    # What is at hand ------------------------------------------------------------------------------------------

    def _at_hand(self, place: tuple[Segment, ...]) -> bool:
        needs: list[tuple[PackRef, int, int]] = []
        for ordinal, offset, size, _, _ in place:
            ref = self._closure.get(ordinal)
            if ref is None:
                continue  # the reader says so, in the words of every other reading
            if ref.key in self._pages.lost:
                raise NotFoundError("a pack is missing", code="pack_missing", key=ref.key, ordinal=ordinal)
            needs.append((ref, offset, size))
        return self._pages.has(needs)

    def _node(self, entry: Entry) -> Node | None:
        """The node of an entry, None when it is not at hand; once read, it stays with its entry."""
        if entry.node is None and not self._at_hand(entry.place):
            return None
        return self._reader.node(entry)

    def _kept(self, key: _Place) -> Any:
        found = self._found.get(key, PENDING)
        return self._memo.get(key) if found is PENDING else found

    def _keep(self, key: _Place, result: Any, size_bytes: int) -> Any:
        if result is not PENDING:
            self._found[key] = result
            self._memo.put(key, result, size_bytes)
            self.held_bytes += size_bytes
        return result

    # Values -----------------------------------------------------------------------------------------------------

    def _value(self, entry: Entry, steps: Steps) -> Any:
        """What stands at a path below the root of a state or a large item."""
        key = (entry.kind, entry.digest, 0, steps, 0, 0)
        found = self._kept(key)
        if found is PENDING:
            found = self._keep(key, self._read_value(entry, steps), entry.length + 64)
        return found

    def _read_value(self, entry: Entry, steps: Steps) -> Any:
        if entry.kind == LEAF:
            if not self._at_hand(entry.place):
                return PENDING
            return follow(values.decode(self._reader.chunk(entry)), steps)
        node = self._node(entry)
        if node is None:
            return PENDING
        if steps and node.kind == LIST:
            return self._in_list(node, steps)
        if steps and node.kind == MAP:
            return self._in_map(node, steps)
        if steps and node.kind in (TEXT, BYTES):
            return ABSENT
        if not self._whole_at_hand(entry):
            return PENDING
        return follow(Tree(self._reader, entry, "").value(entry), steps)

    def _whole_at_hand(self, entry: Entry) -> bool:
        """Whether everything below an entry is at hand: first all nodes, then all chunks, together."""
        level, chunks, complete = [entry], list[Segment](), True
        while level:
            below: list[Entry] = []
            for one in level:
                if one.kind == LEAF:
                    chunks += one.place
                elif one.kind in (NODE, TREE):
                    node = self._node(one)
                    complete = complete and node is not None
                    below += node.entries if node is not None else []
            level = below
        return complete and self._at_hand(tuple(chunks))

    # Lists ------------------------------------------------------------------------------------------------------

    def _in_list(self, node: Node, steps: Steps) -> Any:
        step, rest = steps[0], steps[1:]
        if isinstance(step, Key):
            return ABSENT
        if isinstance(step, Index):
            place = step.number + node.count if step.number < 0 else step.number
            if not 0 <= place < node.count:
                return ABSENT
            found = self._items(node, rest, place, place + 1)
            return found if found is PENDING else found[0]
        start, stop, _ = (slice(None) if isinstance(step, Each) else slice(step.start, step.stop)).indices(node.count)
        found = self._items(node, rest, start, max(start, stop))
        return found if found is PENDING else _joined(found, rest)

    def _items(self, node: Node, rest: Steps, start: int, stop: int) -> Any:
        """What the items from `start` to before `stop` below a node give: a list with one result each, or PENDING."""
        results: list[Any] = []
        complete, first = True, 0
        for entry in node.entries:
            low, high = max(0, start - first), min(entry.count, stop - first)
            first += entry.count
            if low >= high:
                continue
            found = self._of_items(entry, rest, low, high)
            if found is PENDING:
                complete = False
            else:
                results += found
        return results if complete else PENDING

    def _of_items(self, entry: Entry, rest: Steps, start: int, stop: int) -> Any:
        if entry.kind == TREE:
            found = self._value(entry, rest)
            return found if found is PENDING else [found]
        key = (entry.kind, entry.digest, entry.count, rest, start, stop)
        found = self._kept(key)
        if found is not PENDING:
            return found
        if entry.kind == NODE:
            node = self._node(entry)
            found = PENDING if node is None else self._items(node, rest, start, stop)
            return self._keep(key, found, 64 + 16 * (stop - start))
        if not self._at_hand(entry.place):
            return PENDING
        items = cast("list[Any]", values.decode(values.array_header(entry.count) + self._reader.chunk(entry)))
        return self._keep(key, [follow(item, rest) for item in items[start:stop]], entry.length + 64)

    # Dicts ------------------------------------------------------------------------------------------------------

    def _in_map(self, node: Node, steps: Steps) -> Any:
        if isinstance(steps[0], Part):
            return ABSENT
        entries = self._level_zero(node)
        if entries is None:
            return PENDING
        if isinstance(steps[0], Each):
            results, complete = list[Any](), True
            for entry in entries:
                found = self._of_pairs(entry, steps)
                complete = complete and found is not PENDING
                results += found if complete else []
            return _joined(results, steps[1:]) if complete else PENDING
        return self._at_key(entries, steps)

    def _at_key(self, entries: list[Entry], steps: Steps) -> Any:
        step = steps[0]
        wanted = step.text if isinstance(step, Key) else cast("Index", step).number
        for entry in entries:
            if entry.kind == TREE and values.decode(entry.key) == wanted:
                return self._value(entry, steps[1:])
        complete = True
        for entry in entries:
            found = self._of_pairs(entry, steps) if entry.kind != TREE else []
            if found is PENDING:
                complete = False
            elif found:
                return found[0]
        return ABSENT if complete else PENDING

    def _of_pairs(self, entry: Entry, steps: Steps) -> Any:
        """What the pairs of a level-0 entry give: a list with one result per pair for `*`, or that of the one with the key."""
        step, rest = steps[0], steps[1:]
        if entry.kind == TREE:
            found = self._value(entry, rest)
            return found if found is PENDING else [found]
        key = (MAP + 16, entry.digest or entry.payload, entry.count, steps, 0, 0)
        found = self._kept(key)
        if found is not PENDING:
            return found
        if entry.kind != INLINE and not self._at_hand(entry.place):
            return PENDING
        data = entry.payload if entry.kind == INLINE else self._reader.chunk(entry)
        pairs = cast("dict[Any, Any]", values.decode(values.map_header(entry.count) + data))
        if isinstance(step, Each):
            results = [follow(value, rest) for value in pairs.values()]
        else:
            value = _one(pairs, cast("Key | Index", step))
            results = [] if value is ABSENT else [follow(value, rest)]
        return self._keep(key, results, entry.length + 64)

    def _level_zero(self, node: Node) -> list[Entry] | None:
        """The chunks and large values of a dict, None when not all of its nodes are at hand."""
        if node.level == 0:
            return node.entries
        below = [self._level_zero(found) if found is not None else None for found in map(self._node, node.entries)]
        if any(entries is None for entries in below):
            return None
        return [entry for entries in below for entry in entries or ()]
