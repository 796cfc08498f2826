"""Importing twice adds nothing, an interrupted import goes on, and what is malformed stops only itself.

Method: small histories into archives in memory; interruptions are raised from the progress callback, and saves and
look-ups are counted where the promise is about their number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.format import names
from snapstore.importers import ImportProgress, import_path
from snapstore.importers.service import FORMATS, find_sources


@pytest.fixture
def archive() -> Iterator[snapstore.Archive]:
    with snapstore.open("memory://", create=True) as opened:
        yield opened


def record(uuid: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"uuid": uuid, "parentUuid": parent, "type": "user", **fields}


SESSION = [record("aaaa"), record("bbbb", "aaaa"), record("cccc", "bbbb"), record("dddd", "aaaa"), record("eeee", "cccc")]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of JSON lines files below a folder of this test."""

    def write(records: list[dict[str, Any]] | str, name: str = "session.jsonl") -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = records if isinstance(records, str) else "".join(json.dumps(one) + "\n" for one in records)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_history_is_in_the_archive_with_its_branches(archive: snapstore.Archive, written: Callable[..., Path]) -> None:
    report = import_path(archive, "claude-jsonl", written(SESSION))
    assert (report.added, report.skipped, report.runs, report.sources) == (5, 0, ["session"], 1)
    assert report.failures == []
    assert report.bytes > 0
    assert report.logical_bytes == sum(snapshot.size_bytes for snapshot in archive.log("session"))
    assert {leaf.id for leaf in archive.leaves("session")} == {"eeee", "dddd"}
    assert archive["eeee"].state() == {"messages": [SESSION[0], SESSION[1], SESSION[2], SESSION[4]]}
    assert archive["dddd"].state() == {"messages": [SESSION[0], SESSION[3]]}
    assert archive["dddd"].parents == ("aaaa",)


def test_importing_again_adds_nothing_and_looks_nothing_up(
    archive: snapstore.Archive, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(SESSION)
    import_path(archive, "claude-jsonl", path)
    before = {snapshot.id: snapshot.version for snapshot in archive.log("session")}
    monkeypatch.setattr(snapstore.Archive, "get", lambda *_: pytest.fail("looked up"))
    monkeypatch.setattr(snapstore.Archive, "save", lambda *_, **__: pytest.fail("saved"))
    report = import_path(archive, "claude-jsonl", path)
    assert (report.added, report.skipped, report.bytes) == (0, 5, 0)
    assert {snapshot.id: snapshot.version for snapshot in archive.log("session")} == before


@pytest.mark.parametrize("steps", range(1, 5))
def test_an_interrupted_import_goes_on(archive: snapstore.Archive, written: Callable[..., Path], steps: int) -> None:
    path = written(SESSION)

    def interrupt(progress: ImportProgress) -> None:
        if progress.added == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_path(archive, "claude-jsonl", path, progress=interrupt)
    report = import_path(archive, "claude-jsonl", path)
    assert (report.added, report.skipped) == (5 - steps, steps)
    assert archive["eeee"].state() == {"messages": [SESSION[0], SESSION[1], SESSION[2], SESSION[4]]}
    assert len(archive.log("session")) == 5


def test_importing_again_writes_nothing_once_everything_is_in_the_index(
    archive: snapstore.Archive, written: Callable[..., Path]
) -> None:
    """The change marker that an index has absorbed is gone, and is not missing."""
    path = written(SESSION)
    import_path(archive, "claude-jsonl", path)
    archive.index.refresh()
    assert [*archive.storage.list("changes/claude/")] == []
    import_path(archive, "claude-jsonl", path)
    assert archive.index.status().tail == 0


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_save_that_was_killed_before_it_was_listed_is_finished(
    archive: snapstore.Archive, written: Callable[..., Path], steps: int
) -> None:
    path = written(SESSION)

    def interrupt(progress: ImportProgress) -> None:
        if progress.added == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_path(archive, "claude-jsonl", path, progress=interrupt)
    newest = archive.log("session")[0].register
    archive.storage.delete_many([names.change_key("claude", newest.updated_at, newest.txid, newest.id)])
    assert newest.id not in {row.id for row in archive.list(graph="claude")}
    import_path(archive, "claude-jsonl", path)
    assert {row.id for row in archive.list(graph="claude")} == {one["uuid"] for one in SESSION}
    assert {row.version for row in archive.list(graph="claude")} == {1}


def test_a_session_that_repeats_another_branches_from_it(archive: snapstore.Archive, written: Callable[..., Path]) -> None:
    import_path(archive, "claude-jsonl", written([record("aaaa"), record("bbbb", "aaaa")], "one.jsonl"))
    resumed = [record("aaaa"), record("bbbb", "aaaa"), record("cccc", "bbbb")]
    report = import_path(archive, "claude-jsonl", written(resumed, "two.jsonl"))
    assert (report.added, report.skipped, report.runs) == (1, 2, ["two"])
    assert [archive[id].run for id in ("aaaa", "bbbb", "cccc")] == ["one", "one", "two"]
    assert archive["cccc"].parents == ("bbbb",)
    assert archive["aaaa"].version == 1


def test_looked_up_is_only_what_may_be_there(
    archive: snapstore.Archive, written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    get = snapstore.Archive.get

    def counted(self: snapstore.Archive, id: str) -> Any:
        asked.append(id)
        return get(self, id)

    monkeypatch.setattr(snapstore.Archive, "get", counted)
    import_path(archive, "claude-jsonl", written(SESSION))
    assert asked == ["aaaa"]


def test_what_comes_before_a_malformed_line_is_kept_and_other_files_are_read(
    archive: snapstore.Archive, written: Callable[..., Path]
) -> None:
    written(SESSION, "good.jsonl")
    bad = written(json.dumps(record("ffff")) + "\n{oops\n" + json.dumps(record("gggg", "ffff")) + "\n", "bad.jsonl")
    report = import_path(archive, "claude-jsonl", bad.parent)
    assert (report.added, report.sources) == (6, 2)
    (failure,) = report.failures
    assert (failure.file, failure.line, failure.error.code) == (str(bad), 2, "malformed_input")
    written([record("ffff"), record("gggg", "ffff")], "bad.jsonl")
    again = import_path(archive, "claude-jsonl", bad.parent)
    assert (again.added, again.skipped, again.failures) == (1, 6, [])


def test_a_state_that_cannot_be_stored_stops_its_file_with_the_line(
    archive: snapstore.Archive, written: Callable[..., Path]
) -> None:
    path = written('{"n": 1}\n\n{"n": "\\ud800"}\n{"n": 3}\n')
    report = import_path(archive, "jsonl", path)
    assert report.added == 1
    (failure,) = report.failures
    assert (failure.line, failure.error.code) == (3, "lone_surrogate")


def test_names_come_from_folders_options_and_standard_input(archive: snapstore.Archive, written: Callable[..., Path]) -> None:
    path = written([{"n": 1}], "deep/er/a.b.jsonl")
    assert import_path(archive, "jsonl", path.parents[2]).runs == ["deep/er/a.b"]
    assert import_path(archive, "jsonl", path).runs == ["a.b"]
    assert import_path(archive, "jsonl", path, run="mine", graph="ours").runs == ["mine"]
    assert archive.log("mine")[0].graph == "ours"
    assert import_path(archive, "jsonl", "-", stdin=io.BytesIO(b'{"n": 1}')).runs == ["stdin"]
    with pytest.raises(InvalidInputError, match="cannot share one name"):
        import_path(archive, "jsonl", path.parent, run="mine")


def test_wrong_requests_are_named(archive: snapstore.Archive, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as unknown:
        import_path(archive, "csv", tmp_path)
    assert unknown.value.code == "unknown_format"
    with pytest.raises(NotFoundError) as absent:
        import_path(archive, "jsonl", tmp_path / "absent")
    assert absent.value.code == "input_not_found"
    with pytest.raises(InvalidInputError) as empty:
        import_path(archive, "jsonl", tmp_path)
    assert empty.value.code == "no_input_files"


def test_progress_grows_to_the_end(archive: snapstore.Archive, written: Callable[..., Path]) -> None:
    seen: list[ImportProgress] = []
    written(SESSION, "b.jsonl")
    folder = written([record("zzzz")], "a.jsonl").parent
    import_path(archive, "claude-jsonl", folder, progress=seen.append)
    done = [one.sources_done + one.fraction for one in seen]
    assert done == sorted(done)
    assert done[-1] == 2.0
    assert (seen[-1].added, seen[-1].sources_total) == (6, 2)


@pytest.mark.parametrize(
    ("format", "runs", "snapshots"),
    [pytest.param("tau-bench", 50, 5144, marks=pytest.mark.slow), ("swe-agent", 10, 112)],
)
def test_real_histories_come_back_as_they_were_read(data: Path, format: str, runs: int, snapshots: int) -> None:
    """Every state of every third run equals what the reader built."""
    with snapstore.open("memory://", create=True) as archive:
        report = import_path(archive, format, data / format)
        assert (len(report.runs), report.added, report.failures) == (runs, snapshots, [])
        chosen = set(report.runs[::3])
        reader = FORMATS[format]
        for source in find_sources(data / format, reader.SUFFIXES):
            for step in reader.read(source):
                if step.run in chosen:
                    snapshot = archive[step.id]
                    assert snapshot.state() == step.build()
                    assert snapshot.parents == ((step.parent_id,) if step.parent_id else ())
                    assert (snapshot.node, snapshot.status) == (step.node, step.status)
                    assert dict(snapshot.metadata) == dict(step.metadata)
        assert import_path(archive, format, data / format).skipped == snapshots
