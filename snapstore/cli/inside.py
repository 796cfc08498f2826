"""What the command line shows of a snapshot that the public API has no name for; the one place that looks inside.

Nothing here reads more than the register and the nodes that are already needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from snapstore.cli import paths
from snapstore.errors import NotFoundError
from snapstore.format import values

if TYPE_CHECKING:
    from snapstore.snapshot import Snapshot


def view(snapshot: Snapshot) -> Any:
    """Return the whole state as a lazy view, or as a plain value when it is small."""
    return snapshot._top()  # noqa: SLF001 - a view of the whole state: the API has only views of its parts


def size_of(element: Any) -> int:
    """Return the encoded size of a value in bytes; a lazy view knows it without reading."""
    entry = getattr(element, "_entry", None)
    return int(entry.length) if entry is not None else len(values.encode(element))


def write(snapshot: Snapshot, file: BinaryIO, path: paths.Path, format: Literal["json", "msgpack", "raw"]) -> int:
    """Write the value at a path as `Snapshot.write_to` does; an error names the path as it was typed."""
    try:
        return snapshot.write_to(file, path=path, format=format)
    except NotFoundError as error:
        if error.code == "path_not_found":
            error.context["path"] = paths.format(path)
        raise


def needs(snapshot: Snapshot) -> tuple[int, int]:
    """Return how many objects a restore reads besides the register, and at most how many bytes of them."""
    closure = snapshot._register.closure  # noqa: SLF001 - a plan needs the closure: the API restores without showing it
    return len(closure), sum(ref.end - ref.start for ref in closure.values())
