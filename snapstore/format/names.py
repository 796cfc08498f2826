"""Names: how ids, runs and graphs become safe keys, and how keys are read back.

Ids, runs and graphs come off the wire. None of them ever becomes a raw path: `encode_name` keeps
lower-case letters, digits, `_`, `-` and `.`, percent-encodes every other byte of the UTF-8 text (upper-case
letters too, since a case-insensitive disk would merge `A` and `a`), and falls back to a digest when the result is
longer than 120 bytes.

    >>> encode_name("Ticket 42/a")
    '%54icket%2042%2Fa'
    >>> decode_name("%54icket%2042%2Fa")
    'Ticket 42/a'
    >>> encode_name("..")
    '%2E%2E'

Parsers answer None for a key that is not theirs: foreign keys in a listing are skipped and never touched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from snapstore.digest import digest_hex
from snapstore.errors import FormatError, InvalidInputError
from snapstore.format.limits import ENCODED_NAME_LIMIT_BYTES, NAME_LIMIT_BYTES, TIME_LIMIT_MS

CONFIG_KEY: Final = "snapstore.json"
SNAPSHOTS_PREFIX: Final = "snapshots/"
RUNS_PREFIX: Final = "runs/"
PACKS_PREFIX: Final = "packs/"
CHANGES_PREFIX: Final = "changes/"
NAMESPACES_PREFIX: Final = "ns/"
PROBES_PREFIX: Final = "probes/"

NO_PARENT12: Final = "0" * 12
"""Stands where the first parent's digest would: a snapshot without parents."""

ENCODED_NAME_PATTERN: Final = r"(?:~[0-9a-f]{64}|(?!\.{1,2}(?![^/]))(?:[a-z0-9_.\-]|%[0-9A-F]{2}){1,120})"
"""A regular expression for what encode_name returns; `.` and `..` are excluded. Bounded by `/` or the end."""

RUN_PACK_NAME_PATTERN: Final = r"[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{32}"

_PLAIN: Final = re.compile(r"[a-z0-9_.\-]{1,120}")
_ENCODED: Final = re.compile(ENCODED_NAME_PATTERN)
_ESCAPES: Final = tuple(
    chr(byte) if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789_-." else f"%{byte:02X}" for byte in range(256)
)
_TXID: Final = re.compile(r"[0-9a-f]{32}")
_REGISTER_KEY: Final = re.compile(rf"snapshots/([0-9a-f]{{2}})/({ENCODED_NAME_PATTERN})")
_RUN_PACK_KEY: Final = re.compile(
    rf"(runs/({ENCODED_NAME_PATTERN}))/([0-9a-f]{{12}})-([0-9a-f]{{12}})-([0-9a-f]{{12}})-([0-9a-f]{{32}})"
)
_EXTRA_PACK_KEY: Final = re.compile(r"(packs/([0-9a-f]{2}))/(\2[0-9a-f]{30})")
_CHANGE_KEY: Final = re.compile(rf"changes/({ENCODED_NAME_PATTERN})/([0-9a-f]{{12}})-([0-9a-f]{{32}})-({ENCODED_NAME_PATTERN})")


def name_bytes(text: str, what: str = "name") -> bytes:
    """Return the UTF-8 bytes of an id, run or graph after checking that it may be one.

    Args:
        text: the caller's name, kept exactly: neither trimmed nor normalised.
        what: the word for it in an error, such as "run".

    Raises:
        InvalidInputError: code "name_not_text", "name_empty", "name_not_unicode" (a lone surrogate)
            or "name_too_long" (above 16 KiB).
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"a {what} must be text", code="name_not_text", type=type(text).__name__)
    if not text:
        raise InvalidInputError(f"a {what} must not be empty", code="name_empty", hint=f"give the {what} a name")
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"a {what} must be valid Unicode; it has a lone surrogate",
            code="name_not_unicode",
            position=error.start,
            hint="the text was decoded wrongly (surrogateescape?); decode it as UTF-8 first",
        ) from None
    if len(data) > NAME_LIMIT_BYTES:
        raise InvalidInputError(f"a {what} is too long", code="name_too_long", size_bytes=len(data), limit_bytes=NAME_LIMIT_BYTES)
    return data


CACHED_CHARS: Final = 256
"""Longer ids are not worth their memory."""


def encode_name(text: str, what: str = "name") -> str:
    """Encode an id, run or graph as one key segment of at most 120 characters.

    The result has only `[a-z0-9_.%~-]` and the hex digits `A-F` after a percent sign, is never `.` or `..`,
    and differs for different texts even on a case-insensitive file system.

    Raises:
        InvalidInputError: as name_bytes.
    """
    data = name_bytes(text, what)
    if _PLAIN.fullmatch(text) is not None and text not in (".", ".."):
        return text
    if text in (".", ".."):
        return "%2E" * len(text)
    encoded = "".join([_ESCAPES[byte] for byte in data]) if len(data) <= ENCODED_NAME_LIMIT_BYTES else ""
    if not encoded or len(encoded) > ENCODED_NAME_LIMIT_BYTES:
        return "~" + digest_hex(data)
    return encoded


def decode_name(encoded: str) -> str | None:
    """Return the text of an encoded name, or None for the digest form, which does not hold its text.

    Raises:
        FormatError: code "invalid_name", when encode_name could not have returned this.
    """
    if _ENCODED.fullmatch(encoded) is None:
        raise FormatError("a key segment is not an encoded name", code="invalid_name", segment=encoded)
    if encoded[0] == "~":
        return None
    if "%" not in encoded:
        return encoded
    try:
        parts = encoded.split("%")
        data = parts[0].encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in parts[1:])
        text = data.decode("utf-8")
    except ValueError:
        raise FormatError("a key segment is not an encoded name", code="invalid_name", segment=encoded) from None
    # %61 for a is one more spelling of the same text: two spellings would be two places for one name.
    if encode_name(text) != encoded:
        raise FormatError("a key segment is not an encoded name", code="invalid_name", segment=encoded)
    return text


def reversed_time(time_ms: int) -> str:
    """Return 12 hex digits that sort newest first, for milliseconds since 1970 UTC in [0, 2**48).

    Raises:
        InvalidInputError: code "time_out_of_range".
    """
    if not 0 <= time_ms <= TIME_LIMIT_MS:
        raise InvalidInputError("a time is outside the years 1970 to 10889", code="time_out_of_range", time_ms=time_ms)
    return f"{TIME_LIMIT_MS - time_ms:012x}"


def time_of_reversed(reversed_hex: str) -> int:
    """Return the milliseconds since 1970 UTC that `reversed_time` was given."""
    return TIME_LIMIT_MS - int(reversed_hex, 16)


def short_digest(snapshot_id: str) -> str:
    """Return the first 12 hex digits of the digest of an id: how names in `runs/` refer to snapshots."""
    return digest_hex(name_bytes(snapshot_id, "snapshot id"))[:12]


def _checked_txid(txid: str) -> str:
    if _TXID.fullmatch(txid) is None:
        raise InvalidInputError("a transaction id must be 32 lower-case hex digits", code="invalid_txid", txid=txid)
    return txid


def register_key(snapshot_id: str) -> str:
    """Return the key of a snapshot's register; two hex digits spread the requests over 256 folders."""
    if type(snapshot_id) is str and len(snapshot_id) <= CACHED_CHARS:
        return _register_key(snapshot_id)
    return _register_key.__wrapped__(snapshot_id)


@lru_cache(maxsize=16_384)  # lists ask for the same keys again and again; 8 MB at most
def _register_key(snapshot_id: str) -> str:
    data = name_bytes(snapshot_id, "snapshot id")
    return f"{SNAPSHOTS_PREFIX}{digest_hex(data)[:2]}/{encode_name(snapshot_id, 'snapshot id')}"


def run_folder(run: str) -> str:
    """Return the folder of a run's packs, without a final slash: the form a closure groups by."""
    return RUNS_PREFIX + encode_name(run, "run")


def run_prefix(run: str) -> str:
    """Return the prefix that lists a run's packs newest first."""
    return run_folder(run) + "/"


def graph_prefix(graph: str) -> str:
    """Return the prefix that lists a graph's change markers newest first."""
    return f"{CHANGES_PREFIX}{encode_name(graph, 'graph')}/"


def pack_key(run: str, created_ms: int, snapshot_id: str, parent_id: str | None, txid: str) -> str:
    """Return the key of the pack of one save.

    Args:
        run: the snapshot's run.
        created_ms: the snapshot's creation time, milliseconds since 1970 UTC; a later version keeps it.
        snapshot_id: the snapshot's id.
        parent_id: its first parent, None for a first snapshot.
        txid: the 128 random bits of this save, as 32 hex digits; never used twice.
    """
    parent = NO_PARENT12 if parent_id is None else short_digest(parent_id)
    name = f"{reversed_time(created_ms)}-{short_digest(snapshot_id)}-{parent}-{_checked_txid(txid)}"
    return f"{run_prefix(run)}{name}"


def extra_pack_key(txid: str) -> str:
    """Return the key of a further pack: part of a large save, or written by repacking."""
    return f"{PACKS_PREFIX}{_checked_txid(txid)[:2]}/{txid}"


def change_key(graph: str, changed_ms: int, txid: str, snapshot_id: str) -> str:
    """Return the key of the empty marker that says: this snapshot of this graph changed at this time."""
    name = f"{reversed_time(changed_ms)}-{_checked_txid(txid)}-{encode_name(snapshot_id, 'snapshot id')}"
    return f"{graph_prefix(graph)}{name}"


def probe_key(endpoint: str) -> str:
    """Return the key under which the result of probing a storage endpoint is recorded."""
    return f"{PROBES_PREFIX}{digest_hex(name_bytes(endpoint, 'endpoint'))[:16]}"


def namespace_prefix(namespace: str) -> str:
    """Return the prefix below which a namespace is an archive of its own."""
    return f"{NAMESPACES_PREFIX}{encode_name(namespace, 'namespace')}/"


@dataclass(frozen=True, slots=True)
class RegisterName:
    """What the key of a register says.

    Attributes:
        key: the whole key.
        encoded_id: the encoded snapshot id.
        snapshot_id: the id, None when the key holds only its digest.
    """

    key: str
    encoded_id: str
    snapshot_id: str | None


@dataclass(frozen=True, slots=True)
class PackName:
    """What the key of a pack says.

    Attributes:
        folder: the part before the last slash, `runs/<run>` or `packs/<hh>`.
        name: the part after it.
        txid: 32 hex digits of the transaction that wrote it.
        run: the run, None for a pack below `packs/` or when the key holds only the run's digest.
        created_ms: the snapshot's creation time, milliseconds since 1970 UTC; None below `packs/`.
        id12: the first 12 hex digits of the digest of the snapshot's id; None below `packs/`.
        parent12: the same of the first parent; None when there is no parent, and below `packs/`.
    """

    folder: str
    name: str
    txid: str
    run: str | None = None
    created_ms: int | None = None
    id12: str | None = None
    parent12: str | None = None

    @property
    def key(self) -> str:
        """The whole key."""
        return f"{self.folder}/{self.name}"


@dataclass(frozen=True, slots=True)
class ChangeName:
    """What the key of a change marker says.

    Attributes:
        key: the whole key.
        encoded_graph: the encoded graph.
        graph: the graph, None when the key holds only its digest.
        changed_ms: the time of the change, milliseconds since 1970 UTC.
        txid: 32 hex digits of the transaction that changed the snapshot.
        encoded_id: the encoded snapshot id; enough to build the register's key only with `snapshot_id`.
        snapshot_id: the id, None when the key holds only its digest.
    """

    key: str
    encoded_graph: str
    graph: str | None
    changed_ms: int
    txid: str
    encoded_id: str
    snapshot_id: str | None

    @property
    def register_key(self) -> str:
        """The key of the snapshot's register; needs no id, since the digest form starts with the same digest."""
        if self.snapshot_id is not None:
            return register_key(self.snapshot_id)
        return f"{SNAPSHOTS_PREFIX}{self.encoded_id[1:3]}/{self.encoded_id}"


@lru_cache(maxsize=16_384)  # lists read the same names again and again; 4 MB at most
def _decoded(encoded: str) -> tuple[bool, str | None]:
    try:
        return True, decode_name(encoded)
    except FormatError:
        return False, None


def parse_register_key(key: str) -> RegisterName | None:
    """Read the key of a register back; None for any other key."""
    match = _REGISTER_KEY.fullmatch(key)
    if match is None:
        return None
    folder, encoded = match.groups()
    good, text = _decoded(encoded)
    wanted = encoded[1:3] if text is None else digest_hex(text.encode("utf-8"))[:2]
    return RegisterName(key, encoded, text) if good and folder == wanted else None


def parse_pack_key(key: str) -> PackName | None:
    """Read the key of a pack back, below `runs/` or `packs/`; None for any other key."""
    match = _RUN_PACK_KEY.fullmatch(key)
    if match is None:
        extra = _EXTRA_PACK_KEY.fullmatch(key)
        return None if extra is None else PackName(extra[1], extra[3], extra[3])
    folder, encoded, reversed_hex, id12, parent12, txid = match.groups()
    good, run = _decoded(encoded)
    if not good:
        return None
    parent = None if parent12 == NO_PARENT12 else parent12
    return PackName(folder, key[len(folder) + 1 :], txid, run, time_of_reversed(reversed_hex), id12, parent)


def parse_change_key(key: str) -> ChangeName | None:
    """Read the key of a change marker back; None for any other key."""
    match = _CHANGE_KEY.fullmatch(key)
    if match is None:
        return None
    encoded_graph, reversed_hex, txid, encoded_id = match.groups()
    good_graph, graph = _decoded(encoded_graph)
    good_id, snapshot_id = _decoded(encoded_id)
    if not (good_graph and good_id):
        return None
    return ChangeName(key, encoded_graph, graph, time_of_reversed(reversed_hex), txid, encoded_id, snapshot_id)
