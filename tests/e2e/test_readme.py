"""What README.md says is executed or looked up.

Goal: no sentence of the README that a program can check is wrong. Method: the blocks of the tour run from top to bottom as one
session in an empty folder, Python in this process and shell commands through the command line; the tables of commands, exit
codes, rooms and promises are compared with the source. Text that differs from run to run is `...` in the README. What the lines
for frameworks do is tested in `test_readme_systems.py`, what the questions answer in `test_readme_questions.py`.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from snapstore.cli.app import COMMANDS
from snapstore.errors import EXIT_CODES, EXIT_CODES_BY_CODE
from tests.e2e.readme import README, ROOT, blocks, rows, section
from tests.servers import Endpoint

TIMEOUT_S = 60.0

LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")
BUCKET = re.compile(r"s3://([a-z-]+)/")


def exchanges(text: str) -> list[tuple[str, str]]:
    """Return (command, expected output) of a console block."""
    pairs: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            pairs.append((line[2:], ""))
        else:
            command, output = pairs[-1]
            pairs[-1] = (command, f"{output}{line}\n")
    return pairs


def matches(expected: str, output: str) -> bool:
    """Whether an output is the expected one, where `...` stands for anything within a line; a last newline counts not."""
    pattern = "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", expected.rstrip("\n")))
    return re.fullmatch(pattern, output.rstrip("\n")) is not None


# ------------------------------------------------------------------------------------------- the tour


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_endpoint: Endpoint) -> Path:
    """An empty folder with what a checkout would have, and a bucket under the name that the README uses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "sample_session.jsonl", tmp_path / "scripts")
    client = s3_endpoint.client()
    for bucket in set(BUCKET.findall("\n".join(block.text for block in blocks() if block.language == "python"))):
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_endpoint.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_endpoint.secret_key)
    monkeypatch.setenv("AWS_REGION", s3_endpoint.region)
    return tmp_path


def test_the_tour_runs_from_top_to_bottom(folder: Path) -> None:
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "snapstore"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W error -m snapstore.cli "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    variables = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    names: dict[str, Any] = {}
    ran = {"python": 0, "console": 0}
    exports: list[str] = []
    for block in blocks():
        if block.language == "python":
            block.run(names)
            ran["python"] += 1
        elif block.language == "console":
            for command, expected in exchanges(block.text):
                if command.startswith("export "):
                    exports.append(command)
                    continue
                script = "\n".join([*exports, command])
                done = subprocess.run(
                    ["sh", "-c", script],
                    cwd=folder,
                    env=variables,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT_S,
                    check=False,
                )
                assert done.returncode == 0, (command, done.stderr)
                assert matches(expected, done.stdout), f"{command}\n--- README says\n{expected}--- it printed\n{done.stdout}"
                ran["console"] += 1
    assert ran["python"] >= 5
    assert ran["console"] >= 5


def test_output_is_compared() -> None:
    assert matches("*  a  ...\n", "*  a  2026-11-20\n")
    assert not matches("*  a  ...\n", "*  b  2026-11-20\n")
    assert not matches("one ...\n", "one 1\ntwo\n")
    assert not matches("", "something\n")


def test_the_two_commands_are_there() -> None:
    (first, *_) = [block for block in blocks() if block.language == "sh"]
    commands = [line.partition("#")[0].strip() for line in first.text.splitlines()]
    assert commands == ["python3 scripts/demo.py", "python3 scripts/test.py"]
    for command in commands:
        assert os.access(ROOT / command.split()[1], os.X_OK)


# ------------------------------------------------------------------------------------------- the tables


def test_commands_are_the_real_ones() -> None:
    assert [tuple(row) for row in rows("Command line")] == [(f"`{name}`", help) for name, (_, help) in COMMANDS.items()]


def test_exit_codes_are_the_real_ones() -> None:
    line = re.search(r"^Exit codes: (.*?)\n\n", section("Command line"), re.MULTILINE | re.DOTALL)
    assert line is not None
    named = {int(part.split()[0]) for part in line[1].split("·")}
    # 0, 3 and 130 are no errors: done, done in part, interrupted.
    assert named == {0, 3, 130} | set(EXIT_CODES.values()) | set(EXIT_CODES_BY_CODE.values())


def test_extras_are_the_real_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = [name for row in rows("Install") for name in re.findall(r"`([^`]+)`", row[0])]
    assert named == list(project["project"]["optional-dependencies"])


def test_the_map_has_every_room() -> None:
    mapped = {link for row in rows("Map") for link, _ in LINK.findall(row[0])}
    rooms = {f"snapstore/{path.parent.name}/__init__.py" for path in (ROOT / "snapstore").glob("*/__init__.py")}
    modules = {f"snapstore/{path.name}" for path in (ROOT / "snapstore").glob("*.py") if path.name != "__init__.py"}
    others = {link for link in mapped if not link.startswith("snapstore/")}
    assert mapped - others == rooms | modules
    assert others == {"manifests/README.md", "scripts", "tests"}


def test_the_map_names_the_folders_of_tests_and_the_scripts() -> None:
    words = {row[0].split("]")[0].strip("[`"): set(re.findall(r"`([a-z_0-9]+)`", row[1])) for row in rows("Map")}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("**/test_*.py"))}
    assert words["tests"] == folders
    assert words["scripts"] == {path.stem for path in (ROOT / "scripts").glob("*.py") if os.access(path, os.X_OK)}


def test_every_promise_is_held_by_tests_that_exist() -> None:
    promises = rows("Promises")
    assert len(promises) == 8
    for promise, held_by in promises:
        named = re.findall(r"`(tests/[^`]+)`", held_by)
        assert named, f"nothing holds: {promise}"
        for name in named:
            file, _, inside = name.partition("::")
            path = ROOT / file
            assert path.exists(), f"{promise}: {file} does not exist"
            if path.is_dir():
                assert any(path.glob("**/test_*.py")), f"{promise}: no tests in {file}"
                continue
            defined = {
                node.name
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.FunctionDef | ast.ClassDef)
            }
            assert not inside or inside in defined, f"{promise}: {file} has no {inside}"


# ------------------------------------------------------------------------------------------- links


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets on the usual forges."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    for file, fragment in LINK.findall(README):
        if file.startswith("http"):
            continue
        target = ROOT / file if file else ROOT / "README.md"
        assert target.exists(), file
        if fragment:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in map(anchor, headings), f"{file}#{fragment}"
