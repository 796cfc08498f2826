"""The archive's config decides who may read, write and collect.

Goal: an old program never misreads, damages or collects an archive that needs more than it knows.
Method: generated configs both ways; each operation against each list of features; each rule broken by hand.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import FormatError
from snapstore.format.config_document import ArchiveConfig, Features
from tests.unit.format.strategies import configs

ID = "0123456789abcdef0123456789abcdef"
DOCUMENT: dict[str, Any] = {
    "created_at": 1_700_000_000_000,
    "features": {"gc": [], "read": [], "write": []},
    "format": 1,
    "id": ID,
    "kind": "archive",
}


def encoded(**changes: Any) -> bytes:
    """Return the canonical bytes of a config with changed fields; a value of ... removes the field."""
    document = {key: value for key, value in (DOCUMENT | changes).items() if value is not ...}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def wrong(**changes: Any) -> list[tuple[str, str]]:
    """Return (path, kind) of each problem of a config with changed fields."""
    with pytest.raises(FormatError) as caught:
        ArchiveConfig.decode(encoded(**changes))
    assert caught.value.code == "invalid_document"
    return [(problem.path, problem.kind) for problem in caught.value.context["problems"]]  # type: ignore[attr-defined]


@given(configs)
def test_configs_come_back_equal(config: ArchiveConfig) -> None:
    data = config.encode()
    back = ArchiveConfig.decode(data)
    assert back == config
    assert back.encode() == data


def test_the_plain_config_has_the_specified_bytes() -> None:
    config = ArchiveConfig(ID, 1_700_000_000_000)
    assert config.encode() == encoded()
    config.check_readable()
    config.check_writable()
    config.check_collectable()


@pytest.mark.parametrize(
    ("features", "refused"),
    [
        (Features(read=("lenses",)), {"read", "write", "gc"}),
        (Features(write=("lenses",)), {"write", "gc"}),
        (Features(gc=("lenses",)), {"gc"}),
    ],
    ids=repr,
)
def test_an_unknown_feature_forbids_its_operation(features: Features, refused: set[str]) -> None:
    config = ArchiveConfig.decode(ArchiveConfig(ID, 0, features).encode())
    checks = {"read": config.check_readable, "write": config.check_writable, "gc": config.check_collectable}
    for operation, check in checks.items():
        if operation not in refused:
            check()
            continue
        with pytest.raises(FormatError, match="features=lenses") as caught:
            check()
        assert caught.value.code == "unknown_feature"
        assert "upgrade" in (caught.value.hint or "")


def test_unknown_fields_are_kept_and_forbid_nothing() -> None:
    data = encoded(motto={"la": "festina lente"})
    config = ArchiveConfig.decode(data)
    config.check_collectable()
    assert config.encode() == data


def test_every_field_is_required() -> None:
    for key in DOCUMENT:
        assert wrong(**{key: ...}) == [(f"$.{key}", "missing_field")]


@pytest.mark.parametrize(
    ("features", "problem"),
    [
        ([], ("$.features", "wrong_type")),
        ({"gc": [], "read": []}, ("$.features.write", "missing_field")),
        ({"gc": [], "read": [], "write": [], "fly": []}, ("$.features.fly", "unknown_field")),
        ({"gc": [], "read": {}, "write": []}, ("$.features.read", "wrong_type")),
        ({"gc": [], "read": ["b", "a"], "write": []}, ("$.features.read", "wrong_order")),
        ({"gc": ["a", "a"], "read": [], "write": []}, ("$.features.gc", "duplicate")),
        ({"gc": [""], "read": [], "write": []}, ("$.features.gc", "wrong_value")),
        ({"gc": ["A"], "read": [], "write": []}, ("$.features.gc", "wrong_value")),
        ({"gc": [1], "read": [], "write": []}, ("$.features.gc", "wrong_value")),
        ({"gc": [], "read": [f"f{n}" for n in range(65)], "write": []}, ("$.features.read", "too_many")),
    ],
    ids=repr,
)
def test_wrong_features_are_named(features: Any, problem: tuple[str, str]) -> None:
    assert wrong(features=features) == [problem]


def test_other_wrong_fields_are_named() -> None:
    assert wrong(id="ABC", kind="manifest", created_at=-1) == [
        ("$.kind", "wrong_value"),
        ("$.id", "wrong_value"),
        ("$.created_at", "out_of_range"),
    ]


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(FormatError) as caught:
        ArchiveConfig.decode(encoded(format=2, features="somewhere else"))
    assert caught.value.code == "newer_format"


def test_a_wrong_config_is_not_written() -> None:
    for config in (ArchiveConfig("x", 0), ArchiveConfig(ID, -1), ArchiveConfig(ID, 0, Features(("b", "a")))):
        with pytest.raises(FormatError):
            config.encode()


@given(configs, st.data())
def test_any_mutated_bytes_are_refused_or_another_valid_config(config: ArchiveConfig, data: st.DataObject) -> None:
    whole = bytearray(config.encode())
    index = data.draw(st.integers(0, len(whole) - 1))
    whole[index] ^= data.draw(st.integers(1, 255))
    for changed in (bytes(whole), bytes(whole[:index])):
        try:
            back = ArchiveConfig.decode(changed)
        except FormatError:
            continue
        assert back.encode() == changed
