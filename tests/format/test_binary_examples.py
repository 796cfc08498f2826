"""Frames, tree nodes and packs: every golden example that is not JSON is executed.

Goal: another implementation of the binary parts can be built against `manifests/examples` alone, and ours never drifts.
Method: valid examples are read by our decoders and say exactly what `valid-contents.json` says of them, nodes and
directories encode to the same bytes again, and frames are read by the independent reader too; invalid ones are refused with
the code and the words that `invalid-problems.json` gives.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from snapstore.digest import digest_hex
from snapstore.errors import CorruptionError
from snapstore.format import node as nodes
from snapstore.format import pack as packs
from snapstore.format.manifest import Manifest
from snapstore.format.node import Entry, Node
from snapstore.packs.reader import read_tail
from snapstore.storage.memory import MemoryStorage
from tests.format import anatomy, examples, independent_reader

CONTENTS = examples.content_table()
TABLE = examples.problem_table()


def of_kind(folder: Path, kind: str) -> list[str]:
    """Return the names of the examples of a kind."""
    return examples.names_in(folder, "", f"{kind}-")


def raises(name: str) -> Any:
    """Return what must be raised for an invalid example."""
    return pytest.raises(CorruptionError, match=TABLE[name].get("problem"))


def dictionary(stated: str) -> bytes:
    """Return the bytes that a frame is compressed with, empty for the preset."""
    return b"" if stated == "preset" else stated.encode()


@pytest.mark.parametrize("name", of_kind(examples.VALID, "frame"))
def test_valid_frames_hold_what_is_written_down(name: str) -> None:
    data, stated = (examples.VALID / name).read_bytes(), CONTENTS[name]
    content = bytes.fromhex(stated["content_hex"]) if "content_hex" in stated else stated["content"].encode()
    before = dictionary(stated["dictionary"])
    assert packs.decompress_frame(data, before) == content
    assert independent_reader.unframe(data, len(content), before or independent_reader.PRESET) == content


@pytest.mark.parametrize("name", of_kind(examples.INVALID, "frame"))
def test_invalid_frames_are_refused(name: str) -> None:
    data = (examples.INVALID / name).read_bytes()
    with raises(name) as caught:
        packs.decompress_frame(data)
    assert caught.value.code == TABLE[name]["code"]
    with pytest.raises(Exception, match=r"."):
        independent_reader.unframe(data, packs.MAX_FRAME_BYTES)


def told(entry: Entry) -> dict[str, Any]:
    """Return an entry as `valid-contents.json` writes it."""
    row: dict[str, Any] = {"entry": anatomy.ENTRY_KINDS[entry.kind], "segments": [list(segment) for segment in entry.place]}
    if entry.kind == nodes.INLINE:
        return row | {"payload": entry.payload.hex(), "count": entry.count}
    row |= {"digest": entry.digest.hex(), "length": entry.length}
    return row | ({"key": entry.key.hex()} if entry.kind == nodes.TREE else {"count": entry.count})


def read_node(name: str, folder: Path, stated: dict[str, Any]) -> Node:
    """Decode an example of a node under the digest that is given for it."""
    ordinal, offset, size = stated.get("frame", [1, 8, 100])
    frame = (ordinal, offset, size, 0, 0)
    return nodes.decode((folder / name).read_bytes(), bytes.fromhex(stated["digest"]), frame)


@pytest.mark.parametrize("name", of_kind(examples.VALID, "node"))
def test_valid_nodes_say_what_is_written_down(name: str) -> None:
    stated = CONTENTS[name]
    node = read_node(name, examples.VALID, stated)
    assert anatomy.NODE_KINDS[node.kind] == stated["kind"]
    assert node.level == stated["level"]
    assert node.header().hex() == stated["header"]
    assert [told(entry) for entry in node.entries] == stated["entries"]
    made = Node(node.kind, node.level, node.entries)
    assert made.digest.hex() == stated["digest"]
    data = (examples.VALID / name).read_bytes()
    _, _, places = nodes.scan(data)
    stored = [nodes.segments(flat, (0, 0, 0, 0, 0)) if flat else () for flat in places]
    written = {id(entry): place for entry, place in zip(made.entries, stored, strict=True)}
    assert made.encode(lambda entry: written[id(entry)]) == data


@pytest.mark.parametrize("name", of_kind(examples.INVALID, "node"))
def test_invalid_nodes_are_refused(name: str) -> None:
    with raises(name) as caught:
        read_node(name, examples.INVALID, TABLE[name])
    assert caught.value.code == TABLE[name]["code"]


@pytest.mark.parametrize("name", of_kind(examples.VALID, "pack"))
def test_valid_packs_say_what_is_written_down(name: str) -> None:
    data, stated = (examples.VALID / name).read_bytes(), CONTENTS[name]
    trailer = packs.Trailer.decode(data)
    assert data.startswith(packs.MAGIC)
    assert [trailer.meta_offset, trailer.meta_size] == stated["meta"]
    assert trailer.digest.hex() == stated["digest"] == digest_hex(data[:-36])
    position = len(packs.MAGIC)
    for offset, size in stated["frames"]:
        assert offset == position, "nothing stands between frames"
        assert packs.decompress_frame(data[offset : offset + size])
        position += size
    assert position == len(data) - packs.TRAILER_BYTES
    if trailer.meta_size:
        check_directory(name, data, stated)


def check_directory(name: str, data: bytes, stated: dict[str, Any]) -> None:
    """Compare the directory of a pack with what is written down."""
    storage = MemoryStorage(f"memory://{name}")
    storage.put("pack", data)
    tail = read_tail(storage, "pack", len(data))
    directory = tail.directory
    assert directory.ordinal == stated["ordinal"]
    assert [number for segment in directory.root for number in segment] == stated["root"]
    assert json.loads(directory.manifest) == stated["manifest"]
    far = [[ref.ordinal, ref.folder, ref.name, ref.size, ref.start, ref.end] for ref in directory.far.values()]
    assert far == stated["far"]
    assert [[near.ordinal, near.txid8, near.start, near.end] for near in directory.near] == stated["near"]
    manifest = Manifest.decode(directory.manifest)
    if manifest.root.kind == "leaf":
        ordinal, offset, size, inner, length = stated["root"]
        chunk = packs.decompress_frame(data[offset : offset + size])[inner : inner + length]
        assert (ordinal, digest_hex(chunk)) == (stated["ordinal"], manifest.root.digest) == (1, manifest.digest)


@pytest.mark.parametrize("name", of_kind(examples.INVALID, "pack"))
def test_invalid_packs_are_refused(name: str) -> None:
    storage = MemoryStorage(f"memory://{name}")
    data = (examples.INVALID / name).read_bytes()
    storage.put("pack", data)
    with raises(name) as caught:
        read_tail(storage, "pack", len(data))
    assert caught.value.code == TABLE[name]["code"]


def test_the_table_of_contents_lists_the_binary_examples_and_no_others() -> None:
    binary = {path.name for path in examples.VALID.iterdir() if ".json" not in path.name}
    assert set(CONTENTS) == binary
