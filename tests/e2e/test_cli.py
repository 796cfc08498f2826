"""The command line from the first `init` to the last `rm`, as a user types it.

Method: every command runs in its own process with an empty environment, on an archive in a fresh folder; results are
read from stdout as text or JSON. A small branching session stands in for real histories, which have a test of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snapstore.format import values
from tests.e2e.shell import Shell

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

STATE = {"messages": [{"role": "user", "content": "hello"}], "cost": 1.5, "note": "a\nb", "tools": {"my key": [1, 2]}}


def record(uuid: str, parent: str | None, text: str) -> dict[str, Any]:
    return {"uuid": uuid, "parentUuid": parent, "type": "user", "message": {"role": "user", "content": text}}


SESSION = "".join(
    json.dumps(one) + "\n"
    for one in [
        record("aaaa-1", None, "one"),
        record("bbbb-2", "aaaa-1", "two"),
        record("cccc-3", "bbbb-2", "three"),
        record("dddd-4", "aaaa-1", "other"),
    ]
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the session in a file and in an archive, as run `session`."""
    folder = tmp_path_factory.mktemp("prepared")
    user = Shell(folder, "archive")
    (folder / "session.jsonl").write_text(SESSION, encoding="utf-8")
    user("init")
    user("import", "--format", "claude-jsonl", "session.jsonl")
    return folder


@pytest.fixture
def shell(tmp_path: Path, prepared: Path) -> Shell:
    """Return a shell in a copy of the prepared folder: an archive is only its files."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Shell(tmp_path, "archive")


def saved(shell: Shell, state: Any, *words: str) -> str:
    return shell("save", "--run", "r", *words, stdin=json.dumps(state)).out.strip()


# ------------------------------------------------------------------------------------------- archives


def test_init_creates_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    first = shell("init", "here", "--json").json()
    assert (first["type"], first["created"]) == ("init", True)
    second = shell("-r", "here", "init", "--json").json()
    assert (second["id"], second["created"]) == (first["id"], False)
    assert "SNAPSTORE_REPOSITORY" in shell("init", "there").err
    assert shell("init", "memory://x", ok=False).code == 2


def test_an_archive_is_named_by_option_environment_or_file(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    nowhere = shell("ls", ok=False)
    assert nowhere.code == 2
    assert "SNAPSTORE_REPOSITORY" in nowhere.err
    absent = shell("ls", "-r", "absent", "--json", ok=False)
    assert (absent.code, absent.error()["code"]) == (10, "archive_not_found")
    assert "init" in absent.error()["hint"]
    assert not (tmp_path / "absent").exists()
    shell("init", "one")
    saved(Shell(tmp_path, "one"), {"in": "one"})
    (tmp_path / "url").write_text("one\n", encoding="utf-8")
    for user, words in [
        (Shell(tmp_path), ["-r", "one", "cat", "latest"]),
        (Shell(tmp_path), ["cat", "latest", "-r", "one"]),
        (Shell(tmp_path, "one"), ["cat", "latest"]),
        (Shell(tmp_path, variables={"SNAPSTORE_REPOSITORY_FILE": "url"}), ["cat", "latest"]),
        (Shell(tmp_path, "absent"), ["cat", "latest", "-r", "one"]),
    ]:
        assert json.loads(user(*words).out) == {"in": "one"}


def test_namespaces_do_not_see_each_other(shell: Shell) -> None:
    assert shell("--namespace", "tenant", "ls", ok=False).code == 10
    shell("--namespace", "tenant", "init")
    shell("--namespace", "tenant", "save", "--run", "r", stdin="1")
    assert shell("--namespace", "tenant", "ls", "--json").rows()[0]["run"] == "r"
    shell.variables["SNAPSTORE_NAMESPACE"] = "tenant"
    assert [row["run"] for row in shell("list", "--json").rows()] == ["r"]
    del shell.variables["SNAPSTORE_NAMESPACE"]
    assert {row["run"] for row in shell("list", "--json").rows()} == {"session"}


def test_credentials_in_a_url_are_never_shown(tmp_path: Path) -> None:
    for words in (["ls"], ["ls", "--json"], ["doctor"], ["init"]):
        done = Shell(tmp_path, "s3://AKIAEXAMPLE:hunter2@bucket/x")(*words, ok=False)
        assert done.code != 0
        assert "hunter2" not in done.out + done.err


# ------------------------------------------------------------------------------------------- saving


def test_a_state_comes_back_as_it_was(shell: Shell, tmp_path: Path) -> None:
    id = saved(shell, STATE, "--graph", "g", "--node", "plan", "--status", "waiting", "--metadata", "n=3", "--metadata", "m=x")
    row = shell("show", id, "--json").json()
    assert (row["run"], row["graph"], row["node"], row["status"]) == ("r", "g", "plan", "waiting")
    assert row["metadata"] == {"n": 3, "m": "x"}
    assert row["parents"] == []
    assert json.loads(shell("cat", id).out) == STATE
    shell("restore", id, "--to", "out.json")
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == STATE
    assert json.loads(shell("restore", id, "--to", "-").out) == STATE
    shell("restore", id, "--to", "out.msgpack", "--format", "msgpack")
    assert values.decode((tmp_path / "out.msgpack").read_bytes()) == STATE
    again = shell("save", "out.msgpack", "--run", "other", "--json").json()
    assert again["digest"] == row["digest"]


def test_saves_of_a_run_follow_each_other(shell: Shell) -> None:
    first, second = saved(shell, 1, "--graph", "g"), saved(shell, 2)
    third, apart = saved(shell, 3, "--parent", first), saved(shell, 4, "--no-parent")
    rows = {row["id"]: row for row in shell("log", "r", "--json").rows()}
    assert list(rows) == [apart, third, second, first]
    assert [rows[id]["parents"] for id in (first, second, third, apart)] == [[], [first], [first], []]
    assert [rows[id]["graph"] for id in (first, second, third, apart)] == ["g", "g", "g", "default"]


WRONG: list[tuple[list[str], bytes, int, str | None]] = [
    (["save", "--run", "r"], b"{oops", 2, "malformed_input"),
    (["save", "--run", "r", "--format", "msgpack"], b"\xc1", 2, "malformed_input"),
    (["save", "--run", "r"], b"", 2, "malformed_input"),
    (["save", "--run", ""], b"1", 2, None),
    (["save", "--run", "r"], b'"\\ud800"', 2, "lone_surrogate"),
    (["save", "absent.json", "--run", "r"], b"", 2, "input_not_found"),
    (["save", "--run", "r", "--metadata", "x"], b"1", 2, "usage"),
    (["save", "--run", "r", "--parent", "absent"], b"1", 5, "snapshot_not_found"),
    (["import", "--format", "jsonl", "absent"], b"", 5, "input_not_found"),
    (["cat", "aaaa-1:nothing"], b"", 5, "path_not_found"),
    (["cat", "aaaa-1:a[["], b"", 2, "invalid_path"),
    (["restore", "aaaa-1", "--to", "absent/x"], b"", 5, "folder_not_found"),
    (["restore", "aaaa-1", "--to", "session.jsonl"], b"", 11, "target_exists"),
    (["restore", "aaaa-1", "--to", "."], b"", 11, "target_exists"),
    (["log", "absent"], b"", 5, "run_not_found"),
    (["list", "--since", "yesterday"], b"", 2, "usage"),
    (["fork", "absent"], b"", 5, "snapshot_not_found"),
    (["diff", "aaaa-1", "absent"], b"", 5, "snapshot_not_found"),
]


def test_wrong_input_has_a_code_and_a_message(shell: Shell) -> None:
    before = shell("list", "--json").out
    for words, stdin, code, name in WRONG:
        done = shell(*words, "--json", stdin=stdin, ok=False)
        assert (words, done.code, done.out) == (words, code, "")
        assert done.error()["exit_code"] == code
        assert name is None or done.error()["code"] == name
    assert shell("list", "--json").out == before
    text = shell("cat", "aaaa-1", "--format", "raw", ok=False)
    assert (text.code, text.out) == (2, "")
    assert text.err.startswith("snapstore: only text and bytes can be written raw\n  hint: ")


# ------------------------------------------------------------------------------------------- looking


def test_the_history_is_drawn_with_its_branches(shell: Shell) -> None:
    lines = shell("log", "session", "--graph").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["*", "| *", "| *", "|/", "*"]
    ids = [line.partition("*  ")[2].split()[0] for line in lines if "*" in line]
    assert ids == ["dddd-4", "cccc-3", "bbbb-2", "aaaa-1"]
    part = shell("log", "session", "--graph", "-n", "2").out.splitlines()
    assert [line.split("  ")[0] for line in part] == ["*", "| *"]


def test_a_fork_is_a_run_that_names_where_it_comes_from(shell: Shell) -> None:
    first = shell("fork", "bbbb-2", "--run", "again").out.strip()
    assert shell("show", first, "--json").json()["parents"] == ["bbbb-2"]
    assert json.loads(shell("cat", first).out) == json.loads(shell("cat", "bbbb-2").out)
    assert "from bbbb-2" in shell("log", "again", "--graph").out
    saved_in_it = shell("save", "--run", "again", stdin="1").out.strip()
    assert shell("show", saved_in_it, "--json").json()["parents"] == [first]
    assert shell("show", f"{saved_in_it}~2", "--json").json()["id"] == "bbbb-2"


def test_parts_of_a_state(shell: Shell) -> None:
    id = saved(shell, STATE)
    assert shell("cat", f"{id}:messages[-1].content").out == "hello"
    assert shell("cat", f"{id}:note").out == "a\nb"
    assert json.loads(shell("cat", f'{id}:tools["my key"][1]').out) == 2
    assert json.loads(shell("cat", f"{id}:tools['my key'][-1:]").out) == [2]
    assert shell("cat", "latest:cost", "--json").json()["value"] == 1.5
    shell("restore", id, "--path", "messages[0].content", "--format", "raw", "--to", "part")
    assert (shell.folder / "part").read_bytes() == b"hello"
    elements = {row["path"]: row for row in shell("ls", id, "--json").rows()}
    assert list(elements) == list(STATE)
    assert elements["messages"]["kind"] == "list of 1"
    assert elements["note"]["size_bytes"] == 4
    assert [row["path"] for row in shell("ls", f"{id}:tools", "--json").rows()] == ['tools["my key"]']
    assert "hello" in shell("ls", id).out


def test_differences(shell: Shell) -> None:
    assert shell("diff", "aaaa-1", "bbbb-2").out.startswith("+ messages[1]  {")
    (change,) = shell("diff", "bbbb-2", "aaaa-1", "--json").rows()
    assert (change["path"], change["kind"], "new" in change) == ("messages[1]", "removed", False)
    assert change["old"]["uuid"] == "bbbb-2"
    assert shell("diff", "aaaa-1", "cccc-3", "--stat").out == "2 added, 0 removed, 0 changed\n"
    assert shell("diff", "aaaa-1", "bbbb-2", "--exit-code", ok=False).code == 1
    same = shell("diff", "aaaa-1", "aaaa-1", "--exit-code")
    assert (same.code, same.out) == (0, "")
    assert shell("diff", "aaaa-1", "aaaa-1", "--stat", "--json").json()["added"] == 0


def test_lists_and_sums(shell: Shell) -> None:
    saved(shell, STATE, "--graph", "g", "--status", "failed")
    assert [row["id"] for row in shell("list", "--run", "session", "--json").rows()] == ["dddd-4", "cccc-3", "bbbb-2", "aaaa-1"]
    assert len(shell("list", "--status", "failed", "--json").rows()) == 1
    assert len(shell("list", "--graph", "g", "--json").rows()) == 1
    assert len(shell("list", "-n", "2", "--json").rows()) == 2
    assert [row["id"] for row in shell("list", "--before", "cccc-3", "--json").rows()] == ["bbbb-2", "aaaa-1"]
    assert shell("list", "--until", "1h", "--json").rows() == []
    assert len(shell("list", "--since", "1h", "--json").rows()) == 5
    runs = {row["run"]: row for row in shell("ls", "--json").rows()}
    assert (runs["session"]["snapshots"], runs["session"]["leaves"]) == (4, 2)
    stats = shell("stats", "--json").json()
    assert (stats["snapshots"], stats["runs"], stats["graphs"]) == (5, 2, 2)
    assert stats["full_copies_bytes"] == sum(row["size_bytes"] for row in shell("list", "--json").rows())
    on_disk = [path for path in (shell.folder / "archive").rglob("*") if path.is_file() and ".snapstore" not in path.parts]
    assert sum(kind["objects"] for kind in stats["objects"].values()) == len(on_disk)
    assert sum(kind["bytes"] for kind in stats["objects"].values()) == sum(path.stat().st_size for path in on_disk)
    text = shell("list", "--format", "table").out.splitlines()
    assert text[0].split()[:3] == ["ID", "CREATED", "STATUS"]
    assert len(text) == 6


def test_looking_changes_nothing(shell: Shell) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        found = (shell.folder / "archive").rglob("*")
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found if path.is_file()}

    before = files()
    for words in (
        ["log", "session", "--graph"],
        ["ls"],
        ["ls", "latest"],
        ["show", "latest"],
        ["cat", "latest"],
        ["diff", "aaaa-1", "latest"],
        ["list"],
        ["stats"],
        ["doctor"],
        ["restore", "latest", "--to", "x", "-n"],
        ["rm", "latest", "-n"],
    ):
        shell(*words)
    assert files() == before
    assert not (shell.folder / "x").exists()


# ------------------------------------------------------------------------------------------- changing


def test_rm_deletes_what_is_named_and_nothing_else(shell: Shell) -> None:
    plan = shell("rm", "cccc", "-n", "--json").rows()
    assert [(row["id"], row["deleted"]) for row in plan] == [("cccc-3", False)]
    assert len(shell("list", "--json").rows()) == 4
    partial = shell("rm", "bbbb-2", "absent", ok=False)
    assert partial.code == 3
    assert "bbbb-2" in partial.out
    assert "absent" in partial.err
    assert shell("rm", "absent", ok=False).code == 5
    assert {row["id"] for row in shell("list", "--json").rows()} == {"aaaa-1", "cccc-3", "dddd-4"}
    assert len(json.loads(shell("cat", "cccc-3").out)["messages"]) == 3
    saved(shell, 1, "--id", "cccc-4")
    assert shell("rm", "dddd-4", "cccc", ok=False).code == 11
    assert shell("show", "dddd-4").code == 0


def test_restore_replaces_only_when_asked(shell: Shell, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("mine", encoding="utf-8")
    target.chmod(0o600)
    assert shell("restore", "aaaa-1", "--to", "out.json", ok=False).code == 11
    assert target.read_text(encoding="utf-8") == "mine"
    report = shell("restore", "aaaa-1", "--to", "out.json", "--force", "--json").json()
    assert report["written_bytes"] == target.stat().st_size
    assert json.loads(target.read_text(encoding="utf-8"))["messages"][0]["uuid"] == "aaaa-1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out.json", "session.jsonl"]
    plan = shell("restore", "aaaa-1", "--to", "new", "-n", "--json").json()
    assert plan["type"] == "plan"
    assert plan["objects"] >= 1


def test_a_damaged_archive_is_an_integrity_error_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    for pack in (tmp_path / "archive" / "runs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 2] ^= 0xFF
            pack.chmod(0o644)
            pack.write_bytes(data)
    done = shell("restore", "cccc-3", "--to", "out.json", "--json", ok=False)
    assert done.code == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "session.jsonl"]


# ------------------------------------------------------------------------------------------- importing histories


def test_importing_twice_adds_nothing(shell: Shell) -> None:
    report = shell("import", "--format", "claude-jsonl", "session.jsonl", "--json").json()
    assert (report["added"], report["skipped"], report["runs"]) == (0, 4, ["session"])


def test_a_malformed_line_is_named_and_the_rest_is_kept(shell: Shell) -> None:
    text = '{"n": 1}\n{"n": 2}\n{"n": \n{"n": 4}\n'
    done = shell("import", "--format", "jsonl", "--run", "bad", "-", stdin=text, ok=False)
    assert done.code == 3
    assert "file=<stdin> line=3" in done.err
    assert "2 snapshots added" in done.out
    report = shell("import", "--format", "jsonl", "--run", "bad", "-", "--json", stdin=text, ok=False).json()
    assert (report["added"], report["skipped"]) == (0, 2)
    assert [(f["file"], f["line"]) for f in report["failures"]] == [("<stdin>", 3)]
    nothing = shell("import", "--format", "jsonl", "-", stdin="{", ok=False)
    assert (nothing.code, nothing.out) == (2, "")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real histories are not beside the checkout")
def test_real_histories(tmp_path: Path) -> None:
    """All coding-agent runs, and the trials of three customer-service tasks (the rest is imported in the unit tests)."""
    shell = Shell(tmp_path, "archive")
    shell("init")
    report = shell("import", "--format", "swe-agent", str(DATA / "swe-agent"), "--json").json()
    assert (report["added"], len(report["runs"])) == (112, 10)
    results = json.loads((DATA / "tau-bench" / "gpt-4o-airline.json").read_text(encoding="utf-8"))
    chosen = [result for result in results if result["task_id"] < 3]
    (tmp_path / "airline.json").write_text(json.dumps(chosen), encoding="utf-8")
    report = shell("import", "--format", "tau-bench", "airline.json", "--json").json()
    messages = sum(len(result["traj"]) for result in chosen)
    assert messages - 3 * 3 * 6 < report["added"] < messages, "trials share what they begin with, a few messages"
    again = shell("import", "--format", "tau-bench", "airline.json", "--json").json()
    assert (again["added"], again["skipped"]) == (0, report["added"])
    drawn = shell("log", "airline/0", "--graph").out.splitlines()
    rows = shell("log", "airline/0", "--json").rows()
    assert sum("*" in line.split("  ")[0] for line in drawn) == len(rows)
    assert max(line.split("  ")[0].count("|") for line in drawn) == 3, "four trials side by side"
    ends = [row for row in rows if "rewards" in row["metadata"]]
    assert len(ends) == 4
    for row in ends:
        state = json.loads(shell("cat", row["id"]).out)
        (trial,) = (result for result in chosen if result["task_id"] == 0 and result["trial"] == row["metadata"]["trials"][0])
        assert state["messages"] == trial["traj"]
        assert state["results"][0]["info"] == trial["info"]


# ------------------------------------------------------------------------------------------- around it


def test_version_help_and_completion(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert shell("--version").out.startswith("snapstore ")
    assert shell("--help").out == shell("-h").out
    for name in ("bash", "zsh", "fish"):
        assert "_SNAPSTORE_COMPLETE" in shell("completion", name).out
    assert shell("completion", "cmd", ok=False).code == 2
    shell.variables |= {"_SNAPSTORE_COMPLETE": "bash_complete", "COMP_WORDS": "snapstore re", "COMP_CWORD": "1"}
    assert shell().out == "plain,restore\n"


def test_help_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    code = """
import sys
from snapstore.cli.main import run
assert run(["--help"]) == 0
heavy = {"rich", "snapstore.archive", "snapstore.importers", "obstore", "ormsgpack", "zstandard", "blake3"}
heavy |= {name for name in sys.modules if name.startswith("snapstore.cli.commands")}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    shell = Shell(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=shell.environment(), timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


def test_doctor_finds_what_is_wrong_and_shows_no_secret(shell: Shell) -> None:
    shell.variables |= {"AWS_SECRET_ACCESS_KEY": "hunter2"}
    done = shell("doctor")
    assert "AWS_SECRET_ACCESS_KEY" in done.out
    assert "hunter2" not in done.out
    checks = {check["name"]: check for check in shell("doctor", "--json").json()["checks"]}
    assert {checks[name]["state"] for name in ("click", "archive", "features", "probe", "clock")} == {"ok"}
    shell.archive = "absent"
    assert shell("doctor", ok=False).code == 10
    shell.archive = None
    assert shell("doctor").code == 0


def test_odd_names_go_through_whole(shell: Shell) -> None:
    for id in ("../x", ".", "späß 漢字 | 🦊", "x" * 10_000, "-a dash 1:2~3"):
        run = f"run {id}"
        printed = shell("save", "--run", run, "--id", id, "--", "-", stdin=json.dumps({"id": id})).out
        assert printed == id + "\n"
        assert shell("cat", "--", f"{id}:id").out == id
        assert shell("log", "--json", "--", run).rows()[0]["id"] == id
    assert not (shell.folder / "x").exists()
