"""Values of channels as states hold them: plain data stays plain, everything else goes through the serializer, item by item.

Lists and dicts become containers of the state's own tree, so that an unchanged item is stored once however often its list is
saved. Two keys are reserved; a dict that has one of them is serialised whole, so what is stored reads in one way only:

    {"$serde": ["msgpack", bytes]}                                      what the serializer made of a value
    {"$type": "langchain_core.messages.human:HumanMessage", "content": ...}   a pydantic model, its fields in the open
    {"$delta": value}                                                   the full value of a DeltaChannel

The second form is used when it gives the serializer's own bytes back to the last one; it is what makes
`channel_values.messages[*].content` a path that searches can follow. Reading hands these bytes to the serializer, whose
allowlist decides what becomes of them. A serializer that is not LangGraph's own, an encrypting one for example, sees every value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from snapstore.errors import CorruptionError, InvalidInputError, SnapstoreError
from snapstore.format import values

__all__ = ["Codec"]

SERDE = "$serde"
TYPE = "$type"
DELTA = "$delta"

PLAIN = frozenset({str, int, float, bool, type(None), bytes})
"""Types that need no serializer; so do lists and dicts with text keys of them."""

TEXT = frozenset({str})
RESERVED = frozenset({SERDE, TYPE, DELTA})

MAX_DEPTH = 100
"""Levels of containers that are taken apart. What lies deeper is serialised whole: the archive takes 200 levels in all."""

KEY_CHARS = 4000
"""A longer key of a dict is more than the archive takes (16 KiB of UTF-8): such a dict is serialised whole."""

EXT_PYDANTIC = 5
"""The MessagePack extension type of `JsonPlusSerializer` for pydantic models: (module, class, fields, method)."""

METHOD = "model_validate_json"

KEPT_BYTES = 16 * 1024 * 1024
"""Fingerprints of messages that are remembered, in all: some ten thousand messages of ordinary length."""

KEPT_MESSAGE_BYTES = 64 * 1024


class Codec:
    """Turns values into what a state can hold, and back. Safe to share between threads.

    Args:
        serde: the serializer for what is not plain data.
        before: the codec used until now, whose remembered messages are taken over if they are still good.

    Attributes:
        open: whether values may be taken apart, so that searches can look into them.
        messages: stored forms of messages that were saved lately.
    """

    def __init__(self, serde: SerializerProtocol, before: Codec | None = None) -> None:
        self.serde = serde
        self.open = type(serde) is JsonPlusSerializer
        self.messages: _Messages = before.messages if before is not None and self.open and before.open else _Messages()

    def encode(self, value: Any, *, careful: bool = False) -> Any:
        """The stored form of one channel's value; it may share containers with the value.

        Args:
            value: anything that the serializer takes.
            careful: also look into text, for what no archive can hold (half a surrogate pair, very long keys).
        """
        if self.open:
            return self._taken_apart(value, 0, careful)
        if type(value) is not list:
            return self._serialised(value)
        if all(map(_is_message, set(map(type, value)))):
            return self.messages.forms(value, self._serialised)
        return [self._serialised(item) for item in value]

    def decode(self, stored: Any) -> Any:
        """The value behind a stored form."""
        kind = type(stored)
        if kind is list:
            return stored if set(map(type, stored)) <= PLAIN else [self.decode(item) for item in stored]
        if kind is not dict:
            return stored
        if TYPE in stored:
            return self.serde.loads_typed(("msgpack", _packed(stored)))
        if SERDE in stored:
            name, data = stored[SERDE]
            return self.serde.loads_typed((name, data))
        if DELTA in stored:
            return _DeltaSnapshot(self.decode(stored[DELTA]))
        return {key: self.decode(item) for key, item in stored.items()}

    def _taken_apart(self, value: Any, depth: int, careful: bool) -> Any:
        kind = type(value)
        plain = PLAIN - TEXT if careful else PLAIN
        if kind in plain or (kind is str and _is_unicode(value)):
            return value
        if depth < MAX_DEPTH:
            if kind is list or kind is tuple:
                kinds = set(map(type, value))
                if kinds <= plain:
                    return value if kind is list else list(value)
                if not careful and all(map(_is_message, kinds)):
                    return self.messages.forms(value, self._serialised)
                return [self._taken_apart(item, depth + 1, careful) for item in value]
            if kind is dict and set(map(type, value)) <= TEXT and RESERVED.isdisjoint(value):
                if set(map(type, value.values())) <= plain and not careful:
                    return value
                if not careful or all(len(key) <= KEY_CHARS and _is_unicode(key) for key in value):
                    return {key: self._taken_apart(item, depth + 1, careful) for key, item in value.items()}
            if kind is _DeltaSnapshot:
                return {DELTA: self._taken_apart(value.value, depth + 1, careful)}
        return self._serialised(value)

    def _serialised(self, value: Any) -> Any:
        name, data = self.serde.dumps_typed(value)
        stored = _opened(data) if self.open and name == "msgpack" else None
        return stored if stored is not None else {SERDE: [name, bytes(data)]}


@dataclass(frozen=True, slots=True)
class _Kept:
    """One remembered message.

    Attributes:
        message: held so that its identity stays its own, and with it its class.
        packed: its fields when it was saved.
        form: what was stored.
    """

    message: Any
    packed: bytes
    form: Any


class _Messages:
    """Stored forms of messages that were saved lately: a conversation is saved again with every step.

    A form is used again only for the same object whose fields pack to the same bytes: for LangChain's own classes the
    serializer's output depends on nothing else. 500 messages of 1 KB take 0.25 ms, serialising them takes 7.
    """

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._size_bytes = 0

    def forms(self, messages: Sequence[Any], serialise: Callable[[Any], Any]) -> list[Any]:
        """The stored form of each message, from memory where it is known."""
        kept = self._kept.get
        forms = []
        # Packing them one by one is three times faster than all at once, which needs fresh memory from the system.
        for message in messages:
            known = kept(id(message))
            same = known is not None and _fields(message) == known.packed
            forms.append(known.form if known is not None and same else self._new(message, serialise))
        return forms

    def _new(self, message: Any, serialise: Callable[[Any], Any]) -> Any:
        form = serialise(message)
        packed = _fields(message)
        if packed and len(packed) <= KEPT_MESSAGE_BYTES:
            if self._size_bytes + len(packed) > KEPT_BYTES:
                self._kept, self._size_bytes = {}, 0
            self._kept[id(message)] = _Kept(message, packed, form)
            self._size_bytes += len(packed)
        return form


def _fields(message: Any) -> bytes:
    """All that a message's dump depends on, packed; empty when it cannot be packed, or more lies elsewhere."""
    if message.__pydantic_extra__:
        return b""
    try:
        return values.encode(message.__dict__)
    except InvalidInputError:
        return b""


@cache
def _is_message(kind: type) -> bool:
    """Whether this is one of LangChain's own message classes, whose dump depends on their fields alone."""
    own = kind.__module__.startswith("langchain_core.messages.")
    return own and issubclass(kind, BaseMessage) and not kind.__private_attributes__


def _opened(data: bytes) -> dict[str, Any] | None:
    """A serialised pydantic model with its fields in the open; None when that would not give the same bytes back."""
    header = {0xC7: 3, 0xC8: 4, 0xC9: 6}.get(data[0])
    if header is None or data[header - 1] != EXT_PYDANTIC:
        return None
    try:
        parts = values.decode(data[header:])
    except SnapstoreError:
        return None
    if type(parts) is not list or len(parts) != 4:
        return None
    module, name, fields, method = parts
    if type(fields) is not dict or TYPE in fields or ":" in f"{module}" or method != METHOD or not _is_plain(fields):
        return None
    stored = {TYPE: f"{module}:{name}", **fields}
    return stored if _packed(stored) == data else None


def _packed(stored: dict[str, Any]) -> bytes:
    """The serialised pydantic model behind its open form."""
    fields = dict(stored)
    module, colon, name = str(fields.pop(TYPE)).partition(":")
    if not colon:
        raise CorruptionError("a stored value names no class", code="value_damaged", type=module)
    payload = values.encode([module, name, fields, METHOD])
    size = len(payload)
    if size < 1 << 8:
        header = b"\xc7" + size.to_bytes(1)
    else:
        header = b"\xc8" + size.to_bytes(2) if size < 1 << 16 else b"\xc9" + size.to_bytes(4)
    return header + bytes([EXT_PYDANTIC]) + payload


def _is_plain(value: Any) -> bool:
    """Whether a value is text, numbers, bytes, None, and lists and dicts of them."""
    kind = type(value)
    if kind is list:
        return set(map(type, value)) <= PLAIN or all(map(_is_plain, value))
    if kind is dict:
        return set(map(type, value)) <= TEXT and all(map(_is_plain, value.values()))
    return kind in PLAIN


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
