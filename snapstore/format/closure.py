"""The closure: every pack that one version of a snapshot needs, with the bytes that it needs of each.

In documents packs are grouped by folder, so that the folder's name stands once: 24 packs of one run stay below 2 KB.
In memory a closure is a mapping from ordinal to PackRef. The ordinal is the pack's number in its lineage; tree
nodes name packs by it, which keeps nodes small and lets a pack move by changing registers alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from snapstore.format.canonical import Problem, invalid_document, member
from snapstore.format.fields import TXID_PATTERN
from snapstore.format.limits import CLOSURE_LIMIT, INTEGER_LIMIT
from snapstore.format.names import ENCODED_NAME_PATTERN, RUN_PACK_NAME_PATTERN

_FOLDER: Final = re.compile(rf"runs/{ENCODED_NAME_PATTERN}|packs/[0-9a-f]{{2}}")
_RUN_PACK_NAME: Final = re.compile(RUN_PACK_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class PackRef:
    """One pack of a closure.

    Attributes:
        ordinal: the number of the pack in this lineage, at least 1: what tree nodes call it.
        folder: `runs/<encoded run>` or `packs/<hh>`.
        name: the key's last segment.
        size: the size of the object in bytes.
        start: where the bytes that this snapshot needs begin, inclusive.
        end: where they end, exclusive.
    """

    ordinal: int
    folder: str
    name: str
    size: int
    start: int
    end: int

    @property
    def key(self) -> str:
        """The key of the pack."""
        return f"{self.folder}/{self.name}"


Closure: TypeAlias = Mapping[int, PackRef]
"""The packs that one version needs, by ordinal; at most 64."""


def closure_to_document(closure: Closure) -> dict[str, list[list[Any]]]:
    """Return a closure grouped by folder, ordinals ascending: the form that documents hold."""
    document: dict[str, list[list[Any]]] = {}
    for ordinal in sorted(closure):
        pack = closure[ordinal]
        document.setdefault(pack.folder, []).append([ordinal, pack.name, pack.size, pack.start, pack.end])
    return document


def closure_from_document(document: object) -> dict[int, PackRef]:
    """Return the closure of its folder-grouped form, by ascending ordinal.

    Raises:
        FormatError: code "invalid_document" with all problems.
    """
    problems: list[Problem] = []
    closure = read_closure(document, problems, "$")
    if problems:
        raise invalid_document("closure", problems)
    return closure


def read_closure(document: object, problems: list[Problem], path: str) -> dict[int, PackRef]:
    """Return the closure of a folder-grouped form, by ascending ordinal, and add what is wrong with it."""
    if type(document) is not dict:
        problems.append(Problem(path, "wrong_type"))
        return {}
    closure: dict[int, PackRef] = {}
    count = 0
    for folder, entries in document.items():
        place = member(path, folder) if type(folder) is str else path
        if type(folder) is not str or _FOLDER.fullmatch(folder) is None or type(entries) is not list or not entries:
            problems.append(Problem(place, "wrong_value"))
            continue
        last = 0
        prefix = folder[6:] if folder.startswith("packs/") else ""
        names: set[str] = set()
        count += len(entries)
        if count > CLOSURE_LIMIT:
            problems.append(Problem(path, "too_many"))
            return {}
        for index, entry in enumerate(entries):
            if not _is_entry(entry, prefix):
                problems.append(Problem(f"{place}[{index}]", "wrong_value"))
                continue
            ordinal, name = entry[0], entry[1]
            if ordinal in closure or name in names:
                problems.append(Problem(f"{place}[{index}]", "duplicate"))
            elif ordinal < last:
                problems.append(Problem(f"{place}[{index}]", "wrong_order"))
            else:
                closure[ordinal] = PackRef(ordinal, folder, name, entry[2], entry[3], entry[4])
                names.add(name)
                last = ordinal
    return closure if len(document) < 2 else dict(sorted(closure.items()))


def _is_entry(entry: object, prefix: str) -> bool:
    """Say whether this is [ordinal, name, size, start, end]; `prefix` is how names below `packs/` must begin."""
    if type(entry) is not list or len(entry) != 5:
        return False
    ordinal, name, size, start, end = entry
    if type(name) is not str or not (type(ordinal) is type(size) is type(start) is type(end) is int):
        return False
    if not (1 <= ordinal <= INTEGER_LIMIT and 0 <= start <= end <= size <= INTEGER_LIMIT):
        return False
    if prefix:
        return name.startswith(prefix) and TXID_PATTERN.fullmatch(name) is not None
    return _RUN_PACK_NAME.fullmatch(name) is not None
