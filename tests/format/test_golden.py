"""Archives of every format version are read for ever, by this program and by one that has only read SPEC.md.

Goal: whatever was written once restores to the bit, in ten years too, and the format is what SPEC.md says.
Method: the golden archives in `manifests/archives` hold every kind of object, entry and value. Each of their snapshots is
restored by `independent_reader.py`, which knows nothing of snapstore, and by snapstore, and compared with what is written
down beside the archive in a form of its own. What today's program writes has to satisfy the same reader.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import snapstore
from snapstore.digest import digest_hex, hasher
from snapstore.errors import ConflictError, ReadOnlyError
from snapstore.format import canonical, frames, names
from snapstore.format.limits import DOCUMENT_LIMIT_BYTES
from snapstore.format.register import Register
from tests.format import anatomy, examples, independent_reader, tagged

ROOT = examples.MANIFESTS.parent
GOLDEN = examples.MANIFESTS / "archives" / "format-1"
ARCHIVE = GOLDEN / "archive"
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "expected.json").read_bytes())
SNAPSHOTS: dict[str, dict[str, Any]] = {row["id"]: row for row in EXPECTED["snapshots"]}
READER = Path(independent_reader.__file__)

# Over every key and its bytes, in order of keys: a golden archive is never edited again.
PINNED = {
    "format-1": "04921b2583ddc7c1a5195a04ba113cd32d6685df269516e15d49b3a9486aac49",
    "format-1-index": "bc5d67b3c6b399856be0421106f38e51e85c6d05748c2e13860c13de03f784b4",  # read by test_golden_index.py
}

ids = pytest.mark.parametrize("id", sorted(SNAPSHOTS), ids=ascii)


def state_of(id: str) -> Any:
    """Return the state that a golden snapshot was saved with."""
    return tagged.untagged(SNAPSHOTS[id]["state"], EXPECTED["long"])


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by key."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the golden archive that a test may change."""
    return Path(shutil.copytree(ARCHIVE, tmp_path / "archive"))


@pytest.mark.parametrize("name", sorted(PINNED))
def test_golden_archives_are_never_edited(name: str) -> None:
    whole = hasher()
    for key, data in sorted(contents(examples.MANIFESTS / "archives" / name).items()):
        whole.update(f"{key}\n{digest_hex(data)}\n".encode())
    assert whole.hexdigest() == PINNED[name]


def test_every_golden_archive_is_pinned_and_small() -> None:
    folders = {path.name: path for path in (examples.MANIFESTS / "archives").iterdir() if path.is_dir()}
    assert set(folders) == set(PINNED)
    assert all(sum(map(len, contents(folder / "archive").values())) < 200_000 for folder in folders.values())


@ids
def test_the_independent_reader_restores(id: str) -> None:
    encoding = independent_reader.read_snapshot(ARCHIVE, id)
    assert digest_hex(encoding) == SNAPSHOTS[id]["digest"]
    assert len(encoding) == SNAPSHOTS[id]["size_bytes"]
    assert tagged.exact(independent_reader.decode(encoding)) == tagged.exact(state_of(id))


@ids
def test_snapstore_restores(id: str, tmp_path: Path) -> None:
    with snapstore.open(str(ARCHIVE), read_only=True) as archive:
        snapshot = archive[id]
        assert tagged.exact(snapshot.state()) == tagged.exact(state_of(id))
        with (tmp_path / "state").open("wb") as file:
            snapshot.write_to(file)
    assert (tmp_path / "state").read_bytes() == independent_reader.read_snapshot(ARCHIVE, id)


@ids
def test_snapstore_tells_what_was_written_down(id: str) -> None:
    row = SNAPSHOTS[id]
    with snapstore.open(str(ARCHIVE), read_only=True) as archive:
        info = archive[id].info
    told = {name: getattr(info, name) for name in row if name != "state"} | {"parents": list(info.parents)}
    assert told | {"metadata": dict(info.metadata)} == {name: value for name, value in row.items() if name != "state"}


def test_runs_graphs_and_deletions() -> None:
    with snapstore.open(str(ARCHIVE), read_only=True) as archive:
        for run, leaves in EXPECTED["leaves"].items():
            assert [snapshot.id for snapshot in archive.leaves(run)] == leaves
            assert {snapshot.id for snapshot in archive.log(run)} == {id for id, row in SNAPSHOTS.items() if row["run"] == run}
            newest = archive.latest(run)
            assert newest is not None
            assert newest.id == leaves[0]
            assert tagged.exact(newest.state()) == tagged.exact(state_of(newest.id))
        assert {row.id for row in archive.list()} == set(SNAPSHOTS)
        assert {row.id for row in archive.list(graph="ödd")} == {id for id, row in SNAPSHOTS.items() if row["graph"] == "ödd"}
        for id in EXPECTED["deleted"]:
            assert archive.get(id) is None
            with pytest.raises(ValueError, match="no such snapshot"):
                independent_reader.read_snapshot(ARCHIVE, id)
    with snapstore.open(str(ARCHIVE), namespace="tenant-7", read_only=True) as tenant:
        assert [row.id for row in tenant.list()] == ["ticket-42/00"]
        assert tenant["ticket-42/00"].state() == {"tenant": 7}
    tenant_s = independent_reader.read_snapshot(ARCHIVE / "ns" / "tenant-7", "ticket-42/00")
    assert independent_reader.decode(tenant_s) == {"tenant": 7}


def test_the_archive_holds_one_of_everything() -> None:
    found = anatomy.features(ARCHIVE)
    assert anatomy.EVERYTHING - found == set()


def test_the_independent_reader_is_independent_and_short() -> None:
    source = READER.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 150
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert modules - set(sys.stdlib_module_names) - {"collections.abc"} == {"blake3", "msgpack", "zstandard"}


def test_the_independent_reader_is_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(READER), str(ARCHIVE), "../x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert done.stdout == independent_reader.read_snapshot(ARCHIVE, "../x")
    shown = subprocess.run([*command, "--show"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert ast.literal_eval(shown.stdout.decode()) == {"the id is": "../x"}


def test_reading_changes_nothing(copy: Path) -> None:
    before = contents(copy)
    with snapstore.open(str(copy), read_only=True) as archive:
        assert archive.latest("ticket-42") is not None
        with pytest.raises(ReadOnlyError):
            archive.save({}, run="ticket-42")
    assert contents(copy) == before


def test_a_copy_can_be_continued(copy: Path) -> None:
    before = contents(copy)
    with snapstore.open(str(copy)) as archive:
        for id in ("ticket-42/15", "merged", "types", "shapes", "several packs", "nothing", "fork", "draft"):
            old = archive[id].state()
            new = {**old, "more": ["one"] * 50} if isinstance(old, dict) else [old, "more"]
            saved = archive.save(new, run="continued", parent=id, id=f"{id} continued")
            assert tagged.exact(archive[saved.id].state()) == tagged.exact(new)
            encoding = independent_reader.read_snapshot(copy, saved.id)
            assert tagged.exact(independent_reader.decode(encoding)) == tagged.exact(new)
        fork = archive.fork("patched", run="forked")
        assert fork.state() == state_of("patched")
        with pytest.raises(ConflictError):
            archive.storage.put_create(names.register_key("draft"), b"")
    after = contents(copy)
    assert {key: after[key] for key in before} == before, "nothing that was there has changed"
    for id in SNAPSHOTS:
        assert independent_reader.read_snapshot(copy, id) == independent_reader.read_snapshot(ARCHIVE, id)


def test_fields_of_the_future_are_kept(copy: Path) -> None:
    path = copy / names.register_key("draft")
    document = canonical.decode(frames.decompress(path.read_bytes(), DOCUMENT_LIMIT_BYTES))
    document["x_later"] = {"kept": [1, None]}
    path.write_bytes(frames.compress(canonical.encode(document)))
    config = copy / "snapstore.json"
    config.write_bytes(canonical.encode(canonical.decode(config.read_bytes()) | {"x_later": 1}))

    def touch(draft: snapstore.SnapshotDraft | None) -> snapstore.SnapshotDraft:
        assert draft is not None
        draft.status = "touched"
        return draft

    with snapstore.open(str(copy)) as archive:
        archive.update("draft", touch)
        archive.save({"new": "content"}, run="drafts", graph="support", id="draft")
        register = Register.decode(path.read_bytes())
        assert register.version == SNAPSHOTS["draft"]["version"] + 2
        assert dict(register.extra) == {"x_later": {"kept": [1, None]}}
        assert archive["draft"].state() == {"new": "content"}
    assert independent_reader.decode(independent_reader.read_snapshot(copy, "draft")) == {"new": "content"}


@pytest.mark.parametrize("id", ["ticket-42/15", "shapes", "several packs", "nothing"])
def test_the_independent_reader_refuses_damage(copy: Path, id: str) -> None:
    register = Register.decode((copy / names.register_key(id)).read_bytes())
    for ref in register.closure.values():
        path = copy / ref.key
        whole = path.read_bytes()
        middle = (ref.start + ref.end) // 2
        for damaged in (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:middle], b""):
            path.write_bytes(damaged)
            with pytest.raises(Exception, match=r"."):
                independent_reader.read_snapshot(copy, id)
        path.write_bytes(whole)
    assert independent_reader.read_snapshot(copy, id) == independent_reader.read_snapshot(ARCHIVE, id)


def make_golden(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script that made the golden archive."""
    command = [sys.executable, str(ROOT / "scripts" / "make_golden.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=dict(os.environ))


def test_a_golden_archive_is_not_overwritten() -> None:
    before = contents(GOLDEN)
    done = make_golden()
    assert done.returncode == 1
    assert "never edited" in done.stderr
    assert contents(GOLDEN) == before


def test_what_is_written_today_is_what_spec_says(tmp_path: Path) -> None:
    done = make_golden("--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "format-1"
    document = json.loads((folder / "expected.json").read_bytes())
    for row in document["snapshots"]:
        encoding = independent_reader.read_snapshot(folder / "archive", row["id"])
        assert digest_hex(encoding) == row["digest"] == SNAPSHOTS[row["id"]]["digest"]
    assert anatomy.EVERYTHING - anatomy.features(folder / "archive") == set()
