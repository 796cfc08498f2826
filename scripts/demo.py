#!/usr/bin/env python3
"""Show what snapstore does, on an archive in a local folder that stays for you to look at.

    python3 scripts/demo.py             in ./demo-archive; run it again and it goes on there
    python3 scripts/demo.py --fresh     begins anew
    python3 scripts/demo.py --to DIR    in another folder

Needs Python 3.11 or later and, the first time, a package index that pip can reach; takes less than two minutes after that.
Imports real agent histories where they lie beside the project (../shared/data), a small made-up session otherwise. Asks
nothing, and never deletes a folder that it did not make. Exit code: 0 when every snapshot came back as it was saved.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
from environment import ROOT
from demonstration import home

if TYPE_CHECKING:
    from demonstration.histories import History
    from demonstration.screen import Screen
    from snapstore import Archive, Snapshot

# What an interpreter must have to run the demonstration: the package of this checkout, and what that needs.
NEEDS = ("blake3", "click", "obstore", "ormsgpack", "pyfastcdc", "zstandard")
INSIDE = "SNAPSTORE_DEMO_INSIDE"

INTERRUPTED = 130


def main() -> int:
    """Go on in an interpreter that has the package, run the acts, and return the exit code."""
    environment.require_python()
    arguments = parsed()
    try:
        enter()
        from demonstration.screen import Screen

        goes_on = home.take(arguments.to, fresh=arguments.fresh)
        return Demonstration(Screen(), arguments.to, goes_on).run()
    except KeyboardInterrupt:
        print("\nStopped. Whatever was saved is whole; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    words = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=words[0], epilog="\n\n".join(words[1:]), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=Path("demo-archive"), metavar="DIR", help="folder of the archive")
    parser.add_argument("--fresh", action="store_true", help="begin anew; a folder of somebody else is moved aside")
    return parser.parse_args()


def enter() -> None:
    """Return when this interpreter has this checkout's package; otherwise start again in one that has."""
    spec = importlib.util.find_spec("snapstore")
    ours = spec is not None and spec.origin is not None and Path(spec.origin).resolve().is_relative_to(ROOT)
    if ours and all(importlib.util.find_spec(name) for name in NEEDS):
        return
    if INSIDE in os.environ:
        environment.fail(f"the environment of {sys.executable} is damaged; remove its folder and try again")
    python = str(environment.make("demo"))
    os.environ[INSIDE] = "1"
    os.execv(python, [python, *sys.argv])


class Demonstration:
    """The acts, in order.

    Attributes:
        screen: Where they are shown.
        folder: The archive's folder, as the user named it.
    """

    def __init__(self, screen: Screen, folder: Path, goes_on: bool) -> None:
        self.screen = screen
        self.folder = folder
        self._goes_on = goes_on
        self._started = time.monotonic()
        program = Path(sys.executable).with_name("snapstore")
        # What the user types: the environment's own program, by the shortest path that works from here.
        words = [_near(program)] if program.exists() else [_near(Path(sys.executable)), "-m", "snapstore.cli"]
        self._shown_program = shlex.join([*words, "-r", str(folder)])

    def run(self) -> int:
        """Run all acts; return 0 when everything came back as it was saved."""
        import snapstore

        from demonstration import histories

        screen = self.screen
        print(screen.paint(f"snapstore {snapstore.__version__}", "1") + f"  in {self.folder}")
        if self._goes_on:
            screen.say("An earlier demonstration lies there: what it imported is kept, and one trip is added.")
        with (
            tempfile.TemporaryDirectory(prefix="snapstore-demo-") as workspace,
            snapstore.open(self.folder, create=True) as archive,
        ):
            chosen = histories.found(Path(workspace))
            self._import(archive, chosen)
            self._branches(archive, chosen)
            saved, state = self._save(archive)
            self._read_and_compare(archive, saved)
            self._fork(archive, saved[0])
            self._restore(archive, saved[-1], state, Path(workspace))
            right = self._weigh(archive, chosen)
            self._farewell(chosen, saved[-1])
        return 0 if right else 1

    def _import(self, archive: Archive, chosen: Sequence[History]) -> None:
        from demonstration.screen import count
        from snapstore.importers import ImportProgress, import_path

        screen = self.screen
        screen.act("Import histories: one snapshot for every message or step")
        for history in chosen:
            started = time.monotonic()
            with screen.progress(history.title) as update:

                def show(state: ImportProgress, update: Any = update) -> None:
                    done = (state.sources_done + state.fraction) / state.sources_total
                    update(done, f"{count(state.added, 'snapshot')} added")

                report = import_path(archive, history.format, history.path, run=history.run, progress=show)
            there = f", {report.skipped:,} there already" if report.skipped else ""
            runs = count(len(report.runs), "run")
            took = f"{time.monotonic() - started:.1f} s"
            screen.line(f"{history.title}: {count(report.added, 'snapshot')} of {runs} added{there}, {took}")
            for failure in report.failures:
                screen.say(f"could not be read to its end: {failure.file}: {failure.error}")

    def _branches(self, archive: Archive, chosen: Sequence[History]) -> None:
        from demonstration.branches import condensed
        from demonstration.screen import count

        run = next(history.shown for history in chosen if history.shown)
        self.screen.act(f"One of them, with its branches: {run}")
        log = archive.log(run)
        for line in condensed(log):
            self.screen.line(line)
        self.screen.say(f"\n{count(len(log), 'snapshot')}, newest first, {count(len(archive.leaves(run)), 'leaf')}.".replace("leafs", "leaves"))

    def _save(self, archive: Archive) -> tuple[list[Snapshot], dict[str, Any]]:
        from demonstration import trip

        screen = self.screen
        name = trip.free_name(archive)
        screen.act("Save from Python: each save continues the last one")
        screen.code(f'run = archive.run("{name}", graph="{trip.GRAPH}")\nrun.save(state, node="plan")   # and so on, six times')
        saved, state = trip.make(archive, name)
        archive.update(saved[-1].id, trip.rate)
        screen.say("\nThe state keeps its Python types: a date, a set, 40 KB of bytes. In the end the last snapshot is rated, "
                   "which changes its metadata and stores nothing else.\n")
        self._command("log", "--graph", name)
        return saved, state

    def _read_and_compare(self, archive: Archive, saved: Sequence[Snapshot]) -> None:
        screen = self.screen
        screen.act("List, read in part, compare: only the chunks in question are read")
        self._command("list", "--limit", "5")
        print()
        screen.code(f'archive["{saved[-1].id}"]["messages"][-1]')
        screen.line(repr(archive[saved[-1].id]["messages"][-1]))
        print()
        self._command("diff", saved[2].id, saved[4].id)

    def _fork(self, archive: Archive, source: Snapshot) -> None:
        from demonstration import trip

        screen = self.screen
        screen.act("Fork: go back to the plan and try it by train")
        name = f"{source.run}-by-train"
        screen.code(f'archive.fork("{source.id}", run="{name}", patch={{"by": {{"train"}}}})')
        first, later = trip.fork(archive, source, name)
        screen.say(f"\nThe fork stored {first.stored_bytes:,} bytes. It goes on by itself:\n")
        self._command("log", "--graph", name)
        screen.say(f"\nThe first run has not changed: its latest is still {self._latest(archive, source.run)}.")
        assert later[-1].run == name

    @staticmethod
    def _latest(archive: Archive, run: str) -> str:
        latest = archive.latest(run)
        assert latest is not None
        return latest.id

    def _restore(self, archive: Archive, snapshot: Snapshot, state: dict[str, Any], workspace: Path) -> None:
        from demonstration.screen import size
        from snapstore.format import values

        screen = self.screen
        screen.act("Restore into a file")
        target = workspace / "restored.msgpack"
        with target.open("wb") as file:
            written = archive[snapshot.id].write_to(file)
        restored = values.decode(target.read_bytes())
        same = restored == state and list(restored) == list(state)
        verdict = "equal to the state that was saved, types and order of keys included" if same else "NOT EQUAL TO WHAT WAS SAVED"
        screen.line(f"{snapshot.id}: {size(written)}, {verdict}")
        if not same:
            raise SystemExit(1)

    def _weigh(self, archive: Archive, chosen: Sequence[History]) -> bool:
        from demonstration.copies import Tally, Weighing, on_disk
        from demonstration.screen import count, size, times

        screen = self.screen
        screen.act("Read every snapshot back, and weigh")
        block_bytes = os.statvfs(self.folder).f_frsize
        with screen.progress("reading") as update:
            findings = Weighing(archive, block_bytes).run(chosen, update)
        files, length, taken = on_disk(self.folder)
        tallies = findings.tallies
        total = Tally(*(sum(getattr(t, name) for t in tallies.values()) for name in Tally.__dataclass_fields__))
        rows = [
            [title, f"{t.snapshots:,}", size(t.full_bytes), size(t.zstd_bytes), size(t.pack_bytes)] for title, t in tallies.items()
        ]
        rows += [
            ["registers, config", "", "", "", size(length - total.pack_bytes)],
            ["all", f"{total.snapshots:,}", size(total.full_bytes), size(total.zstd_bytes), size(length)],
            ["times the archive", "", times(total.full_bytes, length), times(total.zstd_bytes, length), "1x"],
        ]
        if findings.wrong:
            screen.say(f"{count(len(findings.wrong), 'snapshot')} did NOT come back as saved:")
            for line in findings.wrong[:10]:
                screen.line(line)
        screen.say(
            f"{total.snapshots:,} snapshots read back, every chunk verified against its digest; "
            f"{findings.equal:,} of them were imported and equal their source byte for byte.\n"
        )
        print()
        screen.table(["", "snapshots", "full copies", "zstd-3 each", "snapstore"], rows)
        print()
        screen.say(
            "Full copies: every state as one MessagePack file. zstd-3 each: every such file compressed by itself. "
            f"On this disk, which gives out blocks of {size(block_bytes)}, the archive's {files:,} files take {size(taken)}; "
            f"{total.snapshots:,} compressed files would take {size(total.zstd_blocks * block_bytes)}."
        )
        return not findings.wrong

    def _farewell(self, chosen: Sequence[History], last: Snapshot) -> None:
        run = next(history.shown for history in chosen if history.shown)
        screen = self.screen
        screen.act("Your turn")
        for words in (
            ("ls",),
            ("log", "--graph", str(run)),
            ("show", last.id),
            ("ls", f"{last.id}:messages"),
            ("cat", f"{last.id}:messages[-1].content"),
            ("diff", f"{last.id}~2", last.id),
            ("restore", f"{last.id}:messages", "--to", "messages.json"),
            ("stats",),
            ("--help",),
        ):
            screen.code(f"{self._shown_program} {shlex.join(words)}")
        screen.say(f"\nThat took {time.monotonic() - self._started:.0f} s. The archive stays in {self.folder}; remove the folder when you are done.")

    def _command(self, *words: str) -> None:
        """Show a command as the user would type it, and run it."""
        self.screen.code(f"$ snapstore {shlex.join(words)}")
        command = [sys.executable, "-m", "snapstore.cli", "-r", str(self.folder), *words]
        # What the user has set for archives of their own must not lead elsewhere.
        settings = {key: value for key, value in os.environ.items() if not key.startswith("SNAPSTORE_")}
        done = subprocess.run(command, env=settings, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)


def _near(path: Path) -> str:
    """Return a path relative to the current folder where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    raise SystemExit(main())
