"""Opening: an archive is made once, found again, kept apart from others, and refused with a hint where there is none.

Goal: the first lines of every program that uses snapstore.
Method: `snapstore.open` on folders and on memory; the probe of a storage counted through a meter.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import snapstore
from snapstore.errors import FormatError, NotFoundError, ReadOnlyError, StorageError
from snapstore.format import names
from snapstore.format.config_document import ArchiveConfig
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage, forget
from snapstore.storage.meter import Meter
from tests.unit.archives import filled


def test_an_archive_is_made_once_and_found_again(tmp_path: Path) -> None:
    with snapstore.open(tmp_path / "runs", create=True, durability="os") as archive:
        id = archive.save({"a": 1}, run="r").id
    again = snapstore.open(tmp_path / "runs", create=True, durability="os")
    assert (again.id, again[id].state()) == (archive.id, {"a": 1})
    assert snapstore.open(str(tmp_path / "runs")).id == archive.id
    assert snapstore.open(f"file://{tmp_path}/runs").id == archive.id
    assert str(tmp_path) in archive.url
    assert repr(archive) == f"<Archive {archive.url}>"


def test_where_there_is_none_the_hint_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "missing", tmp_path / "empty", "memory://test-opening-nothing"):
        with pytest.raises(NotFoundError) as caught:
            snapstore.open(place)
        assert caught.value.code == "archive_not_found"
        assert "create=True" in str(caught.value.hint)
        assert "snapstore init" in str(caught.value.hint)
    assert not (tmp_path / "missing").exists()
    forget("test-opening-nothing")


def test_a_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for create in (True, False):
        with pytest.raises(StorageError) as caught:
            snapstore.open(tmp_path / "file", create=create)
        assert caught.value.code == "not_a_folder"
    assert (tmp_path / "file").read_text() == "text"


def test_memory_is_shared_by_name() -> None:
    id = snapstore.open("memory://test-opening", create=True).save({"a": 1}, run="r").id
    assert snapstore.open("memory://test-opening")[id].state() == {"a": 1}
    assert snapstore.open("memory://", create=True).get(id) is None
    forget("test-opening")


def test_two_processes_that_make_an_archive_at_once_make_one() -> None:
    """The second finds the config that the first wrote between its look and its write."""

    class Overtaken(MemoryStorage):
        def put_create(self, key: str, data: object) -> str:
            if key == names.CONFIG_KEY and not self._objects.get(key):
                super().put_create(key, ArchiveConfig("ab" * 16, 1).encode())
            return super().put_create(key, data)  # type: ignore[arg-type]

    assert open_on(Overtaken(), create=True).id == "ab" * 16


# Namespaces -----------------------------------------------------------------------------------------------------------


def test_namespaces_do_not_see_one_another() -> None:
    storage = filled(MemoryStorage())
    main = open_on(storage)
    spaces = [open_on(storage, namespace=name, create=True) for name in ("tenant-7", "Tenant-7", "a/b", "..")]
    assert len({archive.id for archive in [main, *spaces]}) == 5
    for number, archive in enumerate([main, *spaces]):
        archive.save({"number": number}, run="r", id="same")
    for number, archive in enumerate([main, *spaces]):
        assert archive["same"].state() == {"number": number}
        assert len(archive.log("r")) == len(list(archive.list())) == 1
    spaces[0].delete("same")
    assert [archive.get("same") is None for archive in [main, *spaces]] == [False, True, False, False, False]
    assert open_on(storage, namespace="tenant-7").id == spaces[0].id
    assert spaces[0].url.endswith("ns/tenant-7")


def test_a_namespace_is_made_only_when_asked() -> None:
    storage = filled(MemoryStorage())
    with pytest.raises(NotFoundError) as caught:
        open_on(storage, namespace="new")
    assert caught.value.code == "archive_not_found"
    assert [info.key for info in storage.list("ns/")] == []


def test_a_namespace_stores_nothing_outside_itself() -> None:
    storage = filled(MemoryStorage())
    before = {info.key for info in storage.list("")}
    archive = open_on(storage, namespace="tenant", create=True)
    archive.save({"a": list(range(5000))}, run="r")
    assert all(info.key.startswith("ns/tenant/") for info in storage.list("") if info.key not in before)


# The probe ------------------------------------------------------------------------------------------------------------


def test_a_storage_is_probed_once() -> None:
    """It takes hundreds of requests: the result is kept, for every process that comes by the same address."""
    meter = Meter(MemoryStorage())
    open_on(meter, create=True)
    assert meter.reset().total > 100
    for _ in range(2):
        open_on(meter)
        assert (meter.snapshot().requests, meter.reset().round_trips) == ({"get": 2}, 1)
    open_on(meter, namespace="n", create=True)
    assert meter.reset().requests == {"get": 2, "put_create": 1}
    recorded = [info.key for info in meter.inner.list("probes/")]
    assert len(recorded) == 1
    document = json.loads(meter.inner.get(recorded[0]).data)
    assert document["result"]["compare_and_swap"] is True


def test_a_probe_leaves_nothing_but_its_result() -> None:
    storage = MemoryStorage()
    open_on(storage, create=True)
    assert len([*storage.list("")]) == 2


@pytest.mark.parametrize("damaged", [b"", b"{}", b"not json", b'{"result": 7}'])
def test_a_damaged_probe_result_is_found_out_again(damaged: bytes) -> None:
    storage = filled(MemoryStorage())
    (key,) = [info.key for info in storage.list("probes/")]
    storage.put(key, damaged)
    open_on(storage)
    assert json.loads(storage.get(key).data)["result"]["compare_and_swap"] is True


class CarelessStorage(MemoryStorage):
    """Takes every conditional write, as some servers do."""

    def put_create(self, key: str, data: object) -> str:
        return self.put(key, data)  # type: ignore[arg-type]

    def put_if(self, key: str, data: object, version: str) -> str:
        return self.put(key, data)  # type: ignore[arg-type]


def test_a_storage_that_would_lose_writes_is_refused_and_left_alone() -> None:
    storage = CarelessStorage()
    with pytest.raises(StorageError) as caught:
        open_on(storage, create=True)
    assert caught.value.code == "unsafe_storage"
    assert "single_writer" in str(caught.value.hint)
    assert [*storage.list("")] == []
    archive = open_on(storage, create=True, single_writer=True)
    assert archive.save({"a": 1}, run="r").state() == {"a": 1}
    with pytest.raises(StorageError):  # the override is each opener's own
        open_on(storage)


# Reading only, and other versions -------------------------------------------------------------------------------------


def test_opening_for_reading_writes_nothing(tmp_path: Path) -> None:
    id = snapstore.open(tmp_path / "runs", create=True, durability="os").save({"a": 1}, run="r").id
    before = sorted(path for path in (tmp_path / "runs").rglob("*") if ".snapstore" not in path.parts)
    archive = snapstore.open(tmp_path / "runs", read_only=True)
    assert archive[id].state() == {"a": 1}
    assert archive.read_only
    with pytest.raises(ReadOnlyError):
        archive.save({}, run="r")
    assert sorted(path for path in (tmp_path / "runs").rglob("*") if ".snapstore" not in path.parts) == before


def with_config(**changes: object) -> MemoryStorage:
    storage = filled(MemoryStorage())
    document = {**json.loads(storage.get(names.CONFIG_KEY).data), **changes}
    storage.put(names.CONFIG_KEY, json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    return storage


def test_an_archive_of_a_newer_format_is_refused_with_its_version() -> None:
    with pytest.raises(FormatError) as caught:
        open_on(with_config(format=2))
    assert caught.value.code == "newer_format"
    assert "2" in str(caught.value)
    assert "upgrade" in str(caught.value.hint)


def test_features_that_are_unknown_here() -> None:
    def features(**unknown: list[str]) -> dict[str, list[str]]:
        return {"gc": [], "read": [], "write": [], **unknown}

    with pytest.raises(FormatError) as caught:
        open_on(with_config(features=features(read=["holograms"])))
    assert caught.value.code == "unknown_feature"
    with pytest.raises(FormatError) as refused:
        open_on(with_config(features=features(write=["ink"])))
    assert refused.value.code == "unknown_feature"
    assert open_on(with_config(features=features(gc=["brooms"]))).read_only is False
