"""What several commands need of a snapshot's inside: sizes, the closure, and writing a part of it."""

from __future__ import annotations

from typing import Any, BinaryIO, Literal

from snapstore.cli import paths
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.format import values
from snapstore.snapshot import ListView, MapView, Snapshot

_HINTS = {
    "not_json": "use --format msgpack, or name a part of it: SNAP:PATH",
    "not_raw": "use --format json or msgpack, or name a text or bytes value: SNAP:PATH",
}


def size_of(element: Any) -> int:
    """Return the encoded size of a value in bytes; a lazy view knows it without reading."""
    return element.entry.length if isinstance(element, ListView | MapView) else len(values.encode(element))


def write(snapshot: Snapshot, file: BinaryIO, path: paths.Path, format: Literal["json", "msgpack", "raw"]) -> int:
    """Write the value at a path as `Snapshot.write_to` does; errors speak of what was typed."""
    try:
        return snapshot.write_to(file, path=path, format=format)
    except (NotFoundError, InvalidInputError) as error:
        if error.code == "path_not_found":
            error.context["path"] = paths.format(path)
        error.hint = _HINTS.get(error.code, error.hint)
        raise


def needs(snapshot: Snapshot) -> tuple[int, int]:
    """Return how many objects a restore reads besides the register, and at most how many bytes of them."""
    closure = snapshot.register.closure
    return len(closure), sum(ref.end - ref.start for ref in closure.values())
