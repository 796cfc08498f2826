"""The benchmark runs and its figures can be read: as a user starts it, on its quickest cases.

Goal: `scripts/bench.py` is not found broken on the day somebody needs it. Method: two small cases in a process of their own;
the shape of the JSON, the table, the exit code. No time is asserted: how fast things are is the benchmark's own business.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark with this test's own interpreter."""
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_quick_cases_give_figures_with_baselines(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = bench("--quick", "--only", "start", "--json", str(file))
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert document["quick"] is True
    rows = document["rows"]
    assert rows[0]["what"].split(":")[0] == "import snapstore"
    assert all(row["measured"] is not None and row["baseline"] > 0 and row["ratio"] is not None for row in rows)
    assert {row["met"] for row in rows if row["target"]} <= {True, False}
    assert all(row["what"] in done.stdout for row in rows)


def test_requests_are_the_agreed_ones(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = bench("--only", "requests", "--json", str(file))
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [(row["what"], row["note"]) for row in rows if row["met"] is not True] == []
    assert done.returncode == 0, done.stderr


def test_unknown_case_is_refused() -> None:
    done = bench("--only", "nothing")
    assert done.returncode == 2
    assert "invalid choice" in done.stderr
