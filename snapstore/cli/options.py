"""Options that every command takes, before or after the command's name; they fill the `Session`."""

from __future__ import annotations

from typing import Any

import click

from snapstore.cli.session import Session


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Put a given value into the session; what stands nearer to the command wins."""
    if value is not None and value is not False and param.name is not None:
        setattr(ctx.ensure_object(Session), param.name, value)


def _common_options() -> list[click.Option]:
    """Return new option objects: click ties them to one command."""
    return [
        click.Option(
            ["-r", "--repo", "repo"],
            metavar="URL",
            expose_value=False,
            callback=_remember,
            help="The archive: a folder, s3://, gs://, az:// or an fsspec URL.  [env: SNAPSTORE_REPOSITORY, or a file "
            "that holds it: SNAPSTORE_REPOSITORY_FILE]",
        ),
        click.Option(
            ["--namespace"],
            metavar="NAME",
            expose_value=False,
            callback=_remember,
            help="An isolated archive inside it.  [env: SNAPSTORE_NAMESPACE]",
        ),
        click.Option(
            ["--json", "json"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Print JSON: one document, or one line per row.",
        ),
        click.Option(
            ["--no-progress", "no_progress"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Show no progress bars.",
        ),
        click.Option(
            ["--color", "color"],
            type=click.Choice(["auto", "always", "never"]),
            expose_value=False,
            callback=_remember,
            help="Colour the output; auto: on a terminal without NO_COLOR.",
        ),
    ]


class CommandWithCommonOptions(click.Command):
    """A command that takes the common options besides its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()


class GroupWithCommonOptions(click.Group):
    """A group that takes the common options before the command's name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()
