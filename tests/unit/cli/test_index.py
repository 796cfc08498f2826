"""`snapstore index` shows the index and what would help it, and does that; lists go on meanwhile and say what they lack.

Method: the command in this process on a small archive of each test's own.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.index import Index, arrow, levels, tail
from tests.unit.cli.calls import SNAPSHOTS, call, filled


@pytest.fixture
def url(tmp_path: Path) -> Path:
    with filled(tmp_path / "archive"):
        return tmp_path / "archive"


def document(url: Path, *words: str) -> dict[str, Any]:
    done = call(url, "index", *words, "--json")
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    assert found["schema_version"] == 1
    return found


def test_status_says_how_it_is(url: Path) -> None:
    found = document(url, "status")
    assert (found["type"], found["rows"], found["tail"], found["files"]) == ("index", 8, 4, 1)
    assert (found["lost"], found["advice"], found["rebuilding_since"]) == (False, None, None)
    assert "problem" not in found, "of a writer's process, where it is in `archive.index`"
    assert found["folded_at"].endswith("Z")
    shown = call(url, "index", "status")
    lines = [line.split("  ", 1) for line in shown.out.splitlines()]
    assert [name for name, _ in lines] == ["state", "rows", "not folded", "last fold"]
    assert [value.strip() for _, value in lines[:1] + lines[2:3]] == ["in use", "4 changes"]
    assert shown.err == ""


def test_folding_leaves_no_change_behind(url: Path) -> None:
    assert document(url, "refresh")["markers"] == 4
    assert (document(url, "status")["rows"], document(url, "status")["tail"]) == (SNAPSHOTS, 0)
    assert call(url, "index", "refresh").out == "folded 0 changes into 0 rows\n"


def test_compacting_folds_and_merges(url: Path) -> None:
    done = document(url, "compact")
    assert (done["type"], done["markers"]) == ("compact", 4)
    assert done["bytes_written"] > 0
    found = document(url, "status")
    assert (found["files"], found["rows"], found["tail"]) == (1, SNAPSHOTS, 0)
    assert call(url, "index", "compact").out.startswith("folded 0 changes, merged ")


def test_a_lost_index_is_made_again_by_what_would_fold_into_it(url: Path) -> None:
    """A job that compacts every night says that it did more than that."""
    shutil.rmtree(url / "index")
    done = call(url, "index", "compact").out.splitlines()
    assert done[0].startswith(f"made the lost index again: read {SNAPSHOTS} snapshots, wrote {SNAPSHOTS} rows ")
    assert done[1].startswith("folded ")
    shutil.rmtree(url / "index")
    assert call(url, "index", "refresh").out.startswith("made the lost index again: ")


def test_status_counts_what_was_replaced(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "LEVEL_0_ROWS", 1)  # so small segments stay apart as large ones do
    with snapstore.open(url) as archive:
        for row in list(archive.list(run="run-0")):
            archive.update(row.id, _failed)
        archive.index.refresh()
    assert document(url, "status")["revised"] > 0
    assert " of them replaced" in call(url, "index", "status").out
    with snapstore.open(url) as archive:
        Index(archive.storage, grace_s=0).compact()
    assert document(url, "status")["revised"] == 0
    assert "of them replaced" not in call(url, "index", "status").out


def _failed(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft | None:
    assert draft is not None
    draft.status = "failed"
    return draft


def test_a_rebuild_under_way_shows(url: Path) -> None:
    """Until it ends, old segments are not merged: who looks for a reason finds it here."""
    seen: list[tuple[str, str]] = []

    def look(_read: int) -> None:
        compacted.append(call(url, "index", "compact").err)
        seen.append((call(url, "index", "status").out, document(url, "status")["rebuilding_since"]))

    compacted: list[str] = []
    with snapstore.open(url) as archive:
        archive.index.rebuild(look)
    assert compacted[0] == "left 1 segment to the rebuild under way; if it has died, run: snapstore index rebuild\n"
    shown, since = seen[0]
    assert [line for line in shown.splitlines() if line.startswith("rebuilding  since 2")]
    assert since.endswith("Z")
    assert document(url, "status")["rebuilding_since"] is None


def test_a_damaged_segment_is_named_with_what_helps(url: Path) -> None:
    for segment in (url / "index" / "snapshots").rglob("*.parquet"):
        segment.write_bytes(b"x" * segment.stat().st_size)
    done = call(url, "list")
    assert (done.code, "segment of the index is damaged" in done.err, "snapstore index rebuild" in done.err) == (4, True, True)
    assert call(url, "index", "rebuild").code == 0
    assert len(call(url, "list", "--json").rows()) == SNAPSHOTS


def test_a_missing_segment_is_counted_with_what_helps(url: Path) -> None:
    for segment in (url / "index" / "snapshots").rglob("*.parquet"):
        segment.unlink()
    shown = call(url, "index", "status")
    assert "missing     1 segment: lists read every register" in shown.out
    assert shown.err == "run: snapstore index rebuild\n"
    assert call(url, "index", "rebuild").code == 0
    assert document(url, "status")["missing"] == 0


def test_a_lost_index_is_noticed_and_made_again(url: Path) -> None:
    rows = call(url, "list", "--json").data
    shutil.rmtree(url / "index")
    shown = call(url, "index", "status")
    assert (shown.code, shown.err) == (0, "run: snapstore index rebuild\n")
    assert document(url, "status")["advice"] == "snapstore index rebuild"
    listed = call(url, "list", "--json")
    assert (listed.code, listed.data) == (0, rows)
    assert "snapstore index rebuild" in listed.err
    assert len(listed.err.splitlines()) == 1, "a sentence, not a line of our source"
    assert document(url, "rebuild")["snapshots"] == SNAPSHOTS
    assert document(url, "status")["lost"] is False
    listed = call(url, "list", "--json")
    assert (listed.data, listed.err) == (rows, "")


def test_a_long_tail_is_named_with_what_helps(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LONG_TAIL", 3)
    assert call(url, "index", "status").err == "run: snapstore index compact\n"
    listed = call(url, "list", "-n", "20")
    assert (listed.code, "snapstore index compact" in listed.err) == (0, True)
    call(url, "index", "compact")
    assert call(url, "index", "status").err == ""


def test_lists_may_be_a_little_old(url: Path) -> None:
    assert len(call(url, "list", "--graph", "größe", "--json").rows()) == 8
    for age in ("1h", "3600", "30m"):
        assert len(call(url, "list", "--graph", "größe", "--max-staleness", age, "--json").rows()) == 4
    assert len(call(url, "list", "--graph", "größe", "--max-staleness", "0", "--json").rows()) == 8
    wrong = call(url, "list", "--max-staleness", "soon")
    assert (wrong.code, "no length of time" in wrong.err) == (2, True)


def test_pages_follow_each_other(url: Path) -> None:
    everything = [row["id"] for row in call(url, "list", "--node", "plan", "--json").rows()]
    pages: list[str] = []
    while len(pages) < len(everything):
        before = ["--before", pages[-1]] if pages else []
        pages += [row["id"] for row in call(url, "list", "--node", "plan", "-n", "4", "--json", *before).rows()]
    assert pages == everything


def test_wrong_words_are_two(url: Path) -> None:
    for words in ([], ["nothing"], ["status", "x"]):
        done = call(url, "index", *words)
        assert (done.code, done.data) == (2, b""), words
        assert "snapstore" in done.err


def test_a_missing_pyarrow_is_named(url: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrow.arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = call(url, "index", "compact")
    assert (done.code, "pip install 'snapstore[index]'" in done.err) == (2, True)
    assert call(url, "index", "status").code == 0
