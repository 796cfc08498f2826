"""Every way a command can end has its exit code and one message, as text or as JSON.

Method: a command is replaced by one that fails in a given way; `run` is what the process would do.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

import click
import pytest

from snapstore import errors
from snapstore.cli import app, main
from snapstore.cli.commands import import_
from snapstore.importers import FORMATS


def fail_with(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    """Make `snapstore ls` fail."""

    @click.command("ls")
    @click.option("--json", is_flag=True)
    def command(json: bool) -> None:
        raise failure

    monkeypatch.setattr("snapstore.cli.commands.ls.command", command)


CASES: list[tuple[BaseException, int, str]] = [
    *[
        (cls("sentence", hint="do this", key="a b"), code, cls.default_code)
        for cls, code in errors.EXIT_CODES.items()
        if cls is not errors.MissingExtraError
    ],
    (errors.NotFoundError("sentence", code="archive_not_found"), 10, "archive_not_found"),
    (errors.StorageError("sentence", code="permission_denied"), 12, "permission_denied"),
    (errors.StorageError("sentence", code="credentials_invalid"), 12, "credentials_invalid"),
    (KeyboardInterrupt(), 130, "interrupted"),
    (OSError(28, "No space left on device", "/x"), 1, "os_error"),
    (RuntimeError("what"), 1, "unexpected"),
]


@pytest.mark.parametrize(("failure", "code", "name"), CASES, ids=lambda value: getattr(value, "code", None))
def test_failures_have_their_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: BaseException, code: int, name: str
) -> None:
    fail_with(monkeypatch, failure)
    assert main.run(["ls"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("snapstore: ")
    assert main.run(["ls", "--json"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    document: dict[str, Any] = json.loads(shown.err)
    assert (document["schema_version"], document["type"], document["code"]) == (1, "error", name)
    assert document["exit_code"] == code


def test_a_message_has_its_values_and_its_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, errors.ConflictError("somebody was faster", hint="read again", id="a b", n=3))
    main.run(["ls"])
    assert capsys.readouterr().err == "snapstore: somebody was faster id='a b' n=3\n  hint: read again\n"


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_command_may_choose_its_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    fail_with(monkeypatch, click.exceptions.Exit(code))
    assert main.run(["ls"]) == code


@pytest.mark.parametrize(
    "words", [["nothing"], ["ls", "--nothing"], ["list", "-n", "x"], ["save"], ["diff", "a"], ["import", "x"], []]
)
def test_wrong_usage_is_two(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main.run(words) == 2
    assert "Usage: snapstore" in capsys.readouterr().err
    if words:
        assert main.run([*words, "--json"]) == 2
        assert json.loads(capsys.readouterr().err)["code"] == "usage"


def test_the_table_of_commands_is_true() -> None:
    names = "init save import log ls show cat diff restore fork list query scan export index rm stats doctor completion"
    assert " ".join(app.COMMANDS) == names
    for name, (module, help) in app.COMMANDS.items():
        command = importlib.import_module(f"snapstore.cli.commands.{module}").command
        assert (command.name, command.get_short_help_str(200)) == (name, help)


def test_import_knows_every_format() -> None:
    assert tuple(FORMATS) == import_.FORMATS


def test_every_option_has_a_help_text_or_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    for name in app.COMMANDS:
        assert main.run([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Usage: snapstore {name}")
        assert "--json" in text


def test_a_slip_of_the_finger_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    main.run(["restor"])
    assert "did you mean 'restore'?" in capsys.readouterr().err
