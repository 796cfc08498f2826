"""The JSON Schemas describe the documents that we write: every field, its bounds, and nothing else.

Goal: a schema may be weaker than the decoder, where JSON Schema cannot say a rule, but never stronger and never older.
Method: the schemas are themselves valid, list exactly the fields that are written, explain each, state the numbers of the
table of limits, and accept generated documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

import snapstore
from snapstore.format import limits, names
from snapstore.format.config_document import ArchiveConfig
from snapstore.format.manifest import Manifest
from snapstore.format.register import Register
from tests.format import examples
from tests.unit.format.strategies import configs, manifests, registers

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

EXAMPLES = {
    "archive": "archive.json",
    "index": "index.json",
    "manifest": "manifest-continued.json",
    "register": "register-rewritten.json",
}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of a schema that lists the properties of an object."""
    if isinstance(schema, dict):
        if "required" in schema and "if" not in schema and schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


@pytest.mark.parametrize("kind", examples.SCHEMAS)
def test_schemas_are_valid_and_formatted(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(examples.schema(kind))
    text = (examples.MANIFESTS / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("kind", examples.KINDS)
def test_schemas_require_and_explain_exactly_the_written_fields(kind: str) -> None:
    schema = examples.schema(kind)
    document = json.loads((examples.VALID / EXAMPLES[kind]).read_bytes())
    assert set(schema["required"]) == set(schema["properties"]) == set(document)
    for part in objects(schema):
        assert sorted(part["properties"]) == sorted(part["required"])
        for name, field in part["properties"].items():
            assert "description" in field or "$ref" in field, name


def test_the_probe_schema_lists_and_accepts_what_is_recorded() -> None:
    archive = snapstore.open("memory://recorded-probe", create=True)
    (key,) = [row.key for row in archive.storage.list(names.PROBES_PREFIX)]
    record = json.loads(archive.storage.get(key).data)
    assert key == names.probe_key(record["endpoint"])
    assert examples.schema_problems("probe", record) == []
    result = examples.schema("probe")["properties"]["result"]
    assert set(result["properties"]) == set(result["required"]) == set(record["result"])
    for problem in ({"ranges": None}, {"etag_style": "none"}, {"problems": "text"}):
        assert examples.schema_problems("probe", {**record, "result": {**record["result"], **problem}}) != []


def test_the_schema_of_earlier_versions_lists_their_fields() -> None:
    document = json.loads((examples.VALID / EXAMPLES["register"]).read_bytes())
    assert set(examples.schema("register")["$defs"]["previous"]["required"]) == set(document["prevs"][0])


@pytest.mark.parametrize("kind", examples.KINDS)
def test_schemas_state_the_limits(kind: str) -> None:
    properties = examples.schema(kind)["properties"]
    stated = {
        "created_at": ("maximum", limits.TIME_LIMIT_MS),
        "epoch": ("maximum", limits.INTEGER_LIMIT),
        "graph": ("maxLength", limits.NAME_LIMIT_BYTES),
        "id": ("maxLength", limits.NAME_LIMIT_BYTES),
        "metadata": ("maxLength", limits.METADATA_LIMIT_BYTES),
        "parents": ("maxItems", limits.PARENTS_LIMIT),
        "prevs": ("maxItems", limits.PREVS_LIMIT),
        "recent": ("maxItems", limits.RECENT_LIMIT),
        "status": ("maxLength", limits.STATUS_LIMIT_BYTES),
    }
    for name, (word, value) in stated.items():
        if name in properties and kind != "archive":
            assert properties[name][word] == value, name
    assert properties["format"]["const"] == limits.FORMAT_VERSION


@few
@given(configs)
def test_the_archive_schema_accepts_what_we_write(config: ArchiveConfig) -> None:
    assert examples.schema_problems("archive", json.loads(config.encode())) == []


@few
@given(manifests())
def test_the_manifest_schema_accepts_what_we_write(manifest: Manifest) -> None:
    assert examples.schema_problems("manifest", json.loads(manifest.encode())) == []


@few
@given(registers())
def test_the_register_schema_accepts_what_we_write(register: Register) -> None:
    assert examples.schema_problems("register", json.loads(examples.write_register(register))) == []
