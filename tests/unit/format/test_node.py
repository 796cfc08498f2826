"""A node names what it lists and not where it lies, and a damaged one is never taken for whole.

Goal: bytes can be moved between packs without changing any identity, and a reader that follows a damaged node stops.
Method: nodes of every kind there and back; places exchanged under one identity; every field damaged by hand and every bit
flipped.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.digest import digest
from snapstore.errors import CorruptionError
from snapstore.format import node as nodes
from snapstore.format import values
from snapstore.format.node import BYTES, INLINE, LEAF, LIST, MAP, NODE, OPAQUE, TEXT, TREE, Entry, Node, Segment

HOME: Segment = (9, 800, 300, 40, 120)
"""Where a decoded node was read: pack 9, the frame of 300 bytes at 800, its bytes 40 to 160."""


def leaf(content: bytes = b"chunk", count: int = 2, place: tuple[Segment, ...] = ((3, 8, 50, 0, 5),)) -> Entry:
    return Entry(LEAF, digest(content), len(content), count, place=place)


def entries() -> list[Entry]:
    """One of each kind, as a map may list them."""
    return [
        leaf(),
        Entry(INLINE, b"", 4, 1, payload=b"\xa1a\x01\xc0"),
        Entry(TREE, digest(b"tree"), 5000, 1, key=b"\xa4text", place=((4, 8, 99, 10, 20),)),
        leaf(b"grown", place=((3, 8, 50, 0, 2), (4, 100, 20, 0, 2), (5, 8, 20, 0, 1))),
    ]


def there_and_back(node: Node, home: Segment = HOME) -> Node:
    return nodes.decode(node.encode(lambda entry: entry.place), node.digest, home)


def fields(entry: Entry) -> tuple[Any, ...]:
    return entry.kind, entry.digest, entry.length, entry.count, entry.key, entry.payload, entry.place


def test_nodes_come_back() -> None:
    node = Node(MAP, 0, entries())
    back = there_and_back(node)
    assert [*map(fields, back.entries)] == [*map(fields, node.entries)]
    assert (back.kind, back.level, back.digest) == (MAP, 0, node.digest)
    assert (back.length, back.count) == (5 + 4 + (5 + 5000) + 5, 2 + 1 + 1 + 2)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 99), st.integers(1, 10**9)), min_size=1, max_size=64))
def test_any_list_of_chunks_comes_back(chunks: list[tuple[bytes, int, int]]) -> None:
    node = Node(LIST, 0, [leaf(content, count, ((at, at, at, at, len(content)),)) for content, count, at in chunks])
    assert [*map(fields, there_and_back(node).entries)] == [*map(fields, node.entries)]


def test_the_digest_covers_what_is_listed_and_not_where_it_lies() -> None:
    """Merging and repacking move bytes: no manifest may change by it."""
    here, there = Node(MAP, 0, entries()), Node(MAP, 0, entries())
    for entry in there.entries:
        entry.place = ((77, 7, 7, 7, 7),) if entry.place else ()
    assert here.digest == there.digest
    assert here.encode(lambda entry: entry.place) != there.encode(lambda entry: entry.place)
    for change in (
        Node(LIST, 0, entries()),
        Node(MAP, 1, entries()),
        Node(MAP, 0, entries()[1:]),
        Node(MAP, 0, entries()[::-1]),
        Node(MAP, 0, [leaf(count=3), *entries()[1:]]),
        Node(MAP, 0, [leaf(b"other"), *entries()[1:]]),
    ):
        assert change.digest != here.digest


def test_places_in_the_same_frame_are_found_from_where_the_node_lies() -> None:
    """A node is written before its frame has a place: what lies beside it is named relatively, and may move with it."""
    node = Node(LIST, 0, [leaf(place=((nodes.SAME_FRAME, 0, 0, 7, 5),))])
    assert there_and_back(node).entries[0].place == ((9, 800, 300, 7, 5),)
    assert there_and_back(node, (2, 8, 60, 0, 9)).entries[0].place == ((2, 8, 60, 7, 5),)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(LIST, list(range(300))), (MAP, dict.fromkeys(range(300))), (TEXT, "é" * 300), (BYTES, b"x" * 70_000), (OPAQUE, (1,) * 300)],
)
def test_a_root_knows_the_header_of_its_value(kind: int, value: Any) -> None:
    encoded = values.encode(value)
    header = {LIST: 3, MAP: 3, TEXT: 3, BYTES: 5, OPAQUE: 0}[kind]
    content = encoded[header:]
    count = 300 if kind in (LIST, MAP) else 0
    root = Node(kind, 0, [leaf(content, count)])
    assert root.header() + content == encoded
    item = root.as_item(b"\xa1k")
    assert (item.kind, item.digest, item.length, item.count, item.key) == (TREE, root.digest, len(encoded), 1, b"\xa1k")
    assert item.span == len(encoded) + 2


def test_leaves_are_those_of_all_levels() -> None:
    low = [Node(LIST, 0, [leaf(bytes([n])), leaf(bytes([n, n]))]) for n in range(3)]
    root = Node(LIST, 1, [node.entry for node in low])
    assert [entry.digest for entry in root.leaves()] == [entry.digest for node in low for entry in node.entries]
    low[1].entry.node = None
    with pytest.raises(RuntimeError):
        list(root.leaves())


# Damage ---------------------------------------------------------------------------------------------------------------


def damaged(identity: Any, places: Any) -> None:
    """Decode a node that was written wrongly, with a digest that fits."""
    raw = identity if isinstance(identity, bytes) else values.encode(identity)
    nodes.decode(values.encode([raw, places]), digest(raw), HOME)


ROW = [LEAF, b"d" * 32, 5, 1]
PLACE = [3, 8, 50, 0, 5]


def test_the_smallest_node_is_whole() -> None:
    damaged([LIST, 0, [ROW]], [PLACE])


@pytest.mark.parametrize(
    ("identity", "places"),
    [
        ([LIST, 0, []], []),
        ([LIST, 0, [ROW]], []),
        ([LIST, 0, [ROW]], [PLACE, PLACE]),
        ([LIST, 0, [ROW] * 4097], [PLACE] * 4097),
        ([5, 0, [ROW]], [PLACE]),
        ([-1, 0, [ROW]], [PLACE]),
        ([LIST, 64, [ROW]], [PLACE]),
        ([LIST, -1, [ROW]], [PLACE]),
        ([LIST, 0], [PLACE]),
        ([LIST, 0, [[4, b"d" * 32, 5, 1]]], [PLACE]),
        ([LIST, 0, [[LEAF, b"d" * 31, 5, 1]]], [PLACE]),
        ([LIST, 0, [[LEAF, "d" * 32, 5, 1]]], [PLACE]),
        ([LIST, 0, [[LEAF, b"d" * 32, -5, 1]]], [PLACE]),
        ([LIST, 0, [[LEAF, b"d" * 32, "5", 1]]], [PLACE]),
        ([LIST, 0, [[LEAF, b"d" * 32, 5]]], [PLACE]),
        ([MAP, 0, [[TREE, b"d" * 32, 5]]], [PLACE]),
        ([MAP, 0, [[INLINE, None, 5]]], [[]]),
        ([LIST, 0, [ROW]], [[]]),
        ([LIST, 0, [ROW]], [PLACE[:4]]),
        ([LIST, 0, [ROW]], [[3, 8, 50, -1, 5]]),
        ([LIST, 0, [ROW]], [None]),
        ([LIST, 0, [ROW]], None),
        ([LIST, 0, None], [PLACE]),
        (7, [PLACE]),
        (b"", [PLACE]),
    ],
)
def test_a_node_of_a_wrong_shape_is_a_corruption(identity: Any, places: Any) -> None:
    with pytest.raises(CorruptionError):
        damaged(identity, places)


def test_a_flipped_bit_is_found_wherever_it_is() -> None:
    """All but the places are under the digest; a wrong place leads to bytes that are verified themselves."""
    node = Node(MAP, 0, entries())
    data = node.encode(lambda entry: entry.place)
    accepted = 0
    for position in range(len(data) * 8):
        wrong = bytearray(data)
        wrong[position // 8] ^= 1 << position % 8
        try:
            back = nodes.decode(bytes(wrong), node.digest, HOME)
        except CorruptionError:
            continue
        accepted += 1
        assert [fields(entry)[:-1] for entry in back.entries] == [fields(entry)[:-1] for entry in node.entries]
    assert accepted < 8 * 40  # numbers in places


def test_another_nodes_bytes_are_a_corruption() -> None:
    one, other = Node(LIST, 0, [leaf()]), Node(LIST, 0, [leaf(b"other")])
    with pytest.raises(CorruptionError) as caught:
        nodes.decode(one.encode(lambda entry: entry.place), other.digest, HOME)
    assert caught.value.code == "node_damaged"


def test_a_chunk_lists_as_an_entry_of_the_level_above() -> None:
    node = Node(LIST, 0, [leaf(), leaf(b"more", 3)])
    assert fields(node.entry)[:4] == (NODE, node.digest, 9, 5)
