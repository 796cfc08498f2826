"""The folder of the demonstration: which one may be used, and which must be left alone.

A folder is the demonstration's own when it holds the mark that `take` puts into it. The mark lies below `.snapstore/`,
where the format keeps a place for what is not part of the archive. A folder without it is never deleted: with
`--fresh` it is moved aside.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from environment import ROOT, fail

MARK = ".snapstore/made-by-demo"


def take(folder: Path, *, fresh: bool) -> bool:
    """Make a folder the demonstration's own; end the script when it belongs to somebody else.

    Args:
        folder: Where the archive will be.
        fresh: Start anew: delete what an earlier demonstration left, move anything else aside.

    Returns:
        Whether an earlier demonstration goes on there.
    """
    folder = folder.absolute()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        fail(f"{folder} is not a folder; choose another with --to DIR")
    if fresh and folder.exists():
        _clear(folder)
    goes_on = _is_ours(folder)
    if not goes_on and folder.exists() and any(folder.iterdir()):
        fail(
            f"{folder} is not empty, and this demonstration did not make it.\n"
            "Choose another with --to DIR, or let --fresh move it aside and begin with an empty one."
        )
    try:
        mark = folder / MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        fail(f"{folder} cannot be used: {error.strerror}; choose another with --to DIR")
    return goes_on


def _is_ours(folder: Path) -> bool:
    return (folder / MARK).is_file()


def _clear(folder: Path) -> None:
    """Delete the demonstration's own folder; move a folder of somebody else aside."""
    for kept in (Path.cwd(), Path.home(), ROOT):
        if kept == folder or folder in kept.parents:
            fail(f"{folder} is, or holds, {kept}; choose another with --to DIR")
    try:
        if _is_ours(folder):
            shutil.rmtree(folder)
        elif any(folder.iterdir()):
            aside = next(path for n in range(1, 10_000) if not (path := folder.with_name(f"{folder.name}.before-{n}")).exists())
            folder.rename(aside)
            print(f"moved {folder} to {aside}")
    except OSError as error:
        fail(f"{folder} cannot be cleared: {error.strerror}")
