"""`snapstore restore`: a state into a new file, whole or not at all."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import click

from snapstore.cli import inside, output, paths, resolve
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of
from snapstore.errors import StorageError
from snapstore.export.files import check_new, new_file

if TYPE_CHECKING:
    from snapstore.snapshot import Snapshot

_JSON_GROWTH = 2.0
"""JSON of agent states takes 1.1 to 1.3 times their MessagePack; escapes of control characters up to 6 times."""

_SLOW_BYTES = 64 * 1024 * 1024
"""Smaller states are there before a progress bar is drawn."""

_SPARE_BYTES = 16 * 1024 * 1024
"""What a restore leaves free on the disk: a full one stops the programs beside us."""


@click.command("restore", cls=CommandWithCommonOptions, short_help="Write a state to a new file.")
@click.argument("snapshot", metavar="SNAP[:PATH]")
@click.option("--to", "target", required=True, metavar="FILE|-", help="A new file, or - for standard output.")
@click.option("--path", "path_text", metavar="PATH", help="Only the value at this path.")
@click.option("--run", metavar="NAME", help="What 'latest' refers to.")
@click.option("--format", "format", type=click.Choice(["json", "msgpack", "raw"]), default="json", show_default=True)
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@click.option("-n", "--dry-run", is_flag=True, help="Only show the plan.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    snapshot: str,
    target: str,
    path_text: str | None,
    run: str | None,
    format: Literal["json", "msgpack", "raw"],
    force: bool,
    dry_run: bool,
) -> None:
    """Write the state of SNAP to FILE, verified, whole or not at all.

    FILE appears under its name when all of it is on the disk. raw writes one text or bytes value as it is.
    """
    session = session_of(ctx)
    archive = session.open(read_only=True)
    if path_text is None:
        found, path = resolve.snapshot_and_path(archive, snapshot, run=run)
    else:
        found, path = resolve.snapshot(archive, snapshot, run=run), paths.parse(path_text)
    needed = int(found.size_bytes * (_JSON_GROWTH if format == "json" else 1))
    if target != "-":
        check_target(Path(target), 0 if path else needed, force=force)
    objects, read_bytes = inside.needs(found)
    plan = {
        "id": found.id,
        "path": paths.format(path),
        "to": target,
        "format": format,
        "size_bytes": found.size_bytes,
        "objects": objects,
        "read_bytes": read_bytes,
    }
    if dry_run:
        _print_plan(session, plan)
        return
    if target == "-":
        sys.stdout.flush()
        inside.write(found, sys.stdout.buffer, path, format)
        sys.stdout.buffer.flush()
        return
    with new_file(Path(target), force=force) as file:
        written = _write(session, found, file, path, format)
    if session.json:
        output.say(session, output.to_json("restore", {**plan, "written_bytes": written}))
    else:
        output.say(session, f"restored {found.id} to {target}: {output.size(written)}")


def _write(session: Session, found: Snapshot, file: BinaryIO, path: paths.Path, format: Literal["json", "msgpack", "raw"]) -> int:
    """Write the value and return its size in bytes, with a progress bar when it takes a while."""
    if found.size_bytes < _SLOW_BYTES:
        return inside.write(found, file, path, format)
    with session.progress("restoring", found.size_bytes) as update:
        return inside.write(found, cast("BinaryIO", _Counted(file, update)), path, format)


class _Counted(io.RawIOBase):
    """A file that tells how much has been written to it."""

    def __init__(self, file: BinaryIO, update: Callable[[float], None]) -> None:
        super().__init__()
        self._file = file
        self._update = update
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._written += self._file.write(data)
        self._update(self._written)
        return len(data)


def check_target(target: Path, needed_bytes: int, *, force: bool) -> None:
    """Refuse a restore that cannot succeed, before anything is read.

    Raises:
        NotFoundError: `folder_not_found`.
        ConflictError: `target_exists`.
        StorageError: `storage_full`.
    """
    check_new(target, force=force)
    free = shutil.disk_usage(target.parent).free
    if free < needed_bytes + _SPARE_BYTES:
        raise StorageError(
            "not enough space for this restore",
            code="storage_full",
            hint="free some space, restore a part with --path, or pipe it on with --to -",
            needed_bytes=needed_bytes,
            free_bytes=free,
        )


def _print_plan(session: Session, plan: dict[str, object]) -> None:
    if session.json:
        output.say(session, output.to_json("plan", plan))
        return
    output.facts(
        session,
        [
            ("snapshot", str(plan["id"])),
            ("path", str(plan["path"] or "$")),
            ("to", f"{plan['to']} ({plan['format']})"),
            ("size", output.size(int(str(plan["size_bytes"])))),
            ("reads", f"at most {output.size(int(str(plan['read_bytes'])))} of {plan['objects']} objects"),
        ],
    )
