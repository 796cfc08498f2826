"""SPEC.md says what the code does: its examples run, its numbers and words are the code's.

Goal: the normative text cannot drift from the program without a failing test.
Method: fenced blocks whose second word names a document, `names`, `keys`, `values` or `cuts` are executed; tables of limits,
numbers, extension types, fields and kinds of problems are compared with the code; every link leads to a heading.
"""

from __future__ import annotations

import ast
import json
import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID
from zoneinfo import ZoneInfo

import blake3
import msgpack  # type: ignore[import-untyped]
import pytest

from snapstore import config
from snapstore.digest import digest_hex
from snapstore.format import canonical, index_current, limits, names, node, pack, preset, values
from snapstore.format.canonical import ProblemKind
from snapstore.history import build, cutting
from snapstore.index import arrow
from tests.format import cutter, examples, independent_reader, tagged

SPEC = examples.MANIFESTS / "SPEC.md"
TEXT = SPEC.read_text(encoding="utf-8")
BLOCKS = [(words, text, line) for words, text, line in examples.code_blocks(SPEC)]
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) = (?P<key>\S+)")


def blocks(words: str) -> list[str]:
    """Return the texts of the blocks with these words behind the fence; there is at least one."""
    found = [text for marked, text, _ in BLOCKS if marked == words]
    assert found, f"SPEC.md has no block marked {words!r}"
    return found


def section(title: str) -> str:
    """Return the text of a section of the second level."""
    parts = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


@pytest.mark.parametrize("kind", examples.KINDS)
def test_documents_are_valid(kind: str) -> None:
    for text in blocks(f"json {kind}"):
        document = json.loads(text)
        data = examples.compact(document)
        assert examples.ENCODERS[kind](examples.DECODERS[kind](data)) == data
        assert examples.schema_problems(kind, document) == []


def test_canonical_bytes_are_canonical() -> None:
    for text in blocks("json canonical"):
        data = text.encode()
        assert canonical.encode(canonical.decode(data)) == data


def test_names_are_encoded_as_shown() -> None:
    for text in blocks("text names"):
        for line in text.splitlines():
            name, encoded = line.split(" = ")
            assert names.encode_name(json.loads(name)) == encoded
            assert names.decode_name(encoded) == json.loads(name)


def test_keys_are_made_as_shown() -> None:
    for text in blocks("text keys"):
        for line in text.splitlines():
            match = CALL.fullmatch(line)
            assert match is not None, line
            arguments = ast.literal_eval(f"({match['arguments']},)")
            assert getattr(names, match["name"])(*arguments) == match["key"]


def test_every_marked_block_is_executed() -> None:
    known = {"json canonical", "json probe", "text names", "text keys", "text values", "text cuts"}
    known |= {f"json {kind}" for kind in examples.KINDS}
    marked = {words for words, _, _ in BLOCKS if " " in words}
    assert known <= marked
    unknown = {words for words in marked - known if words.startswith(("json ", "text "))}
    assert unknown == set(), "a block that looks executed is executed by nobody"


def test_the_probe_record_satisfies_its_schema() -> None:
    for text in blocks("json probe"):
        assert examples.schema_problems("probe", json.loads(text)) == []


VALUE_NAMES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (bytearray, date, datetime, frozenset, time, timedelta, timezone)},
    **{kind.__name__: kind for kind in (Decimal, UUID, ZoneInfo)},
}


@pytest.mark.parametrize("line", blocks("text values")[0].splitlines())
def test_values_are_encoded_as_shown(line: str) -> None:
    text, hexadecimal = line.rsplit(" = ", 1)
    value = eval(text, {"__builtins__": {}}, VALUE_NAMES)
    data = bytes.fromhex(hexadecimal)
    assert values.encode(value).hex() == hexadecimal
    kept = bytes(value) if isinstance(value, bytearray) else value
    assert tagged.exact(values.decode(data)) == tagged.exact(kept)
    assert tagged.exact(independent_reader.decode(data)) == tagged.exact(kept)


def test_every_extension_type_is_explained_and_shown() -> None:
    codes = {value for name, value in vars(values).items() if name.startswith("EXT_")}
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", section("State encoding"), flags=re.MULTILINE)}
    shown: set[int] = set()
    for line in blocks("text values")[0].splitlines():
        data = bytes.fromhex(line.rsplit(" = ", 1)[1])
        msgpack.unpackb(data, ext_hook=lambda code, _: shown.add(code), strict_map_key=False)
    assert codes == explained == shown


def test_cuts_are_made_as_shown() -> None:
    shown = {}
    for line in blocks("text cuts")[0].splitlines():
        name, numbers = line.split(" = ")
        shown[name] = numbers.split() if name == "root" else [int(number) for number in numbers.split()]
    data = blake3.blake3(b"snapstore").digest(length=1 << 20)
    assert cutter.cut_ends(data[:131072], cutter.SMALL) == shown["bytes"]
    assert cutter.cut_ends(data, cutter.LARGE) == shown["large bytes"]
    items, start = [], 0
    for number in range(200):
        length = 1 + (number * number * 7919) % 1500
        items.append(data[start : start + length])
        start += length
    first, position = {}, 0
    for chunk in cutter.chunks_of_items(msgpack.packb(item) for item in items):
        assert isinstance(chunk, list)
        first[cutter.blake(b"".join(chunk))] = position
        position += len(chunk)
    tree = cutter.cut(items)
    assert isinstance(tree, cutter.Tree)
    assert list(first.values()) == shown["items"]
    assert [list(first).index(name) for name in tree.first_digests] == shown["nodes"]
    assert [tree.digest.hex()] == shown["root"]


def numbers_in(title: str) -> dict[str, int]:
    """Return the numbers that the tables of a section give to names in capitals."""
    return {name: int(value) for name, value in re.findall(r"\| ([A-Z_]+) \| (\d+) (?=\|)", section(title))}


def test_limits_are_the_program_s() -> None:
    real = {name: value for name, value in vars(limits).items() if name.isupper() and name != "FORMAT_VERSION"}
    real |= {"MAX_ITEM_BYTES": values.MAX_ITEM_BYTES, "KEY_LIMIT_BYTES": values.KEY_LIMIT_BYTES}
    assert f"up to {values.MAX_DEPTH} lists, dicts, tuples and sets" in section("State encoding")
    assert numbers_in("Limits") == real | {"MAX_ENTRIES": node.MAX_ENTRIES, "MAX_FRAME_BYTES": pack.MAX_FRAME_BYTES}


def test_numbers_of_chunking_are_the_program_s() -> None:
    stated = numbers_in("Chunking")
    real = {name: getattr(build if hasattr(build, name) else config, name) for name in stated}
    assert stated == real
    cutting_names = {name for name in config.__all__ if name.startswith(("CHUNK_", "ITEM_", "INLINE_", "NODE_", "VALUE_"))}
    assert set(stated) == cutting_names | {"SMALL_MAP_PAIRS"}
    assert f"up to {cutting.BIG_BYTES} bytes" in section("Chunking")


def test_the_preset_is_the_same_in_file_text_and_code() -> None:
    file = (examples.MANIFESTS / "preset-1.txt").read_bytes()
    assert file == preset.PRESET
    text = section("Frames")
    assert f"the {len(file)} bytes of" in text
    assert re.findall(r"`([0-9a-f]{64})`", text) == [digest_hex(file)]


def test_the_layout_of_packs_is_the_program_s() -> None:
    text = section("Packs")
    assert f"| magic | {len(pack.MAGIC)} | `{pack.MAGIC.decode()}`" in text
    assert f"| trailer | {pack.TRAILER_BYTES} |" in text
    body = bytearray(pack.MAGIC)
    pack.seal(body, 0, 0)
    assert body.endswith(b"1KPS")
    assert "`1KPS` in ASCII" in text
    assert f"fewer than {pack.NEAR_ORDINALS} saves back" in text


def test_kinds_of_nodes_and_entries_are_the_program_s() -> None:
    text = section("Tree nodes")
    kinds = {name: int(number) for name, number in re.findall(r"^\| (\w+) \| (\d) \|", text, flags=re.MULTILINE)}
    assert kinds == {name.lower(): getattr(node, name) for name in ("LIST", "MAP", "TEXT", "BYTES", "OPAQUE")}
    entries = {name: int(number) for name, number in re.findall(r"^\| (\w+) \| `\[(\d),", text, flags=re.MULTILINE)}
    assert entries == {"chunk": node.LEAF, "node": node.NODE, "tree": node.TREE, "inline": node.INLINE}
    assert f"The ordinal {node.SAME_FRAME} (SAME_FRAME)" in text


TABLES = [("Archive config", "archive"), ("Index", "index"), ("Manifest", "manifest"), ("Register", "register")]


@pytest.mark.parametrize(("title", "kind"), TABLES)
def test_tables_explain_every_field(title: str, kind: str) -> None:
    text = section(title).rpartition("\n```json")[2]  # behind the example: the index has a table of columns before it
    first_cells = re.findall(r"^\| ([a-z_, ]+) \|", text, flags=re.MULTILINE)
    explained = {name for cell in first_cells for name in cell.split(", ")} - {"field"}
    assert explained == set(examples.schema(kind)["properties"])


def test_the_columns_of_segments_are_the_program_s() -> None:
    text = section("Index").partition("```json")[0]
    rows = re.findall(r"^\| ([a-z_, ]+) \| (.+?) \|", text, flags=re.MULTILINE)[1:]
    explained = {name: kind for names_, kind in rows for name in names_.split(", ")}
    real = {field.name: field for field in arrow.schema()}
    assert set(explained) == set(real)
    assert {name for name, kind in explained.items() if "or null" in kind} == {n for n, f in real.items() if f.nullable}
    assert str(real["created_at"].type) == "timestamp[ms, tz=UTC]"
    assert f"at most {index_current.FILES_LIMIT}" in section("Index")


def test_kinds_of_problems_are_the_program_s() -> None:
    paragraph = next(part for part in section("Canonical JSON").split("\n\n") if part.startswith("What can be wrong"))
    assert set(re.findall(r"`(\w+)`", paragraph)) == set(get_args(ProblemKind))


def test_links_lead_to_headings() -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links == headings - {"contents"}
