"""The root of the index, `index/CURRENT`: which segments there are, replaced by compare-and-swap.

Everything below `index/` can be rebuilt from the registers. The document lists the live segments with what a reader needs to
leave most of them alone, and the retired ones that wait for their readers to finish.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from snapstore.digest import digest_hex
from snapstore.format import canonical
from snapstore.format.canonical import Problem
from snapstore.format.fields import DIGEST_PATTERN, TXID_PATTERN, Fields
from snapstore.format.limits import FORMAT_VERSION, INTEGER_LIMIT, TIME_LIMIT_MS

__all__ = [
    "ALL_GRAPHS",
    "FILES_LIMIT",
    "IndexCurrent",
    "IndexFile",
    "Rebuilding",
    "RetiredFile",
    "bucket_of",
    "graph_mark",
    "segment_key",
]

ALL_GRAPHS: Final = "new"
"""The bucket of segments that hold rows of all graphs: what was folded lately."""

FILES_LIMIT: Final = 4096
"""Live or retired segments; more do not fit into a document."""

GRAPHS_LIMIT: Final = 256
"""Graphs that a segment counts by name; with more of them a reader has to look into it."""

_KIND: Final = "index"
_FIELDS: Final = frozenset(
    ["files", "folded_at", "folds", "format", "generation", "kind", "listed_until", "rebuilding", "retired"]
)
_FILE_FIELDS: Final = frozenset(
    ["created_from", "created_to", "first", "footer_digest", "footer_size", "graphs", "key", "last", "revised", "rows", "size"]
)
_RETIRED_FIELDS: Final = frozenset(["at", "key"])
_REBUILDING_FIELDS: Final = frozenset(["at", "by", "generation"])
_SEGMENT_KEY: Final = re.compile(r"index/snapshots/gb=(new|h[0-9a-f])/[0-9a-f]{32}\.parquet")
_MARK: Final = re.compile(r"[0-9a-f]{4}")


def bucket_of(graph: str) -> str:
    """Return the bucket of a graph's rows in sorted segments: `h0` to `hf`.

    The letter keeps engines from taking the folder's name for a number.
    """
    return "h" + digest_hex(graph.encode("utf-8"))[0]


def graph_mark(graph: str) -> str:
    """Return the four hex digits by which a segment's entry counts a graph; several graphs may share them."""
    return digest_hex(graph.encode("utf-8"))[:4]


def segment_key(bucket: str, txid: str) -> str:
    """Return the key of a segment.

    Args:
        bucket: `new`, or `h` and a hex digit.
        txid: 128 random bits as 32 hex digits; never used twice.
    """
    return f"index/snapshots/gb={bucket}/{txid}.parquet"


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One live segment.

    Attributes:
        key: where it lies.
        rows: rows in it, superseded ones and tombstones included.
        revised: rows with `revises`: only these can meet rows of other segments at their places.
        size: bytes of the object.
        footer_size: bytes from the beginning of the Parquet footer to the end of the object.
        footer_digest: of these bytes, 64 hex digits.
        created_from: the earliest creation time in it, milliseconds since 1970 UTC.
        created_to: the latest.
        first: the lowest generation that any of its rows was folded in.
        last: the highest.
        graphs: rows by graph_mark; None when there are too many graphs to name.
    """

    key: str
    rows: int
    revised: int
    size: int
    footer_size: int
    footer_digest: str
    created_from: int
    created_to: int
    first: int
    last: int
    graphs: Mapping[str, int] | None = None

    @property
    def bucket(self) -> str:
        """`new`, or `h` and a hex digit."""
        return self.key.split("/")[2][3:]

    def may_hold(self, graph: str | None) -> bool:
        """Say whether rows of a graph (None: of any) may be in the segment."""
        return graph is None or self.may_hold_mark(graph_mark(graph))

    def may_hold_mark(self, mark: str) -> bool:
        """Say whether rows of a graph with this mark may be in the segment."""
        return self.bucket in (ALL_GRAPHS, f"h{mark[0]}") and (self.graphs is None or mark in self.graphs)

    def to_document(self) -> dict[str, Any]:
        """Return its JSON object."""
        return {name: getattr(self, name) for name in _FILE_FIELDS} | {
            "graphs": None if self.graphs is None else dict(self.graphs)
        }


@dataclass(frozen=True, slots=True)
class RetiredFile:
    """A segment that a compaction has replaced and that slow readers may still be reading.

    Attributes:
        key: where it lies.
        at: when it was replaced, milliseconds since 1970 UTC by the storage's clock.
    """

    key: str
    at: int


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """Announces a rebuild: until it is done, what it is going to replace is not merged, and merges keep tombstones.

    Otherwise rows that it replaces, or has read before they were deleted, would come back without their tombstones.

    Attributes:
        at: when it began, milliseconds since 1970 UTC by the storage's clock; it is forgotten after a week.
        by: 32 hex digits, drawn by the rebuild.
        generation: the one that announced it.
    """

    at: int
    by: str
    generation: int


@dataclass(frozen=True, slots=True)
class IndexCurrent:
    """One generation of the index.

    Attributes:
        generation: 1 for the first, one more with every replacement of the document.
        folds: how many folds there were; change markers are deleted only after this has grown.
        folded_at: when the last fold began to list change markers, or the last rebuild to read registers, milliseconds since
            1970 UTC by the storage's clock.
        listed_until: markers written after this time, by the storage's clock, are in no segment yet.
        files: the live segments, oldest first.
        retired: replaced segments, to be deleted after a grace period.
        rebuilding: the rebuild that is under way, None when there is none.
        extra: fields of a later minor version, written back as they came.
    """

    generation: int = 0
    folds: int = 0
    folded_at: int = 0
    listed_until: int = 0
    files: tuple[IndexFile, ...] = ()
    retired: tuple[RetiredFile, ...] = ()
    rebuilding: Rebuilding | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the canonical bytes.

        Raises:
            FormatError: code "invalid_document" with all problems, or "document_too_large".
        """
        document: dict[str, Any] = {
            **self.extra,
            "files": [file.to_document() for file in self.files],
            "folded_at": self.folded_at,
            "folds": self.folds,
            "format": FORMAT_VERSION,
            "generation": self.generation,
            "kind": _KIND,
            "listed_until": self.listed_until,
            "rebuilding": None if self.rebuilding is None else asdict(self.rebuilding),
            "retired": [{"at": file.at, "key": file.key} for file in self.retired],
        }
        problems, _ = _check_document(document)
        if problems:
            raise canonical.invalid_document(_KIND, problems)
        return canonical.dump(document, _KIND)

    @classmethod
    def decode(cls, data: bytes) -> IndexCurrent:
        """Read the bytes of `index/CURRENT`.

        Raises:
            FormatError: code "invalid_document" with all problems, or "newer_format".
        """
        document, extra = canonical.read(data, _KIND, _check_document)
        return cls(
            document["generation"],
            document["folds"],
            document["folded_at"],
            document["listed_until"],
            tuple(IndexFile(**file) for file in document["files"]),
            tuple(RetiredFile(**file) for file in document["retired"]),
            None if document["rebuilding"] is None else Rebuilding(**document["rebuilding"]),
            extra,
        )


def _check_document(document: Mapping[str, Any]) -> tuple[list[Problem], dict[str, Any]]:
    """Return all problems of the document, and its unknown fields."""
    problems: list[Problem] = []
    fields = Fields(document, problems)
    fields.constant("kind", _KIND)
    fields.constant("format", FORMAT_VERSION)
    fields.integer("generation", 1)
    fields.integer("folds")
    fields.time("folded_at")
    fields.time("listed_until")
    seen: set[object] = set()
    for name, check in (("files", _check_file), ("retired", _check_retired)):
        for index, item in enumerate(fields.array(name, FILES_LIMIT)):
            path = f"$.{name}[{index}]"
            if type(item) is not dict:
                problems.append(Problem(path, "wrong_type"))
                continue
            inside = Fields(item, problems, path)
            inside.matching("key", _SEGMENT_KEY)
            check(inside)
            if item.get("key") in seen:
                inside.add("key", "duplicate")
            seen.add(str(item.get("key")))
    rebuilding = fields.object("rebuilding", null=True)
    if rebuilding is not None:
        inside = Fields(rebuilding, problems, "$.rebuilding")
        inside.time("at")
        inside.matching("by", TXID_PATTERN)
        inside.integer("generation", 1)
        inside.closed(_REBUILDING_FIELDS)
    return problems, fields.unknown(_FIELDS)


def _check_file(fields: Fields) -> None:
    """Check one live segment."""
    for name, low, high in (
        ("rows", 1, INTEGER_LIMIT),
        ("revised", 0, INTEGER_LIMIT),
        ("size", 12, INTEGER_LIMIT),
        ("footer_size", 12, INTEGER_LIMIT),
        ("created_from", 0, TIME_LIMIT_MS),
        ("created_to", 0, TIME_LIMIT_MS),
        ("first", 0, INTEGER_LIMIT),
        ("last", 0, INTEGER_LIMIT),
    ):
        fields.integer(name, low, high)
    fields.matching("footer_digest", DIGEST_PATTERN)
    for low_name, high_name in (("created_from", "created_to"), ("first", "last"), ("footer_size", "size"), ("revised", "rows")):
        smaller, greater = fields.document.get(low_name), fields.document.get(high_name)
        if type(smaller) is int and type(greater) is int and smaller > greater:
            fields.add(low_name, "wrong_order")
    graphs = fields.object("graphs", null=True)
    if graphs is not None and not all(_MARK.fullmatch(mark) and type(rows) is int and rows > 0 for mark, rows in graphs.items()):
        fields.add("graphs", "wrong_value")
    fields.closed(_FILE_FIELDS)


def _check_retired(fields: Fields) -> None:
    """Check one retired segment."""
    fields.time("at")
    fields.closed(_RETIRED_FIELDS)
