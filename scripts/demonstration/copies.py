"""Read everything back, hold it against where it came from, and weigh it against full copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from demonstration.histories import History
from snapstore.errors import SnapstoreError
from snapstore.format import values
from snapstore.importers import FORMATS
from snapstore.importers.service import find_sources

if TYPE_CHECKING:
    from snapstore import Archive

OWN = "made here"
ZSTD_LEVEL = 3


@dataclass
class Tally:
    """Sums over the snapshots of one kind.

    Attributes:
        snapshots: How many.
        full_bytes: Each state as MessagePack, whole.
        zstd_bytes: Each of these compressed by itself.
        zstd_blocks: Blocks of the disk that files of these would take.
        pack_bytes: What their saves added to the archive, their registers aside.
    """

    snapshots: int = 0
    full_bytes: int = 0
    zstd_bytes: int = 0
    zstd_blocks: int = 0
    pack_bytes: int = 0


@dataclass
class Findings:
    """What reading everything back brought.

    Attributes:
        tallies: Sums by kind of history.
        equal: Snapshots whose state equals its source, type by type and key by key.
        wrong: Ids of those that do not, or that could not be read, with the reason.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    equal: int = 0
    wrong: list[str] = field(default_factory=list)


class Weighing:
    """Goes through all snapshots of an archive once."""

    def __init__(self, archive: Archive, block_bytes: int) -> None:
        self._archive = archive
        self._block_bytes = block_bytes
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._left = {row.id: row for row in archive.list()}
        self._total = max(1, len(self._left))
        self.findings = Findings()

    def run(self, histories: Sequence[History], progress: Callable[[float, str], None]) -> Findings:
        """Hold imported snapshots against their source; the others are only read back, verified by their digests."""
        for history in histories:
            for source in find_sources(history.path, FORMATS[history.format].SUFFIXES, run=history.run):
                for step in FORMATS[history.format].read(source):
                    self._take(history.title, step.id, step.build())
                    progress(1 - len(self._left) / self._total, history.title)
        for id in list(self._left):
            self._take(OWN, id, None)
        return self.findings

    def _take(self, title: str, id: str, expected: Any) -> None:
        row = self._left.pop(id, None)
        if row is None:  # a record that two histories share is one snapshot
            return
        try:
            encoded = values.encode(self._archive[id].state())
        except SnapstoreError as error:
            self.findings.wrong.append(f"{id}: {error}")
            return
        if expected is not None:
            # Equal bytes are more than equal values: 1, 1.0 and True differ, and so does the order of keys.
            if encoded != values.encode(expected):
                self.findings.wrong.append(f"{id}: differs from its source")
                return
            self.findings.equal += 1
        tally = self.findings.tallies.setdefault(title, Tally())
        compressed = len(self._compressor.compress(encoded))
        tally.snapshots += 1
        tally.full_bytes += len(encoded)
        tally.zstd_bytes += compressed
        tally.zstd_blocks += -(-compressed // self._block_bytes)
        tally.pack_bytes += row.stored_bytes


def on_disk(folder: Path) -> tuple[int, int, int]:
    """Return (files, bytes in them, bytes of disk that they take) of everything below a folder."""
    files = length = taken = 0
    for above, _, names in os.walk(folder):
        for name in names:
            facts = os.stat(os.path.join(above, name))  # noqa: PTH116, PTH118 - thousands of files, and no Path wanted
            files += 1
            length += facts.st_size
            taken += 512 * facts.st_blocks
    return files, length, taken
