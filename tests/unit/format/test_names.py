"""Names become keys that are safe everywhere, and keys are read back.

Goal: no id, run or graph of any caller reaches a path it should not, two names never share a key (not even on a
case-insensitive disk), and listings sort newest first.
Method: the names that the systems we serve test with, one by one; then generated names and keys, hostile ones included.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapstore.digest import digest_hex
from snapstore.errors import FormatError, InvalidInputError
from snapstore.format import names
from snapstore.format.limits import ENCODED_NAME_LIMIT_BYTES, NAME_LIMIT_BYTES, TIME_LIMIT_MS
from tests.unit.format.strategies import ids, times, txids

TXID = "0123456789abcdef0123456789abcdef"
SAFE_SEGMENT = re.compile(r"[A-Za-z0-9._~%=-]{1,120}")


def shown(value: object) -> str:
    """Return a short test id."""
    text = ascii(value)
    return text if len(text) < 40 else f"{text[:12]}-{len(text)}-characters"


ENCODED = {
    "ticket-42": "ticket-42",
    "a.b_c-9": "a.b_c-9",
    "../x": "..%2Fx",
    "a/b": "a%2Fb",
    "a\\b": "a%5Cb",
    ".": "%2E",
    "..": "%2E%2E",
    "...": "...",
    ".hidden": ".hidden",
    "\0": "%00",
    "a\0b": "a%00b",
    " ": "%20",
    "a b": "a%20b",
    "a|b": "a%7Cb",
    "a:b": "a%3Ab",
    "~": "%7E",
    "%2F": "%252%46",
    "Run": "%52un",
    "rUN": "r%55%4E",
    "é": "%C3%A9",
    "e\u0301": "e%CC%81",
    "🚀": "%F0%9F%9A%80",
    "\u202eabc": "%E2%80%AEabc",
    "con": "con",
    '*?"<>': "%2A%3F%22%3C%3E",
    "\n": "%0A",
    "a" * 120: "a" * 120,
    "/" * 40: "%2F" * 40,
}


@pytest.mark.parametrize("text", ENCODED, ids=ascii)
def test_encoding_is_as_specified_and_reversible(text: str) -> None:
    assert names.encode_name(text) == ENCODED[text]
    assert names.decode_name(ENCODED[text]) == text


@pytest.mark.parametrize("text", ["a" * 121, "/" * 41, "A" * 41, "x" * 10_000, "🚀" * 2_500, "/" * NAME_LIMIT_BYTES], ids=shown)
def test_long_names_become_a_digest(text: str) -> None:
    encoded = names.encode_name(text)
    assert encoded == "~" + digest_hex(text.encode())
    assert names.decode_name(encoded) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "name_empty"),
        ("a\ud800", "name_not_unicode"),
        ("\udcff", "name_not_unicode"),
        ("x" * (NAME_LIMIT_BYTES + 1), "name_too_long"),
        ("é" * (NAME_LIMIT_BYTES // 2 + 1), "name_too_long"),
        (None, "name_not_text"),
        (7, "name_not_text"),
        (b"bytes", "name_not_text"),
    ],
    ids=shown,
)
def test_what_cannot_be_a_name_is_refused_by_its_word(text: str, code: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^a run ") as caught:
        names.encode_name(text, "run")
    assert caught.value.code == code


@given(ids)
def test_any_name_is_one_safe_segment_and_comes_back(text: str) -> None:
    encoded = names.encode_name(text)
    assert SAFE_SEGMENT.fullmatch(encoded)
    assert encoded not in (".", "..")
    assert len(encoded) <= ENCODED_NAME_LIMIT_BYTES
    decoded = names.decode_name(encoded)
    assert decoded == text or (decoded is None and encoded[0] == "~")


@given(ids, ids)
def test_different_names_differ_even_without_case(one: str, other: str) -> None:
    same = names.encode_name(one).lower() == names.encode_name(other).lower()
    assert same == (one == other)


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("é", "É"), ("%2f", "%2F"), ("run-A", "run-a"), ("ß", "SS")])
def test_names_that_differ_in_case_only_do_not_collide(one: str, other: str) -> None:
    assert names.encode_name(one).lower() != names.encode_name(other).lower()


@pytest.mark.parametrize(
    "encoded",
    [
        *["", ".", "..", "%61", "%2f", "A", "a/b", "%", "%2", "%zz", "%FF", "%ED%A0%80", "a b", "a\n", "é", "%2E.", "="],
        *["~", "~" + "0" * 63, "~" + "A" * 64, "~" + "0" * 65, "a" * 121, "%41" * 41],
    ],
    ids=shown,
)
def test_segments_that_no_name_encodes_to_are_refused(encoded: str) -> None:
    with pytest.raises(FormatError) as caught:
        names.decode_name(encoded)
    assert caught.value.code == "invalid_name"


@given(st.text(st.sampled_from("abAF09._~%=-/ \n"), max_size=20) | st.text(max_size=10))
def test_decoding_answers_or_refuses_and_accepts_one_spelling_only(encoded: str) -> None:
    try:
        text = names.decode_name(encoded)
    except FormatError:
        return
    assert text is None or names.encode_name(text) == encoded


@given(times, times)
def test_reversed_times_sort_newest_first(one: int, other: int) -> None:
    earlier, later = names.reversed_time(one), names.reversed_time(other)
    assert len(earlier) == len(later) == 12
    assert (earlier > later) == (one < other)
    assert names.time_of_reversed(earlier) == one


@pytest.mark.parametrize("time_ms", [-1, TIME_LIMIT_MS + 1])
def test_times_that_twelve_digits_cannot_name_are_refused(time_ms: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        names.reversed_time(time_ms)
    assert caught.value.code == "time_out_of_range"


def test_key_layout_is_the_specified_one() -> None:
    id12 = digest_hex(b"s1")[:12]
    parent12 = digest_hex(b"s0")[:12]
    assert names.register_key("s1") == f"snapshots/{id12[:2]}/s1"
    assert names.pack_key("Run", 1, "s1", "s0", TXID) == f"runs/%52un/fffffffffffe-{id12}-{parent12}-{TXID}"
    assert names.pack_key("Run", 1, "s1", None, TXID) == f"runs/%52un/fffffffffffe-{id12}-000000000000-{TXID}"
    assert names.extra_pack_key(TXID) == f"packs/01/{TXID}"
    assert names.change_key("G", 0, TXID, "s/1") == f"changes/%47/ffffffffffff-{TXID}-s%2F1"
    assert names.namespace_prefix("tenant 7") == "ns/tenant%207/"
    assert names.probe_key("https://s3") == f"probes/{digest_hex(b'https://s3')[:16]}"
    assert names.run_prefix("Run") == "runs/%52un/"
    assert names.graph_prefix("G") == "changes/%47/"
    assert names.CONFIG_KEY == "snapstore.json"


@pytest.mark.parametrize("txid", ["", "0" * 31, "0" * 33, "A" * 32, "../" + "0" * 29, "0" * 31 + "\n"])
def test_transactions_are_32_hex_digits(txid: str) -> None:
    with pytest.raises(InvalidInputError, match="32 lower-case hex digits"):
        names.extra_pack_key(txid)
    with pytest.raises(InvalidInputError, match="32 lower-case hex digits"):
        names.pack_key("r", 0, "s", None, txid)
    with pytest.raises(InvalidInputError, match="32 lower-case hex digits"):
        names.change_key("g", 0, txid, "s")


long_or_short = ids | ids.map(lambda text: text * 60)


@given(long_or_short, times, long_or_short, st.none() | ids, txids)
def test_pack_keys_are_read_back(run: str, created_ms: int, snapshot_id: str, parent: str | None, txid: str) -> None:
    key = names.pack_key(run, created_ms, snapshot_id, parent, txid)
    name = names.parse_pack_key(key)
    assert name is not None
    assert name.key == key
    assert name.run in (run, None)
    assert (name.run is None) == key.startswith("runs/~")
    assert (name.created_ms, name.id12, name.txid) == (created_ms, names.short_digest(snapshot_id), txid)
    assert name.parent12 == (None if parent is None else names.short_digest(parent))


@given(txids)
def test_extra_pack_keys_are_read_back(txid: str) -> None:
    name = names.parse_pack_key(names.extra_pack_key(txid))
    assert name == names.PackName(f"packs/{txid[:2]}", txid, txid)


@given(long_or_short, times, txids, long_or_short)
def test_change_keys_are_read_back(graph: str, changed_ms: int, txid: str, snapshot_id: str) -> None:
    key = names.change_key(graph, changed_ms, txid, snapshot_id)
    name = names.parse_change_key(key)
    assert name is not None
    assert name.key == key
    assert name.graph in (graph, None)
    assert name.snapshot_id in (snapshot_id, None)
    assert (name.changed_ms, name.txid) == (changed_ms, txid)
    assert name.register_key == names.register_key(snapshot_id)


@given(long_or_short)
def test_register_keys_are_read_back(snapshot_id: str) -> None:
    key = names.register_key(snapshot_id)
    name = names.parse_register_key(key)
    assert name is not None
    assert name.snapshot_id in (snapshot_id, None)
    assert name.encoded_id == key.rsplit("/", 1)[1]


FOREIGN = [
    "",
    "snapstore.json",
    "snapshots/00/a",  # the folder is not the digest's
    "snapshots/a",
    "runs/a/b",
    "runs/A/fffffffffffe-000000000000-000000000000-" + "0" * 32,
    "runs/../fffffffffffe-000000000000-000000000000-" + "0" * 32,
    "runs/%61/fffffffffffe-000000000000-000000000000-" + "0" * 32,
    "runs/a/fffffffffffe-000000000000-000000000000-" + "0" * 32 + ".tmp",
    "runs/a/FFFFFFFFFFFE-000000000000-000000000000-" + "0" * 32,
    "packs/00/" + "1" * 32,
    "packs/11/" + "1" * 31,
    "changes/g/ffffffffffff-" + "0" * 32 + "-",
    "changes/g/ffffffffffff-" + "0" * 32 + "-..",
    "changes/G/ffffffffffff-" + "0" * 32 + "-a",
    "changes/g/ffffffffffff-" + "0" * 32 + "-%61",
]


@pytest.mark.parametrize("key", FOREIGN)
def test_foreign_keys_are_nobody_s(key: str) -> None:
    assert names.parse_register_key(key) is None
    assert names.parse_pack_key(key) is None
    assert names.parse_change_key(key) is None


@given(st.text(max_size=60) | st.from_regex(r"(runs|packs|snapshots|changes)/[a-z~%0-9A-F.]{1,9}/[0-9a-f-]{1,80}"))
def test_parsers_survive_any_key(key: str) -> None:
    pack = names.parse_pack_key(key)
    assert pack is None or pack.key == key
    change = names.parse_change_key(key)
    assert change is None or change.key == key
    register = names.parse_register_key(key)
    assert register is None or register.key == key
