"""Restores one snapshot from an archive folder, knowing nothing but manifests/SPEC.md.

    python independent_reader.py FOLDER ID            writes the state's MessagePack encoding to standard output
    python independent_reader.py FOLDER ID --show     prints the state as a Python value

It imports nothing of snapstore and shows what a reader in another language has to do. What does not hold ends it.
"""

import datetime
import decimal
import json
import pprint
import sys
import uuid
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import zstandard
from blake3 import blake3

PRESET = (Path(__file__).resolve().parents[2] / "manifests" / "preset-1.txt").read_bytes()
LEAF, NODE, TREE, INLINE = range(4)  # entries of a node
LIST, MAP, TEXT, BYTES, OPAQUE = range(5)  # kinds of nodes
PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789_-."


def expect(condition: object, problem: str) -> None:
    """Refuse what breaks a rule of the format."""
    if not condition:
        raise ValueError(problem)


def encode_name(text: str) -> str:
    """SPEC.md, Names."""
    data = text.encode()
    name = "".join(chr(byte) if byte in PLAIN else f"%{byte:02X}" for byte in data)
    name = name.replace(".", "%2E") if text in (".", "..") else name
    return name if len(name) <= 120 else "~" + blake3(data).hexdigest()


def unframe(frame: bytes, limit: int, dictionary: bytes = PRESET) -> bytes:
    """SPEC.md, Frames."""
    header = zstandard.get_frame_parameters(frame)
    expect(0 < header.content_size <= limit, "a frame declares an impossible size")  # an unknown size is beyond it
    expect(header.has_checksum and not header.dict_id, "a frame has no checksum, or a dictionary id")
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    opener = zstandard.ZstdDecompressor(dict_data=raw, max_window_size=2**23)
    return opener.decompress(frame, max_output_size=limit, allow_extra_data=False)


def read_document(data: bytes) -> dict[str, Any]:
    """SPEC.md, Canonical JSON: valid bytes are those that encode to themselves."""
    document: dict[str, Any] = json.loads(data)
    again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    expect(document["format"] == 1 and again == data, "a document of another format, or not canonical")
    return document


def header_of(kind: int, count: int, length: int) -> bytes:
    """SPEC.md, Tree nodes: the header of the value that a root node stands for."""
    if kind in (LIST, MAP):
        packer = msgpack.Packer()
        return bytes(packer.pack_array_header(count) if kind == LIST else packer.pack_map_header(count))
    return b"" if kind == OPAQUE else bytes(msgpack.packb("0" * length if kind == TEXT else bytes(length)))[:-length]


class Version:
    """One version of a snapshot, and the packs that it needs."""

    def __init__(self, fields: dict[str, Any], closure: dict[int, tuple[Path, int]]) -> None:
        self.fields = fields
        self.packs = {ordinal: path.read_bytes() for ordinal, (path, _) in closure.items()}
        expect(all(len(self.packs[ordinal]) == size for ordinal, (_, size) in closure.items()), "a pack has another size")

    def segments(self, place: list[int], here: list[int]) -> bytes:
        """The bytes at a place; `here` is the segment of the node that names it."""
        data = b""
        for start in range(0, len(place), 5):
            ordinal, offset, size = place[start : start + 3] if place[start] else here[:3]
            inner, length = place[start + 3 : start + 5]
            content = unframe(self.packs[ordinal][offset : offset + size], 2**21, data or PRESET)
            expect(inner + length <= len(content) and (not data or length == len(content)), "a segment is not there")
            data += content[inner : inner + length]
        return data

    def pieces(self, row: list[Any], place: list[int], here: list[int]) -> Iterator[bytes]:
        """The encoding of what a row stands for, piece by piece, each verified."""
        if row[0] == INLINE:
            yield row[1]
            return
        data = self.segments(place, here)
        if row[0] == LEAF:
            expect(blake3(data).digest() == row[1] and len(data) == row[2], "a chunk is damaged")
            yield data
            return
        identity, places = msgpack.unpackb(data)
        expect(blake3(identity).digest() == row[1], "a node is damaged")
        kind, _, rows = msgpack.unpackb(identity)
        if row[0] == TREE:
            count = sum({TREE: 1, INLINE: below[2]}.get(below[0], below[-1]) for below in rows)
            keys = sum(len(below[3]) for below in rows if below[0] == TREE)
            length = keys + sum(len(below[1]) if below[0] == INLINE else below[2] for below in rows)
            yield row[3] + header_of(kind, count, length)
        for below, where in zip(rows, places, strict=True):
            yield from self.pieces(below, where, place[:3] if place[0] else here[:3])

    def encoded_state(self) -> bytes:
        """The state's encoding: manifest and whole verified."""
        manifest, root = self.fields["manifest"], self.fields["manifest"]["root"]
        offset = manifest["offset"]
        meta = unframe(self.packs[manifest["pack"]][offset : offset + manifest["size"]], 2**21)
        _, _, nodes, size, *_ = msgpack.unpackb(meta[-4 - int.from_bytes(meta[-4:]) : -4], strict_map_key=False)
        expect(blake3(meta[nodes : nodes + size]).hexdigest() == manifest["digest"], "the manifest is damaged")
        told = read_document(meta[nodes : nodes + size])
        expect(told["root"]["digest"] == root["digest"] and told["root"]["kind"] == root["kind"], "another root")
        kind = LEAF if root["kind"] == "leaf" else TREE
        row = [kind, bytes.fromhex(root["digest"]), told["root"]["length"], b""]
        data = b"".join(self.pieces(row, root["place"], []))
        expect(blake3(data).hexdigest() == told["digest"] == self.fields["digest"], "the state is damaged")
        return data


def read_snapshot(folder: Path, snapshot_id: str) -> bytes:
    """The verified encoding of a snapshot's state."""
    expect(not read_document((folder / "snapstore.json").read_bytes())["features"]["read"], "unknown features")
    path = folder / "snapshots" / blake3(snapshot_id.encode()).hexdigest()[:2] / encode_name(snapshot_id)
    register = read_document(unframe(path.read_bytes(), 2**18))
    expect(register["id"] == snapshot_id and not register["deleted"], "there is no such snapshot")
    current = packs_of(folder, register)
    for version in [register, *register["prevs"]]:
        closure = {ordinal: current[ordinal] for ordinal in version.get("shared", [])} | packs_of(folder, version)
        if all(path.exists() for path, _ in closure.values()):
            return Version(version, closure).encoded_state()
    raise FileNotFoundError("no version is complete")


def packs_of(folder: Path, version: dict[str, Any]) -> dict[int, tuple[Path, int]]:
    """SPEC.md, Register: the path and size of each pack that a version lists, by ordinal."""
    return {row[0]: (folder / place / row[1], row[2]) for place, rows in version["closure"].items() for row in rows}


def restore(code: int, data: bytes) -> Any:
    """SPEC.md, State encoding: the table of extension types."""
    if code in (2, 3, 4):
        return (tuple, set, frozenset)[code - 2](decode(data))
    if code in (5, 7):
        text, fold, zone = decode(data)
        kind = datetime.datetime if code == 5 else datetime.time
        offset = datetime.timezone(datetime.timedelta(microseconds=zone)) if isinstance(zone, int) else None
        return kind.fromisoformat(text).replace(fold=fold, tzinfo=zoneinfo.ZoneInfo(zone) if isinstance(zone, str) else offset)
    if code == 8:
        return datetime.timedelta(*decode(data))
    others = {1: lambda: int.from_bytes(data, signed=True), 6: lambda: datetime.date.fromisoformat(data.decode())}
    return (others | {9: lambda: decimal.Decimal(data.decode()), 10: lambda: uuid.UUID(bytes=data)})[code]()


def decode(data: bytes) -> Any:
    """The value of an encoding."""
    return msgpack.unpackb(data, ext_hook=restore, strict_map_key=False)


if __name__ == "__main__":
    encoding = read_snapshot(Path(sys.argv[1]), sys.argv[2])
    pprint.pprint(decode(encoding)) if "--show" in sys.argv else sys.stdout.buffer.write(encoding)
