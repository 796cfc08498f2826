"""The demonstration as a newcomer runs it: from a checkout without real histories, more than once, with mistakes.

Goal: what `scripts/demo.py` says is true, what it prints can be copied, and it touches no folder but its own. Method: a copy
of the checkout in a fresh folder, so that only the shipped session is there to import; this test's own interpreter, so
that no environment is made.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import snapstore

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 100.0

# The shipped session, and the longer one that is made from it.
SESSION_RECORDS = len((ROOT / "scripts" / "sample_session.jsonl").read_text(encoding="utf-8").splitlines())
LONG_RECORDS = 60
IMPORTED = SESSION_RECORDS + LONG_RECORDS

MADE = 13
"""Snapshots that each demonstration adds: a trip of six, its fork of three, a form with four changes."""


class Newcomer:
    """Somebody with a fresh checkout, and a folder to work in."""

    def __init__(self, home: Path) -> None:
        self.checkout = home / "checkout"
        self.folder = home / "elsewhere"
        self.folder.mkdir()
        for name in ("scripts", "snapstore"):
            shutil.copytree(ROOT / name, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__", "*_cache"))
        # A fifth of the long session shows as much, and these tests run the demonstration seven times.
        histories = self.checkout / "scripts" / "demonstration" / "histories.py"
        whole = histories.read_text(encoding="utf-8")
        shorter = whole.replace("RECORDS, FORK_EVERY = 300, 60", f"RECORDS, FORK_EVERY = {LONG_RECORDS}, {LONG_RECORDS // 5}")
        assert shorter != whole
        histories.write_text(shorter, encoding="utf-8")
        mine = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        self.environment = {**mine, "PYTHONPATH": str(self.checkout), "HOME": str(home), "SNAPSTORE_REPOSITORY": "elsewhere"}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the demonstration."""
        return subprocess.Popen(
            [sys.executable, str(self.checkout / "scripts" / "demo.py"), *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run the demonstration; return its exit code and what it printed."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=TIMEOUT_S)
        assert "Traceback" not in err, err
        return process.returncode, out, err


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """A newcomer."""
    return Newcomer(tmp_path)


@pytest.mark.slow
def test_its_story_is_true_more_than_once_and_a_wrong_snapshot_is_noticed(newcomer: Newcomer) -> None:
    code, out, err = newcomer.run()
    assert code == 0, err
    plain = " ".join(out.split())
    assert f"{SESSION_RECORDS} snapshots of 1 run added" in plain
    assert f"{LONG_RECORDS} snapshots of 1 run added" in plain
    assert "2 branches" in plain
    assert "|/" in out
    assert "equal to the state that was saved, types and order of keys included" in plain
    assert f"{IMPORTED + MADE} snapshots read back" in plain
    assert f"{IMPORTED} of them were imported and equal their source" in plain
    assert "each of its 4 changes is a snapshot like others" in plain
    assert re.search(r"The index is Parquet, \S+ \S+ in 1 file; \d+ changes went into it just now", plain)
    assert f"claude 2 {IMPORTED}" in plain, "a question in SQL is answered"
    assert "tide-tables 1" in plain, "the shipped session branches once"
    assert "confirm 0.0 book 530.0 report 530.0" in plain, "a field is replayed"
    commands = [line.strip() for line in out.partition("Your turn")[2].splitlines() if "-r demo-archive" in line]
    assert len(commands) > 5
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=newcomer.folder, env=newcomer.environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout != "") == (0, True), (command, done.stderr)
    assert json.loads((newcomer.folder / "messages.json").read_text(encoding="utf-8"))[0]["role"] == "user"

    code, out, err = newcomer.run()
    assert code == 0, err
    assert f"0 snapshots of 1 run added, {SESSION_RECORDS} there already" in " ".join(out.split())
    assert f"{IMPORTED + 2 * MADE} snapshots read back" in " ".join(out.split())

    with snapstore.open(newcomer.folder / "demo-archive") as archive:
        archive.save({"messages": []}, run="tide-tables", id=archive.log("tide-tables")[5].id)
    code, out, err = newcomer.run()
    assert code == 1, "a snapshot that differs from its source is found"
    assert "1 snapshot did NOT come back as saved" in " ".join(out.split())


def test_ctrl_c_leaves_an_archive_that_goes_on(newcomer: Newcomer) -> None:
    with newcomer.start() as process:
        assert process.stdout is not None
        while "Import histories" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "goes on from here" in err
    code, out, err = newcomer.run()
    assert code == 0, err
    assert f"{IMPORTED + MADE} snapshots read back" in " ".join(out.split())


def test_a_folder_of_somebody_else_is_left_alone(newcomer: Newcomer) -> None:
    theirs = newcomer.folder / "theirs"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear", encoding="utf-8")
    code, _, err = newcomer.run("--to", "theirs")
    assert code == 1
    assert "--to DIR" in err
    assert [path.name for path in theirs.iterdir()] == ["letter.txt"]
    for own in (".", "..", str(newcomer.folder)):
        code, _, err = newcomer.run("--to", own, "--fresh")
        assert code == 1, own
    assert (theirs / "letter.txt").is_file()


@pytest.mark.slow
def test_fresh_moves_what_is_not_its_own_aside_and_clears_what_is(newcomer: Newcomer) -> None:
    theirs = newcomer.folder / "theirs"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear", encoding="utf-8")
    assert newcomer.run("--to", "theirs", "--fresh")[0] == 0
    assert (newcomer.folder / "theirs.before-1" / "letter.txt").read_text(encoding="utf-8") == "dear"
    first = json.loads((theirs / "snapstore.json").read_bytes())["id"]
    assert newcomer.run("--to", "theirs", "--fresh")[0] == 0
    assert json.loads((theirs / "snapstore.json").read_bytes())["id"] != first
    assert not (newcomer.folder / "theirs.before-2").exists()
