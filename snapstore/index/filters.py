"""Filters: which rows a list wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snapstore.errors import InvalidInputError
from snapstore.format import names
from snapstore.index.arrow import arrow
from snapstore.index.rows import Row, order_of, scalar_text

__all__ = ["RowFilter"]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What a list wants; None wants everything.

    Attributes:
        graph, run, node, status: only this one.
        since: created at this time or later, milliseconds since 1970 UTC.
        until: created before this time.
        after: only rows behind this position: the negated creation time, then the id.
        metadata: top-level fields that must have these values: text, numbers, booleans or None, equal in value and kind.

    Raises:
        InvalidInputError: a graph or run that cannot be one; `filter_not_text`, `filter_not_scalar`.
    """

    graph: str | None = None
    run: str | None = None
    node: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None
    after: tuple[int, str] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("graph", self.graph), ("run", self.run)):
            if value is not None:
                names.name_bytes(value, name)
        for name in ("node", "status"):
            if not isinstance(getattr(self, name), str | None):
                raise InvalidInputError(f"a list is filtered by one {name}, a text", code="filter_not_text")
        metadata: object = self.metadata
        if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
            raise InvalidInputError("metadata is filtered by a dict of fields and values", code="filter_not_text")
        for key, value in self.metadata.items():
            if not (value is None or isinstance(value, (str, int, float, bool))):
                raise InvalidInputError(
                    "metadata is filtered by text, numbers, booleans or None", code="filter_not_scalar", key=key
                )

    @property
    def created_to(self) -> int:
        """The latest creation time of a wanted row, inclusive."""
        ends = [2**48]
        if self.until is not None:
            ends.append(self.until - 1)
        if self.after is not None:
            ends.append(-self.after[0])
        return min(ends)

    @property
    def created_from(self) -> int:
        """The earliest creation time of a wanted row."""
        return self.since if self.since is not None else 0

    def wants(self, row: Row) -> bool:
        """Whether a row belongs into the list."""
        return (
            not row.deleted
            and (self.graph is None or row.graph == self.graph)
            and (self.run is None or row.run == self.run)
            and (self.node is None or row.node == self.node)
            and (self.status is None or row.status == self.status)
            and self.created_from <= row.created_at <= self.created_to
            and (self.after is None or order_of(row) > self.after)
            and self._has_metadata(row)
        )

    def _has_metadata(self, row: Row) -> bool:
        if not self.metadata:
            return True
        has = json.loads(row.metadata)
        return all(key in has and _alike(has[key], value) for key, value in self.metadata.items())

    def at_places(self, table: Any) -> Any:
        """The rows of a table at wanted places: what no newer version of a row can change."""
        pa = arrow()
        mask = None
        if self.graph is not None:
            mask = pa.compute.equal(table["graph"], self.graph)
        created = None
        if self.since is not None or self.until is not None or self.after is not None:
            created = table["created_at"].cast(pa.int64())
            inside = pa.compute.and_(
                pa.compute.greater_equal(created, self.created_from), pa.compute.less_equal(created, self.created_to)
            )
            mask = inside if mask is None else pa.compute.and_(mask, inside)
        return table if mask is None else table.filter(mask)

    def of_versions(self, table: Any) -> Any:
        """The rows of a table that are wanted, when each is known to be the newest version at its place.

        Metadata is only compared as text here: `wants` decides about kinds.
        """
        pa = arrow()
        mask = pa.compute.invert(table["deleted"])
        for name in ("run", "node", "status"):
            wanted = getattr(self, name)
            if wanted is not None:
                mask = pa.compute.and_(mask, pa.compute.equal(table[name], wanted))
        for key, value in self.metadata.items():
            found = pa.compute.map_lookup(table["metadata"], pa.scalar(key), "first")
            same = pa.compute.equal(found, scalar_text(value))
            if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool)):
                same = pa.compute.is_valid(found)  # 1 and 1.0 are equal and spelt differently
            mask = pa.compute.and_(mask, same)
        return table.filter(mask)


def _alike(a: object, b: object) -> bool:
    """Whether two scalars are equal and of one kind: True is not 1, and "1" is neither."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
