"""What the sources for cluster engines share: from options to the parts of a scan, which their workers read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snapstore.errors import InvalidInputError
from snapstore.listing import Moment
from snapstore.opening import open_archive
from snapstore.scan.planning import OnError, ScanTask, scan

__all__ = ["Part", "Plan", "from_texts", "planned"]

_OPTIONS = frozenset(
    ["graph", "limit", "metadata", "namespace", "node", "on_error", "paths", "run", "since", "status", "types", "until", "url"]
)

_HINTS = {
    "limit": "how many snapshots, such as 1000",
    "metadata": '{"model": "large"}',
    "since": "milliseconds since 1970 UTC",
    "types": '{"cost": "float64"}',
    "until": "milliseconds since 1970 UTC",
}
"""The options that are no texts, and what to write."""


@dataclass(frozen=True, slots=True)
class Part:
    """A task of a scan, with what opens its storage in another process; it can be sent there.

    Attributes:
        task: what to read.
        storage_options: as in `snapstore.open`.
    """

    task: ScanTask
    storage_options: Mapping[str, Any] | None = field(repr=False)  # credentials belong into no log

    def read(self) -> Iterator[Any]:
        """The batches of the task, `pyarrow.RecordBatch`es."""
        return self.task.read(storage_options=self.storage_options)


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned scan.

    Attributes:
        schema: of the batches of every part, a `pyarrow.Schema`.
        parts: together they give every row once.
    """

    schema: Any
    parts: tuple[Part, ...]


def planned(
    url: str,
    paths: str | Sequence[str] | Mapping[str, str],
    *,
    graph: str | None = None,
    run: str | None = None,
    status: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
    node: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    namespace: str | None = None,
    types: Mapping[str, str] | None = None,
    on_error: OnError = "raise",
    storage_options: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan a scan of an archive.

    Args:
        url: of the archive; workers open it by the same one, so a relative path or `memory://` serves one machine at most.
        paths: see `snapstore.scan.paths`.
        graph: only snapshots of this graph.
        run: only snapshots of this run.
        status: only snapshots with this status.
        since: created at this moment or later.
        until: created before this moment.
        limit: only the newest so many of them.
        node: only snapshots of this node.
        metadata: only snapshots with these fields in their metadata.
        namespace: of the archive, as in `snapstore.open`.
        types: types by column name, as in `snapstore.scan.planning.scan`.
        on_error: what a value does that does not fit its type, as there.
        storage_options: as in `snapstore.open`.
    """
    with open_archive(url, namespace=namespace, storage_options=storage_options, read_only=True) as archive:
        chosen = archive.list(graph, run, status, since, until, limit, node=node, metadata=metadata)
        found = scan(archive.storage, chosen, paths, types=types, on_error=on_error)
        return Plan(found.schema, tuple(Part(task, storage_options) for task in found.tasks))


def from_texts(options: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `planned` from an engine that has texts only.

    Args:
        options: `paths`, `types` and `metadata` as JSON, or one path as it is; `since` and `until` in milliseconds since 1970;
            `limit` in digits; `storage.NAME` for a storage option; the others as they are.

    Raises:
        InvalidInputError: `invalid_option`.
    """
    storage = {name.removeprefix("storage."): text for name, text in options.items() if name.startswith("storage.")}
    given = {name: text for name, text in options.items() if not name.startswith("storage.")}
    wrong = sorted(set(given) - _OPTIONS) or sorted({"url", "paths"} - set(given))
    if wrong:
        raise InvalidInputError(
            "an option is missing or unknown",
            code="invalid_option",
            hint=f"options: {', '.join(sorted(_OPTIONS))}",
            options=wrong,
        )
    arguments: dict[str, Any] = {**given, "paths": _paths(given["paths"])}
    for name in _HINTS.keys() & given.keys():
        arguments[name] = _parsed(name, given[name])
    return {**arguments, "storage_options": storage or None}


def _paths(text: str) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, (list, dict)) else text


def _parsed(name: str, text: str) -> Any:
    """An option that is no text: an object or a whole number, both in JSON."""
    wanted: type = dict if name in {"types", "metadata"} else int
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if type(found) is not wanted:
        shape = "a JSON object" if wanted is dict else "a whole number"
        raise InvalidInputError(f"an option is not {shape}", code="invalid_option", hint=_HINTS[name], **{name: text})
    return found
