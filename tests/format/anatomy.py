"""Takes an archive folder apart and says which features of the format it shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from snapstore.format import canonical, frames, names
from snapstore.format.limits import DOCUMENT_LIMIT_BYTES
from snapstore.format.node import SAME_FRAME
from snapstore.format.pack import MAGIC, TRAILER_BYTES, Directory, Trailer, decompress_frame
from tests.format import independent_reader

NODE_KINDS = ("list", "map", "text", "bytes", "opaque")
ENTRY_KINDS = ("chunk", "node", "tree", "inline")

EVERYTHING = frozenset(
    [
        *(f"{kind} node" for kind in NODE_KINDS),
        *(f"{kind} entry" for kind in ENTRY_KINDS),
        *(f"extension {code}" for code in range(1, 11)),
        *(f"{kind} root" for kind in ("leaf", "node")),
        "chunk of several segments",
        "change marker",
        "closure of 10 packs",
        "closure over two folders",
        "digest form of a run",
        "digest form of an id",
        "earlier version",
        "edge marker",
        "far pack",
        "further pack",
        "keys that are no text",
        "merged packs",
        "namespace",
        "near pack",
        "node above level 0",
        "node in the frame of its parent",
        "node in another frame",
        "probe record",
        "several parents",
        "shared pack of an earlier version",
        "snapshot without its own bytes",
        "status other than completed",
        "tombstone",
    ]
)


def features(folder: Path) -> set[str]:
    """Return the features that an archive shows, in the words of EVERYTHING."""
    found = set(_keys(folder))
    for path in sorted((folder / "snapshots").rglob("*")):
        if path.is_file():
            document = canonical.decode(frames.decompress(path.read_bytes(), DOCUMENT_LIMIT_BYTES))
            found.update(_register(document))
            if not document["deleted"]:
                found.update(_state(folder, document))
    return found


def _keys(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        key = path.relative_to(folder).as_posix()
        if path.is_dir():
            continue
        pack = names.parse_pack_key(key)
        if pack is not None and not path.stat().st_size:
            yield "edge marker"
        elif pack is not None:
            data = path.read_bytes()
            assert data.startswith(MAGIC)
            yield from _directory(data, pack)
        if key.startswith("ns/"):
            yield "namespace"
        elif key.startswith("probes/"):
            yield "probe record"
        elif names.parse_change_key(key) is not None:
            yield "change marker"


def _directory(data: bytes, pack: names.PackName) -> Iterator[str]:
    trailer = Trailer.decode(data)
    if pack.id12 is None:
        assert not trailer.meta_size
        yield "further pack"
        return
    meta = decompress_frame(data[trailer.meta_offset : -TRAILER_BYTES])
    directory = Directory.decode(meta, trailer.meta_offset, trailer.meta_size)
    if pack.run is None:
        yield "digest form of a run"
    if directory.near:
        yield "near pack"
    if directory.far:
        yield "far pack"
    length = int.from_bytes(meta[-4:])
    if not msgpack.unpackb(meta[-4 - length : -4], strict_map_key=False)[2]:
        yield "snapshot without its own bytes"


def _register(document: dict[str, Any]) -> Iterator[str]:
    if document["deleted"]:
        yield "tombstone"
        return
    ordinals = [row[0] for rows in document["closure"].values() for row in rows]
    if len(ordinals) >= 10:
        yield "closure of 10 packs"
    if max(ordinals) > len(ordinals) > 2:
        yield "merged packs"
    if len(document["closure"]) > 1:
        yield "closure over two folders"
    if len(document["parents"]) > 1:
        yield "several parents"
    if document["prevs"]:
        yield "earlier version"
    if any(previous["shared"] for previous in document["prevs"]):
        yield "shared pack of an earlier version"
    if document["status"] != "completed":
        yield "status other than completed"
    if names.encode_name(document["id"]).startswith("~"):
        yield "digest form of an id"
    yield f"{document['manifest']['root']['kind']} root"


def _state(folder: Path, document: dict[str, Any]) -> Iterator[str]:
    version = independent_reader.Version(document, independent_reader.packs_of(folder, document))
    root = document["manifest"]["root"]
    if root["kind"] == "node":
        yield from _tree(version, root["place"], [])
    yield from _values(version.encoded_state())


def _tree(version: independent_reader.Version, place: list[int], here: list[int]) -> Iterator[str]:
    identity, places = msgpack.unpackb(version.segments(place, here))
    kind, level, rows = msgpack.unpackb(identity)
    frame = place[:3] if place[0] != SAME_FRAME else here
    yield f"{NODE_KINDS[kind]} node"
    if level:
        yield "node above level 0"
    for row, where in zip(rows, places, strict=True):
        yield f"{ENTRY_KINDS[row[0]]} entry"
        if len(where) > 5:
            yield "chunk of several segments"
        if row[0] in (independent_reader.NODE, independent_reader.TREE):
            yield "node in the frame of its parent" if where[0] == SAME_FRAME else "node in another frame"
            yield from _tree(version, where, frame)


def _values(encoding: bytes) -> Iterator[str]:
    found: set[str] = set()

    def extension(code: int, data: bytes) -> tuple[int, bytes]:
        found.add(f"extension {code}")
        if code in (2, 3, 4):
            found.update(_values(data))
        return (code, data)

    def pairs(items: list[tuple[Any, Any]]) -> None:
        if any(not isinstance(key, str) for key, _ in items):
            found.add("keys that are no text")

    msgpack.unpackb(encoding, ext_hook=extension, strict_map_key=False, object_pairs_hook=pairs)
    yield from found
