"""Fields: the checks that every document of ours makes on its JSON object, collected and never raised one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from snapstore.format.canonical import Problem, ProblemKind, find_problems, member
from snapstore.format.limits import INTEGER_LIMIT, TIME_LIMIT_MS
from snapstore.format.metadata import metadata_problem

DIGEST_PATTERN: Final = re.compile(r"[0-9a-f]{64}")
"""A BLAKE3-256 digest as documents write it."""

TXID_PATTERN: Final = re.compile(r"[0-9a-f]{32}")
"""128 random bits as documents write them: a transaction, an archive's id."""


class Fields:
    """Checks the fields of one JSON object and collects what is wrong; nothing is raised before the end.

    Args:
        document: the object as parsed.
        problems: the list that problems are added to, shared by all objects of one document.
        path: the path of the object.
    """

    __slots__ = ("document", "path", "problems")

    def __init__(self, document: Mapping[str, Any], problems: list[Problem], path: str = "$") -> None:
        self.document = document
        self.problems = problems
        self.path = path

    def add(self, key: str, kind: ProblemKind) -> None:
        """Report a problem of one field."""
        self.problems.append(Problem(member(self.path, key), kind))

    def _wrong_type(self, key: str) -> None:
        self.add(key, "wrong_type" if key in self.document else "missing_field")

    def constant(self, key: str, wanted: object) -> None:
        """The field must be exactly this value."""
        value = self.document.get(key)
        if value != wanted or type(value) is not type(wanted):
            if type(value) is type(wanted):
                self.add(key, "wrong_value")
            else:
                self._wrong_type(key)

    def integer(self, key: str, low: int = 0, high: int = INTEGER_LIMIT) -> None:
        """The field must be an integer in [low, high]."""
        value = self.document.get(key)
        if type(value) is not int:
            self._wrong_type(key)
        elif not low <= value <= high:
            self.add(key, "out_of_range")

    def time(self, key: str) -> None:
        """The field must be milliseconds since 1970 UTC, in [0, 2**48)."""
        self.integer(key, 0, TIME_LIMIT_MS)

    def boolean(self, key: str) -> None:
        """The field must be true or false."""
        if type(self.document.get(key)) is not bool:
            self._wrong_type(key)

    def text(self, key: str, limit_bytes: int, *, empty: bool = False, null: bool = False) -> None:
        """The field must be text of at most limit_bytes in UTF-8; `empty` and `null` say what else it may be."""
        value = self.document.get(key)
        if type(value) is not str:
            if not (null and value is None and key in self.document):
                self._wrong_type(key)
        elif not value and not empty:
            self.add(key, "wrong_value")
        elif len(value) > limit_bytes // 4 and len(value.encode("utf-8", "surrogatepass")) > limit_bytes:
            self.add(key, "too_long")

    def matching(self, key: str, pattern: re.Pattern[str]) -> None:
        """The field must be text that the pattern matches as a whole."""
        value = self.document.get(key)
        if type(value) is not str:
            self._wrong_type(key)
        elif pattern.fullmatch(value) is None:
            self.add(key, "wrong_value")

    def array(self, key: str, limit: int) -> list[Any]:
        """The field must be an array of at most `limit` items; returns it, or an empty list."""
        value = self.document.get(key)
        if type(value) is not list:
            self._wrong_type(key)
            return []
        if len(value) > limit:
            self.add(key, "too_many")
            return []
        return value

    def object(self, key: str, *, null: bool = False) -> dict[str, Any] | None:
        """The field must be an object (or null where allowed); returns it, or None."""
        value = self.document.get(key)
        if type(value) is dict:
            return value
        if not (null and value is None and key in self.document):
            self._wrong_type(key)
        return None

    def metadata(self, key: str) -> None:
        """The field must be the JSON text of a metadata object."""
        value = self.document.get(key)
        if value == "{}":
            return
        if type(value) is not str:
            self._wrong_type(key)
            return
        kind = metadata_problem(value)
        if kind is not None:
            self.add(key, kind)

    def closed(self, known: frozenset[str]) -> None:
        """The object must have no field but these: it is not a place where later versions add any."""
        if self.document.keys() - known:
            for key in self.document:
                if key not in known:
                    self.add(key, "unknown_field")

    def unknown(self, known: frozenset[str]) -> dict[str, Any]:
        """Return the fields that this version does not know, checked for what a document can hold at all."""
        if not self.document.keys() - known:
            return {}
        extra = {key: value for key, value in self.document.items() if key not in known}
        # `$` is a whole document, `$.prevs[0]` lies within an object and an array.
        self.problems += find_problems(extra, self.path, self.path.count(".") + self.path.count("["))
        return extra
