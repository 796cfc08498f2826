"""The register: the one mutable document per snapshot id, replaced by compare-and-swap.

It points at the manifest, carries the status, and lists the closure: every pack that the snapshot needs, so that a restore is
this read and one parallel read of packs. It also keeps what makes rewriting safe: the last transaction ids (a write
whose response was lost is recognised) and the earlier versions back to the newest provably valid one (a collector
that races with a rewrite can never leave an acknowledged id without a readable version).

A register is stored as one zstd frame of canonical JSON: registers are most of what a small save stores, and a
closure compresses to half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from snapstore.errors import ConflictError, CorruptionError
from snapstore.format import canonical, frames
from snapstore.format.canonical import Problem
from snapstore.format.closure import Closure, PackRef, closure_from_document, closure_to_document, read_closure
from snapstore.format.fields import DIGEST_PATTERN, TXID_PATTERN, Fields
from snapstore.format.limits import (
    CLOSURE_LIMIT,
    DOCUMENT_LIMIT_BYTES,
    FORMAT_VERSION,
    NAME_LIMIT_BYTES,
    PARENTS_LIMIT,
    PREVS_LIMIT,
    RECENT_LIMIT,
    REGISTER_LIMIT_BYTES,
    STATUS_LIMIT_BYTES,
)
from snapstore.format.manifest_ref import ManifestRef, RootRef, check_manifest_ref

__all__ = [
    "Closure",
    "ManifestRef",
    "PackRef",
    "PreviousVersion",
    "Register",
    "RootRef",
    "closure_from_document",
    "closure_to_document",
]

_KIND: Final = "register"
_VERSION_FIELDS: Final = frozenset(
    ("closure", "digest", "manifest", "metadata", "node", "size_bytes", "status", "stored_bytes", "txid", "updated_at", "version")
)
_FIELDS: Final = _VERSION_FIELDS | frozenset(
    ["created_at", "deleted", "epoch", "format", "graph", "id", "kind", "parents", "prevs", "recent", "run"]
)
_PREVIOUS_FIELDS: Final = _VERSION_FIELDS | frozenset(["shared"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousVersion:
    """An earlier version of a snapshot, kept until a newer one is provably valid; fields as in Register.

    `closure` is the whole closure; in the document the packs that the current version lists identically are
    only named by ordinal.
    """

    version: int
    txid: str
    updated_at: int
    status: str
    node: str | None
    metadata: str
    digest: str
    size_bytes: int
    stored_bytes: int
    manifest: ManifestRef
    closure: Closure
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The current version of one snapshot.

    Attributes:
        id: the snapshot id.
        run: the run it belongs to.
        graph: the graph that the run executes.
        node: the step that produced it, None when there is none to name.
        parents: the ids of the snapshots it continues, the main line first.
        status: free text, such as "completed".
        metadata: the user's metadata as JSON text (metadata.metadata_from_text reads it).
        created_at: milliseconds since 1970 UTC of the first version.
        updated_at: milliseconds since 1970 UTC of this version.
        version: 1 for the first version, one more for each later one, heartbeats and tombstones included.
        txid: 32 hex digits, the transaction that wrote this version.
        recent: the last transactions, at most 8, newest last; the last one is `txid`.
        deleted: whether this is a tombstone; then there is no manifest, no closure and no earlier version.
        digest: 64 hex digits of the digest of the whole encoded state; a tombstone keeps the last one.
        size_bytes: the length of the encoded state.
        stored_bytes: what the save that wrote this content added to the storage.
        manifest: where the manifest lies, None in a tombstone.
        closure: the packs that this version needs, by ordinal.
        epoch: the collection epoch against which the closure was validated when it was written.
        prevs: earlier versions, newest first, at most 16.
        extra: fields of a later minor version, written back as they came.
    """

    id: str
    run: str
    graph: str
    node: str | None = None
    parents: tuple[str, ...] = ()
    status: str
    metadata: str = "{}"
    created_at: int
    updated_at: int
    version: int = 1
    txid: str
    recent: tuple[str, ...]
    deleted: bool = False
    digest: str
    size_bytes: int
    stored_bytes: int
    manifest: ManifestRef | None
    closure: Closure
    epoch: int = 0
    prevs: tuple[PreviousVersion, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> RootRef | None:
        """Where the root of the state tree lies; None in a tombstone."""
        return self.manifest.root if self.manifest is not None else None

    def landed(self, txid: str) -> bool:
        """Say whether the write of this transaction is known to have taken effect, perhaps overwritten since."""
        return txid in self.recent

    def successor(self, *, txid: str, updated_at: int, **changes: Any) -> Register:
        """Return the next version: version + 1 and the transaction appended to the ring.

        Args:
            txid: the transaction that will write it.
            updated_at: its time in milliseconds since 1970 UTC.
            **changes: any other fields. Without new content, keep `epoch` and `prevs`: a heartbeat proves nothing.
        """
        recent = (*self.recent, txid)[-RECENT_LIMIT:]
        return replace(self, txid=txid, recent=recent, updated_at=updated_at, version=self.version + 1, **changes)

    def successor_prevs(self, *, provably_valid: bool) -> tuple[PreviousVersion, ...]:
        """Return the earlier versions that a rewrite with new content must keep.

        This version, and unless it is provably valid the chain behind it too. Every weaker rule has a counter-example:
        keeping only this version loses an id when rivals overwrite each other, and keeping one more fails with two collectors.

        Args:
            provably_valid: whether no pack of this closure was condemned since `epoch`.

        Raises:
            ConflictError: code "too_many_versions", when 16 versions in a row could not be proved.
        """
        if self.deleted or self.manifest is None:
            return ()
        chain = (self._as_previous(self.manifest),) + (() if provably_valid else self.prevs)
        if len(chain) > PREVS_LIMIT:
            raise ConflictError(
                "the snapshot was rewritten too often while a collection was running",
                code="too_many_versions",
                hint="try again when the collection has ended",
                id=self.id,
                limit=PREVS_LIMIT,
            )
        return chain

    def tombstone(self, *, txid: str, updated_at: int) -> Register:
        """Return the next version, deleted: it needs no packs, so collection can free them."""
        return self.successor(
            txid=txid,
            updated_at=updated_at,
            deleted=True,
            manifest=None,
            closure={},
            prevs=(),
            size_bytes=0,
            stored_bytes=0,
        )

    def _as_previous(self, manifest: ManifestRef) -> PreviousVersion:
        return PreviousVersion(
            version=self.version,
            txid=self.txid,
            updated_at=self.updated_at,
            status=self.status,
            node=self.node,
            metadata=self.metadata,
            digest=self.digest,
            size_bytes=self.size_bytes,
            stored_bytes=self.stored_bytes,
            manifest=manifest,
            closure=self.closure,
        )

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object of this register."""
        return {
            **self.extra,
            **_version_document(self, self.closure),
            "created_at": self.created_at,
            "deleted": self.deleted,
            "epoch": self.epoch,
            "format": FORMAT_VERSION,
            "graph": self.graph,
            "id": self.id,
            "kind": _KIND,
            "parents": list(self.parents),
            "prevs": [_previous_document(previous, self.closure) for previous in self.prevs],
            "recent": list(self.recent),
            "run": self.run,
        }

    def encode(self) -> bytes:
        """Return the bytes to store: one zstd frame of the canonical JSON.

        Raises:
            FormatError: code "invalid_document" with all problems, or "document_too_large".
        """
        document = self.to_document()
        problems = _check(document)[0]
        if problems:
            raise canonical.invalid_document(_KIND, problems)
        return frames.compress(canonical.dump(document, _KIND))

    @classmethod
    def decode(cls, data: bytes) -> Register:
        """Read stored bytes.

        Raises:
            CorruptionError: code "frame_damaged", when the bytes are not one whole zstd frame of at most 256 KiB.
            FormatError: code "newer_format", or "invalid_document" with all problems.
        """
        if len(data) > REGISTER_LIMIT_BYTES:
            raise CorruptionError("the register is too large to be one", code="frame_damaged", size_bytes=len(data))
        content = frames.decompress(data, DOCUMENT_LIMIT_BYTES, _KIND)
        document, checked = canonical.read(content, _KIND, _check)
        prevs = tuple(
            PreviousVersion(**_version_fields(item), closure=closure, extra=extra)
            for item, (closure, extra) in zip(document["prevs"], checked.prevs, strict=True)
        )
        return cls(
            **_version_fields(document),
            closure=checked.closure,
            id=document["id"],
            run=document["run"],
            graph=document["graph"],
            parents=tuple(document["parents"]),
            created_at=document["created_at"],
            recent=tuple(document["recent"]),
            deleted=document["deleted"],
            epoch=document["epoch"],
            prevs=prevs,
            extra=checked.extra,
        )


def _version_document(version: Register | PreviousVersion, listed: Closure) -> dict[str, Any]:
    """Return the fields that current and earlier versions share; `listed` are the packs to write out."""
    manifest = version.manifest
    return {
        "closure": closure_to_document(listed),
        "digest": version.digest,
        "manifest": None if manifest is None else manifest.to_document(),
        "metadata": version.metadata,
        "node": version.node,
        "size_bytes": version.size_bytes,
        "status": version.status,
        "stored_bytes": version.stored_bytes,
        "txid": version.txid,
        "updated_at": version.updated_at,
        "version": version.version,
    }


def _previous_document(previous: PreviousVersion, current: Closure) -> dict[str, Any]:
    # Two lineages may give one ordinal to different packs, and versions may need different ranges of one pack: only an
    # identical entry is shared.
    shared = [ordinal for ordinal in sorted(previous.closure) if current.get(ordinal) == previous.closure[ordinal]]
    own = {ordinal: pack for ordinal, pack in previous.closure.items() if ordinal not in shared}
    return {**previous.extra, **_version_document(previous, own), "shared": shared}


def _version_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments that current and earlier versions share, but for the closure."""
    manifest = document["manifest"]
    return {
        "digest": document["digest"],
        "manifest": None if manifest is None else ManifestRef.from_document(manifest),
        "metadata": document["metadata"],
        "node": document["node"],
        "size_bytes": document["size_bytes"],
        "status": document["status"],
        "stored_bytes": document["stored_bytes"],
        "txid": document["txid"],
        "updated_at": document["updated_at"],
        "version": document["version"],
    }


class _Checked(NamedTuple):
    """What checking a register found out besides its problems: the closures, read, and the unknown fields."""

    closure: dict[int, PackRef]
    prevs: list[tuple[dict[int, PackRef], dict[str, Any]]]
    extra: dict[str, Any]


def _check(document: Mapping[str, Any]) -> tuple[list[Problem], _Checked]:
    """Return all problems of a register, and what was found out on the way."""
    problems: list[Problem] = []
    fields = Fields(document, problems)
    fields.constant("kind", _KIND)
    fields.constant("format", FORMAT_VERSION)
    for name in ("id", "run", "graph"):
        fields.text(name, NAME_LIMIT_BYTES)
    fields.time("created_at")
    fields.boolean("deleted")
    fields.integer("epoch")
    _check_ids(fields)
    _check_recent(fields)
    closure = _check_closure(fields)
    deleted = document.get("deleted") is True
    _check_version(fields, closure, tombstone=deleted)
    if deleted and closure:
        fields.add("closure", "wrong_value")
    previous: list[tuple[dict[int, PackRef], dict[str, Any]]] = []
    newer = document.get("version")
    for index, item in enumerate(fields.array("prevs", 0 if deleted else PREVS_LIMIT)):
        path = f"$.prevs[{index}]"
        if type(item) is not dict:
            problems.append(Problem(path, "wrong_type"))
            continue
        inside = Fields(item, problems, path)
        packs = _check_shared(inside, closure)
        _check_version(inside, packs, tombstone=False)
        older = item.get("version")
        if type(older) is int and type(newer) is int and older >= newer:
            inside.add("version", "wrong_order")
        newer = older
        previous.append((packs, inside.unknown(_PREVIOUS_FIELDS)))
    return problems, _Checked(closure, previous, fields.unknown(_FIELDS))


def _check_ids(fields: Fields) -> None:
    """Check the parents: texts without repetition."""
    parents = fields.array("parents", PARENTS_LIMIT)
    if all(type(parent) is str for parent in parents):
        if len(set(parents)) != len(parents):
            fields.add("parents", "duplicate")
        for index, parent in enumerate(parents):
            inside = Fields({f"parents[{index}]": parent}, [], "")
            inside.text(f"parents[{index}]", NAME_LIMIT_BYTES)
            fields.problems += [Problem(f"$.parents[{index}]", problem.kind) for problem in inside.problems]
    else:
        fields.add("parents", "wrong_type")


def _check_recent(fields: Fields) -> None:
    """Check the ring of transactions: different ones, the current one last."""
    recent = fields.array("recent", RECENT_LIMIT)
    given = fields.document.get("recent")
    if type(given) is not list or len(given) > RECENT_LIMIT:
        return
    if not all(type(txid) is str and TXID_PATTERN.fullmatch(txid) for txid in recent):
        fields.add("recent", "wrong_value")
    elif not recent or recent[-1] != fields.document.get("txid"):
        fields.add("recent", "wrong_order")
    elif len(set(recent)) != len(recent):
        fields.add("recent", "duplicate")


def _check_version(fields: Fields, closure: Closure, *, tombstone: bool) -> None:
    """Check the fields that current and earlier versions share, but for the closure itself."""
    fields.text("status", STATUS_LIMIT_BYTES, empty=True)
    fields.text("node", NAME_LIMIT_BYTES, empty=True, null=True)
    fields.metadata("metadata")
    fields.matching("digest", DIGEST_PATTERN)
    fields.matching("txid", TXID_PATTERN)
    fields.integer("size_bytes")
    fields.integer("stored_bytes")
    fields.integer("version", 1)
    fields.time("updated_at")
    if not tombstone:
        check_manifest_ref(fields, closure)
    elif fields.object("manifest", null=True) is not None:
        fields.add("manifest", "wrong_value")


def _check_closure(fields: Fields) -> dict[int, PackRef]:
    """Return the packs that a version lists itself."""
    if "closure" not in fields.document:
        fields.add("closure", "missing_field")
        return {}
    return read_closure(fields.document["closure"], fields.problems, f"{fields.path}.closure")


def _check_shared(fields: Fields, current: Closure) -> dict[int, PackRef]:
    """Return the whole closure of an earlier version: its own packs and those it shares with the current one."""
    closure = _check_closure(fields)
    if any(current.get(ordinal) == pack for ordinal, pack in closure.items()):
        fields.add("closure", "duplicate")
    last = 0
    for ordinal in fields.array("shared", CLOSURE_LIMIT):
        if type(ordinal) is not int:
            fields.add("shared", "wrong_type")
        elif ordinal <= last:
            fields.add("shared", "wrong_order")
        elif ordinal in closure:
            fields.add("shared", "duplicate")
        elif ordinal not in current:
            fields.add("shared", "unresolved")
        else:
            closure[ordinal] = current[ordinal]
            last = ordinal
    if len(closure) > CLOSURE_LIMIT:
        fields.add("closure", "too_many")
    return dict(sorted(closure.items()))
