"""The manifest: the immutable document that says what one version of a snapshot is.

It names the run, graph and node, the parents with the digests of their manifests, the digest of the whole state and the
root of the state tree. It holds no places: moving bytes to other packs never changes a manifest, so its digest stays
good for signatures, and parents stay provable across repacking and mirroring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from snapstore.format import canonical
from snapstore.format.canonical import Problem
from snapstore.format.fields import DIGEST_PATTERN, Fields
from snapstore.format.limits import FORMAT_VERSION, NAME_LIMIT_BYTES, PARENTS_LIMIT

_KIND: Final = "manifest"
_FIELDS: Final = frozenset(
    ["created_at", "digest", "format", "graph", "id", "kind", "metadata", "node", "parents", "root", "run"]
)
_PARENT_FIELDS: Final = frozenset(["digest", "id"])
_ROOT_FIELDS: Final = frozenset(["digest", "kind", "length"])


@dataclass(frozen=True, slots=True)
class ParentRef:
    """One parent of a snapshot.

    Attributes:
        id: the parent's snapshot id.
        digest: 64 hex digits of the digest of the parent's manifest, at the version that was continued.
    """

    id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a state tree.

    Attributes:
        digest: 64 hex digits of the digest of the root chunk or node.
        kind: "leaf" when the whole state is one chunk, "node" when it is a tree.
        length: the length in bytes of the whole encoded state.
    """

    digest: str
    kind: Literal["leaf", "node"]
    length: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one version of a snapshot is, without where its bytes lie.

    Attributes:
        id: the snapshot id.
        run: the run it belongs to.
        graph: the graph that the run executes.
        node: the step that produced it, None when there is none to name.
        parents: the snapshots it continues, the main line first; empty for a first snapshot, at most 64.
        created_at: milliseconds since 1970 UTC; the same in every version of the snapshot.
        metadata: the user's metadata as JSON text (metadata.metadata_from_text reads it).
        digest: 64 hex digits of the digest of the whole encoded state.
        root: the root of the state tree.
        extra: fields of a later minor version, written back as they came.
    """

    id: str
    run: str
    graph: str
    node: str | None
    parents: tuple[ParentRef, ...]
    created_at: int
    metadata: str
    digest: str
    root: Root
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object of this manifest."""
        return {
            **self.extra,
            "created_at": self.created_at,
            "digest": self.digest,
            "format": FORMAT_VERSION,
            "graph": self.graph,
            "id": self.id,
            "kind": _KIND,
            "metadata": self.metadata,
            "node": self.node,
            "parents": [{"digest": parent.digest, "id": parent.id} for parent in self.parents],
            "root": {"digest": self.root.digest, "kind": self.root.kind, "length": self.root.length},
            "run": self.run,
        }

    def encode(self) -> bytes:
        """Return the canonical bytes; their digest is the digest of the manifest.

        Raises:
            FormatError: code "invalid_document" with all problems, or "document_too_large".
        """
        document = self.to_document()
        problems, _ = _check(document)
        if problems:
            raise canonical.invalid_document(_KIND, problems)
        return canonical.dump(document, _KIND)

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read canonical bytes, which the caller has verified against their digest.

        Raises:
            FormatError: code "invalid_document" with all problems, "newer_format" or "document_too_large".
        """
        document, extra = canonical.read(data, _KIND, _check)
        root = document["root"]
        return cls(
            id=document["id"],
            run=document["run"],
            graph=document["graph"],
            node=document["node"],
            parents=tuple(ParentRef(parent["id"], parent["digest"]) for parent in document["parents"]),
            created_at=document["created_at"],
            metadata=document["metadata"],
            digest=document["digest"],
            root=Root(root["digest"], root["kind"], root["length"]),
            extra=extra,
        )


def _check(document: Mapping[str, Any]) -> tuple[list[Problem], dict[str, Any]]:
    """Return all problems of a manifest, and its unknown fields."""
    problems: list[Problem] = []
    fields = Fields(document, problems)
    fields.constant("kind", _KIND)
    fields.constant("format", FORMAT_VERSION)
    for name in ("id", "run", "graph"):
        fields.text(name, NAME_LIMIT_BYTES)
    fields.text("node", NAME_LIMIT_BYTES, empty=True, null=True)
    fields.time("created_at")
    fields.metadata("metadata")
    fields.matching("digest", DIGEST_PATTERN)
    root = fields.object("root")
    if root is not None:
        inside = Fields(root, problems, "$.root")
        inside.matching("digest", DIGEST_PATTERN)
        inside.integer("length")
        if root.get("kind") not in ("leaf", "node"):
            inside.add("kind", "wrong_value" if "kind" in root else "missing_field")
        inside.closed(_ROOT_FIELDS)
    seen: set[str] = set()
    for index, parent in enumerate(fields.array("parents", PARENTS_LIMIT)):
        path = f"$.parents[{index}]"
        if type(parent) is not dict:
            problems.append(Problem(path, "wrong_type"))
            continue
        inside = Fields(parent, problems, path)
        inside.text("id", NAME_LIMIT_BYTES)
        inside.matching("digest", DIGEST_PATTERN)
        inside.closed(_PARENT_FIELDS)
        parent_id = parent.get("id")
        if isinstance(parent_id, str) and parent_id in seen:
            inside.add("id", "duplicate")
        if isinstance(parent_id, str):
            seen.add(parent_id)
    return problems, fields.unknown(_FIELDS)
