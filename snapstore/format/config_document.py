"""The archive's config, `snapstore.json`: created once, read by every opening.

It says which format the archive has and which features a program must know before it may read, write or collect. An
unknown *field* is harmless and kept; an unknown *feature* forbids exactly the operations that it is listed for. Collection has
a list of its own, because a collector that does not know a new kind of reference deletes what it points at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from snapstore.errors import FormatError
from snapstore.format import canonical
from snapstore.format.canonical import Problem
from snapstore.format.fields import TXID_PATTERN, Fields
from snapstore.format.limits import FORMAT_VERSION

KNOWN_FEATURES: Final[frozenset[str]] = frozenset()
"""The features that this program knows: format 1 has none yet."""

_KIND: Final = "archive"
_FIELDS: Final = frozenset(["created_at", "features", "format", "id", "kind"])
_OPERATIONS: Final = ("gc", "read", "write")
_FEATURE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_FEATURES_LIMIT: Final = 64  # a name per feature ever invented; more is damage


@dataclass(frozen=True, slots=True)
class Features:
    """The features that a program must know, by operation; each tuple is sorted and without repetition.

    Attributes:
        read: needed to read anything.
        write: needed to write anything.
        gc: needed to delete anything physically.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    gc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """The config of one archive.

    Attributes:
        id: 32 hex digits, 128 random bits: tells archives apart wherever their bytes are copied to.
        created_at: milliseconds since 1970 UTC.
        features: what a program must know.
        extra: fields of a later minor version, written back as they came.
    """

    id: str
    created_at: int
    features: Features = field(default_factory=Features)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def unknown_features(self, operation: str) -> list[str]:
        """Return the features of one operation, "read", "write" or "gc", that this program does not know."""
        names: tuple[str, ...] = getattr(self.features, operation)
        return [name for name in names if name not in KNOWN_FEATURES]

    def check_readable(self) -> None:
        """Refuse an archive that this program could misread.

        Raises:
            FormatError: code "unknown_feature".
        """
        self._check("read")

    def check_writable(self) -> None:
        """Refuse to write into an archive that this program could damage; it can still be opened read-only.

        Raises:
            FormatError: code "unknown_feature".
        """
        self._check("read")
        self._check("write")

    def check_collectable(self) -> None:
        """Refuse to delete from an archive with references that this program could miss.

        Raises:
            FormatError: code "unknown_feature".
        """
        self.check_writable()
        self._check("gc")

    def _check(self, operation: str) -> None:
        unknown = self.unknown_features(operation)
        if unknown:
            hint = "upgrade snapstore"
            if operation != "read":
                hint += ", or open the archive with read_only=True"
            raise FormatError(
                "the archive needs features that this version of snapstore does not know",
                code="unknown_feature",
                hint=hint,
                operation=operation,
                features=",".join(unknown),
            )

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            FormatError: code "invalid_document" with all problems.
        """
        document: dict[str, Any] = {
            **self.extra,
            "created_at": self.created_at,
            "features": {name: list(getattr(self.features, name)) for name in _OPERATIONS},
            "format": FORMAT_VERSION,
            "id": self.id,
            "kind": _KIND,
        }
        problems, _ = _check_document(document)
        if problems:
            raise canonical.invalid_document(_KIND, problems)
        return canonical.dump(document, _KIND)

    @classmethod
    def decode(cls, data: bytes) -> ArchiveConfig:
        """Read the bytes of `snapstore.json`; features are not judged here, see check_readable.

        Raises:
            FormatError: code "invalid_document" with all problems, or "newer_format".
        """
        document, extra = canonical.read(data, _KIND, _check_document)
        features = Features(**{name: tuple(document["features"][name]) for name in _OPERATIONS})
        return cls(document["id"], document["created_at"], features, extra)


def _check_document(document: Mapping[str, Any]) -> tuple[list[Problem], dict[str, Any]]:
    """Return all problems of a config, and its unknown fields."""
    problems: list[Problem] = []
    fields = Fields(document, problems)
    fields.constant("kind", _KIND)
    fields.constant("format", FORMAT_VERSION)
    fields.matching("id", TXID_PATTERN)
    fields.time("created_at")
    features = fields.object("features")
    if features is not None:
        inside = Fields(features, problems, "$.features")
        for operation in _OPERATIONS:
            names = inside.array(operation, _FEATURES_LIMIT)
            if not all(type(name) is str and _FEATURE.fullmatch(name) for name in names):
                inside.add(operation, "wrong_value")
            elif len(set(names)) != len(names):
                inside.add(operation, "duplicate")
            elif sorted(names) != names:
                inside.add(operation, "wrong_order")
        inside.closed(frozenset(_OPERATIONS))
    return problems, fields.unknown(_FIELDS)
