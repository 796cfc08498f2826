"""Canonical JSON: one document, one sequence of bytes, so that a digest of the bytes is a digest of the meaning.

Keys are sorted and ASCII, there are no spaces, text is UTF-8, integers lie within +-2**53, and floats do not exist. With
these restrictions the standard library's `json` writes exactly what RFC 8785 asks for, and any language can read it.
JSON parsers silently accept duplicate keys and other spellings: valid bytes are those that re-encode to themselves.

Every problem of a document is reported at once, each with its path and kind, because the person who reads the error
usually cannot ask for another try.

    >>> encode({"b": 1, "a": ["x", None, True]})
    b'{"a":["x",null,true],"b":1}'
    >>> decode(b'{"b": 1}', "note")
    Traceback (most recent call last):
    ...
    snapstore.errors.FormatError: the note is not a valid document problems='$: not_canonical'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeVar

from snapstore.errors import FormatError
from snapstore.format.limits import (
    DOCUMENT_DEPTH_LIMIT,
    DOCUMENT_LIMIT_BYTES,
    FORMAT_VERSION,
    INTEGER_LIMIT,
)

ProblemKind = Literal[
    "not_utf8",
    "not_json",
    "not_canonical",
    "duplicate_key",
    "non_ascii_key",
    "float",
    "integer_out_of_range",
    "lone_surrogate",
    "too_deep",
    "missing_field",
    "unknown_field",
    "wrong_type",
    "wrong_value",
    "out_of_range",
    "too_long",
    "too_many",
    "duplicate",
    "wrong_order",
    "unresolved",
]
"""What can be wrong at one place of a document; the kinds are stable and only ever added to."""

Checked = TypeVar("Checked")

_PROBLEMS_SHOWN: Final = 8  # enough to understand; a damaged document of 256 KiB could have thousands

# A number outside text follows one of these characters; digits of 16 places may exceed 2**53. Digits in names never match.
_LARGE_INTEGER: Final = re.compile(rb"[:,\[]-?[0-9]{16}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document.

    Attributes:
        path: where, such as `$.parents[0].digest`; `$` is the whole document.
        kind: what, one of the stable words of ProblemKind.
    """

    path: str
    kind: ProblemKind

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}"


class Problems(tuple[Problem, ...]):
    """All problems of one document, in the order of the document; printed shortly."""

    __slots__ = ()

    def __str__(self) -> str:
        shown = "; ".join(str(problem) for problem in self[:_PROBLEMS_SHOWN])
        more = len(self) - _PROBLEMS_SHOWN
        return f"{shown}; and {more} more" if more > 0 else shown


def invalid_document(what: str, problems: Iterable[Problem]) -> FormatError:
    """Return the error for a document with problems: code "invalid_document", context `problems`."""
    return FormatError(f"the {what} is not a valid document", code="invalid_document", problems=Problems(problems))


def encode(document: Mapping[str, Any], what: str = "document") -> bytes:
    """Return the canonical bytes of any document.

    Raises:
        FormatError: code "invalid_document", with every value that a document cannot hold.
    """
    found = find_problems(document)
    if found:
        raise invalid_document(what, found)
    return dump(document, what)


def dump(document: Mapping[str, Any], what: str) -> bytes:
    """Return the canonical bytes of a document whose fields were checked already; only its text is checked here.

    Raises:
        FormatError: code "invalid_document" for a lone surrogate, "document_too_large" above 256 KiB.
    """
    try:
        data = _ENCODER.encode(document).encode("utf-8")
    except (UnicodeEncodeError, RecursionError, ValueError, TypeError):
        raise invalid_document(what, find_problems(document) or [Problem("$", "wrong_type")]) from None
    if len(data) > DOCUMENT_LIMIT_BYTES:
        _refuse_size(what, len(data))
    return data


def decode(data: bytes, what: str = "document") -> dict[str, Any]:
    """Return the JSON object that canonical bytes hold; other spellings of the same object are refused.

    Nesting is the one thing not bounded here: the documents check the depth of the fields they do not know.

    Raises:
        FormatError: code "invalid_document" with all problems, or "document_too_large" above 256 KiB.
    """
    document, problems = _parse(data, what)
    if problems:
        raise invalid_document(what, problems)
    return document


def read(
    data: bytes, kind: str, check: Callable[[Mapping[str, Any]], tuple[list[Problem], Checked]]
) -> tuple[dict[str, Any], Checked]:
    """Decode a document of ours and check its fields, with the problems of bytes and of fields in one error.

    Args:
        data: the canonical bytes.
        kind: what the document must be: "archive", "manifest" or "register".
        check: returns all problems of the fields, and whatever else it found out, which is passed on.

    Raises:
        FormatError: as decode, and code "newer_format" when a newer program wrote it: then no field is looked at.
    """
    document, problems = _parse(data, kind)
    version = document.get("format")
    if type(version) is int and version > FORMAT_VERSION:
        raise FormatError(
            f"the {kind} was written by a newer version of snapstore",
            code="newer_format",
            hint="upgrade snapstore to read this archive; nothing was changed",
            format=version,
            newest_known=FORMAT_VERSION,
        )
    found, checked = check(document)
    if problems or found:
        # A float where an integer should be is one problem, not two.
        places = {problem.path for problem in problems}
        raise invalid_document(kind, problems + [problem for problem in found if problem.path not in places])
    return document, checked


def _parse(data: bytes, what: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the object that bytes hold and what is wrong with its spelling; raises when there is no object at all."""
    if len(data) > DOCUMENT_LIMIT_BYTES:
        _refuse_size(what, len(data))
    try:
        document = _DECODER.decode(data.decode("utf-8"))
        if type(document) is dict and _ENCODER.encode(document).encode("utf-8") == data:
            clean = data.isascii() and _LARGE_INTEGER.search(data) is None
            return document, [] if clean else find_problems(document)
    except (ValueError, RecursionError):
        pass
    return _explain(data, what)


def find_problems(value: object, path: str = "$", depth: int = 0) -> list[Problem]:
    """Return everything in a value that a canonical document cannot hold; `depth` is how many containers are around it."""
    kind = type(value)
    if value is None or kind is bool:
        return []
    if kind is int:
        return [] if abs(value) <= INTEGER_LIMIT else [Problem(path, "integer_out_of_range")]  # type: ignore[arg-type]
    if kind is str:
        return [Problem(path, "lone_surrogate")] if has_lone_surrogate(value) else []  # type: ignore[arg-type]
    if kind is float:
        return [Problem(path, "float")]
    if kind is dict or kind is _Pairs or kind is list:
        if depth >= DOCUMENT_DEPTH_LIMIT:
            return [Problem(path, "too_deep")]
        if kind is list:
            return [p for i, item in enumerate(value) for p in find_problems(item, f"{path}[{i}]", depth + 1)]  # type: ignore[arg-type, var-annotated]
        return _find_in_object(value, path, depth)  # type: ignore[arg-type]
    return [Problem(path, "wrong_type")]


def _find_in_object(value: dict[Any, Any], path: str, depth: int) -> list[Problem]:
    found = [Problem(f"{path}.{key}", "duplicate_key") for key in getattr(value, "duplicates", ())]
    for key, item in value.items():
        if type(key) is not str:
            found.append(Problem(path, "wrong_type"))
            continue
        if not key.isascii():
            found.append(Problem(member(path, key), "non_ascii_key"))
        found += find_problems(item, member(path, key), depth + 1)
    return found


def member(path: str, key: str) -> str:
    """Return the path of a member: `$.key`, or `$["odd key"]` for keys that are not plain words."""
    return f"{path}.{key}" if key.isidentifier() and key.isascii() else f"{path}[{json.dumps(key)}]"


def has_lone_surrogate(text: str) -> bool:
    """Say whether text cannot be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


class _Pairs(dict[str, Any]):
    """An object that remembers the keys it was given more than once."""

    __slots__ = ("duplicates",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.duplicates: list[str] = []
        if len(pairs) != len(self):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen and key not in self.duplicates:
                    self.duplicates.append(key)
                seen.add(key)


def _explain(data: bytes, what: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the object that bytes hold and why they are not canonical, slowly and completely."""
    kind: ProblemKind = "not_utf8"
    try:
        text = data.decode("utf-8")
        kind = "not_json"
        document = json.loads(text, object_pairs_hook=_Pairs)
        kind = "wrong_type"
        if isinstance(document, dict):
            return json.loads(text), find_problems(document) or [Problem("$", "not_canonical")]
    except RecursionError:
        kind = "too_deep"
    except ValueError:
        pass
    raise invalid_document(what, [Problem("$", kind)])


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(text)


def _refuse_size(what: str, size_bytes: int) -> NoReturn:
    raise FormatError(
        f"the {what} is too large", code="document_too_large", size_bytes=size_bytes, limit_bytes=DOCUMENT_LIMIT_BYTES
    )


# Prepared once: building them costs as much as encoding a small document.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number)
