"""The acts of the demonstration, in their order; each says what it does, does it, and shows what came of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import snapstore
from demonstration import copies, form, histories, questions, trip
from demonstration.branches import condensed
from demonstration.histories import History
from demonstration.screen import Screen, count, size, times
from snapstore import Archive, Snapshot
from snapstore.format import values
from snapstore.importers import ImportProgress, import_path


class Demonstration:
    """The acts, in order.

    Attributes:
        screen: Where they are shown.
        folder: The archive's folder, as the user named it.
    """

    def __init__(self, folder: Path, *, goes_on: bool) -> None:
        self.screen = Screen()
        self.folder = folder
        self._goes_on = goes_on
        self._started = time.monotonic()
        program = Path(sys.executable).with_name("snapstore")
        # What the user types: the environment's own program, by the shortest path that works from here.
        words = [_near(program)] if program.exists() else [_near(Path(sys.executable)), "-m", "snapstore.cli"]
        self._shown_program = shlex.join([*words, "-r", str(folder)])

    def run(self) -> int:
        """Run all acts; return 0 when everything came back as it was saved."""
        screen = self.screen
        print(screen.paint(f"snapstore {snapstore.__version__}", "1") + f"  in {self.folder}")
        if self._goes_on:
            screen.say("An earlier demonstration lies there: what it imported is kept, and one trip is added.")
        with (
            tempfile.TemporaryDirectory(prefix="snapstore-demo-") as workspace,
            snapstore.open(self.folder, create=True) as archive,
        ):
            chosen = histories.found(Path(workspace))
            shown_run = self._import(archive, chosen)
            self._branches(archive, shown_run)
            saved, state = self._save(archive)
            self._read_and_compare(archive, saved)
            self._fork(archive, saved[0])
            self._restore(archive, saved[-1], state, Path(workspace))
            self._stand_behind(archive, saved[-1].run)
            self._ask(archive, saved[-1].run)
            right = self._weigh(archive, chosen)
            self._farewell(shown_run, saved[-1])
        return 0 if right else 1

    def _import(self, archive: Archive, chosen: Sequence[History]) -> str:
        """Import everything; return the run whose branches are worth a look."""
        screen = self.screen
        runs: list[str] = []
        screen.act("Import histories: one snapshot for every message or step")
        for history in chosen:
            started = time.monotonic()
            with screen.progress(history.title) as update:

                def show(state: ImportProgress, update: Any = update) -> None:
                    done = (state.sources_done + state.fraction) / state.sources_total
                    update(done, f"{count(state.added, 'snapshot')} added")

                report = import_path(archive, history.format, history.path, run=history.run, progress=show)
            runs += report.runs
            there = f", {report.skipped:,} there already" if report.skipped else ""
            what = f"{count(report.added, 'snapshot')} of {count(len(report.runs), 'run')}"
            screen.say(f"{history.title}: {what} added{there}, {time.monotonic() - started:.1f} s")
            for failure in report.failures:
                screen.say(f"could not be read to its end: {failure.file}: {failure.error}")
        return next((history.shown for history in chosen if history.shown in runs), runs[0])

    def _branches(self, archive: Archive, run: str) -> None:
        self.screen.act(f"One of them, with its branches: {run}")
        log = archive.log(run)
        for line in condensed(log):
            self.screen.line(line)
        ends = len(archive.leaves(run))
        self.screen.gap()
        self.screen.say(f"{count(len(log), 'snapshot')}, newest first; {count(ends, 'branch', 'branches')}.")

    def _save(self, archive: Archive) -> tuple[list[Snapshot], dict[str, Any]]:
        screen = self.screen
        name = trip.free_name(archive)
        screen.act("Save from Python: each save continues the last one")
        screen.code(f'run = archive.run("{name}", graph="{trip.GRAPH}")\nrun.save(state, node="plan")   # and so on, six times')
        saved, state = trip.make(archive, name)
        archive.update(saved[-1].id, trip.rate)
        screen.gap()
        screen.say(
            "The state holds a date, a set, and from the fifth save on a ticket of 40 KiB, which is stored once. In the end "
            "the last snapshot is rated: that changes its metadata and stores no state."
        )
        screen.gap()
        self._command("log", "--graph", name)
        return saved, state

    def _read_and_compare(self, archive: Archive, saved: Sequence[Snapshot]) -> None:
        screen = self.screen
        screen.act("List, read in part, compare: only the chunks in question are read")
        self._command("list", "--limit", "5", "--format", "table")
        screen.gap()
        screen.code(f'archive["{saved[-1].id}"]["messages"][-1]')
        screen.line(repr(archive[saved[-1].id]["messages"][-1]))
        screen.gap()
        self._command("diff", saved[2].id, saved[4].id)

    def _fork(self, archive: Archive, source: Snapshot) -> None:
        screen = self.screen
        screen.act("Fork: go back to the plan and try it by train")
        name = f"{source.run}-by-train"
        screen.code(f'archive.fork("{source.id}", run="{name}", patch={{"by": {{"train"}}}})')
        first = trip.fork(archive, source, name)
        screen.gap()
        screen.say(f"The fork stored {first.stored_bytes:,} bytes, and goes on in a run of its own:")
        screen.gap()
        self._command("log", "--graph", name)
        latest = archive.latest(source.run)
        screen.gap()
        screen.say(f"The first run is as it was; its latest is {latest.id if latest else 'gone'}.")

    def _restore(self, archive: Archive, snapshot: Snapshot, state: dict[str, Any], workspace: Path) -> None:
        screen = self.screen
        screen.act("Restore into a file")
        target = workspace / "restored.msgpack"
        with target.open("wb") as file:
            written = archive[snapshot.id].write_to(file)
        restored = values.decode(target.read_bytes())
        # Equal encodings are more than equal values: 1, 1.0 and True differ, and so does the order of keys.
        same = restored == state and values.encode(restored) == values.encode(state)
        verdict = "equal to the state that was saved, types and order of keys included" if same else "NOT EQUAL TO WHAT WAS SAVED"
        screen.say(f"{snapshot.id}: {size(written)}, {verdict}.")
        if not same:
            raise SystemExit(1)

    def _stand_behind(self, archive: Archive, session: str) -> None:
        screen = self.screen
        screen.act("Behind an interface that a program already uses: one line of it changes")
        screen.code(form.LINE)
        answers, past = form.fill_in(archive, session)
        screen.gap()
        screen.say(
            f"The traveller has given a name and a seat, and taken the seat back: {answers}. The wizard knows nothing of "
            f"this archive, and yet each of its {len(past)} changes is a snapshot like others:"
        )
        screen.gap()
        self._command("log", f"cjm:{form.FLOW}/{session}")
        screen.gap()
        screen.say("LangGraph, Genkit, FlowKit and AgentOS change one line too; README.md has it.")

    def _ask(self, archive: Archive, run: str) -> None:
        screen = self.screen
        screen.act("Ask all of it: every snapshot is a row of the index")
        self._command("list", "--graph", trip.GRAPH, "--status", "waiting", "--limit", "3", "--format", "table")
        screen.gap()
        folded = archive.index.refresh()
        status = archive.index.status()
        screen.say(
            f"The index is Parquet, {size(status.bytes)} in {count(status.files, 'file')}; "
            f"{count(folded.markers, 'change')} went into it just now, which the list above knew already. "
            "DuckDB and others read it with no code of ours; here it answers in SQL."
        )
        screen.gap()
        screen.code(f'archive.query("""\n{questions.SPACE}\n""")')
        screen.gap()
        screen.table(["graph", "runs", "snapshots", "stored", "full copies"], questions.space(archive))
        screen.gap()
        screen.code(f'archive.query("""\n{questions.BRANCHES}\n""")')
        screen.gap()
        screen.table(["run", "forks"], questions.branches(archive))
        screen.gap()
        screen.say("What stands in the states is a scan, which reads the chunks in question and no others:")
        screen.gap()
        screen.code(f'archive.scan("spent_eur", run="{run}")')
        screen.gap()
        screen.table(["node", "spent_eur"], questions.replay(archive, run, "spent_eur"))

    def _weigh(self, archive: Archive, chosen: Sequence[History]) -> bool:
        screen = self.screen
        screen.act("Read every snapshot back, and weigh")
        block_bytes = os.statvfs(self.folder).f_frsize
        with screen.progress("reading") as update:
            findings = copies.Weighing(archive, block_bytes).run(chosen, update)
        files, length, taken = copies.on_disk(self.folder)
        tallies = findings.tallies
        total = copies.Tally(*(sum(getattr(t, name) for t in tallies.values()) for name in copies.Tally.__dataclass_fields__))
        rows = [
            [title, f"{t.snapshots:,}", size(t.full_bytes), size(t.zstd_bytes), size(t.pack_bytes)]
            for title, t in tallies.items()
        ]
        rows += [
            ["registers and the rest", "", "", "", size(length - total.pack_bytes)],
            ["all", f"{total.snapshots:,}", size(total.full_bytes), size(total.zstd_bytes), size(length)],
            ["times as much", "", times(total.full_bytes, length), times(total.zstd_bytes, length), "1x"],
        ]
        if findings.wrong:
            screen.say(f"{count(len(findings.wrong), 'snapshot')} did NOT come back as saved:")
            for line in findings.wrong[:10]:
                screen.line(line)
        screen.say(
            f"{total.snapshots:,} snapshots read back, every chunk verified against its digest; "
            f"{findings.equal:,} of them were imported and equal their source, to the type."
        )
        screen.gap()
        screen.table(["", "snapshots", "full copies", "zstd-3 each", "snapstore"], rows)
        screen.gap()
        screen.say(
            "Full copies: every state as one MessagePack file. zstd-3 each: every such file compressed by itself. "
            f"On this disk, which gives out blocks of {size(block_bytes)}, the archive's {files:,} files take {size(taken)}; "
            f"{total.snapshots:,} compressed files would take {size(total.zstd_blocks * block_bytes)}."
        )
        return not findings.wrong

    def _farewell(self, run: str, last: Snapshot) -> None:
        screen = self.screen
        screen.act("Your turn")
        for words in (
            ("ls",),
            ("log", "--graph", run),
            ("show", last.id),
            ("ls", f"{last.id}:messages"),
            ("cat", f"{last.id}:messages[-1].content"),
            ("diff", f"{last.id}~2", last.id),
            ("restore", f"{last.id}:messages", "--to", "messages.json"),
            ("query", "select node, count(*) as snapshots from snapshots group by node order by snapshots desc"),
            ("scan", "spent_eur", "--graph", trip.GRAPH),
            ("stats",),
            ("--help",),
        ):
            screen.code(f"{self._shown_program} {shlex.join(words)}")
        screen.gap()
        took = time.monotonic() - self._started
        screen.say(f"That took {took:.0f} s. The archive stays in {self.folder}; remove the folder when you are done.")

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
