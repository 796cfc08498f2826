"""From a url to a storage: the right backend, loaded only when it is wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snapstore.errors import InvalidInputError, NotFoundError, ReadOnlyError
from snapstore.storage import Retry, SingleWriter, Storage, connect, memory
from snapstore.storage.probe import innermost


@pytest.mark.parametrize(
    ("url", "options", "backend"),
    [
        ("memory://", None, "MemoryStorage"),
        ("memory://name-in-connect-test", None, "MemoryStorage"),
        ("s3://bucket/p", {"anon": True}, "ObjectStorage"),
        ("s3a://bucket/p", {"anon": True}, "ObjectStorage"),
        ("gs://bucket/p", {"bearer_token": "x"}, "ObjectStorage"),
        ("az://box/p", {"account_name": "a", "account_key": "eA=="}, "ObjectStorage"),
        ("fsspec+s3://bucket/p", {"anon": True}, "S3fsStorage"),
        ("fsspec+memory://x", None, "FsspecStorage"),
    ],
)
def test_which_backend(url: str, options: dict[str, Any] | None, backend: str) -> None:
    storage = connect(url, storage_options=options)
    assert isinstance(storage, Retry)
    assert isinstance(storage, Storage)
    assert type(innermost(storage)).__name__ == backend
    assert storage.url.partition("://")[0] in url
    storage.close()


def test_a_path(tmp_path: Path) -> None:
    for url in (str(tmp_path), tmp_path, f"file://{tmp_path}"):
        assert type(innermost(connect(url))).__name__ == "LocalStorage"
    with pytest.raises(NotFoundError):
        connect(tmp_path / "missing")
    connect(tmp_path / "new", create=True)
    assert (tmp_path / "new").is_dir()


def test_memory_is_shared_by_name() -> None:
    connect("memory://shared-by-url").put("a", b"1")
    assert connect("memory://shared-by-url").get("a").data == b"1"
    with pytest.raises(ReadOnlyError):
        connect("memory://shared-by-url", read_only=True).put("a", b"2")
    connect("memory://").put("a", b"1")
    with pytest.raises(NotFoundError):
        connect("memory://").get("a")
    memory.forget("shared-by-url")


def test_a_single_writer_is_a_layer(tmp_path: Path) -> None:
    storage = connect(tmp_path, single_writer=True, timeout_s=7)
    assert isinstance(storage, Retry)
    assert isinstance(storage.inner, SingleWriter)
    assert storage.timeout_s == 7


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("", {}),
        ("   ", {}),
        ("x", {"timeout_s": 0}),
        ("memory://", {"storage_options": {"a": 1}}),
        (".", {"storage_options": {"a": 1}}),
        (".", {"durability": "sometimes"}),
        ("s3://", {}),
        ("nonsense://x", {}),
    ],
)
def test_what_is_refused(url: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        connect(url, **arguments)


HEAVY = ["boto3", "botocore", "fsspec", "s3fs", "obstore", "aiohttp", "asyncio", "urllib.request", "http.client"]


@pytest.mark.parametrize("url", [None, "memory://", "."])
def test_nothing_heavy_is_loaded_for_light_storages(url: str | None) -> None:
    program = "import sys, json, snapstore.storage as s\n"
    program += f"s.connect({url!r})\n" if url else ""
    program += f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_an_object_store_loads_obstore_alone() -> None:
    program = (
        "import sys, json, snapstore.storage as s\n"
        "s.connect('s3://bucket', storage_options={'key': 'a', 'secret': 'b'})\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["obstore"]
