"""Histories of archives on S3, and what their registers say: the truth that lists, tables and queries are held against."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

import snapstore
from snapstore import clock
from snapstore.archive import Archive
from snapstore.format import names
from snapstore.format.register import Register
from snapstore.index import IndexMissingWarning, Row, RowFilter
from snapstore.index.rows import order_of
from snapstore.snapshot import SnapshotDraft, SnapshotInfo
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage
from tests.servers import Endpoint

GRAPHS = ["support", "a/b", "k=v", "größe 🚀", "x" * 300]
"""Names that folders and keys trip over; of the last one, keys hold only a digest."""

SIDES = 10
"""Snapshots that are rewritten, moved, deleted and made again."""


class Place:
    """An archive of its own on an S3 server, and isolated ones below it: these need no probing, which takes a second.

    Args:
        endpoint: the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.url = f"s3://{endpoint.bucket}/index-tests/{clock.random_hex()}"
        self.options = endpoint.options
        snapstore.open(self.url, create=True, storage_options=self.options).close()

    def open(self, namespace: str | None = None, **more: Any) -> Archive:
        """Open the archive or one below it, made when it is not there; the index is left alone unless told otherwise."""
        settings: dict[str, Any] = {"create": True, "index_after": None, **more}
        return snapstore.open(self.url, namespace=namespace, storage_options=self.options, **settings)


class History:
    """Changes of an archive: runs that grow in every graph, and snapshots beside them that are changed in every way.

    Args:
        archive: written to.
        seed: the same changes for the same seed.
    """

    def __init__(self, archive: Archive, seed: int) -> None:
        self._archive = archive
        self._rng = random.Random(seed)
        self._runs = [archive.run(f"run {number}/{graph}", graph) for graph in GRAPHS for number in range(3)]
        self._known: list[str] = []
        self._count = 0

    def go_on(self, changes: int) -> None:
        """Make so many changes."""
        kinds: list[Callable[[], None]] = [*[self._append] * 6, *[self._save_side] * 2, self._change_status, self._delete_side]
        for _ in range(changes):
            self._count += 1
            self._rng.choice(kinds)()

    def _state(self) -> dict[str, Any]:
        return {"cost": self._count / 4, "messages": [{"role": "user", "content": f"{n}" * 20} for n in range(self._count % 7)]}

    def _append(self) -> None:
        choices: list[dict[str, Any]] = [{}, {"model": "large", "n": self._count}, {"model": "small", "tags": ["a"]}]
        metadata = self._rng.choice(choices)
        run = self._rng.choice(self._runs)
        self._known.append(run.save(self._state(), node=self._rng.choice(["plan", "act"]), metadata=metadata).id)

    def _side(self) -> str:
        number = self._rng.randrange(SIDES)
        return f"side {number}/=é" if number else "long " * 60

    def _save_side(self) -> None:
        graph = GRAPHS[self._rng.choice([self._count % 2, self._rng.randrange(len(GRAPHS))])]
        self._archive.save(self._state(), run="sides", graph=graph, id=self._side())

    def _delete_side(self) -> None:
        self._archive.delete(self._side())

    def _change_status(self) -> None:
        status = self._rng.choice(["running", "failed"])

        def changed(draft: SnapshotDraft | None) -> SnapshotDraft | None:
            if draft is not None:
                draft.status = status
            return draft

        if self._known:
            self._archive.update(self._rng.choice(self._known), changed)


def told(storage: Storage) -> list[Row]:
    """The live snapshots as their registers say, newest first, ties by id."""
    keys = [info.key for info in storage.list(names.SNAPSHOTS_PREFIX)]
    rows = [Row.of(Register.decode(stored.data)) for stored in parallel([partial(storage.get, key) for key in keys])]
    return sorted((row for row in rows if not row.deleted), key=order_of)


def check(archive: Archive, rows: list[Row], *, lost: bool = False) -> None:
    """Hold everything that an archive tells about its snapshots against what its registers say.

    Args:
        archive: asked.
        rows: from `told`.
        lost: whether its index is gone, so that it may warn.
    """
    with warnings.catch_warnings():
        if lost:
            warnings.simplefilter("ignore", IndexMissingWarning)
        _check_lists(archive, rows)
        _check_runs(archive, rows)
        _check_tables(archive, rows)


def _check_lists(archive: Archive, rows: list[Row]) -> None:
    middle = rows[len(rows) // 2].created_at
    every: list[dict[str, Any]] = [
        {},
        *({"graph": graph} for graph in GRAPHS),
        *({"graph": graph, "run": f"run 1/{graph}"} for graph in GRAPHS),
        {"run": "sides"},
        {"graph": GRAPHS[1], "status": "failed"},
        {"graph": GRAPHS[2], "node": "plan", "metadata": {"model": "large"}},
        {"graph": GRAPHS[3], "since": middle},
        {"until": middle, "metadata": {"model": "small"}},
    ]
    for filters in every:
        wanted = RowFilter(**filters)
        assert [of_info(row) for row in archive.list(**filters)] == [of_row(row) for row in rows if wanted.wants(row)], filters
    page = [*archive.list(GRAPHS[0], limit=5)]
    page += archive.list(GRAPHS[0], limit=5, before=page[-1])
    assert [row.id for row in page] == [row.id for row in rows if row.graph == GRAPHS[0]][:10]


def _check_runs(archive: Archive, rows: list[Row]) -> None:
    for run in [*(f"run 2/{graph}" for graph in GRAPHS), "sides"]:
        members = [row for row in rows if row.run == run]
        assert [snapshot.id for snapshot in archive.log(run)] == [row.id for row in members]
        parents = {parent for row in members for parent in row.parents}
        assert [snapshot.id for snapshot in archive.leaves(run)] == [row.id for row in members if row.id not in parents]


def _check_tables(archive: Archive, rows: list[Row]) -> None:
    expected = sorted(of_row(row) for row in rows)
    assert sorted(map(of_columns, pa.table(archive.table()).to_pylist())) == expected
    graph = GRAPHS[3]
    assert sorted(pa.table(archive.table(graph))["id"].to_pylist()) == sorted(row.id for row in rows if row.graph == graph)
    assert sorted(map(of_columns, archive.query("SELECT * FROM snapshots").rows())) == expected
    edges = {(edge["snapshot"], edge["parent"]) for edge in archive.query("SELECT * FROM edges").rows()}
    assert edges == {(row.id, parent) for row in rows for parent in row.parents}


def of_row(row: Row) -> tuple[Any, ...]:
    """What is compared of a row: all that users see but the times of heartbeats, which show late."""
    return row.id, row.run, row.graph, row.node or "", row.status, row.parents, row.created_at, row.stored_bytes


def of_info(row: SnapshotInfo) -> tuple[Any, ...]:
    """The same of a row of a list."""
    created = round(row.created_at.timestamp() * 1000)
    return row.id, row.run, row.graph, row.node or "", row.status, tuple(row.parents), created, row.stored_bytes


def of_columns(row: dict[str, Any]) -> tuple[Any, ...]:
    """The same of a row of a table."""
    created = round(row["created_at"].timestamp() * 1000)
    texts = row["id"], row["run"], row["graph"], row["node"] or "", row["status"]
    return *texts, tuple(row["parents"]), created, row["stored_bytes"]
