"""Every golden example is executed, by our decoders and by the JSON Schemas.

Goal: another implementation can be built against `manifests/examples` alone, and ours never drifts from them.
Method: valid examples decode, satisfy the schema and encode to the same bytes; invalid ones are refused with exactly the
problems that `invalid-problems.json` lists, by the schema too where a schema can say it.
"""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from snapstore.errors import CorruptionError, FormatError
from snapstore.format.canonical import ProblemKind
from snapstore.format.config_document import ArchiveConfig
from snapstore.format.register import Register
from tests.format import examples

TABLE = examples.problem_table()


@pytest.mark.parametrize("name", examples.names_in(examples.VALID, ".json"))
def test_valid_examples_come_back_to_the_byte(name: str) -> None:
    kind = examples.kind_of(name)
    data = (examples.VALID / name).read_bytes()
    value = examples.DECODERS[kind](data)
    assert examples.ENCODERS[kind](value) == data
    assert examples.compact(json.loads(data)) == data


@pytest.mark.parametrize("name", examples.names_in(examples.VALID, ".json"))
def test_valid_examples_satisfy_their_schema(name: str) -> None:
    document = json.loads((examples.VALID / name).read_bytes())
    assert examples.schema_problems(examples.kind_of(name), document) == []


@pytest.mark.parametrize("name", examples.names_in(examples.VALID, ".zst", "register"))
def test_stored_registers_hold_the_example_beside_them(name: str) -> None:
    register = Register.decode((examples.VALID / name).read_bytes())
    assert examples.write_register(register) == (examples.VALID / name.removesuffix(".zst")).read_bytes()


@pytest.mark.parametrize("name", examples.names_in(examples.INVALID, ".json"))
def test_invalid_examples_are_refused_with_all_their_problems(name: str) -> None:
    expected = TABLE[name]
    with pytest.raises(FormatError) as caught:
        examples.DECODERS[examples.kind_of(name)]((examples.INVALID / name).read_bytes())
    assert caught.value.code == expected["code"]
    assert examples.problems_of(caught.value) == expected.get("problems", [])


@pytest.mark.parametrize("name", examples.names_in(examples.INVALID, ".json"))
def test_invalid_examples_are_refused_by_the_schema_where_it_can_tell(name: str) -> None:
    try:
        document: Any = json.loads((examples.INVALID / name).read_bytes().decode("utf-8"))
    except ValueError:
        assert TABLE[name]["schema"] == "not json"
        return
    problems = examples.schema_problems(examples.kind_of(name), document)
    assert ("refuses" if problems else "accepts") == TABLE[name]["schema"], problems


@pytest.mark.parametrize("name", examples.names_in(examples.INVALID, ".zst", "register"))
def test_damaged_registers_are_corruption(name: str) -> None:
    with pytest.raises(CorruptionError) as caught:
        Register.decode((examples.INVALID / name).read_bytes())
    assert caught.value.code == TABLE[name]["code"]


def test_the_table_lists_the_invalid_examples_and_no_others() -> None:
    assert set(TABLE) == {path.name for path in examples.INVALID.iterdir()}
    assert {name.split("-", maxsplit=1)[0] for name in TABLE} == {*examples.KINDS, "frame", "node", "pack"}


def test_every_kind_of_problem_has_an_example() -> None:
    shown = {problem.rsplit(": ", 1)[1] for row in TABLE.values() for problem in row.get("problems", [])}
    assert shown == set(get_args(ProblemKind))


def test_unknown_features_do_not_make_a_config_invalid() -> None:
    config = ArchiveConfig.decode((examples.VALID / "archive-needs-unknown-features.json").read_bytes())
    with pytest.raises(FormatError, match="sealed-packs") as caught:
        config.check_readable()
    assert caught.value.code == "unknown_feature"
