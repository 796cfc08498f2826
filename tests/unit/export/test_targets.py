"""A target becomes what was exported, whole, or stays as it is.

Goal: what is there already is safe, with its rights and links; and an export that fails or is stopped leaves nothing behind.
Method: files, links, pipes and names of all sorts; streams that break off in the middle; files that may not grow; an S3 emulator
for objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from snapstore.export import check_target, export
from snapstore.export.main import SUFFIXES
from tests.servers import Endpoint
from tests.unit.export.tables import FILE_FORMATS, STOPS, breaking, names, table


def test_the_ending_tells_the_format(tmp_path: Path) -> None:
    for suffix, format in SUFFIXES.items():
        assert export(table(), tmp_path / f"rows{suffix.upper()}").format == format
    assert export(table(), f"file://{tmp_path}/with%20blank.csv").format == "csv"
    assert (tmp_path / "with blank.csv").is_file()
    unknown: list[tuple[str, Any]] = [("rows", None), ("rows.txt", None), ("rows.csv", "excel")]
    for target, wrong in unknown:
        with pytest.raises(InvalidInputError, match="format") as caught:
            export(table(), tmp_path / target, wrong)
        assert caught.value.code == "unknown_format"
    with pytest.raises(InvalidInputError) as caught:
        export(table(), "https://example.org/rows.csv")
    assert caught.value.code == "unknown_format"


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_what_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path, format: Any) -> None:
    target = tmp_path / "rows"
    target.write_bytes(b"mine")
    with pytest.raises(ConflictError, match="the target exists"):
        export(table(), target, format)
    with pytest.raises(InvalidInputError) as caught:
        export(table(), target, format, existing="append")
    assert caught.value.code == "not_appendable"
    assert target.read_bytes() == b"mine"
    export(table(), target, format, existing="replace")
    assert target.read_bytes() != b"mine"
    assert names(tmp_path) == ["rows"]
    with pytest.raises(NotFoundError, match="no such folder"):
        export(table(), tmp_path / "nowhere" / "rows", format)


@pytest.mark.parametrize("failure", STOPS, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("format", [*FILE_FORMATS, "delta"])
def test_what_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any, failure: BaseException
) -> None:
    with pytest.raises(type(failure)) as caught:
        export(breaking(monkeypatch, failure), tmp_path / "rows", format)
    assert caught.value is failure
    assert names(tmp_path) == []


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_a_replacement_that_breaks_off_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any) -> None:
    export(table(), tmp_path / "rows", format)
    before = (tmp_path / "rows").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        export(breaking(monkeypatch, KeyboardInterrupt()), tmp_path / "rows", format, existing="replace")
    assert (tmp_path / "rows").read_bytes() == before
    assert names(tmp_path) == ["rows"]


@pytest.mark.parametrize("format", [*FILE_FORMATS, "delta"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, format: Any) -> None:
    """Taking the place of a device or a pipe would break whatever else uses it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        for check in (partial(export, table()), check_target):
            with pytest.raises(ConflictError) as caught:
                check(tmp_path / name, format, existing="replace")
            assert caught.value.code == "target_exists"
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["link", "pipe"]


def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "rows.csv").write_text("mine")
    for link, behind in (("link.csv", "far/rows.csv"), ("dangling.csv", "far/new.csv")):
        (tmp_path / link).symlink_to(behind)
        with pytest.raises(ConflictError, match="the target exists"):
            export(table(), tmp_path / link)
        assert export(table(), tmp_path / link, existing="replace").rows == 3
        assert (tmp_path / link).is_symlink()
        assert (tmp_path / behind).read_text() == (tmp_path / link).read_text() != "mine"
    (tmp_path / "lost.csv").symlink_to("nowhere/rows.csv")
    with pytest.raises(NotFoundError, match="no such folder"):
        export(table(), tmp_path / "lost.csv", existing="replace")
    assert names(tmp_path / "far") == ["new.csv", "rows.csv"]


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path: Path, mode: int) -> None:
    """Exports hold what states hold: a file that nobody else could read must not become one that all can."""
    (tmp_path / "rows.csv").write_text("mine")
    (tmp_path / "rows.csv").chmod(mode)
    export(table(), tmp_path / "rows.csv", existing="replace")
    assert stat.S_IMODE((tmp_path / "rows.csv").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator gives files to others")
def test_a_file_that_the_administrator_replaces_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("mine")
    os.chown(tmp_path / "rows.csv", 12345, 54321)
    export(table(), tmp_path / "rows.csv", existing="replace")
    found = (tmp_path / "rows.csv").stat()
    assert (found.st_uid, found.st_gid) == (12345, 54321)


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: as near to a full disk as a test gets without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("format", [*FILE_FORMATS, "delta"])
def test_a_place_without_room_is_named(tmp_path: Path, format: Any) -> None:
    noise = pa.table({"noise": [hashlib.sha512(str(number).encode()).hexdigest() for number in range(3000)]})
    with pytest.raises(StorageError) as caught, small_files(50_000):
        export(noise, tmp_path / "rows", format)
    assert (caught.value.code, caught.value.context["url"]) == ("storage_full", str(tmp_path / "rows"))
    assert names(tmp_path) == []


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    for name in ("x" * 300 + ".csv", "nul\x00.csv"):
        with pytest.raises(InvalidInputError):
            export(table(), tmp_path / name)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(StorageError):
        export(table(), tmp_path / "loop.csv", existing="replace")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"existing": "overwrite"}, "unknown_existing"),
        ({"storage_options": {"endpoint_url": "http://localhost:1"}}, "options_refused"),
        ({"existing": "append"}, "not_appendable"),
    ],
)
def test_options_that_would_not_count_are_refused(tmp_path: Path, options: dict[str, Any], code: str) -> None:
    """An ignored endpoint sends rows to somebody else's storage."""
    for target in (tmp_path / "rows.csv", "s3://bucket/rows.csv"):
        for check in (partial(export, table()), check_target):
            with pytest.raises(InvalidInputError) as caught:
                check(target, **options)
            assert caught.value.code == code
    assert names(tmp_path) == []


def test_a_target_is_checked_without_a_table(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    refused: list[tuple[str | Path, dict[str, Any], type[Exception]]] = [
        (tmp_path / "there.csv", {}, ConflictError),
        (tmp_path / "nowhere" / "rows.csv", {}, NotFoundError),
        (tmp_path / "rows", {}, InvalidInputError),
        (tmp_path / "there.csv", {"format": "delta", "existing": "replace"}, ConflictError),
        ("https://example.org/rows.csv", {}, InvalidInputError),
    ]
    for target, options, error in refused:
        with pytest.raises(error):
            check_target(target, **options)
    check_target(tmp_path / "there.csv", existing="replace")
    check_target(tmp_path / "new.csv")
    check_target(tmp_path / "lake", "delta", existing="append")
    assert (names(tmp_path), (tmp_path / "there.csv").read_text()) == (["there.csv"], "mine")


def test_an_object_on_s3_is_whole_or_absent(s3_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key, value in {
        "AWS_ENDPOINT_URL": s3_endpoint.url,
        "AWS_ACCESS_KEY_ID": s3_endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_endpoint.secret_key,
        "AWS_REGION": s3_endpoint.region,
    }.items():
        monkeypatch.setenv(key, value)
    client, bucket = s3_endpoint.client(), s3_endpoint.bucket
    url = f"s3://{bucket}/exports/rows.parquet"
    with pytest.raises(InvalidInputError, match="broken"):
        export(breaking(monkeypatch, InvalidInputError("broken")), url)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket, Prefix="exports/")
    assert export(table(), url).rows == 3
    with pytest.raises(ConflictError, match="the target exists"):
        export(table(5), url)
    export(table(5), url, existing="replace")
    (tmp_path / "rows").write_bytes(client.get_object(Bucket=bucket, Key="exports/rows.parquet")["Body"].read())
    assert pq.read_table(tmp_path / "rows").equals(table(5))
    with pytest.raises(StorageError, match="cannot be used"):
        export(table(), "s3://no-such-bucket-here/rows.parquet")
