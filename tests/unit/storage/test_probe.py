"""The probe sees through storages that promise more than they keep.

Goal: every kind of misbehaviour met on real servers is found and named; good storages pass; nothing is left behind.
Method: storages in memory, each wrong in one way.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snapstore.errors import ReadOnlyError, StorageError
from snapstore.storage import MemoryStorage, Meter, Prefixed, ProbeResult, Retry, SingleWriter, endpoint, probe
from snapstore.storage.local import LocalStorage
from snapstore.storage.probe import innermost
from tests.unit.storage import fakes


def bare(storage: MemoryStorage) -> MemoryStorage:
    return storage


@pytest.mark.parametrize("wrap", [bare, Retry, lambda s: Prefixed(s, "p/")], ids=["bare", "retry", "prefixed"])
def test_a_good_storage_passes_and_keeps_nothing(wrap: type[Retry]) -> None:
    inner = MemoryStorage()
    inner.put("probe/of-somebody-else", b"1")
    result = probe(wrap(inner))
    assert result.multi_writer
    assert result.single_writer
    assert result.problems == []
    assert result.etag_style == "quoted"
    result.require_multi_writer("memory://")
    assert [row.key for row in inner.list("")] == ["probe/of-somebody-else"]


def test_a_folder_passes(tmp_path: Path) -> None:
    assert probe(LocalStorage(tmp_path)).multi_writer
    assert [path.name for path in tmp_path.iterdir()] == [".snapstore"]


# (storage, the check that fails, a word of the problem)
WRONG = [
    (fakes.IgnoresConditions, "create_if_absent", "second create"),
    (fakes.LosesRaces, "create_race", "racing writers"),
    (fakes.LosesSwapRaces, "compare_and_swap", "racing writers"),
    (fakes.CreatesWhatIsMissing, "missing_refused", "missing object"),
    (fakes.ForgetsVersions, "stale_refused", "old version"),
    (fakes.HasNoSwap, "compare_and_swap", "does not know"),
    (fakes.ListsLate, "list_after_write", "listing"),
    (fakes.IgnoresRanges, "ranges", "parts"),
    (fakes.BreaksRanges, "ranges", "checksum"),
]


@pytest.mark.parametrize(("storage_class", "check", "word"), WRONG, ids=[row[0].__name__ for row in WRONG])
@pytest.mark.parametrize("retried", [False, True], ids=["bare", "retried"])
def test_a_wrong_storage_is_found_out(storage_class: type[MemoryStorage], check: str, word: str, retried: bool) -> None:
    inner = storage_class()
    result = probe(Retry(inner) if retried else inner)
    assert not result.multi_writer
    assert getattr(result, check) is False
    assert len(result.problems) == 1
    assert word in result.problems[0]
    assert list(MemoryStorage.list(inner, "")) == []
    with pytest.raises(StorageError) as caught:
        result.require_multi_writer("s3://bucket")
    assert caught.value.code == "unsafe_storage"
    assert "single_writer=True" in str(caught.value.hint)
    assert "s3://bucket" in str(caught.value)


def test_a_storage_that_loses_races_passes_every_check_in_a_row() -> None:
    """Why there are races at all."""
    result = probe(fakes.LosesRaces())
    assert result.create_if_absent
    assert result.stale_refused
    assert result.missing_refused
    assert result.single_writer
    assert not result.create_race


def test_the_first_failure_ends_it() -> None:
    meter = Meter(fakes.IgnoresConditions())
    probe(meter)
    assert meter.snapshot().requests["put_create"] == 2
    assert "put_if" not in meter.snapshot().requests


@pytest.mark.parametrize("retried", [False, True], ids=["bare", "retried"])
def test_bare_etags_are_found_and_set(retried: bool) -> None:
    inner = fakes.WantsBareEtags()
    result = probe(Retry(inner) if retried else inner)
    assert result.problems == []
    assert result.multi_writer
    assert result.etag_style == "unquoted"
    assert inner.etag_style == "unquoted"
    fresh = fakes.WantsBareEtags()
    ProbeResult.from_json(result.to_json()).apply(Retry(fresh))
    assert fresh.etag_style == "unquoted"


def test_what_it_costs() -> None:
    meter = Meter(MemoryStorage())
    assert probe(meter, rounds=3, writers=5).multi_writer
    usage = meter.snapshot()
    races = 2 * 3 * 5
    assert usage.total - races <= 50
    assert usage.bytes_written < 10_000


def test_it_does_not_run_through_an_emulation() -> None:
    for storage in (SingleWriter(fakes.IgnoresConditions()), Retry(SingleWriter(MemoryStorage()))):
        result = probe(storage)
        assert not result.multi_writer
        assert "single writer" in result.problems[0]


def test_a_storage_that_cannot_be_asked_raises_its_own_error() -> None:
    with pytest.raises(ReadOnlyError):
        probe(MemoryStorage(read_only=True))
    flaky = fakes.FlakyStorage()
    flaky.before["put"] = [StorageError("no", code="permission_denied")]
    with pytest.raises(StorageError) as caught:
        probe(flaky)
    assert caught.value.code == "permission_denied"
    assert list(MemoryStorage.list(flaky, "")) == []


def test_losers_that_get_a_server_error_break_no_promise() -> None:
    """Most losers of a race on Ceph get 500 instead of 412."""

    class Overloaded(MemoryStorage):
        def put_if(self, key: str, data: object, version: str) -> str:
            try:
                return super().put_if(key, data, version)  # type: ignore[arg-type]
            except Exception:
                if "race" in key:
                    raise fakes.busy() from None
                raise

    assert probe(Overloaded()).multi_writer


def test_results_travel_as_json() -> None:
    result = probe(MemoryStorage(), rounds=1)
    again = ProbeResult.from_json(json.loads(json.dumps({**result.to_json(), "newer": 1})))
    assert again == result
    assert not ProbeResult.from_json({}).multi_writer
    with pytest.raises(StorageError):
        ProbeResult().require_multi_writer("x")


def test_the_name_of_the_server_is_the_backends() -> None:
    inner = fakes.WantsBareEtags()
    wrapped = Retry(Prefixed(Meter(inner), "a/"))
    assert innermost(wrapped) is inner
    assert endpoint(wrapped) == "memory://"
