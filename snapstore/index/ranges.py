"""Ranges: an object of which parts can be read, as the file that Arrow wants."""

from __future__ import annotations

import io
from collections.abc import Callable

__all__ = ["RangeFile", "fetched"]


class RangeFile(io.RawIOBase):
    """An object on a storage as a file to read at any place.

    Args:
        read_range: gives the bytes from a start, of a length.
        size: of the object, in bytes.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read_range = read_range
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position from the beginning."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; see `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read from the position on; one call of `read_range`."""
        left = max(self._size - self._position, 0)
        length = left if size < 0 else min(size, left)
        data = self._read_range(self._position, length) if length else b""
        self._position += len(data)
        return data


def fetched(part: bytes, start: int) -> Callable[[int, int], bytes]:
    """The ranges of an object of which one part is at hand, and nothing else is asked for.

    Args:
        part: bytes of the object.
        start: where they begin in it.
    """

    def read_range(position: int, length: int) -> bytes:
        begin = position - start
        if begin < 0 or begin + length > len(part):
            raise OSError("a part of the segment was asked for that was not fetched")
        return part[begin : begin + length]

    return read_range
