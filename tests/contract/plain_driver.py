"""The suite of adapters is held against plain saves: a contract as small as one can be, and ways to get it wrong."""

from __future__ import annotations

import json
from typing import Any

from snapstore.adapters.naming import home, joined, parts_of
from snapstore.errors import InvalidInputError
from snapstore.snapshot import SnapshotDraft
from snapstore.testing import AdapterDriver


class PlainDriver(AdapterDriver):
    """One snapshot for each key, with the fields beside the value."""

    words = ("plain",)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        self.archive = home(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        _check(value)
        name = self.name(key)
        wanted = {"value": value, "fields": {}}
        # An update reads what is there: what a process has not seen it could only store again.
        self.archive.update(name, lambda _: SnapshotDraft(state=wanted), run=name, graph="plain")

    def read(self, key: str) -> dict[str, Any] | None:
        found = self.archive.get(self.name(key))
        return found.state()["value"] if found is not None else None

    def delete(self, key: str) -> None:
        self.archive.delete(self.name(key))

    def keys(self) -> list[str]:
        return [parts[0] for row in self.archive.list(graph="plain") if (parts := parts_of(row.id, "plain")) is not None]

    def keys_of_rows(self) -> list[str]:
        return self.keys()

    def fork(self, key: str) -> str:
        self.archive.fork(self.name(key), run=self.name(f"{key} fork"), new_id=self.name(f"{key} fork"))
        return f"{key} fork"

    def set_field(self, key: str, field: str, value: Any) -> None:
        def change(draft: SnapshotDraft | None) -> SnapshotDraft:
            assert draft is not None
            draft.state["fields"][field] = value
            return draft

        self.archive.update(self.name(key), change)

    def fields(self, key: str) -> dict[str, Any]:
        fields: dict[str, Any] = self.archive[self.name(key)].state()["fields"]
        return fields

    def increment(self, key: str) -> None:
        def change(draft: SnapshotDraft | None) -> SnapshotDraft:
            assert draft is not None
            draft.state["value"]["n"] += 1
            return draft

        self.archive.update(self.name(key), change)

    def append(self, group: str, value: dict[str, Any]) -> None:
        name = joined("plain", "group", group)
        self.archive.save({"value": value}, run=name, id=None, graph="plain", parent=self.archive.latest(name))

    def latest(self, group: str) -> dict[str, Any] | None:
        found = self.archive.latest(joined("plain", "group", group))
        return found.state()["value"] if found is not None else None

    def heartbeat(self, key: str) -> None:
        self.archive.update(self.name(key), lambda draft: draft)

    def name(self, key: str) -> str:
        """The id of a key's snapshot."""
        return joined("plain", key)


def _check(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidInputError("not JSON", hint=str(error)) from error
