"""The encoding of state values: MessagePack, with an extension type for each other Python type kept.

Purpose: turn a state into bytes and back without losing a type. This module is the only door to ormsgpack.

Promises: what `encode` accepts, `decode` returns equal and of the same type; anything else is refused with
the path of the offending value. Dict order is kept. NaN and infinities are kept. One exception is stated
openly: `bytearray` and `memoryview` are bytes to the encoder and come back as `bytes`.

Does not: cut anything into chunks (history.tree does), or touch storage.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
import zoneinfo
from typing import Any, NoReturn

import ormsgpack

from snapstore.errors import CorruptionError, InvalidInputError, MissingExtraError, SnapstoreError

__all__ = [
    "KEY_LIMIT_BYTES",
    "MAX_DEPTH",
    "MAX_ITEM_BYTES",
    "array_header",
    "bytes_header",
    "decode",
    "encode",
    "encode_key",
    "map_header",
    "refuse",
    "text_bytes",
    "text_header",
]

MAX_DEPTH = 200
"""Levels of nesting that a state may have. The C encoder stops near 255; 200 leaves room for extensions."""

KEY_LIMIT_BYTES = 16 * 1024
"""The encoding of a dict key: keys stand in tree nodes, which have to stay small."""

MAX_ITEM_BYTES = 2**32 - 1
"""MessagePack lengths are 32 bits: 4 GiB - 1 for one text or bytes value, and as many items in a container."""

EXT_BIG_INT = 1
EXT_TUPLE = 2
EXT_SET = 3
EXT_FROZENSET = 4
EXT_DATETIME = 5
EXT_DATE = 6
EXT_TIME = 7
EXT_TIMEDELTA = 8
EXT_DECIMAL = 9
EXT_UUID = 10

_STRICT = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_ANY_KEYS = _STRICT | ormsgpack.OPT_NON_STR_KEYS
_KEY_TYPES = (str, int, float, bool, type(None), bytes)
_EXTENSION_CONTAINERS = (tuple, set, frozenset)
_PLAIN_LEAVES = (float, bool, type(None), bytes, bytearray, memoryview)
_EXTENSION_LEAVES = (
    datetime.datetime,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)


def encode(value: Any, path: tuple[Any, ...] = ()) -> bytes:
    """Encode one value as MessagePack.

    Args:
        value: the value; plain types, and those of the extension table in SPEC.md.
        path: where the value stands in the state, for the error.

    Raises:
        InvalidInputError: a type that cannot be kept, a cycle, too deep a nesting, a lone surrogate.
            The message names the path, for example `state["tools"][3].handler`.
    """
    try:
        return ormsgpack.packb(value, default=_extend, option=_STRICT)
    except (TypeError, RecursionError, ValueError, OverflowError) as error:
        _check(value, path, 1, set())
        try:
            return _pack(value)
        except (TypeError, RecursionError, ValueError, OverflowError):
            refuse(path, f"cannot be stored ({error})", "unsupported_type")


def encode_key(key: Any, path: tuple[Any, ...]) -> bytes:
    """Encode a dict key: text, bytes, a 64-bit integer, a float, a bool or None."""
    if type(key) is not str:
        _check_key(key, path)
    encoded = encode(key, (*path, key))
    if len(encoded) > KEY_LIMIT_BYTES:
        refuse(path, f"has a key of {len(encoded)} bytes; a key takes at most {KEY_LIMIT_BYTES}", "key_too_large")
    return encoded


def text_bytes(value: str, path: tuple[Any, ...]) -> bytes:
    """The UTF-8 bytes of a text; `InvalidInputError` for a lone surrogate."""
    _check_text(value, path) if not value.isascii() else None
    return value.encode()


def decode(data: bytes | bytearray | memoryview) -> Any:
    """Decode one MessagePack value.

    Args:
        data: the value; what follows it is not looked at, since digests prove whole contents.

    Raises:
        CorruptionError: the bytes do not begin with a value.
        MissingExtraError: a moment's time zone is unknown on this machine.
    """
    causes: list[Exception] = []

    def restore(code: int, content: bytes) -> Any:
        try:
            return _restore(code, content)
        except Exception as cause:
            causes.append(cause)  # the decoder only says that the hook failed
            raise

    try:
        return ormsgpack.unpackb(data, ext_hook=restore, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, TypeError, RecursionError, OverflowError, ArithmeticError) as error:
        cause = causes[0] if causes else error
        if isinstance(cause, SnapstoreError):
            raise cause from None
        raise CorruptionError(f"stored value cannot be decoded: {cause}", code="value_damaged") from cause


def array_header(count: int) -> bytes:
    """The MessagePack header of a list of `count` items."""
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2) if count < 65536 else b"\xdd" + count.to_bytes(4)


def map_header(count: int) -> bytes:
    """The MessagePack header of a dict of `count` pairs."""
    if count < 16:
        return bytes([0x80 | count])
    return b"\xde" + count.to_bytes(2) if count < 65536 else b"\xdf" + count.to_bytes(4)


def text_header(size_bytes: int) -> bytes:
    """The MessagePack header of a text of `size_bytes` UTF-8 bytes."""
    if size_bytes < 32:
        return bytes([0xA0 | size_bytes])
    if size_bytes < 256:
        return b"\xd9" + size_bytes.to_bytes(1)
    return b"\xda" + size_bytes.to_bytes(2) if size_bytes < 65536 else b"\xdb" + size_bytes.to_bytes(4)


def bytes_header(size_bytes: int) -> bytes:
    """The MessagePack header of `size_bytes` raw bytes."""
    if size_bytes < 256:
        return b"\xc4" + size_bytes.to_bytes(1)
    return b"\xc5" + size_bytes.to_bytes(2) if size_bytes < 65536 else b"\xc6" + size_bytes.to_bytes(4)


def path_text(path: tuple[Any, ...]) -> str:
    """A path as a user would write it: `state["tools"][3].handler` has the parts "tools", 3 and ".handler"."""
    return "state" + "".join(f"[{part!r}]" if not isinstance(part, str) else _key_text(part) for part in path)


def _key_text(key: str) -> str:
    shown = key if len(key) <= 60 else key[:57] + "..."
    return '["' + shown.encode("utf-8", "backslashreplace").decode().replace('"', '\\"') + '"]'


def refuse(path: tuple[Any, ...], problem: str, code: str, suffix: str = "") -> NoReturn:
    """Raise the error for a value that cannot be stored."""
    where = path_text(path) + suffix
    hints = {
        "unsupported_type": "store plain data: dict, list, str, bytes, numbers; convert other objects before saving",
        "cycle": "store a state that does not contain itself",
        "too_deep": f"flatten the state to at most {MAX_DEPTH} levels",
        "lone_surrogate": "clean the text first, for example text.encode('utf-8', 'replace').decode()",
        "key_too_large": "use a digest or a short name as the key, and keep the long text in the value",
        "too_large": "split the value: one text or bytes value holds at most 4 GiB - 1 bytes",
    }
    raise InvalidInputError(f"{where} {problem}", code=code, hint=hints[code], path=where)


def _extend(value: Any) -> ormsgpack.Ext:
    """Encode a value that MessagePack has no type for; TypeError refuses it.

    The encoder cannot see into what is packed on its own: cycles, depth and keys in there are checked first, once.
    """
    if type(value) in _EXTENSION_CONTAINERS:
        _check(value, (), 1, set())
    return _extend_checked(value)


def _extend_checked(value: Any) -> ormsgpack.Ext:
    kind = type(value)
    if kind is tuple:
        return ormsgpack.Ext(EXT_TUPLE, _pack(list(value)))
    if kind is int:
        return ormsgpack.Ext(EXT_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, signed=True))
    if kind is set or kind is frozenset:
        items = sorted(_pack(item) for item in value)
        return ormsgpack.Ext(EXT_SET if kind is set else EXT_FROZENSET, array_header(len(items)) + b"".join(items))
    if kind in _EXTENSION_LEAVES:
        return _extend_leaf(value, kind)
    raise TypeError(f"type {kind.__name__} is not supported")


def _extend_leaf(value: Any, kind: type) -> ormsgpack.Ext:
    if kind is datetime.datetime:
        text = value.replace(tzinfo=None).isoformat()
        return ormsgpack.Ext(EXT_DATETIME, _pack([text, value.fold, _zone(value.tzinfo)]))
    if kind is datetime.time:
        return ormsgpack.Ext(EXT_TIME, _pack([value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo)]))
    if kind is datetime.date:
        return ormsgpack.Ext(EXT_DATE, value.isoformat().encode())
    if kind is datetime.timedelta:
        return ormsgpack.Ext(EXT_TIMEDELTA, _pack([value.days, value.seconds, value.microseconds]))
    if kind is decimal.Decimal:
        return ormsgpack.Ext(EXT_DECIMAL, str(value).encode())
    return ormsgpack.Ext(EXT_UUID, value.bytes)


def _pack(value: Any) -> bytes:
    """Encode a value that `_check` let pass: any key that is left may be kept."""
    return ormsgpack.packb(value, default=_extend_checked, option=_ANY_KEYS)


def _zone(zone: datetime.tzinfo | None) -> Any:
    """None, an offset in microseconds, or the key of an IANA zone."""
    if zone is None:
        return None
    if type(zone) is datetime.timezone:
        return zone.utcoffset(None) // datetime.timedelta(microseconds=1)
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return zone.key
    raise TypeError(f"time zone {type(zone).__name__} is not supported")


def _restore(code: int, data: bytes) -> Any:
    """Decode one extension value."""
    if code == EXT_TUPLE:
        return tuple(decode(data))
    if code == EXT_BIG_INT:
        return int.from_bytes(data, signed=True)
    if code == EXT_SET:
        return set(decode(data))
    if code == EXT_FROZENSET:
        return frozenset(decode(data))
    if code == EXT_DATETIME:
        text, fold, zone = decode(data)
        return datetime.datetime.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))
    if code == EXT_DATE:
        return datetime.date.fromisoformat(bytes(data).decode())
    if code == EXT_TIME:
        text, fold, zone = decode(data)
        return datetime.time.fromisoformat(text).replace(fold=fold, tzinfo=_zone_of(zone))
    if code == EXT_TIMEDELTA:
        return datetime.timedelta(*decode(data))
    if code == EXT_DECIMAL:
        return decimal.Decimal(bytes(data).decode())
    if code == EXT_UUID:
        return uuid.UUID(bytes=bytes(data))
    raise CorruptionError("stored value has an unknown extension type", code="value_unknown_type", extension=code)


def _zone_of(zone: Any) -> datetime.tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, int):
        return datetime.timezone(datetime.timedelta(microseconds=zone)) if zone else datetime.UTC
    try:
        return zoneinfo.ZoneInfo(zone)
    except zoneinfo.ZoneInfoNotFoundError as error:
        raise MissingExtraError(
            "the state holds a time in a zone that this machine does not know",
            code="unknown_time_zone",
            hint="install the system's time zone data, or `pip install tzdata`",
            zone=zone,
        ) from error


def _check(value: Any, path: tuple[Any, ...], depth: int, above: set[int]) -> None:
    """Walk a value that the encoder refused, and raise the error that names the place."""
    kind = type(value)
    if kind is str:
        _check_text(value, path)
    elif kind in (dict, list, tuple, set, frozenset):
        if id(value) in above:
            refuse(path, "contains itself", "cycle")
        if depth > MAX_DEPTH:
            refuse(path[:8], f"is nested deeper than {MAX_DEPTH} levels", "too_deep")
        above.add(id(value))
        if kind is dict:
            for key, item in value.items():
                _check_key(key, path)
                _check(item, (*path, key), depth + 1, above)
        else:
            for index, item in enumerate(value):
                _check(item, (*path, index), depth + 1, above)
        above.discard(id(value))
    elif kind is memoryview and not value.contiguous:
        refuse(path, "is a memoryview whose bytes do not lie together", "unsupported_type")
    elif kind is not int and kind not in _PLAIN_LEAVES:
        _check_leaf(value, kind, path)


def _check_text(value: str, path: tuple[Any, ...]) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        refuse(path, f"holds a lone surrogate at character {error.start}", "lone_surrogate")


def _check_key(key: Any, path: tuple[Any, ...]) -> None:
    if type(key) not in _KEY_TYPES:
        refuse(path, f"has a key of type {type(key).__name__}: {key!r:.60}", "unsupported_type")
    if type(key) is int and not -(2**63) <= key < 2**64:
        refuse(path, "has an integer key beyond 64 bits", "unsupported_type")
    if type(key) is str:
        _check_text(key, (*path, key))


def _packs(value: Any) -> bool:
    """Whether a value could be stored, without saying why not."""
    try:
        ormsgpack.packb(value, default=_extend, option=_ANY_KEYS)
    except (TypeError, RecursionError, ValueError, OverflowError):
        return False
    return True


def _check_leaf(value: Any, kind: type, path: tuple[Any, ...]) -> None:
    if kind in _EXTENSION_LEAVES:
        try:
            _extend_checked(value)
        except (TypeError, ValueError) as error:
            refuse(path, f"cannot be stored: {error}", "unsupported_type")
        return
    suffix = ""
    for name, attribute in {} if kind is type else getattr(value, "__dict__", {}).items():
        if not name.startswith("_") and not _packs(attribute):
            suffix, kind = f".{name}", type(attribute)
            break
    shown = f"{kind.__module__}.{kind.__qualname__}"
    refuse(path, f"has type {shown}, which cannot be stored", "unsupported_type", suffix)
