"""Pages of packs: each is fetched once, neighbours together, and shared by all snapshots that are being read.

Packs are cut into pages of 16 KiB. A small pack, which is what a save of a long run writes, is one page: one request brings
the root, the nodes and the chunks of that save. Of a large one only the pages in question are read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from snapstore.errors import NotFoundError
from snapstore.format.register import PackRef
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage, object_truncated
from snapstore.storage.wrapper import WrappedStorage

__all__ = ["PAGE_BYTES", "PageCache"]

PAGE_BYTES: Final = 16 * 1024
"""At 80 MB/s a page takes 0.2 ms, a request of its own 20 ms."""

GAP_PAGES: Final = 2
"""Pages between two wanted ones that are read with them: storages do so anyway for 32 KiB, and throw them away."""

WAVE_BYTES: Final = 32 * 1024 * 1024
"""What is fetched together: enough for 16 requests at a time to keep a line busy."""

KEPT_BYTES: Final = 64 * 1024 * 1024
"""What is kept for later snapshots. Neighbours of a run share their packs, so those used last are the ones to keep."""


class PageCache(WrappedStorage):
    """A storage whose packs are read through pages at hand. For one thread; the fetching itself is parallel.

    Ask `has` for what is needed; what is not at hand is noted, and `fetch` brings all that was noted. A reader on this
    storage then finds it.

    Attributes:
        lost: keys of packs that are not on the storage.
        requests: requests made so far.
        bytes_read: bytes they brought.
    """

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.lost: set[str] = set()
        self.requests = 0
        self.bytes_read = 0
        self._pages: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._touched: set[tuple[str, int]] = set()
        self._wanted: dict[str, tuple[int, set[int]]] = {}
        self._wanted_bytes = 0
        self._ahead: set[str] = set()

    @property
    def full(self) -> bool:
        """Whether enough is noted for one wave."""
        return self._wanted_bytes >= WAVE_BYTES

    def read_ahead(self, keys: Iterable[str]) -> None:
        """Name the packs that are read whole when anything of them is: much of them will be needed."""
        self._ahead = set(keys)

    def has(self, needs: Sequence[tuple[PackRef, int, int]]) -> bool:
        """Whether all these bytes are at hand; notes what is missing, together or, when enough is noted, not at all.

        Args:
            needs: packs, offsets and lengths.

        Raises:
            CorruptionError: `object_truncated`, for bytes beyond the end of a pack.
        """
        missing: list[tuple[PackRef, int]] = []
        for ref, offset, length in needs:
            if offset + length > ref.size:
                raise object_truncated(ref.key, wanted=offset + length, size=ref.size)
            for page in range(offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES + 1):
                key = (ref.key, page)
                if key in self._pages:
                    self._pages.move_to_end(key)
                    self._touched.add(key)
                else:
                    missing.append((ref, page))
        for ref, page in () if self.full else missing:
            self._want(ref, page)
        return not missing

    def _want(self, ref: PackRef, page: int) -> None:
        size, pages = self._wanted.setdefault(ref.key, (ref.size, set()))
        wanted = range(-(-size // PAGE_BYTES)) if ref.key in self._ahead else (page,)
        new = [one for one in wanted if one not in pages and (ref.key, one) not in self._pages]
        pages.update(new)
        self._wanted_bytes += len(new) * PAGE_BYTES

    def fetch(self) -> None:
        """Read all that was noted, every pack at the same time, and let go of what was not used for longest."""
        self._trim()
        plan = [(key, size, self._runs(key, size, pages)) for key, (size, pages) in sorted(self._wanted.items())]
        self._wanted.clear()
        self._wanted_bytes = 0
        read = parallel([partial(self._read, key, [_span(run, size) for run in runs]) for key, size, runs in plan])
        for (key, _, runs), parts in zip(plan, read, strict=True):
            if parts is None:
                self.lost.add(key)
                continue
            self.requests += len(runs)
            for run, data in zip(runs, parts, strict=True):
                self.bytes_read += len(data)
                for index, page in enumerate(run):
                    # A copy of its own: a view would keep the whole answer alive for one page of it.
                    self._keep((key, page), data[index * PAGE_BYTES : (index + 1) * PAGE_BYTES])

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The parts of a pack that `has` found."""
        return [self._cut(key, start, length) for start, length in ranges]

    def _cut(self, key: str, start: int, length: int) -> bytes:
        if not length:
            return b""
        first, last = start // PAGE_BYTES, (start + length - 1) // PAGE_BYTES
        if first == last:
            return self._pages[key, first][start - first * PAGE_BYTES :][:length]
        joined = b"".join([self._pages[key, page] for page in range(first, last + 1)])
        return joined[start - first * PAGE_BYTES :][:length]

    def _runs(self, key: str, size: int, wanted: set[int]) -> list[range]:
        """The pages to read, as runs of neighbours: one request each."""
        count = -(-size // PAGE_BYTES)
        absent = [page for page in range(count) if (key, page) not in self._pages]
        if len(wanted) * 2 > len(absent):
            wanted = set(absent)
        runs: list[range] = []
        for page in sorted(wanted):
            between = range(runs[-1].stop, page) if runs else range(0)
            if runs and len(between) <= GAP_PAGES and all((key, one) not in self._pages for one in between):
                runs[-1] = range(runs[-1].start, page + 1)
            else:
                runs.append(range(page, page + 1))
        return runs

    def _read(self, key: str, ranges: list[tuple[int, int]]) -> list[bytes] | None:
        try:
            return self.inner.get_ranges(key, ranges)
        except NotFoundError:
            return None

    def _keep(self, key: tuple[str, int], page: bytes) -> None:
        self._pages[key] = page
        self._kept_bytes += len(page)

    def _trim(self) -> None:
        """Let go of pages beyond the budget, but of none that somebody still waits to use."""
        while self._kept_bytes > KEPT_BYTES:
            key = next(iter(self._pages))
            if key in self._touched:
                break
            self._kept_bytes -= len(self._pages.pop(key))
        self._touched.clear()


def _span(run: range, size: int) -> tuple[int, int]:
    start = run.start * PAGE_BYTES
    return start, min(run.stop * PAGE_BYTES, size) - start
