"""`snapstore completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click

from snapstore.cli.options import CommandWithCommonOptions

_VARIABLE = "_SNAPSTORE_COMPLETE"  # the one that `main` looks for


@click.command("completion", cls=CommandWithCommonOptions, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> None:
    r"""Print the completion script of SHELL.

    \b
    bash:  echo 'eval "$(snapstore completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(snapstore completion zsh)"' >> ~/.zshrc
    fish:  snapstore completion fish > ~/.config/fish/completions/snapstore.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "snapstore", _VARIABLE).source())
