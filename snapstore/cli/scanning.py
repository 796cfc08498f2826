"""Scans as `scan` and `export` offer them: their options, what they will cost, how far they are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snapstore.cli import filters, output
from snapstore.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from snapstore.archive import Archive
    from snapstore.cli.session import Session
    from snapstore.scan.planning import Estimate, Progress, Scan

Command = TypeVar("Command", bound=Callable[..., Any])

_HINTS = {
    "value_misfit": "choose another type: --type COLUMN=json, or --on-error null",
    "column_twice": "every row has id, run, graph, node, status and created_at; write the path as $.NAME",
    "not_appendable": "--append is for --format delta; --force replaces a file",
}
"""What to type where the errors of the library say what to call."""

_OPTIONS = [
    click.option(
        "--type",
        "types",
        multiple=True,
        metavar="COLUMN=TYPE",
        help="bool, int64, float64, string, json, binary, timestamp or datetime; others are found out.  May be repeated.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "null"]),
        default="raise",
        show_default=True,
        help="What a value that does not fit its type does.",
    ),
    click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N snapshots."),
]


def scan_options(command: Command) -> Command:
    """Give a command the options of a scan; those that choose snapshots are in `filters`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Watch:
    """What a scan reports while it runs.

    Attributes:
        last: its latest report, None before the first.
        update: of the progress bar.
    """

    def __init__(self) -> None:
        self.last: Progress | None = None
        self.update: Callable[..., object] = lambda *_: None

    def __call__(self, progress: Progress) -> None:
        """Take a report."""
        self.last = progress
        self.update(progress.done, f"{output.size(progress.bytes_read)} in {progress.requests:,} requests")


def plan(
    archive: Archive,
    paths: Sequence[str],
    *,
    types: Sequence[str],
    on_error: Any,
    limit: int | None,
    chosen: Mapping[str, Any],
    watch: Watch,
) -> Scan:
    """Plan a scan from what was typed."""
    given = filters.where({**chosen, "limit": limit})
    graph, run = given.pop("graph", None), given.pop("run", None)
    with typed_hints():
        return archive.scan(paths, graph=graph, run=run, where=given, types=_types(types), on_error=on_error, progress=watch)


def _types(texts: Sequence[str]) -> dict[str, str]:
    types = {}
    for text in texts:
        column, equals, kind = text.rpartition("=")  # paths may hold an equals sign, types do not
        if not column or not equals:
            raise click.UsageError(f"--type needs COLUMN=TYPE, not {text!r}")
        types[column] = kind
    return types


def check_target(target: str, format: Any, existing: Any) -> None:
    """Refuse a target that cannot be written, before the archive is asked for anything."""
    from snapstore import export

    with typed_hints():
        export.check_target(target, format, existing=existing)


@contextlib.contextmanager
def typed_hints() -> Iterator[None]:
    """Let errors of scans and exports say what to type, and not what to call."""
    try:
        yield
    except (InvalidInputError, ConflictError) as error:
        error.hint = _HINTS.get(error.code, error.hint)
        raise


@contextlib.contextmanager
def running(session: Session, scan: Scan, watch: Watch, *, bar: bool = True) -> Iterator[None]:
    """Say what a scan will cost before it begins, show how far it is, and say what it did cost; all on stderr."""
    estimate = scan.estimate
    click.echo(f"scanning {estimate_text(estimate)}", err=True)
    with typed_hints(), session.progress("scanning", estimate.snapshots) if bar else contextlib.nullcontext() as update:
        if update is not None:
            watch.update = update
        yield
    if watch.last is not None:
        skipped = f"; {output.count(watch.last.skipped, 'snapshot')} gone meanwhile" if watch.last.skipped else ""
        read = output.size(watch.last.bytes_read)
        click.echo(f"read {read} in {output.count(watch.last.requests, 'request')}{skipped}", err=True)


def estimate_text(estimate: Estimate) -> str:
    """Return an estimate in one line."""
    requests, read = estimate_ranges(estimate)
    return f"{output.count(estimate.snapshots, 'snapshot')} in {output.count(estimate.packs, 'pack')}: {requests}, {read}"


def estimate_ranges(estimate: Estimate) -> tuple[str, str]:
    """Return the requests and the bytes that a scan will take."""
    requests = output.count(estimate.requests_most, "request")
    if estimate.requests_least < estimate.requests_most:
        requests = f"{estimate.requests_least:,} to {requests}"
    least, most = output.size(estimate.bytes_least), output.size(estimate.bytes_most)
    return requests, most if least == most else f"{least} to {most}"
