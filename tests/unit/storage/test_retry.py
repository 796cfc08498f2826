"""Tries again: when, how often, how long, and never twice what has landed.

Goal: passing failures are invisible, lasting ones come through, and a write whose answer got lost is a success.
Method: a storage in memory that fails as told, before or after it took effect; time is replaced, so nothing waits.
"""

from __future__ import annotations

import pytest

from snapstore import clock
from snapstore.errors import ConflictError, NotFoundError, StorageError
from snapstore.storage import Retry
from tests.unit.storage.fakes import FlakyStorage, WantsBareEtags, busy


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace time: sleeping is noted, and moves the clock on."""
    slept: list[float] = []
    monkeypatch.setattr(clock, "sleep", slept.append)
    monkeypatch.setattr(clock, "monotonic_s", lambda: sum(slept))
    monkeypatch.setattr(clock, "jitter", lambda low, high: high)
    return slept


@pytest.fixture
def flaky() -> FlakyStorage:
    return FlakyStorage()


@pytest.fixture
def storage(flaky: FlakyStorage, waits: list[float]) -> Retry:
    return Retry(flaky)


def test_every_call_is_repeated(flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
    flaky.put("a", b"12345")
    flaky.calls.clear()
    for verb in ("get", "get_ranges", "put", "put_create", "put_if", "delete_many", "now_ms", "list"):
        flaky.before[verb] = [busy(), busy()]
    assert storage.get("a").data == b"12345"
    assert storage.get_ranges("a", [(1, 2)]) == [b"23"]
    storage.put("b", b"1")
    version = storage.put_create("c", b"1")
    storage.put_if("c", b"2", version)
    assert [row.key for row in storage.list("")] == ["a", "b", "c"]
    storage.delete_many(key for key in ["a", "b"])
    assert storage.now_ms() > 0
    assert flaky.get("c").data == b"2"
    assert {flaky.calls[verb] for verb in ("get_ranges", "put", "put_create", "put_if", "delete_many", "now_ms")} == {3}
    assert waits == [0.1, 0.2] * 8


def test_delays_double_up_to_a_limit_and_end_at_the_deadline(flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
    flaky.put("a", b"1")
    storage.get("a")
    flaky.before["get"] = [busy() for _ in range(100)]
    with pytest.raises(StorageError) as caught:
        storage.get("a")
    assert waits[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert 50 < sum(waits) <= 60
    assert caught.value.__notes__ == [f"gave up after {len(waits) + 1} attempts"]


def test_the_limit_is_the_callers(flaky: FlakyStorage, waits: list[float]) -> None:
    flaky.before["get"] = [busy() for _ in range(100)]
    with pytest.raises(StorageError):
        Retry(flaky, timeout_s=1.0).get("a")
    assert waits == [0.1, 0.2, 0.4]


def test_jitter_spreads_the_delays(flaky: FlakyStorage, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    monkeypatch.setattr(clock, "jitter", jitter)
    flaky.before["now_ms"] = [busy()]
    Retry(flaky).now_ms()
    assert asked == [(0.5, 1.0)]
    assert waits == [0.05]


@pytest.mark.parametrize("error", [StorageError("full", code="storage_full"), NotFoundError("no"), ConflictError("no")])
def test_lasting_failures_come_through_at_once(
    flaky: FlakyStorage, storage: Retry, waits: list[float], error: StorageError
) -> None:
    flaky.before["get"] = [error]
    flaky.before["put"] = [error]
    with pytest.raises(type(error)) as caught:
        storage.get("a")
    assert caught.value is error
    with pytest.raises(type(error)):
        storage.put("a", b"")
    assert waits == []


class TestEndpoint:
    def refused(self) -> StorageError:
        return StorageError("no connection", code="endpoint_unreachable", retryable=True)

    def test_one_that_never_answered_is_given_up_soon(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        flaky.before["get"] = [self.refused() for _ in range(100)]
        with pytest.raises(StorageError):
            storage.get("a")
        assert waits == [0.1, 0.2]

    def test_one_that_answered_before_may_be_restarting(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        with pytest.raises(NotFoundError):
            storage.get("a")
        flaky.put("a", b"1")
        flaky.before["get"] = [self.refused() for _ in range(8)]
        assert storage.get("a").data == b"1"
        assert len(waits) == 8


class TestLostAnswers:
    """The write took effect, and the answer did not arrive: the repeated write meets itself."""

    def test_create(self, flaky: FlakyStorage, storage: Retry) -> None:
        flaky.after["put_create"] = [busy()]
        version = storage.put_create("a", b"mine")
        assert flaky.get("a").version == version
        assert flaky.calls["put_create"] == 2

    def test_replace(self, flaky: FlakyStorage, storage: Retry) -> None:
        before = flaky.put("a", b"before")
        flaky.after["put_if"] = [busy()]
        version = storage.put_if("a", b"mine", before)
        assert (flaky.get("a").data, flaky.get("a").version) == (b"mine", version)
        storage.put_if("a", b"next", version)

    def test_a_conflict_that_a_client_reports_after_its_own_retry(self, flaky: FlakyStorage, storage: Retry) -> None:
        before = flaky.put("a", b"before")
        flaky.after["put_if"] = [ConflictError("412 after a hidden 500", code="version_changed")]
        flaky.after["put_create"] = [ConflictError("412 after a hidden 500", code="already_exists")]
        assert storage.put_if("a", b"mine", before) == flaky.get("a").version
        assert storage.put_create("b", bytearray(b"mine")) == flaky.get("b").version

    def test_empty_objects_too(self, flaky: FlakyStorage, storage: Retry) -> None:
        flaky.after["put_create"] = [busy()]
        storage.put_create("a", b"")
        assert flaky.get("a").data == b""

    def test_the_reading_back_may_fail_for_a_while(self, flaky: FlakyStorage, storage: Retry) -> None:
        flaky.after["put_create"] = [busy()]
        flaky.before["get"] = [busy(), busy()]
        storage.put_create("a", b"mine")
        assert flaky.get("a").data == b"mine"


class TestRealConflicts:
    def test_create(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        flaky.put("a", b"theirs")
        with pytest.raises(ConflictError) as caught:
            storage.put_create("a", b"mine")
        assert caught.value.code == "already_exists"
        assert flaky.get("a").data == b"theirs"
        assert waits == []

    def test_replace(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        before = flaky.put("a", b"before")
        flaky.put("a", b"theirs")
        with pytest.raises(ConflictError) as caught:
            storage.put_if("a", b"mine", before)
        assert caught.value.code == "version_changed"
        assert waits == []

    def test_replace_of_a_missing_object(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        with pytest.raises(ConflictError):
            storage.put_if("a", b"mine", "v1")
        assert waits == []

    def test_a_rival_that_came_while_the_answer_was_lost(self, flaky: FlakyStorage, storage: Retry) -> None:
        """The failed attempt did not land, the rival did: a conflict, and nothing of ours is there."""
        before = flaky.put("a", b"before")
        flaky.before["put_if"] = [busy()]
        flaky.put("a", b"theirs")
        with pytest.raises(ConflictError):
            storage.put_if("a", b"mine", before)
        assert flaky.get("a").data == b"theirs"


class TestFalseConflicts:
    """S3 answers 409 when a write meets another one in flight, whoever wins; some servers compare wrongly."""

    def test_create_of_a_name_that_stayed_free(self, flaky: FlakyStorage, storage: Retry) -> None:
        flaky.before["put_create"] = [ConflictError("409", code="already_exists") for _ in range(5)]
        storage.put_create("a", b"mine")
        assert flaky.get("a").data == b"mine"

    def test_replace_of_an_object_that_did_not_change(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        before = flaky.put("a", b"before")
        flaky.before["put_if"] = [ConflictError("409", code="version_changed") for _ in range(2)]
        storage.put_if("a", b"mine", before)
        assert flaky.get("a").data == b"mine"
        assert len(waits) == 2

    def test_a_server_that_always_refuses_is_named(self, waits: list[float]) -> None:
        inner = WantsBareEtags()
        storage = Retry(inner)
        version = storage.put_create("a", b"before")
        with pytest.raises(StorageError) as caught:
            storage.put_if("a", b"mine", version)
        assert caught.value.code == "unsafe_storage"
        assert "quotes" in str(caught.value.hint)
        assert len(waits) == 3


class TestListing:
    def test_it_goes_on_behind_the_last_row(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        keys = [f"k/{number:04}" for number in range(30)]
        for key in keys:
            flaky.put(key, b"")
        seen = []
        for row in storage.list("k/", start_after=keys[2], limit=20):
            seen.append(row.key)
            if len(seen) in {4, 9}:
                flaky.before["list"] = [busy()]
        assert seen == keys[3:23]
        assert waits == [0.1, 0.1]

    def test_it_gives_up_when_it_stands_still(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        flaky.put("a", b"")
        flaky.before["list"] = [busy() for _ in range(100)]
        with pytest.raises(StorageError):
            list(storage.list(""))
        assert 50 < sum(waits) <= 60

    def test_lasting_failures_come_through(self, flaky: FlakyStorage, storage: Retry, waits: list[float]) -> None:
        flaky.put("a", b"")
        flaky.before["list"] = [StorageError("no", code="permission_denied")]
        with pytest.raises(StorageError):
            list(storage.list(""))
        assert waits == []
