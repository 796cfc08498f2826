"""The golden examples and schemas of `manifests/`, as the tests of the format read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema

from snapstore.errors import FormatError
from snapstore.format import frames
from snapstore.format.config_document import ArchiveConfig
from snapstore.format.index_current import IndexCurrent
from snapstore.format.limits import DOCUMENT_LIMIT_BYTES
from snapstore.format.manifest import Manifest
from snapstore.format.register import Register

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
VALID = MANIFESTS / "examples" / "valid"
INVALID = MANIFESTS / "examples" / "invalid"

KINDS = ("archive", "index", "manifest", "register")


def read_register(data: bytes) -> Register:
    """Decode the canonical bytes of a register, which are stored inside a frame."""
    return Register.decode(frames.compress(data))


def write_register(register: Register) -> bytes:
    """Encode a register without its frame."""
    return frames.decompress(register.encode(), DOCUMENT_LIMIT_BYTES)


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "archive": ArchiveConfig.decode,
    "index": IndexCurrent.decode,
    "manifest": Manifest.decode,
    "register": read_register,
}
ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "archive": ArchiveConfig.encode,
    "index": IndexCurrent.encode,
    "manifest": Manifest.encode,
    "register": write_register,
}


def kind_of(name: str) -> str:
    """Return the kind of document that an example is meant to be: the first word of its name."""
    kind = name.split("-", maxsplit=1)[0].split(".", maxsplit=1)[0]
    assert kind in KINDS, name
    return kind


def names_in(folder: Path, suffix: str, kind: str = "") -> list[str]:
    """Return the sorted names of the examples in a folder, of one kind if it is given."""
    found = sorted(path.name for path in folder.iterdir() if path.name.endswith(suffix) and path.name.startswith(kind))
    assert found, f"no {suffix} examples: the tests would hold for nothing"
    return found


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind of document."""
    loaded: dict[str, Any] = json.loads((MANIFESTS / "schema" / f"{kind}.schema.json").read_bytes())
    return loaded


SCHEMAS = (*KINDS, "probe")
VALIDATORS: dict[str, Any] = {kind: jsonschema.Draft202012Validator(schema(kind)) for kind in SCHEMAS}


def schema_problems(kind: str, document: object) -> list[str]:
    """Return what the JSON Schema of a kind has against a document."""
    return [error.message for error in VALIDATORS[kind].iter_errors(document)]


def problems_of(error: FormatError) -> list[str]:
    """Return the problems of an error as `path: kind`."""
    problems: Any = error.context.get("problems", ())
    return [str(problem) for problem in problems]


def problem_table() -> dict[str, dict[str, Any]]:
    """Return what `invalid-problems.json` says about each invalid example."""
    table: dict[str, dict[str, Any]] = json.loads((MANIFESTS / "examples" / "invalid-problems.json").read_bytes())
    return table


def content_table() -> dict[str, dict[str, Any]]:
    """Return what `valid-contents.json` says about each valid example that is not JSON."""
    table: dict[str, dict[str, Any]] = json.loads((MANIFESTS / "examples" / "valid-contents.json").read_bytes())
    return table


def compact(document: object) -> bytes:
    """Return a document as canonical JSON by the standard library alone."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def code_blocks(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (words after the fence, text, line) of each fenced block of a Markdown file."""
    words: str | None = None
    lines: list[str] = []
    start = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif words is None:
            words, lines, start = line[3:].strip(), [], number
        else:
            yield words, "\n".join(lines), start
            words = None
    assert words is None, f"{path.name}: block of line {start} has no end"
