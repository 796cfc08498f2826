"""What the demonstration prints: headings, wrapped text, tables that fit the terminal, and one line of progress."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

# Text wider than this is tiring to read; a terminal narrower than 40 columns shows no table anyway.
WIDEST, NARROWEST = 100, 40

INDENT = "  "


class Screen:
    """Standard output as a person sees it.

    Attributes:
        columns: Width that text is wrapped at.
        is_terminal: Whether a person looks on; a pipe gets neither colours nor progress.
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.columns = min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns))
        self._colored = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._acts = 0

    def act(self, title: str) -> None:
        """Begin a numbered part."""
        self._acts += 1
        print(f"\n{self.paint(f'{self._acts}  {title}', '1')}\n", flush=True)

    def say(self, text: str) -> None:
        """Print a paragraph, wrapped."""
        print(textwrap.fill(text, self.columns, initial_indent=INDENT, subsequent_indent=INDENT), flush=True)

    def gap(self) -> None:
        """Print an empty line."""
        print(flush=True)

    def code(self, text: str) -> None:
        """Print lines of code or a command as they are, so that they can be copied."""
        print(textwrap.indent(self.paint(text, "36"), INDENT), flush=True)

    def line(self, text: str) -> None:
        """Print one line, cut at the width of the terminal."""
        limit = self.columns - len(INDENT)
        print(INDENT + (text if len(text) <= limit or not self.is_terminal else text[: limit - 1] + "…"), flush=True)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, names on the left and numbers on the right; on a narrow terminal one block for each row."""
        widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
        if len(INDENT) + sum(widths) + 2 * (len(widths) - 1) > self.columns:
            self._blocks(headings, rows)
            return
        for number, row in enumerate([headings, *rows]):
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            text = "  ".join(cells).rstrip()
            print(INDENT + (self.paint(text, "1") if number == 0 else text), flush=True)

    def _blocks(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        width = max(map(len, headings[1:]))
        for row in rows:
            print(INDENT + self.paint(row[0] or "-", "1"))
            for heading, cell in zip(headings[1:], row[1:], strict=True):
                if cell:
                    print(f"{INDENT}{INDENT}{heading.ljust(width)}  {cell:>10}")
        sys.stdout.flush()

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float, str], None]]:
        """Show how far something is while the block runs, on a terminal only; the line is gone afterwards.

        Yields:
            `update(fraction, text)` with the fraction done, 0 to 1.
        """
        shown = -1

        def update(fraction: float, text: str) -> None:
            nonlocal shown
            percent = int(100 * min(1.0, fraction))
            # A redraw for each percent is movement enough; one for each snapshot would flood a slow terminal.
            if self.is_terminal and percent != shown:
                shown = percent
                print(f"\r\x1b[K{f'{INDENT}{label} {percent:3d} %  {text}'[: self.columns - 1]}", end="", flush=True)

        update(0.0, "")
        try:
            yield update
        finally:
            if self.is_terminal:
                print("\r\x1b[K", end="", flush=True)

    def paint(self, text: str, style: str) -> str:
        """Return text in an ANSI style when the screen has colours."""
        return f"\x1b[{style}m{text}\x1b[0m" if self._colored else text


def size(count_bytes: float) -> str:
    """Return a number of bytes for people: `17 B`, `3.2 KiB`, `213 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count_bytes < 1000:  # 0.98 MiB reads better than 1002.2 KiB
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.3g} {unit}"
        count_bytes /= 1024
    return f"{count_bytes:.3g} GiB"


def times(full: float, part: float) -> str:
    """Return how many times larger `full` is: `143x`, `3.4x`; a dash when there is nothing to compare."""
    if part <= 0:
        return "-"
    return f"{full / part:,.0f}x" if full >= 10 * part else f"{full / part:.1f}x"


def count(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun: `1 run`, `10 runs`, `4 branches`."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"
