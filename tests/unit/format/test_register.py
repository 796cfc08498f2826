"""A register comes back whole or not at all, and its successors keep what safety needs.

Goal: every field survives, damage of any kind is a typed error and never a wrong value, and the chain of earlier versions is
the one that the model check of the protocol proved.
Method: generated registers both ways; every cut and every flipped bit of one; each rule broken by hand; the chain
against the rule of the model.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.digest import digest_hex
from snapstore.errors import ConflictError, CorruptionError, FormatError
from snapstore.format import frames, names
from snapstore.format.closure import PackRef
from snapstore.format.limits import DOCUMENT_LIMIT_BYTES, PREVS_LIMIT, RECENT_LIMIT, REGISTER_LIMIT_BYTES
from snapstore.format.register import ManifestRef, PreviousVersion, Register, RootRef
from tests.unit.format.strategies import registers

HEX = "0123456789abcdef" * 4


def txid(number: int) -> str:
    """Return a transaction id."""
    return f"{number:032x}"


def pack(ordinal: int, number: int, end: int = 100) -> PackRef:
    """Return the pack of transaction `number` under an ordinal."""
    folder, name = names.pack_key("ticket-42", 1000, "s1", None, txid(number)).rsplit("/", 1)
    return PackRef(ordinal, folder, name, 100, 0, end)


def manifest_ref(ordinal: int, offset: int, size: int) -> ManifestRef:
    """Return a place of a manifest, with the root in the same frame."""
    return ManifestRef(HEX, ordinal, offset, size, RootRef(HEX, "node", (ordinal, offset, size, 0, 300)))


REGISTER = Register(
    id="s1",
    run="ticket-42",
    graph="support",
    node="plan",
    parents=("s0",),
    status="completed",
    metadata='{"model":"large"}',
    created_at=1_700_000_000_000,
    updated_at=1_700_000_000_500,
    version=3,
    txid=txid(3),
    recent=(txid(1), txid(2), txid(3)),
    digest=HEX,
    size_bytes=5_000_000,
    stored_bytes=4096,
    manifest=manifest_ref(2, 40, 60),
    closure={1: pack(1, 1), 2: pack(2, 3)},
    epoch=7,
    prevs=(
        PreviousVersion(
            version=2,
            txid=txid(2),
            updated_at=1_700_000_000_400,
            status="pending",
            node=None,
            metadata="{}",
            digest=HEX,
            size_bytes=4_999_000,
            stored_bytes=100,
            manifest=manifest_ref(2, 0, 10),
            closure={1: pack(1, 1), 2: pack(2, 2)},
        ),
    ),
)


def stored(document: dict[str, Any]) -> bytes:
    """Return the stored form of a document that a writer of ours would refuse."""
    return frames.compress(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def wrong(**changes: Any) -> list[tuple[str, str]]:
    """Return (path, kind) of each problem of a register with changed fields; a value of ... removes the field."""
    document = REGISTER.to_document() | changes
    with pytest.raises(FormatError) as caught:
        Register.decode(stored({key: value for key, value in document.items() if value is not ...}))
    assert caught.value.code == "invalid_document"
    return [(problem.path, problem.kind) for problem in caught.value.context["problems"]]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------- both ways


@given(registers())
def test_registers_come_back_equal(register: Register) -> None:
    data = register.encode()
    back = Register.decode(data)
    assert back == register
    assert back.encode() == data
    assert list(back.closure) == sorted(back.closure)


def test_earlier_versions_name_shared_packs_by_ordinal_only() -> None:
    document = REGISTER.to_document()
    assert document["prevs"][0]["shared"] == [1]
    assert document["prevs"][0]["closure"] == {"runs/ticket-42": [[2, pack(2, 2).name, 100, 0, 100]]}
    assert Register.decode(REGISTER.encode()).prevs == REGISTER.prevs


def test_a_pack_with_another_range_is_not_shared() -> None:
    previous = replace(REGISTER.prevs[0], closure={1: pack(1, 1, end=50), 2: pack(2, 2)})
    register = replace(REGISTER, prevs=(previous,))
    assert register.to_document()["prevs"][0]["shared"] == []
    assert Register.decode(register.encode()) == register


def test_fields_of_a_later_minor_version_are_kept() -> None:
    previous = replace(REGISTER.prevs[0], extra={"x_previous": {"a": [1]}})
    register = replace(REGISTER, prevs=(previous,), extra={"x_register": [None, "y"]})
    assert Register.decode(register.encode()) == register


def test_closures_of_many_packs_stay_small() -> None:
    """DESIGN: 24 packs take at most 2 KB; registers are most of what a small save stores."""
    closure = {}
    for n in range(1, 25):
        key = names.pack_key("ticket-42", 1_700_000_000_000 + n, f"s{n}", f"s{n - 1}", digest_hex(bytes([n]))[:32])
        folder, name = key.rsplit("/", 1)
        closure[n] = PackRef(n, folder, name, 4000 + n, 8, 3000 + n)
    register = replace(REGISTER, closure=closure, prevs=(), manifest=manifest_ref(24, 3000, 500))
    assert len(register.encode()) <= 2048


# ------------------------------------------------------------------------------------------- damage


def test_every_cut_is_refused() -> None:
    data = REGISTER.encode()
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            Register.decode(data[:length])


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    data = bytearray(REGISTER.encode())
    for bit in range(len(data) * 8):
        data[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(CorruptionError):
            assert Register.decode(bytes(data)) == REGISTER
        data[bit // 8] ^= 1 << bit % 8


@given(registers(), st.data())
def test_any_mutated_document_is_refused_or_another_valid_register(register: Register, data: st.DataObject) -> None:
    """The checksum is out of the way here: what a hostile writer could store."""
    whole = bytearray(frames.decompress(register.encode(), DOCUMENT_LIMIT_BYTES))
    index = data.draw(st.integers(0, len(whole) - 1))
    whole[index] ^= data.draw(st.integers(1, 255))
    for changed in (bytes(whole), bytes(whole[:index])):
        try:
            back = Register.decode(frames.compress(changed))
        except FormatError:
            continue
        assert frames.decompress(back.encode(), DOCUMENT_LIMIT_BYTES) == changed


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data: bytes) -> None:
    for candidate in (data, frames.MAGIC + data):
        with pytest.raises(CorruptionError):
            Register.decode(candidate)
    with pytest.raises((CorruptionError, FormatError)):
        Register.decode(frames.compress(data))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(CorruptionError, match="declares"):
        Register.decode(frames.compress(bytes(DOCUMENT_LIMIT_BYTES + 1)))
    with pytest.raises(CorruptionError, match="too large"):
        Register.decode(bytes(REGISTER_LIMIT_BYTES + 1))


def test_a_newer_format_is_told_apart() -> None:
    with pytest.raises(FormatError, match="format=2") as caught:
        Register.decode(stored({"format": 2, "kind": "register", "shape": "unknown"}))
    assert caught.value.code == "newer_format"


# ------------------------------------------------------------------------------------------- rules


def test_every_field_is_required() -> None:
    for key in REGISTER.to_document():
        assert (f"$.{key}", "missing_field") in wrong(**{key: ...})


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("kind", "manifest", "wrong_value"),
        ("format", 0, "wrong_value"),
        ("id", "", "wrong_value"),
        ("graph", None, "wrong_type"),
        ("node", 1, "wrong_type"),
        ("status", None, "wrong_type"),
        ("status", "x" * 1025, "too_long"),
        ("metadata", "null", "wrong_type"),
        ("created_at", -1, "out_of_range"),
        ("updated_at", 2**48, "out_of_range"),
        ("version", 0, "out_of_range"),
        ("epoch", -1, "out_of_range"),
        ("deleted", None, "wrong_type"),
        ("deleted", 0, "wrong_type"),
        ("digest", HEX[1:], "wrong_value"),
        ("size_bytes", 1.0, "float"),
        ("stored_bytes", "1", "wrong_type"),
        ("parents", ["a", "a"], "duplicate"),
        ("parents", ["a", 1], "wrong_type"),
        ("parents", [str(n) for n in range(65)], "too_many"),
        ("recent", [], "wrong_order"),
        ("recent", [txid(3), txid(2)], "wrong_order"),
        ("recent", [txid(3), txid(3)], "duplicate"),
        ("recent", ["x", txid(3)], "wrong_value"),
        ("recent", [1], "wrong_value"),
        ("recent", [txid(n) for n in range(RECENT_LIMIT + 1)], "too_many"),
        ("prevs", {}, "wrong_type"),
        ("prevs", [1] * (PREVS_LIMIT + 1), "too_many"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_each_wrong_field_is_named(field: str, value: Any, kind: str) -> None:
    assert (f"$.{field}", kind) in wrong(**{field: value})


def test_parents_have_names() -> None:
    assert wrong(parents=["a", ""]) == [("$.parents[1]", "wrong_value")]


def test_the_manifest_lies_in_the_closure() -> None:
    manifest = REGISTER.to_document()["manifest"]
    assert wrong(manifest=manifest | {"pack": 3}) == [("$.manifest.pack", "unresolved")]
    assert wrong(manifest=manifest | {"size": 61}) == [("$.manifest.offset", "out_of_range")]
    assert wrong(manifest=manifest | {"size": 0}) == [("$.manifest.size", "out_of_range")]
    assert wrong(manifest=manifest | {"more": 0}) == [("$.manifest.more", "unknown_field")]
    assert wrong(manifest={}) == [(f"$.manifest.{key}", "missing_field") for key in ("digest", "offset", "pack", "size", "root")]
    assert wrong(manifest=None) == [("$.manifest", "wrong_type")]


def test_the_root_lies_in_the_closure() -> None:
    manifest = REGISTER.to_document()["manifest"]

    def problems(**changes: Any) -> list[tuple[str, str]]:
        root = {key: value for key, value in (manifest["root"] | changes).items() if value is not ...}
        return [(path.removeprefix("$.manifest.root"), kind) for path, kind in wrong(manifest=manifest | {"root": root})]

    for key in manifest["root"]:
        assert problems(**{key: ...}) == [(f".{key}", "missing_field")]
    assert problems(kind="tree") == [(".kind", "wrong_value")]
    assert problems(digest="") == [(".digest", "wrong_value")]
    assert problems(length=1) == [(".length", "unknown_field")]
    assert problems(place={}) == [(".place", "wrong_type")]
    for place in ([], [2, 40, 60, 0], [2, 40, 60, 0, 300, 1], [2, 40, 60, -1, 300], [2, 40, 60, True, 300]):
        assert problems(place=place) == [(".place", "wrong_value")]
    assert problems(place=[3, 40, 60, 0, 300]) == [(".place", "unresolved")]
    assert problems(place=[2, 40, 61, 0, 300]) == [(".place", "out_of_range")]
    assert wrong(manifest=manifest | {"root": None}) == [("$.manifest.root", "wrong_type")]


def test_a_tombstone_needs_nothing() -> None:
    found = wrong(deleted=True)
    assert set(found) == {("$.manifest", "wrong_value"), ("$.closure", "wrong_value"), ("$.prevs", "too_many")}


def test_earlier_versions_follow_the_same_rules() -> None:
    previous = REGISTER.to_document()["prevs"][0]

    def problems(**changes: Any) -> list[tuple[str, str]]:
        item = {key: value for key, value in (previous | changes).items() if value is not ...}
        return [(path.removeprefix("$.prevs[0]"), kind) for path, kind in wrong(prevs=[item])]

    for key in previous:
        assert (f".{key}", "missing_field") in problems(**{key: ...})
    assert problems(version=3) == [(".version", "wrong_order")]
    assert problems(shared=[1, 2]) == [(".shared", "duplicate")]
    assert problems(shared=[1, 9]) == [(".shared", "unresolved")]
    assert problems(shared=[1, 1]) == [(".shared", "wrong_order")]
    assert problems(shared=["1"]) == [(".shared", "wrong_type")]
    assert problems(shared=[], closure=REGISTER.to_document()["closure"]) == [(".closure", "duplicate")]
    assert (".manifest", "wrong_type") in problems(manifest=None)
    assert wrong(prevs=[1]) == [("$.prevs[0]", "wrong_type")]
    assert wrong(prevs=[previous, previous]) == [("$.prevs[1].version", "wrong_order")]


def test_a_wrong_register_is_not_written() -> None:
    cases: list[dict[str, Any]] = [
        {"id": ""},
        {"status": "\ud800"},
        {"recent": (txid(9),)},
        {"closure": {}},
        {"closure": {5: pack(6, 1)}},
        {"manifest": None},
        {"deleted": True},
        {"extra": {"a": float("nan")}},
    ]
    for changes in cases:
        with pytest.raises(FormatError) as caught:
            replace(REGISTER, **changes).encode()
        assert caught.value.code == "invalid_document"


def test_a_register_beyond_the_limit_is_not_written() -> None:
    with pytest.raises(FormatError) as caught:
        replace(REGISTER, extra={"a": "x" * DOCUMENT_LIMIT_BYTES}).encode()
    assert caught.value.code == "document_too_large"


# ------------------------------------------------------------------------------------------- succession


def test_a_successor_counts_up_and_remembers_eight_transactions() -> None:
    register = REGISTER
    for number in range(4, 20):
        register = register.successor(txid=txid(number), updated_at=number, status="running")
        assert register.version == number
        assert register.recent[-1] == register.txid == txid(number)
        assert len(register.recent) <= RECENT_LIMIT
        assert Register.decode(register.encode()) == register
    assert register.landed(txid(12))
    assert not register.landed(txid(11))
    assert (register.prevs, register.epoch, register.closure) == (REGISTER.prevs, REGISTER.epoch, REGISTER.closure)


def test_a_proved_version_replaces_the_chain_behind_it() -> None:
    chain = REGISTER.successor_prevs(provably_valid=True)
    assert [previous.version for previous in chain] == [3]
    assert chain[0].closure == REGISTER.closure
    assert chain[0].manifest == REGISTER.manifest


def test_an_unproved_version_keeps_the_chain_behind_it() -> None:
    chain = REGISTER.successor_prevs(provably_valid=False)
    assert [previous.version for previous in chain] == [3, 2]
    assert chain[1:] == REGISTER.prevs


@given(st.lists(st.booleans(), min_size=1, max_size=PREVS_LIMIT))
def test_the_chain_reaches_the_newest_proved_version(proved: list[bool]) -> None:
    """The model's rule: earlier versions back to and including the newest one that was provably valid."""
    register = replace(REGISTER, version=1, prevs=())
    for number, valid in enumerate(proved, 2):
        register = register.successor(
            txid=txid(100 + number),
            updated_at=number,
            prevs=register.successor_prevs(provably_valid=valid),
            closure={1: pack(1, 100 + number), 2: pack(2, 3)},
        )
        register = Register.decode(register.encode())
    newest_proved = max((version for version, valid in enumerate(proved, 1) if valid), default=1)
    assert [previous.version for previous in register.prevs] == list(range(len(proved), newest_proved - 1, -1))


def test_a_chain_that_cannot_end_is_a_conflict_and_loses_nothing() -> None:
    register = REGISTER
    while len(register.prevs) < PREVS_LIMIT:
        prevs = register.successor_prevs(provably_valid=False)
        register = register.successor(txid=txid(register.version + 1), updated_at=9, prevs=prevs)
    with pytest.raises(ConflictError) as caught:
        register.successor_prevs(provably_valid=False)
    assert caught.value.code == "too_many_versions"
    assert len(register.prevs) == PREVS_LIMIT
    assert len(register.successor_prevs(provably_valid=True)) == 1


def test_a_tombstone_is_a_version_that_needs_nothing_and_can_be_followed() -> None:
    dead = REGISTER.tombstone(txid=txid(4), updated_at=9)
    assert Register.decode(dead.encode()) == dead
    assert (dead.version, dead.deleted, dead.manifest, dict(dead.closure), dead.prevs) == (4, True, None, {}, ())
    assert dead.landed(txid(3))
    assert dead.successor_prevs(provably_valid=False) == ()
    alive = dead.successor(txid=txid(5), updated_at=10, deleted=False, manifest=manifest_ref(1, 0, 9), closure={1: pack(1, 5)})
    assert Register.decode(alive.encode()) == alive
