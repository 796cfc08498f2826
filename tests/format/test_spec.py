"""SPEC.md says what the code does: its examples run, its numbers and words are the code's.

Goal: the normative text cannot drift from the program without a failing test.
Method: fenced blocks whose second word names a document, `names` or `keys` are executed; tables of limits, fields and kinds
of problems are compared with the code; every link leads to a heading.
"""

from __future__ import annotations

import ast
import json
import re
from typing import get_args

import pytest

from snapstore.format import canonical, limits, names
from snapstore.format.canonical import ProblemKind
from tests.format import examples

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
    known = {"json canonical", "text names", "text keys", *(f"json {kind}" for kind in examples.KINDS)}
    marked = {words for words, _, _ in BLOCKS if " " in words}
    assert known <= marked
    unknown = {words for words in marked - known if words.startswith(("json ", "text "))}
    assert unknown == set(), "a block that looks executed is executed by nobody"


def test_limits_are_the_program_s() -> None:
    rows = dict(re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", section("Limits"), flags=re.MULTILINE))
    stated = {name: int(value) for name, value in rows.items()}
    real = {name: value for name, value in vars(limits).items() if name.isupper() and name != "FORMAT_VERSION"}
    assert stated == real


@pytest.mark.parametrize(("title", "kind"), [("Archive config", "archive"), ("Manifest", "manifest"), ("Register", "register")])
def test_tables_explain_every_field(title: str, kind: str) -> None:
    first_cells = re.findall(r"^\| ([a-z_, ]+) \|", section(title), flags=re.MULTILINE)
    explained = {name for cell in first_cells for name in cell.split(", ")} - {"field"}
    assert explained == set(examples.schema(kind)["properties"])


def test_kinds_of_problems_are_the_program_s() -> None:
    paragraph = next(part for part in section("Canonical JSON").split("\n\n") if part.startswith("What can be wrong"))
    assert set(re.findall(r"`(\w+)`", paragraph)) == set(get_args(ProblemKind))


def test_links_lead_to_headings() -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert links == headings - {"contents"}
