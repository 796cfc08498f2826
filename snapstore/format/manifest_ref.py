"""Where one version begins: the place of its manifest and of the root of its state tree.

A manifest holds no places, so its register does: with these two, one read of the register is enough to begin a whole
restore (every pack of the closure at once), a partial read (from the root down) or a fork (which shares the root).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from snapstore.format.closure import Closure
from snapstore.format.fields import DIGEST_PATTERN, Fields
from snapstore.format.limits import INTEGER_LIMIT

_FIELDS: Final = frozenset(["digest", "offset", "pack", "root", "size"])
_ROOT_FIELDS: Final = frozenset(["digest", "kind", "place"])


@dataclass(frozen=True, slots=True)
class RootRef:
    """Where a version's root chunk or root node lies: a partial read starts here, and a fork copies it.

    Attributes:
        digest: 64 hex digits, as in the manifest.
        kind: "leaf" or "node", as in the manifest.
        place: pack ordinal, offset and size of the frame in the pack, offset in the decompressed frame, length;
            in bytes but for the ordinal.
    """

    digest: str
    kind: Literal["leaf", "node"]
    place: tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class ManifestRef:
    """Where a version's manifest lies.

    Attributes:
        digest: 64 hex digits of the digest of the manifest's canonical bytes.
        pack: the ordinal of the pack, which is in the closure.
        offset: where the pack's meta frame (manifest and directory) begins, in bytes.
        size: the length of the meta frame in bytes.
        root: where the root of the state tree lies.
    """

    digest: str
    pack: int
    offset: int
    size: int
    root: RootRef

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object of this place."""
        return {
            "digest": self.digest,
            "offset": self.offset,
            "pack": self.pack,
            "root": {"digest": self.root.digest, "kind": self.root.kind, "place": list(self.root.place)},
            "size": self.size,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ManifestRef:
        """Read a JSON object that check_manifest_ref found nothing wrong with."""
        root = document["root"]
        pack, offset, size, start, length = root["place"]
        place = RootRef(root["digest"], root["kind"], (pack, offset, size, start, length))
        return cls(document["digest"], document["pack"], document["offset"], document["size"], place)


def check_manifest_ref(fields: Fields, closure: Closure) -> None:
    """Check the field `manifest` of a version: complete, and within the packs of its closure."""
    manifest = fields.object("manifest")
    if manifest is None:
        return
    inside = Fields(manifest, fields.problems, f"{fields.path}.manifest")
    inside.matching("digest", DIGEST_PATTERN)
    inside.integer("offset")
    inside.integer("pack", 1)
    inside.integer("size", 1)
    inside.closed(_FIELDS)
    ordinal, offset, size = manifest.get("pack"), manifest.get("offset"), manifest.get("size")
    if type(ordinal) is int and type(offset) is int and type(size) is int:
        pack = closure.get(ordinal)
        if pack is None:
            inside.add("pack", "unresolved")
        elif offset + size > pack.size:
            inside.add("offset", "out_of_range")
    root = inside.object("root")
    if root is not None:
        _check_root(Fields(root, fields.problems, f"{inside.path}.root"), closure)


def _check_root(fields: Fields, closure: Closure) -> None:
    """Check where the root lies: in a pack of the closure, within its bytes."""
    root = fields.document
    fields.matching("digest", DIGEST_PATTERN)
    fields.closed(_ROOT_FIELDS)
    if root.get("kind") not in ("leaf", "node"):
        fields.add("kind", "wrong_value" if "kind" in root else "missing_field")
    place = root.get("place")
    if type(place) is not list:
        fields.add("place", "wrong_type" if "place" in root else "missing_field")
    elif len(place) != 5 or not all(type(number) is int and 0 <= number <= INTEGER_LIMIT for number in place):
        fields.add("place", "wrong_value")
    elif place[0] not in closure:
        fields.add("place", "unresolved")
    elif place[1] + place[2] > closure[place[0]].size:
        fields.add("place", "out_of_range")
