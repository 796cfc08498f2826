"""A manifest says what a snapshot is, byte for byte the same wherever its bytes lie.

Goal: manifests come back equal, their digest depends on nothing but meaning, and a wrong one names all that is wrong.
Method: generated manifests both ways, each rule broken by hand, mutated bytes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.errors import FormatError
from snapstore.format import canonical
from snapstore.format.limits import NAME_LIMIT_BYTES, PARENTS_LIMIT, TIME_LIMIT_MS
from snapstore.format.manifest import Manifest, ParentRef, Root
from tests.unit.format.strategies import manifests

HEX = "0123456789abcdef" * 4

MANIFEST = Manifest(
    id="s1",
    run="ticket-42",
    graph="support",
    node="plan",
    parents=(ParentRef("s0", HEX),),
    created_at=1_700_000_000_000,
    metadata='{"model":"large"}',
    digest=HEX,
    root=Root(HEX, "node", 5_000_000),
)


def wrong(**changes: Any) -> list[tuple[str, str]]:
    """Return (path, kind) of each problem of a manifest with changed fields; a value of ... removes the field."""
    document = MANIFEST.to_document() | changes
    document = {key: value for key, value in document.items() if value is not ...}
    with pytest.raises(FormatError) as caught:
        Manifest.decode(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    assert caught.value.code == "invalid_document"
    return [(problem.path, problem.kind) for problem in caught.value.context["problems"]]  # type: ignore[attr-defined]


@given(manifests())
def test_manifests_come_back_equal(manifest: Manifest) -> None:
    data = manifest.encode()
    back = Manifest.decode(data)
    assert back == manifest
    assert back.encode() == data


def test_bytes_are_canonical_json() -> None:
    data = MANIFEST.encode()
    document = json.loads(data)
    assert data == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert (document["kind"], document["format"]) == ("manifest", 1)


def test_fields_of_a_later_minor_version_are_kept() -> None:
    document = MANIFEST.to_document() | {"label": {"de": ["x", 1, None]}}
    data = canonical.encode(document)
    manifest = Manifest.decode(data)
    assert manifest.extra == {"label": {"de": ["x", 1, None]}}
    assert manifest.encode() == data


def test_unknown_fields_are_held_to_the_rules_of_documents() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    assert wrong(x_deep=deep)[0][1] == "too_deep"
    assert wrong(x_large=2**53 + 1) == [("$.x_large", "integer_out_of_range")]
    assert wrong(ü=1) == [('$["\\u00fc"]', "non_ascii_key")]


def test_every_field_is_required() -> None:
    for key in MANIFEST.to_document():
        assert wrong(**{key: ...}) == [(f"$.{key}", "missing_field")]


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("kind", "register", "wrong_value"),
        ("kind", 1, "wrong_type"),
        ("format", 0, "wrong_value"),
        ("format", "1", "wrong_type"),
        ("format", True, "wrong_type"),
        ("id", "", "wrong_value"),
        ("id", None, "wrong_type"),
        ("id", "x" * (NAME_LIMIT_BYTES + 1), "too_long"),
        ("run", 7, "wrong_type"),
        ("graph", "é" * (NAME_LIMIT_BYTES // 2 + 1), "too_long"),
        ("node", 7, "wrong_type"),
        ("created_at", -1, "out_of_range"),
        ("created_at", TIME_LIMIT_MS + 1, "out_of_range"),
        ("created_at", True, "wrong_type"),
        ("created_at", None, "wrong_type"),
        ("metadata", "", "not_json"),
        ("metadata", "[]", "wrong_type"),
        ("metadata", {}, "wrong_type"),
        ("metadata", '{"a":NaN}', "not_json"),
        ("metadata", '{"a":"' + "x" * 9000 + '"}', "too_long"),
        ("digest", HEX.upper(), "wrong_value"),
        ("digest", HEX[:-1], "wrong_value"),
        ("digest", HEX + "\n", "wrong_value"),
        ("digest", None, "wrong_type"),
        ("parents", None, "wrong_type"),
        ("parents", {}, "wrong_type"),
        ("root", None, "wrong_type"),
        ("root", [], "wrong_type"),
    ],
)
def test_each_wrong_field_is_named(field: str, value: Any, kind: str) -> None:
    assert wrong(**{field: value}) == [(f"$.{field}", kind)]


def test_wrong_roots_and_parents_are_named() -> None:
    root = {"digest": HEX, "kind": "leaf", "length": 1}
    parent = {"digest": HEX, "id": "s0"}
    assert wrong(root={}) == [(f"$.root.{key}", "missing_field") for key in ("digest", "length", "kind")]
    assert wrong(root=root | {"kind": "tree"}) == [("$.root.kind", "wrong_value")]
    assert wrong(root=root | {"length": -1}) == [("$.root.length", "out_of_range")]
    assert wrong(root=root | {"pack": 1}) == [("$.root.pack", "unknown_field")]
    assert wrong(parents=[parent, "s1"]) == [("$.parents[1]", "wrong_type")]
    assert wrong(parents=[parent, parent]) == [("$.parents[1].id", "duplicate")]
    assert wrong(parents=[parent | {"run": "x"}]) == [("$.parents[0].run", "unknown_field")]
    assert wrong(parents=[parent | {"id": ""}]) == [("$.parents[0].id", "wrong_value")]
    assert wrong(parents=[{"id": str(n), "digest": HEX} for n in range(PARENTS_LIMIT + 1)]) == [("$.parents", "too_many")]


def test_all_problems_are_reported_at_once() -> None:
    assert wrong(digest="x", node=3, run="", x=2**60, created_at=1.5) == [
        ("$.created_at", "float"),
        ("$.x", "integer_out_of_range"),
        ("$.run", "wrong_value"),
        ("$.node", "wrong_type"),
        ("$.digest", "wrong_value"),
    ]


def test_another_spelling_does_not_hide_other_problems() -> None:
    with pytest.raises(FormatError) as caught:
        Manifest.decode(json.dumps(MANIFEST.to_document() | {"id": ""}, indent=1).encode())
    problems = [(p.path, p.kind) for p in caught.value.context["problems"]]  # type: ignore[attr-defined]
    assert problems == [("$", "not_canonical"), ("$.id", "wrong_value")]


def test_a_newer_format_is_told_apart_and_nothing_else_is_judged() -> None:
    document = {"format": 2, "kind": "manifest", "digest": "of another kind"}
    with pytest.raises(FormatError, match="format=2") as caught:
        Manifest.decode(canonical.encode(document))
    assert caught.value.code == "newer_format"
    assert caught.value.hint is not None
    assert "upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [{"id": "\ud800"}, {"id": ""}, {"created_at": -1}, {"digest": "x"}, {"extra": {"a": 1.5}}, {"root": Root(HEX, "leaf", -1)}],
    ids=repr,
)
def test_a_wrong_manifest_is_not_written(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError) as caught:
        replace(MANIFEST, **changes).encode()
    assert caught.value.code == "invalid_document"


def test_known_fields_win_over_unknown_ones() -> None:
    assert replace(MANIFEST, extra={"id": "forged"}).encode() == MANIFEST.encode()


@given(manifests(), st.data())
def test_any_mutated_bytes_are_refused_or_another_valid_manifest(manifest: Manifest, data: st.DataObject) -> None:
    whole = bytearray(manifest.encode())
    index = data.draw(st.integers(0, len(whole) - 1))
    whole[index] ^= data.draw(st.integers(1, 255))
    for changed in (bytes(whole), bytes(whole[:index])):
        try:
            back = Manifest.decode(changed)
        except FormatError:
            continue
        assert back.encode() == changed
