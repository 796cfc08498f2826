"""The source keeps the rules of the house: sizes, pages, doors, words.

Goal: what STYLE promises about the source is true of every file, so that a reader can rely on it.
Method: each rule is a function from source to a list of problems. It is first shown a small offence that it must
see (a check that cannot fail is a defect), then run over every file of the project.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snapstore import errors

ROOT = Path(__file__).resolve().parents[1]

# A file fits in one sitting, a function on one screen: the sizes of the best codebases of the field.
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60

# A room opens with a page: what it is for, what it promises, what it does not do. Less than this cannot say all three.
MIN_PAGE_WORDS = 50

# Modules that only snapstore/clock.py may import. `uuid` may be imported for its type alone.
CLOCK_MODULES = {"time", "random", "secrets"}
PICKLE_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "cloudpickle", "dill", "jsonpickle"}

# Each costs 60 to 300 ms to import and is wanted by few commands.
HEAVY_MODULES = ["pyarrow", "boto3", "botocore", "fsspec", "s3fs", "obstore", "rich", "numpy"]

TEXT_SUFFIXES = {".py", ".md", ".toml", ".json", ".cfg", ".ini", ".yml", ".yaml", ".sh", ""}


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below the given top-level folders, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> list[Path]:
    """Return every file that people read: sources, documents, settings; not golden bytes."""
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != "LICENSE"]
    for folder in ("snapstore", "tests", "scripts", "manifests", ".ci"):
        found += (ROOT / folder).rglob("*")
    golden = {ROOT / "manifests" / "archives", ROOT / "manifests" / "examples"}
    return sorted(
        path
        for path in found
        if path.is_file()
        and path.suffix in TEXT_SUFFIXES
        and not golden.intersection(path.parents)
        and not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
    )


def named(path: Path) -> str:
    """Return a file's name below the project's root, for test ids and messages."""
    return path.relative_to(ROOT).as_posix()


ALL_PYTHON = python_files("snapstore", "tests", "scripts")
PACKAGE = python_files("snapstore")


# ------------------------------------------------------------------------------------------- the rules


def sizes(source: str) -> list[str]:
    """Return the functions that exceed a screen, and the file when it exceeds a sitting."""
    lines = source.count("\n") + (not source.endswith("\n"))
    problems = [f"{lines} lines, at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                problems.append(f"line {node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return problems


def opening(source: str) -> list[str]:
    """Return a problem when a module does not open with a docstring whose first sentence is complete."""
    text = ast.get_docstring(ast.parse(source))
    if not text:
        return ["no module docstring"]
    first = text.split("\n\n")[0].strip()
    return [] if first.endswith((".", ":", "?")) else [f"the docstring's first paragraph is no sentence: {first[:60]!r}"]


def page(source: str) -> list[str]:
    """Return what a room's page lacks."""
    text = ast.get_docstring(ast.parse(source)) or ""
    problems = []
    if len(text.split()) < MIN_PAGE_WORDS:
        problems.append(f"the page has {len(text.split())} words, at least {MIN_PAGE_WORDS}")
    if not re.search(r"\b(not|never|no|nothing|neither)\b", text, re.IGNORECASE):
        problems.append("the page does not say what the room does not do")
    return problems


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of every import, `from a import b` as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for nested attributes of a name, or an empty string."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def clocks(source: str) -> list[str]:
    """Return every use of time or randomness that does not come through `snapstore.clock`."""
    tree = ast.parse(source)
    problems = []
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top in CLOCK_MODULES or name in {"os.urandom", "os.getrandom"}:
            problems.append(f"line {line}: imports {name}")
        if top == "uuid" and name not in {"uuid", "uuid.UUID"}:
            problems.append(f"line {line}: imports {name}")
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        if re.search(r"(^|\.)(datetime|date)\.(now|utcnow|today)$", name):
            problems.append(f"line {node.lineno}: uses {name}")  # type: ignore[attr-defined]
        if name in {"os.urandom", "os.getrandom"} or re.fullmatch(r"uuid\.(uuid\d|getnode)", name):
            problems.append(f"line {node.lineno}: uses {name}")  # type: ignore[attr-defined]
    return problems


def pickles(source: str) -> list[str]:
    """Return every import or call of a serialiser that runs code when it reads."""
    tree = ast.parse(source)
    problems = [f"line {line}: imports {name}" for line, name in imports(tree) if name.split(".")[0] in PICKLE_MODULES]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if dotted(node.func) in {"__import__", "importlib.import_module", "import_module"} and node.args:
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if isinstance(name, str) and name.split(".")[0] in PICKLE_MODULES:
                problems.append(f"line {node.lineno}: imports {name}")
        if any(k.arg == "allow_pickle" and getattr(k.value, "value", True) for k in node.keywords):
            problems.append(f"line {node.lineno}: allows pickle")
    return problems


UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])(/home/\w|/root/|/Users/\w|/work/|/tmp/(?:venv|plan)|/data\d/|[A-Z]:\\Users)")


def leftovers(source: str) -> list[str]:
    """Return marks of unfinished work and paths of one particular machine."""
    return [
        f"line {number}: {match.group(0)!r}"
        for number, line in enumerate(source.splitlines(), 1)
        for match in (*UNFINISHED.finditer(line), *MACHINE_PATH.finditer(line))
    ]


# ------------------------------------------------------------------------------------------- each rule can fail

LONG_FUNCTION = "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES

OFFENCES: list[tuple[Callable[[str], list[str]], str]] = [
    (sizes, "x = 1\n" * (MAX_FILE_LINES + 1)),
    (sizes, LONG_FUNCTION),
    (sizes, "class A:\n    async " + LONG_FUNCTION.replace("\n    ", "\n        ")),
    (opening, "x = 1\n"),
    (opening, '"""no sentence"""\n'),
    (page, '"""Too short, does not."""\n'),
    (page, f'"""{"word " * MIN_PAGE_WORDS}."""\n'),
    (clocks, "import time\n"),
    (clocks, "def f():\n    from random import choice\n"),
    (clocks, "import secrets as s\n"),
    (clocks, "from uuid import uuid4\n"),
    (clocks, "import uuid\nx = uuid.uuid4()\n"),
    (clocks, "import os\nx = os.urandom(4)\n"),
    (clocks, "from os import urandom\n"),
    (clocks, "import datetime\nx = datetime.datetime.now()\n"),
    (clocks, "from datetime import date\nf = date.today\n"),
    (pickles, "import pickle\n"),
    (pickles, "def f():\n    from pickle import loads\n"),
    (pickles, "import importlib\nx = importlib.import_module('dill')\n"),
    (pickles, "import numpy\nnumpy.load('x', allow_pickle=True)\n"),
    (leftovers, "x = 1  # TODO later\n"),
    (leftovers, "see /home/someone/x\n"),
    (leftovers, 'PATH = "/work/main"\n'),
]


@pytest.mark.parametrize(("rule", "offence"), OFFENCES, ids=lambda value: getattr(value, "__name__", None))
def test_each_rule_sees_an_offence(rule: Callable[[str], list[str]], offence: str) -> None:
    assert len(rule(offence)) == 1


def test_rules_let_good_source_pass() -> None:
    good = '"""A module."""\nimport datetime, uuid\nx: uuid.UUID\ny = datetime.datetime.fromtimestamp(0, datetime.UTC)\n'
    assert [rule(good) for rule in (sizes, opening, clocks, pickles, leftovers)] == [[], [], [], [], []]


# ------------------------------------------------------------------------------------------- the project keeps them


def broken(rule: Callable[[str], list[str]], files: list[Path]) -> list[str]:
    """Return the problems that a rule finds in files, each with the file's name."""
    assert files, "no files to check: the rule would hold for nothing"
    return [f"{named(path)}: {problem}" for path in files for problem in rule(path.read_text(encoding="utf-8"))]


def test_files_and_functions_are_short() -> None:
    assert broken(sizes, ALL_PYTHON) == []


def test_modules_open_with_a_docstring() -> None:
    assert broken(opening, [path for path in ALL_PYTHON if path.name != "__init__.py" or path.stat().st_size]) == []


def test_rooms_open_with_a_page() -> None:
    rooms = [path for path in PACKAGE if path.name == "__init__.py"]
    folders = {path.parent for path in PACKAGE}
    assert {path.parent for path in rooms} == folders, "every folder of the package has an __init__.py"
    assert broken(page, rooms) == []


def test_time_and_randomness_have_one_door() -> None:
    assert broken(clocks, [path for path in PACKAGE if named(path) != "snapstore/clock.py"]) == []
    assert broken(clocks, [ROOT / "snapstore" / "clock.py"]), "the door itself is open"


def test_nothing_is_pickled() -> None:
    assert broken(pickles, ALL_PYTHON) == []


def test_nothing_is_left_over() -> None:
    itself = Path(__file__).resolve()  # spells the words that it looks for
    assert broken(leftovers, [path for path in text_files() if path != itself]) == []


def test_top_level_is_what_was_agreed() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    agreed = {"pyproject.toml", "snapstore", "manifests", "tests", "scripts", "README.md", "LICENSE", "CHANGELOG.md"}
    made_by_tools = {"build", "dist", "demo-archive"} | {path.name for path in ROOT.glob("bench-*.json")}
    assert agreed <= visible
    assert visible - agreed <= made_by_tools


# ------------------------------------------------------------------------------------------- the public surface


def in_fresh_python(code: str) -> Any:
    """Run code in a new interpreter and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", ["snapstore", "snapstore.errors", "snapstore.cli.main"])
def test_import_loads_no_heavy_package(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps([m for m in {HEAVY_MODULES!r} if m in sys.modules]))"
    assert in_fresh_python(code) == []


def test_public_names_are_the_exported_names() -> None:
    code = """
import json, snapstore
public = {name for name in dir(snapstore) if not name.startswith("_")}
bound = {
    name for name, value in vars(snapstore).items()
    if not name.startswith("_") and str(getattr(value, "__module__", "")).startswith("snapstore")
}
reachable = [name for name in snapstore.__all__ if hasattr(snapstore, name)]
print(json.dumps([sorted(snapstore.__all__), sorted(public), sorted(bound), sorted(reachable)]))
"""
    exported, public, bound, reachable = in_fresh_python(code)
    names = {name for name in exported if not name.startswith("_")}
    assert len(exported) == len(set(exported))
    assert set(reachable) == set(exported), "every exported name can be had"
    assert set(public) == names, "dir() shows what is exported and nothing else"
    assert set(bound) <= names, "nothing else is bound by the import"


def test_version_is_the_project_s() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared is not None
    assert in_fresh_python("import json, snapstore; print(json.dumps(snapstore.__version__))") == declared[1]


# ------------------------------------------------------------------------------------------- the error tree

TREE_LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+Error)(?: \((?P<other>\w+)\))?\s+\S")


def documented_tree() -> dict[str, tuple[str, ...]]:
    """Return {class: names of its bases} as the docstring of `snapstore.errors` draws it."""
    tree: dict[str, tuple[str, ...]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = TREE_LINE.match(line)
        if match is None:
            continue
        depth = len(match["indent"])
        above = [(d, name) for d, name in above if d < depth]
        bases = [above[-1][1]] if above else ["Exception"]
        tree[match["name"]] = (*bases, *([match["other"]] if match["other"] else []))
        above.append((depth, match["name"]))
    return tree


def real_tree() -> dict[str, tuple[str, ...]]:
    """Return {class: names of its bases} of every public error class of `snapstore.errors`."""
    return {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SnapstoreError)
    }


def test_error_tree_is_the_documented_one() -> None:
    assert len(documented_tree()) > 5, "the docstring draws a tree"
    assert real_tree() == documented_tree()


def test_every_error_has_an_exit_code_and_a_status() -> None:
    classes = {vars(errors)[name] for name in real_tree()}
    assert set(errors.EXIT_CODES) == classes
    assert set(errors.HTTP_STATUSES) == classes
    assert all(0 < code < 126 for code in [*errors.EXIT_CODES.values(), *errors.EXIT_CODES_BY_CODE.values()])


def test_error_classes_are_defined_in_one_place() -> None:
    ours = {name for name in vars(errors) if name.endswith("Error")}
    elsewhere = [
        f"{named(path)}: {node.name}"
        for path in PACKAGE
        if named(path) != "snapstore/errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")  # control flow that never leaves its module
        and any(dotted(base).endswith(("Error", "Exception")) for base in node.bases)
        # An adapter's error is one of ours that is also what its system's callers catch.
        and not (named(path).startswith("snapstore/adapters/") and any(dotted(base) in ours for base in node.bases))
    ]
    assert elsewhere == []
