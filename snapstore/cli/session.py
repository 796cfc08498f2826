"""One invocation of the command line: its settings, the archive it opens, and what its streams are.

The one place of this room that reads the environment.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from snapstore.errors import NotFoundError

if TYPE_CHECKING:
    from snapstore.archive import Archive

REPOSITORY = "SNAPSTORE_REPOSITORY"
REPOSITORY_FILE = "SNAPSTORE_REPOSITORY_FILE"
NAMESPACE = "SNAPSTORE_NAMESPACE"


@dataclass(slots=True)
class Session:
    """Settings of one invocation; options fill them, the environment where they are silent.

    Attributes:
        repo: URL of the archive as it was given, or None. It may hold secrets: never print it, print `archive.url`.
        namespace: Namespace inside it, or None.
        json: Whether results are JSON.
        no_progress: Whether progress bars are unwanted.
        color: `auto`, `always` or `never`.
    """

    repo: str | None = None
    namespace: str | None = None
    json: bool = False
    no_progress: bool = False
    color: str = "auto"
    _opened: list[Archive] = field(default_factory=list)

    def repository(self) -> str:
        """Return the archive's URL from the option, the environment or the file that the environment names."""
        if self.repo:
            return self.repo
        if os.environ.get(REPOSITORY):
            return os.environ[REPOSITORY]
        if os.environ.get(REPOSITORY_FILE):
            return self._repository_from_file(Path(os.environ[REPOSITORY_FILE]))
        raise click.UsageError(f"which archive? name it with -r URL, or set {REPOSITORY}")

    def _repository_from_file(self, path: Path) -> str:
        try:
            lines = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{REPOSITORY_FILE} cannot be read: {path}") from error
        if len(lines) != 1:
            raise click.UsageError(f"{REPOSITORY_FILE} must hold one URL: {path}")
        return lines[0]

    def open(self, *, create: bool = False, read_only: bool = False) -> Archive:
        """Open the archive; it is closed when the command ends.

        Raises:
            NotFoundError: `archive_not_found`, with the command that creates it as the hint.
        """
        import snapstore

        url = self.repository()
        namespace = self.namespace or os.environ.get(NAMESPACE) or None
        try:
            archive = snapstore.open(url, create=create, namespace=namespace, read_only=read_only)
        except NotFoundError as error:
            if error.code == "archive_not_found":
                error.hint = "create it with: snapstore init URL"
            raise
        self._opened.append(archive)
        _say_warnings()
        return archive

    def close(self) -> None:
        """Close what was opened."""
        while self._opened:
            self._opened.pop().close()

    @property
    def shows_progress(self) -> bool:
        """Whether a progress bar has somebody to look at it."""
        return sys.stderr.isatty() and not self.no_progress and not self.json

    @property
    def on_terminal(self) -> bool:
        """Whether a person reads the results: lines are cut at the terminal's width, long ids are shortened."""
        return sys.stdout.isatty() and not self.json

    @property
    def colored(self) -> bool:
        """Whether results are coloured."""
        if self.color != "auto":
            return self.color == "always"
        return self.on_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @contextmanager
    def progress(self, description: str, total: float | None) -> Iterator[Any]:
        """Show a progress bar on stderr while the block runs.

        Args:
            description: One word for what is done.
            total: What `completed` counts up to; None when nobody knows.

        Yields:
            `update(completed, text)`, which does nothing when there is no bar. `completed` counts up to `total`.
        """
        if not self.shows_progress:
            yield lambda _completed, _text="": None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            *([] if total is None else [TextColumn("{task.percentage:>3.0f}%")]),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
        )
        # Four redraws a second: a person sees movement, a slow terminal is not flooded.
        with Progress(
            *columns, console=Console(stderr=True, no_color=self.color == "never" or None), transient=True, refresh_per_second=4
        ) as bar:
            task = bar.add_task(description, total=total, text="")
            yield lambda completed, text="": bar.update(task, completed=completed, text=text)


def _say_warnings() -> None:
    """Let what lists warn of be a sentence on stderr, without the line of the source; until the process ends its command."""
    from snapstore.index import IndexMissingWarning, IndexTailWarning

    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, IndexMissingWarning | IndexTailWarning):
            click.echo(f"snapstore: {message}", err=True)
        else:
            shown(message, category, *place, **more)

    for category in (IndexMissingWarning, IndexTailWarning):
        warnings.simplefilter("always", category)
    warnings.showwarning = show


def session_of(ctx: click.Context) -> Session:
    """Return the session of a command's context."""
    return ctx.ensure_object(Session)
