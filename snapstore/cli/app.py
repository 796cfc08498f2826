"""The group of commands: each is loaded when it is called, and `--help` loads none of them.

A command's one-line help stands here and in its module; a test holds the two together.
"""

from __future__ import annotations

import importlib
from typing import Any

import click

from snapstore.cli.options import GroupWithCommonOptions

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Create an archive."),
    "save": ("save", "Save one snapshot from a file or standard input."),
    "import": ("import_", "Import histories that other programs wrote."),
    "log": ("log", "Show the history of a run, newest first."),
    "ls": ("ls", "List graphs and runs, or what a snapshot holds."),
    "show": ("show", "Show the facts about one snapshot."),
    "cat": ("cat", "Print a state, or one value of it."),
    "diff": ("diff", "Show what differs between two snapshots."),
    "restore": ("restore", "Write a state to a new file."),
    "fork": ("fork", "Start a new run at any snapshot; copies nothing."),
    "list": ("list_", "List snapshots, newest first, with filters."),
    "query": ("query", "Ask the index in SQL."),
    "scan": ("scan", "Pull fields out of many states, as a table."),
    "export": ("export", "Write the index, or a scan, to a file or a Delta table."),
    "index": ("index", "Show the index, fold changes into it, or make it again."),
    "rm": ("rm", "Delete snapshots."),
    "stats": ("stats", "Show what the archive takes, and what it saves."),
    "doctor": ("doctor", "Check this installation and an archive; changes nothing."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Module (in `snapstore.cli.commands`) and one-line help by the command's name, in the order of `--help`."""


class LazyGroup(GroupWithCommonOptions):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is no such command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"snapstore.cli.commands.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does, and name the nearest command when there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"no such command '{args[0]}': did you mean '{near[0]}'?", ctx) from error
            raise


def _version(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        import snapstore

        click.echo(f"snapstore {snapstore.__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="SNAP is an id, a unique beginning of one (4 characters or more), or 'latest'; SNAP~2 is its grandparent, "
    "SNAP:messages[-1].content a value in it.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version and stop.")
def cli() -> None:
    """Keep every state of long-lived agents: save, look, compare, branch, restore."""
