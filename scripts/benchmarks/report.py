"""What the benchmark says: one row per figure, as a table to read and as JSON to keep."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = ("what", "measured", "baseline", "ratio", "target", "")


@dataclass(frozen=True)
class Row:
    """One figure beside its baseline and its target.

    Attributes:
        what: What was measured, in a few words.
        measured: The figure, in `unit`; None when the case was skipped or failed.
        unit: Unit of `measured`, such as "bytes", "s of CPU", "MB/s of CPU".
        baseline: The figure of the baseline, in `baseline_unit`; None when a ratio would mean nothing.
        baseline_name: What the baseline is.
        target: The target in words; empty for a figure that is only shown.
        met: Whether the target was met; None without a target or without a figure.
        note: Why there is no figure, or what else the reader should know.
        costs: requests, round_trips, bytes_read, bytes_written, cpu_s, peak_mb as far as they were measured.
    """

    what: str
    measured: float | None = None
    unit: str = ""
    baseline: float | None = None
    baseline_name: str = ""
    target: str = ""
    met: bool | None = None
    note: str = ""
    costs: dict[str, float] = field(default_factory=dict)
    baseline_unit: str | None = None

    @property
    def ratio(self) -> float | None:
        """Measured divided by baseline."""
        return self.measured / self.baseline if self.measured is not None and self.baseline else None


def at_most(what: str, measured: float, unit: str, baseline: tuple[str, float], factor: float, **more: Any) -> Row:
    """Return a row whose target is a ratio of at most `factor`."""
    name, value = baseline
    met = measured <= factor * value
    return Row(what, measured, unit, value, name, f"<= {shown_ratio(factor)}", met, **more)


def limit(what: str, measured: float, unit: str, maximum: float, **more: Any) -> Row:
    """Return a row whose target is an absolute maximum in the unit of the figure."""
    return Row(what, measured, unit, target=f"<= {shown(maximum, unit)}", met=measured <= maximum, **more)


def at_least(what: str, measured: float, unit: str, minimum: float, **more: Any) -> Row:
    """Return a row whose target is an absolute minimum in the unit of the figure."""
    return Row(what, measured, unit, target=f">= {shown(minimum, unit)}", met=measured >= minimum, **more)


def skipped(what: str, reason: str) -> Row:
    """Return a row without a figure."""
    return Row(what, note=f"skipped: {reason}")


def shown(value: float | None, unit: str) -> str:
    """Return a figure for people: three digits and a unit of a fitting size."""
    if value is None:
        return "-"
    if unit == "bytes":
        for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}" if value < 1000 * size else f"{value / size:.0f} {name}"
        return f"{value:.0f} B"
    if unit.startswith("s") and (unit == "s" or unit.startswith("s ")):
        return f"{1000 * value:.3g} m{unit}" if abs(value) < 1 else f"{value:.3g} {unit}"
    return f"{value:.4g} {unit}".strip()


def shown_ratio(ratio: float | None) -> str:
    """Return a ratio for people: as a fraction when it is small."""
    if ratio is None:
        return "-"
    return f"1/{1 / ratio:.3g}" if 0 < ratio < 0.1 else f"{ratio:.3g}"


def verdict(row: Row) -> str:
    """Return `met`, `MISSED`, or nothing for a figure without a target."""
    return {True: "met", False: "MISSED", None: ""}[row.met]


def table(rows: list[Row]) -> str:
    """Return the rows as aligned text: a line of figures each, a line of costs below where there are any."""
    cells = [figures(row) for row in rows]
    widths = [max(len(line[i]) for line in [COLUMNS, *cells]) for i in range(len(COLUMNS))]

    def line(texts: tuple[str, ...]) -> str:
        return "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)).rstrip()

    out = [line(COLUMNS), line(tuple("-" * width for width in widths))]
    for row, texts in zip(rows, cells, strict=True):
        out.append(line(texts))
        out += [f"    {extra}" for extra in (costs_line(row.costs), row.note) if extra]
    return "\n".join(out)


def markdown(rows: list[Row]) -> str:
    """Return the figures as a Markdown table, for a document; costs and notes stay out."""
    lines = [" | ".join(COLUMNS).strip(), "|".join(["---"] * len(COLUMNS)), *(" | ".join(figures(row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def figures(row: Row) -> tuple[str, ...]:
    """Return a row's cells, in the order of `COLUMNS`."""
    baseline = "-"
    if row.baseline is not None:
        baseline = f"{shown(row.baseline, row.baseline_unit or row.unit)} {row.baseline_name}"
    return (row.what, shown(row.measured, row.unit), baseline, shown_ratio(row.ratio), row.target or "-", verdict(row))


def costs_line(costs: dict[str, float]) -> str:
    """Return the costs of a row in one line."""
    units = {"bytes_read": "bytes", "bytes_written": "bytes", "cpu_s": "s of CPU", "wall_s": "s", "peak_mb": "MB"}
    words = {"bytes_read": "read", "bytes_written": "written", "cpu_s": "", "wall_s": "wall", "peak_mb": "peak memory"}
    parts = []
    for name, value in costs.items():
        word = words.get(name, name.replace("_", " "))
        parts.append(f"{word} {shown(value, units.get(name, ''))}".strip())
    return ", ".join(parts)


def document(rows: list[Row], quick: bool) -> dict[str, Any]:
    """Return everything as one JSON document."""
    return {
        "schema_version": 1,
        "quick": quick,
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "system": platform.system(),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
    }


def write_json(path: Path, rows: list[Row], quick: bool) -> None:
    """Write the document of the rows to a file."""
    path.write_text(json.dumps(document(rows, quick), indent=1) + "\n", encoding="utf-8")
