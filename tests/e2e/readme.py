"""The README taken apart: its blocks of code with their lines, its sections and their tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^```(python|console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
        language: `python`, `console` or `sh`.
        text: What stands in it.
        line: Line of its first line in the README, from 1.
    """

    language: str
    text: str
    line: int

    def run(self, names: dict[str, Any]) -> None:
        """Execute a block of Python among names; a failure names the README's own line."""
        blank = "\n" * (self.line - 1)
        exec(compile(blank + self.text, str(ROOT / "README.md"), "exec", dont_inherit=True), names)


def blocks(title: str | None = None) -> list[Block]:
    """Return the blocks of code of the README, or of one of its sections, in order."""
    found = [Block(m[1], m[2], README.count("\n", 0, m.start()) + 2) for m in BLOCK.finditer(README)]
    if title is None:
        return found
    inside = section(title)
    start = README.count("\n", 0, README.index(inside)) + 1
    return [block for block in found if start <= block.line < start + inside.count("\n")]


def section(title: str) -> str:
    """Return what stands below a heading of the README."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has a section {title!r}"
    return found[1]


def rows(title: str) -> list[list[str]]:
    """Return the rows of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
