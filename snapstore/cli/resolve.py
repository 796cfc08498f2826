"""Which snapshot a person means: an id, a unique beginning of one, `latest`, `SNAP~N`, `SNAP:PATH`.

Ids may hold any character, `:` and `~` too, so the whole text is tried as an id first, and then what stands before
each `:` from the right; only then is anything read as a beginning of an id.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from snapstore.cli import paths
from snapstore.errors import ConflictError, InvalidInputError, NotFoundError
from snapstore.format import names

if TYPE_CHECKING:
    from snapstore.archive import Archive
    from snapstore.snapshot import Snapshot

LATEST = "latest"
MIN_PREFIX_CHARS = 4
"""Shorter beginnings are ambiguous sooner or later, and a script that uses one breaks then."""

MAX_GENERATIONS = 100_000
"""`SNAP~N` reads one register per generation: a larger N is a slip of the finger."""

_SHOWN_CANDIDATES = 5

_MAX_CANDIDATES = 20
"""Ids that are looked up to tell living from deleted ones; more than these are ambiguous anyway."""

_ANCESTOR = re.compile(r"(?P<snapshot>.+)~(?P<generations>\d{0,6})", re.DOTALL)


def snapshot(archive: Archive, text: str, *, run: str | None = None) -> Snapshot:
    """Return the snapshot that `text` names, without a path.

    Args:
        archive: Where to look.
        text: An id, a unique beginning of one (4 characters or more), `latest`, or one of these with `~N`.
        run: What `latest` refers to; the whole archive when None.

    Raises:
        NotFoundError: `snapshot_not_found`.
        ConflictError: `ambiguous_id`, with some of the ids that begin like it.
    """
    found = _found(archive, text, run)
    if found is None:
        raise not_found(text)
    return found


def snapshot_and_path(archive: Archive, text: str, *, run: str | None = None) -> tuple[Snapshot, paths.Path]:
    """Return the snapshot and the path that `SNAP[:PATH]` names; see `snapshot`."""
    found = _exact(archive, text, run)
    if found is not None:
        return found, ()
    colons = [i for i, c in enumerate(text) if c == ":"]
    for i in reversed(colons):
        found = _exact(archive, text[:i], run)
        if found is not None:
            return found, paths.parse(text[i + 1 :])
    found = _by_prefix(archive, text)
    if found is not None:
        return found, ()
    for i in colons:
        found = _by_prefix(archive, text[:i])
        if found is not None:
            return found, paths.parse(text[i + 1 :])
    raise not_found(text.partition(":")[0])


def not_found(text: str) -> NotFoundError:
    """Return the error for a snapshot that is not there."""
    hint = "snapstore list shows the newest ones"
    if len(text) < MIN_PREFIX_CHARS:
        hint = f"a beginning of an id needs {MIN_PREFIX_CHARS} characters; {hint}"
    return NotFoundError("no such snapshot", code="snapshot_not_found", hint=hint, id=text)


def _found(archive: Archive, text: str, run: str | None) -> Snapshot | None:
    """Return the snapshot that a whole text names, as an id or as the beginning of one."""
    found = _exact(archive, text, run)  # no `or`: a snapshot of an empty state has no length and would count as false
    return _by_prefix(archive, text) if found is None else found


def _exact(archive: Archive, text: str, run: str | None) -> Snapshot | None:
    """Return the snapshot whose id this is, or `latest`, or an ancestor of one of them."""
    if not text:
        return None
    found = archive.get(text)
    if found is None and text == LATEST:
        return _latest(archive, run)
    if found is None and (match := _ANCESTOR.fullmatch(text)):
        start = _found(archive, match["snapshot"], run)
        return None if start is None else _ancestor(archive, start, int(match["generations"] or 1))
    return found


def _latest(archive: Archive, run: str | None) -> Snapshot:
    if run is not None:
        found = archive.latest(run)
        if found is None:
            raise NotFoundError("this run has no snapshots", code="run_not_found", run=run)
        return found
    for row in archive.list(limit=1):
        return archive[row.id]
    raise NotFoundError("the archive has no snapshots yet", code="snapshot_not_found", hint="save or import some")


def _ancestor(archive: Archive, start: Snapshot, generations: int) -> Snapshot:
    if generations > MAX_GENERATIONS:
        raise InvalidInputError(f"more than {MAX_GENERATIONS} generations", code="invalid_ancestor", asked=generations)
    found = start
    for generation in range(generations):
        if not found.parents:
            raise NotFoundError(
                "the history does not reach so far back",
                code="ancestor_not_found",
                id=start.id,
                generations=generation,
                asked=generations,
            )
        found = archive[found.parents[0]]
    return found


def _by_prefix(archive: Archive, prefix: str) -> Snapshot | None:
    """Return the only snapshot whose id begins with `prefix`, or None when there is none."""
    if len(prefix) < MIN_PREFIX_CHARS:
        return None
    ids = _ids_with_prefix(archive, prefix)
    if len(ids) > 1:
        # A deleted snapshot keeps its name for a while.
        ids = [id for id in ids[:_MAX_CANDIDATES] if archive.get(id) is not None] + ids[_MAX_CANDIDATES:]
    if not ids:
        return None
    if len(ids) > 1:
        shown = ", ".join(ids[:_SHOWN_CANDIDATES]) + (", ..." if len(ids) > _SHOWN_CANDIDATES else "")
        raise ConflictError(
            f"{len(ids):,} snapshots begin like this",
            code="ambiguous_id",
            hint=f"type more of it: {shown}",
            id=prefix,
        )
    return archive.get(ids[0])


def _ids_with_prefix(archive: Archive, prefix: str) -> list[str]:
    """Return the ids that begin with `prefix`, sorted; deleted ones may be among them.

    One listing of all registers, a request per thousand, because their keys are spread by digest. Ids that take more
    than 120 bytes in a key are stored by digest and cannot be found by their beginning.
    """
    found = []
    for info in archive.storage.list(names.SNAPSHOTS_PREFIX):
        name = names.parse_register_key(info.key)
        if name is not None and name.snapshot_id is not None and name.snapshot_id.startswith(prefix):
            found.append(name.snapshot_id)
    return sorted(found)
