"""User metadata: a small JSON object that travels inside documents as JSON *text*.

Documents have neither floats nor non-ASCII keys, users have both. So the object travels as one string: the document stays
canonical, the text is kept to the byte, and its order of keys and spelling of floats come back as they were given.

    >>> metadata_to_text({"model": "large", "température": 0.7})
    '{"model":"large","température":0.7}'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from snapstore.errors import InvalidInputError
from snapstore.format.canonical import Problem, ProblemKind, has_lone_surrogate, invalid_document
from snapstore.format.limits import METADATA_DEPTH_LIMIT, METADATA_LIMIT_BYTES


def metadata_to_text(metadata: Mapping[str, Any] | None) -> str:
    """Return user metadata as the JSON text that documents carry; the order of keys is kept.

    Args:
        metadata: a dict of JSON types with text keys; None is no metadata. Integers must fit in 64 bits.

    Raises:
        InvalidInputError: code "metadata_unsupported" with the path of the value, "metadata_too_deep" (above 32 levels)
            or "metadata_too_large" (above 8 KiB of UTF-8).
    """
    if not metadata and (metadata is None or type(metadata) is dict):
        return "{}"
    if type(metadata) is not dict:
        raise InvalidInputError("metadata must be a dict", code="metadata_unsupported", type=type(metadata).__name__)
    _check_metadata(metadata, "metadata", 1)
    text = _ENCODER.encode(metadata)
    size_bytes = len(text.encode("utf-8"))
    if size_bytes > METADATA_LIMIT_BYTES:
        raise InvalidInputError(
            "the metadata is too large",
            code="metadata_too_large",
            hint="keep large values in the state; metadata is for what lists and searches show",
            size_bytes=size_bytes,
            limit_bytes=METADATA_LIMIT_BYTES,
        )
    return text


def metadata_from_text(text: str) -> dict[str, Any]:
    """Return user metadata from the JSON text that documents carry.

    Raises:
        FormatError: code "invalid_document", when the text is not what metadata_to_text may return.
    """
    if text == "{}":
        return {}
    kind = metadata_problem(text)
    if kind is not None:
        raise invalid_document("metadata", [Problem("$", kind)])
    metadata: dict[str, Any] = _DECODER.decode(text)
    return metadata


def metadata_problem(text: str) -> ProblemKind | None:
    """Return what is wrong with a metadata text, None when nothing is."""
    if len(text) > METADATA_LIMIT_BYTES // 4 and len(text.encode("utf-8", "surrogatepass")) > METADATA_LIMIT_BYTES:
        return "too_long"
    try:
        metadata = _DECODER.decode(text)
    except RecursionError:
        return "too_deep"
    except ValueError:
        return "not_json"
    if type(metadata) is not dict:
        return "wrong_type"
    if text.count("[") + text.count("{") > METADATA_DEPTH_LIMIT and _depth(metadata) > METADATA_DEPTH_LIMIT:
        return "too_deep"
    return None


def _depth(value: object) -> int:
    items: Iterable[object] = value.values() if type(value) is dict else value if type(value) is list else ()
    return 1 + max(map(_depth, items), default=0) if type(value) in (dict, list) else 0


def _check_metadata(value: object, path: str, depth: int) -> None:
    """Refuse the first value that JSON cannot give back as the same type."""
    kind = type(value)
    if value is None or kind is bool:
        return
    reason = ""
    if kind is str:
        reason = "text has a lone surrogate" if has_lone_surrogate(value) else ""  # type: ignore[arg-type]
    elif kind is int:
        reason = "" if -(2**63) <= value < 2**64 else "an integer does not fit in 64 bits"  # type: ignore[operator]
    elif kind is float:
        reason = "" if abs(value) < float("inf") else "JSON has no NaN and no infinity"  # type: ignore[arg-type]
    elif kind is not dict and kind is not list:
        reason = f"{kind.__name__} is not a JSON type"
    elif depth > METADATA_DEPTH_LIMIT:
        raise InvalidInputError(
            "metadata is nested too deeply", code="metadata_too_deep", limit=METADATA_DEPTH_LIMIT, path=path[:80]
        )
    elif kind is list:
        for index, item in enumerate(value):  # type: ignore[arg-type, var-annotated]
            _check_metadata(item, f"{path}[{index}]", depth + 1)
    else:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str or has_lone_surrogate(key):
                reason = f"the key {key!r} is not Unicode text"
                break
            _check_metadata(item, f"{path}[{key!r}]", depth + 1)
    if reason:
        raise InvalidInputError(
            f"metadata cannot hold this value: {reason}",
            code="metadata_unsupported",
            hint="metadata is plain JSON; put anything else into the state",
            path=path,
        )


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(text)


# Prepared once: building them costs as much as encoding a small object.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_number)
