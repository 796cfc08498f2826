"""On a terminal: colours, short ids, lines that fit, progress bars; none of it in a pipe or against NO_COLOR.

Method: commands run on a pseudo-terminal of a given width; what the screen got is looked at.
"""

from __future__ import annotations

import json
import re

import pytest

from snapstore.cli.output import columns_of
from tests.e2e.shell import Shell

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "0a1b2c3d-0000-4000-8000-00000000000"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Return a shell with a run of wide and odd snapshots."""
    user = Shell(tmp_path_factory.mktemp("terminal"), "archive")
    records = [
        {
            "uuid": f"{LONG}{n}",
            "parentUuid": f"{LONG}{max(0, n - 1 - n % 2)}" if n else None,
            "type": "漢字" * 20,
            "text": "é\x1b[2J" * 99,
        }
        for n in range(9)
    ]
    (user.folder / "wide.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    user("init")
    user("import", "--format", "claude-jsonl", "--run", "wide " * 30, "wide.jsonl")
    return user


LOOKS = [
    ["log", "wide " * 30, "--graph"],
    ["log"],
    ["list"],
    ["ls"],
    ["ls", "latest"],
    ["ls", "latest:messages"],
    ["diff", "latest~2", "latest"],
]


@pytest.mark.parametrize("columns", [40, 100])
def test_lines_fit_the_terminal_and_nothing_from_outside_steers_it(shell: Shell, columns: int) -> None:
    for words in LOOKS:
        code, shown = shell.on_terminal(*words, columns=columns)
        assert code == 0, shown
        plain = ESCAPES.sub("", shown)
        assert all(line.isprintable() for line in plain.splitlines())
        assert max(columns_of(line) for line in plain.splitlines()) <= columns, words
        assert "\x1b[2J" not in shown


def test_colours_are_for_terminals_that_want_them(shell: Shell) -> None:
    words = ["log", "wide " * 30, "--graph"]
    assert "\x1b[" in shell.on_terminal(*words)[1]
    assert "\x1b[" not in shell(*words).out
    assert "\x1b[" not in shell.on_terminal(*words, "--color", "never")[1]
    assert "\x1b[" in shell(*words, "--color", "always").out
    shell.variables["NO_COLOR"] = "1"
    try:
        assert "\x1b[" not in shell.on_terminal(*words)[1]
    finally:
        del shell.variables["NO_COLOR"]


def test_random_ids_are_short_on_a_terminal_and_work(shell: Shell) -> None:
    _, shown = shell.on_terminal("list", "--color", "never", columns=200)
    assert f"{LONG[:12]} " in shown
    assert LONG not in shown
    assert f"{LONG}8" in shell("list").out


def test_progress_is_for_terminals_only(shell: Shell) -> None:
    words = ["import", "--format", "claude-jsonl", "--run", "wide " * 30, "wide.jsonl"]
    code, shown = shell.on_terminal(*words)
    assert code == 0
    assert "importing" in shown
    assert ESCAPES.sub("", shown).splitlines()[-1].startswith("0 snapshots added, 9 there already")
    assert "importing" not in shell.on_terminal(*words, "--no-progress")[1]
    assert "importing" not in shell(*words).err


def test_a_value_on_a_terminal_ends_its_line(shell: Shell) -> None:
    assert shell.on_terminal("cat", "latest:messages[0].uuid")[1] == f"{LONG}0\n"
    assert shell("cat", "latest:messages[0].uuid").out == f"{LONG}0"
    assert shell.on_terminal("cat", "latest:messages[0]")[1].startswith('{\n  "uuid"')


def test_saving_from_a_terminal_asks_for_a_file(shell: Shell) -> None:
    code, shown = shell.on_terminal("save", "--run", "r")
    assert code == 2
    assert "name a FILE" in shown
