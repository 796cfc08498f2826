"""Rows: one snapshot in the index, as a Python value and as Arrow columns.

A row stands at the place (graph, creation time, id). Its newest version, by `updated_at`, is the one that counts; a row
with `deleted` says that there is nothing (any more) at its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from snapstore.format.register import Register
from snapstore.index.arrow import arrow, schema

__all__ = ["Place", "Row", "from_table", "order_of", "scalar_text", "to_table"]

Place = tuple[str, int, str]
"""Graph, creation time, id: where the versions of a snapshot meet in the index."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index knows of a snapshot; fields as in `Register`.

    Attributes:
        id, run, graph, node, status, parents, size_bytes, stored_bytes, deleted, version: as in the register.
        created_at, updated_at: milliseconds since 1970 UTC.
        digest: 64 hex digits.
        metadata: JSON text.
        revises: whether another segment may hold a row at the same place.
    """

    id: str
    run: str
    graph: str
    node: str | None
    status: str
    parents: tuple[str, ...]
    created_at: int
    updated_at: int
    size_bytes: int
    stored_bytes: int
    digest: str
    metadata: str
    deleted: bool
    version: int
    revises: bool = False

    @classmethod
    def of(cls, register: Register) -> Row:
        """The row of a register as it is now."""
        return cls(
            register.id,
            register.run,
            register.graph,
            register.node,
            register.status,
            register.parents,
            register.created_at,
            register.updated_at,
            register.size_bytes,
            register.stored_bytes,
            register.digest,
            register.metadata,
            register.deleted,
            register.version,
            register.deleted or register.version > 1,
        )

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.graph, self.created_at, self.id

    def gone_from(self, place: Place) -> Row:
        """The row that says: this snapshot does not stand at an earlier place of its id any more."""
        graph, created_at, _ = place
        return replace(self, graph=graph, created_at=created_at, deleted=True, revises=True)


def order_of(row: Row) -> tuple[int, str]:
    """Where a row stands in lists: newest first, ties by id."""
    return -row.created_at, row.id


def scalar_text(value: object) -> str | None:
    """A scalar of metadata as the map of a row holds it: text as itself, others as JSON; None for lists and objects."""
    if isinstance(value, str):
        return value
    return None if isinstance(value, (list, dict)) else json.dumps(value)


def to_table(rows: Iterable[Row]) -> Any:
    """Rows as an Arrow table, in the order of segments."""
    ordered = sorted(rows, key=lambda row: (row.graph, -row.created_at, row.id, -row.updated_at))
    maps, texts = _metadata_columns([row.metadata for row in ordered])
    columns = [
        [row.id for row in ordered],
        [row.run for row in ordered],
        [row.graph for row in ordered],
        [row.node for row in ordered],
        [row.status for row in ordered],
        [row.parents for row in ordered],
        [row.created_at for row in ordered],
        [row.updated_at for row in ordered],
        [row.size_bytes for row in ordered],
        [row.stored_bytes for row in ordered],
        [bytes.fromhex(row.digest) for row in ordered],
        maps,
        texts,
        [row.deleted for row in ordered],
        [row.version for row in ordered],
        [row.revises for row in ordered],
    ]
    pa = arrow()
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema(), strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema())


def from_table(table: Any) -> list[Row]:
    """The rows of an Arrow table, in its order."""
    times = arrow().int64()
    columns = {name: table[name].to_pylist() for name in table.column_names if not name.endswith("_at")}
    maps, texts = columns["metadata"], columns["metadata_json"]
    created, updated = (table[name].cast(times).to_pylist() for name in ("created_at", "updated_at"))
    return [
        Row(
            columns["id"][n],
            columns["run"][n],
            columns["graph"][n],
            columns["node"][n],
            columns["status"][n],
            tuple(columns["parents"][n]),
            created[n],
            updated[n],
            columns["size_bytes"][n],
            columns["stored_bytes"][n],
            columns["digest"][n].hex(),
            _text(maps[n]) if texts[n] is None else texts[n],
            columns["deleted"][n],
            columns["version"][n],
            columns["revises"][n],
        )
        for n in range(table.num_rows)
    ]


def _metadata_columns(metadata: Sequence[str]) -> tuple[list[list[tuple[str, str]]], list[str | None]]:
    """The scalars of metadata texts, and those texts that cannot be made from their scalars again."""
    maps: list[list[tuple[str, str]]] = []
    texts: list[str | None] = []
    for text in metadata:
        values: dict[str, Any] = {} if text == "{}" else json.loads(text)
        scalars = [
            (key, value) for key, value in zip(values, map(scalar_text, values.values()), strict=True) if value is not None
        ]
        maps.append(scalars)
        texts.append(None if _text(scalars) == text else text)
    return maps, texts


def _text(pairs: list[tuple[str, str]]) -> str:
    """Metadata of nothing but text, as a writer of ours spells it."""
    return _ENCODER.encode(dict(pairs)) if pairs else "{}"


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
