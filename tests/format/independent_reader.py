"""Restores one snapshot from an archive folder, knowing nothing but manifests/SPEC.md.

    python independent_reader.py FOLDER ID            writes the state's MessagePack encoding to standard output
    python independent_reader.py FOLDER ID --show     prints the state as a Python value

It imports nothing of snapstore and shows what a reader in another language has to do. What does not hold ends it.
"""

import datetime
import decimal
import json
import sys
import uuid
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import zstandard
from blake3 import blake3

PRESET = (Path(__file__).resolve().parents[2] / "manifests" / "preset-1.txt").read_bytes()
LEAF, NODE, TREE, INLINE = range(4)  # entries of a node
LIST, MAP, TEXT, BYTES, OPAQUE = range(5)  # kinds of nodes
PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789_-."


def expect(condition: object, problem: str) -> None:  # refuse what breaks a rule of the format
    if not condition:
        raise ValueError(problem)


def encode_name(text: str) -> str:  # SPEC.md, Names
    data = text.encode()
    name = "%2E" * len(text) if text in (".", "..") else "".join(chr(b) if b in PLAIN else f"%{b:02X}" for b in data)
    return name if len(name) <= 120 else "~" + blake3(data).hexdigest()


def unframe(frame: bytes, limit: int, dictionary: bytes = PRESET) -> bytes:  # SPEC.md, Frames
    head = zstandard.get_frame_parameters(frame)
    rules = 0 < head.content_size <= limit and head.has_checksum and not head.dict_id  # an unknown size is beyond the limit
    expect(rules, "a frame of an impossible size, without checksum or with a dictionary id")
    raw = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=raw, max_window_size=2**23).decompress(frame, limit, allow_extra_data=False)


def read_document(data: bytes) -> dict[str, Any]:  # SPEC.md, Canonical JSON
    document: dict[str, Any] = json.loads(data)
    again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    expect(document["format"] == 1 and again == data, "a document of another format, or not canonical")
    return document


def header_of(kind: int, count: int, length: int) -> bytes:  # SPEC.md, Tree nodes: of the value of a root node
    if kind in (LIST, MAP):
        packer = msgpack.Packer()
        return bytes(packer.pack_array_header(count) if kind == LIST else packer.pack_map_header(count))
    return b"" if kind == OPAQUE else bytes(msgpack.packb("0" * length if kind == TEXT else bytes(length)))[:-length]


class Version:  # one version of a snapshot, and the packs that it needs
    def __init__(self, fields: dict[str, Any], closure: dict[int, tuple[Path, int]]) -> None:
        self.fields = fields
        self.packs = {ordinal: path.read_bytes() for ordinal, (path, _) in closure.items()}
        expect(all(len(self.packs[ordinal]) == size for ordinal, (_, size) in closure.items()), "a pack has another size")

    def segments(self, place: list[int], here: list[int]) -> bytes:  # `here` is the frame of the node that names the place
        data = b""
        for start in range(0, len(place), 5):
            ordinal, offset, size = place[start : start + 3] if place[start] else here[:3]
            inner, length = place[start + 3 : start + 5]
            content = unframe(self.packs[ordinal][offset : offset + size], 2**21, data or PRESET)
            expect(inner + length <= len(content) and (not data or length == len(content)), "a segment is not there")
            data += content[inner : inner + length]
        return data

    def pieces(self, row: list[Any], place: list[int], here: list[int]) -> Iterator[bytes]:  # what a row stands for, verified
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

    def encoded_state(self) -> bytes:  # the state's encoding, manifest and whole verified
        manifest, root = self.fields["manifest"], self.fields["manifest"]["root"]
        meta = unframe(self.packs[manifest["pack"]][manifest["offset"] :][: manifest["size"]], 2**21)
        _, _, nodes, size, *_ = msgpack.unpackb(meta[-4 - int.from_bytes(meta[-4:]) : -4], strict_map_key=False)
        expect(blake3(meta[nodes : nodes + size]).hexdigest() == manifest["digest"], "the manifest is damaged")
        told = read_document(meta[nodes : nodes + size])
        expect(told["root"]["digest"] == root["digest"] and told["root"]["kind"] == root["kind"], "another root")
        row = [LEAF if root["kind"] == "leaf" else TREE, bytes.fromhex(root["digest"]), told["root"]["length"], b""]
        data = b"".join(self.pieces(row, root["place"], []))
        expect(blake3(data).hexdigest() == told["digest"] == self.fields["digest"], "the state is damaged")
        return data


def read_snapshot(folder: Path, snapshot_id: str) -> bytes:  # the verified encoding of a snapshot's state
    expect(not read_document((folder / "snapstore.json").read_bytes())["features"]["read"], "unknown features")
    path = folder / "snapshots" / blake3(snapshot_id.encode()).hexdigest()[:2] / encode_name(snapshot_id)
    register = read_document(unframe(path.read_bytes(), 2**18))
    expect(register["id"] == snapshot_id and not register["deleted"], "there is no such snapshot")
    for version in [register, *register["prevs"]]:
        shared = {ordinal: packs_of(folder, register)[ordinal] for ordinal in version.get("shared", [])}
        closure = shared | packs_of(folder, version)
        if all(path.exists() for path, _ in closure.values()):
            return Version(version, closure).encoded_state()
    raise FileNotFoundError("no version is complete")


def packs_of(folder: Path, version: dict[str, Any]) -> dict[int, tuple[Path, int]]:  # path and size by ordinal
    return {row[0]: (folder / place / row[1], row[2]) for place, rows in version["closure"].items() for row in rows}


def restore(code: int, data: bytes) -> Any:  # SPEC.md, State encoding: the table of extension types
    if 2 <= code <= 4:
        return (tuple, set, frozenset)[code - 2](decode(data))
    if code in (5, 7):
        text, fold, zone = decode(data)
        fixed = datetime.timezone(datetime.timedelta(microseconds=zone)) if isinstance(zone, int) else None
        moment = (datetime.datetime if code == 5 else datetime.time).fromisoformat(text)
        return moment.replace(fold=fold, tzinfo=zoneinfo.ZoneInfo(zone) if isinstance(zone, str) else fixed)
    if code == 8:
        return datetime.timedelta(*decode(data))
    if code in (6, 9):
        return (datetime.date.fromisoformat if code == 6 else decimal.Decimal)(data.decode())
    expect(code in (1, 10), "an unknown extension type")
    return int.from_bytes(data, signed=True) if code == 1 else uuid.UUID(bytes=data)


def decode(data: bytes) -> Any:  # the value of an encoding
    return msgpack.unpackb(data, ext_hook=restore, strict_map_key=False)


if __name__ == "__main__":
    encoding = read_snapshot(Path(sys.argv[1]), sys.argv[2])
    sys.stdout.buffer.write(repr(decode(encoding)).encode() if "--show" in sys.argv else encoding)
