"""Collect the items of one container into chunks, with an eye on what the old container had."""

from __future__ import annotations

from collections.abc import Callable

from snapstore.config import CHUNK_MAX_BYTES, INLINE_BYTES
from snapstore.digest import hasher
from snapstore.format.node import INLINE, LEAF, LIST, MAP, Entry, Front, Node
from snapstore.history.cutting import closes_chunk

__all__ = ["Items"]

FRONT_RAW_BYTES = 8 * 1024 * 1024
"""Long texts and bytes have few chunks for their size: one more pass over them would cost more than it saves."""

Store = Callable[[bytes | memoryview, int, dict[bytes, Entry], Entry | None], Entry]
"""Gives the entry for a chunk: its bytes, its number of items, old chunks of the container, the old last chunk."""


class Items:
    """Collects the items of one container into chunks."""

    def __init__(self, store: Store, kind: int, before: Node | None) -> None:
        self.entries: list[Entry] = []
        self._store = store
        self._kind = kind
        self._parts: list[bytes] = []
        self._size = 0
        self._near: dict[bytes, Entry] = {}
        self._inline: dict[bytes, Entry] = {}
        self._tail = _last_leaf(before)
        self._front = (hasher(), 0)

    def expect(self, old: list[Entry]) -> None:
        """Say which entries of the old container may come again."""
        self._near = {entry.digest: entry for entry in old if entry.kind == LEAF}
        self._inline = {entry.payload: entry for entry in old if entry.kind == INLINE}

    def unchanged_front(self, before: Node, view: memoryview) -> tuple[int, int]:
        """How many leading entries and bytes are unchanged for certain, from one digest over all but the last chunk."""
        front = before.front
        if front is None or front.length > len(view):
            return 0, 0
        state = hasher()
        state.update(view[: front.length])
        if state.digest() != front.digest:
            return 0, 0
        self._front = (state, front.length)
        return len(front.entries) - 1, front.length

    def remember_front(self, root: Node, content: memoryview) -> None:
        """Keep one digest of all but the last entry, for the next save that continues this one."""
        length = root.length - self.entries[-1].length
        if root.front is not None or not length or (root.kind not in (LIST, MAP) and length > FRONT_RAW_BYTES):
            return
        state, done = self._front
        if done > length:
            state, done = hasher(), 0
        state.update(content[done:length])
        root.front = Front(self.entries, length, state.digest())

    def add(self, data: bytes) -> None:
        """Add one encoded item (a pair, in a dict)."""
        if self._size + len(data) > CHUNK_MAX_BYTES:
            self._close()
        self._parts.append(data)
        self._size += len(data)
        if closes_chunk(data, self._size):
            self._close()

    def add_tree(self, entry: Entry) -> None:
        """Add an item that is a tree of its own."""
        self._close()
        self.entries.append(entry)

    def add_chunk(self, data: bytes | memoryview, count: int) -> None:
        """Add a finished chunk."""
        self.entries.append(self._store(data, count, self._near, self._tail))

    def as_bytes(self, limit: int) -> bytes | None:
        """Everything added, if no chunk has been made and it is at most `limit` bytes."""
        return b"".join(self._parts) if not self.entries and self._size <= limit else None

    def finish(self) -> list[Entry]:
        """Close the last chunk, which may still grow in a later save."""
        self._close()
        return self.entries

    def _close(self) -> None:
        if not self._parts:
            return
        data, count = b"".join(self._parts), len(self._parts)
        self._parts, self._size = [], 0
        if self._kind == MAP and len(data) <= INLINE_BYTES:
            known = self._inline.get(data)
            if known is None or known.count != count:
                known = Entry(INLINE, b"", len(data), count, payload=data)
            self.entries.append(known)
        else:
            self.add_chunk(data, count)


def _last_leaf(before: Node | None) -> Entry | None:
    node = before
    while node is not None and node.level:
        node = node.entries[-1].node
    return node.entries[-1] if node is not None and node.entries[-1].kind == LEAF else None
