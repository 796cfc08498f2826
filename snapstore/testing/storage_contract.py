"""The suite that every storage passes: what `snapstore.storage.protocol.Storage` promises, one behaviour a test."""

# The name of a test is its sentence:
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import pytest

from snapstore import clock
from snapstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError
from snapstore.storage.parallel import parallel
from snapstore.storage.protocol import Storage
from snapstore.testing.storage_races import StorageRaces

# Keys as snapstore makes them, and the strangest that the rules allow; every one must come back as it was given.
KEYS = [
    "snapstore.json",
    "snapshots/0f/support-ticket-42",
    "runs/ticket%2042/f9a1b2c3d4e5-000000000000-abcdef012345-0123456789abcdef0123456789abcdef",
    "a/%2e%2e/%00x~_-.%7c",
    "changes/%F0%9F%A6%8A/~0123",
    "Upper/case%3D=",
    "...",
    "dots/.../..hidden/.x",
    "-dash/_under",
    "long/" + "x" * 200,
]

BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a b", "a\n", "ä", "a\\b", "a:b", "a\0b", "a?b", "a#b", "a*b",
    "a+b", ".snapstore/x", "x" * 256, "/".join(["x" * 100] * 10),
]  # fmt: skip


class StorageContract(StorageRaces):
    """All behaviours of a storage. Subclass it and define the fixture `storage`: empty, and its own for every test."""

    #: How many objects the listing and deleting tests make. Above 1000 they cross a page; fewer only on very slow backends.
    many_keys: ClassVar[int] = 1050
    #: Size in bytes of the largest object of the suite, above the part size of every client.
    large_bytes: ClassVar[int] = 20_000_000
    #: How far the storage's clock may be from this machine's, in milliseconds.
    clock_tolerance_ms: ClassVar[int] = 5_000

    # ---------------------------------------------------------------------------------------------- one object

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5, b"\r\n\0\xff"], ids=["empty", "one", "all", "odd"])
    def test_what_was_written_is_read(self, storage: Storage, data: bytes) -> None:
        storage.put("a/put", data)
        storage.put_create("a/create", data)
        assert storage.get("a/put").data == data
        assert storage.get("a/create").data == data
        assert type(storage.get("a/put").data) is bytes

    def test_other_kinds_of_bytes_are_written_too(self, storage: Storage) -> None:
        body = bytearray(b"0123456789")
        storage.put("a/bytearray", body)
        storage.put_create("a/view", memoryview(body)[2:5])
        assert storage.get("a/bytearray").data == b"0123456789"
        assert storage.get("a/view").data == b"234"

    def test_a_large_object_survives(self, storage: Storage) -> None:
        body = (clock.random_hex(500).encode() * (self.large_bytes // 1000 + 1))[: self.large_bytes]
        version = storage.put_create("a/large", body)
        assert storage.get("a/large").data == body
        middle = self.large_bytes // 2
        assert storage.get_ranges("a/large", [(middle, 1000), (-1, 10)]) == [body[middle : middle + 1000], body[-10:]]
        storage.put_if("a/large", body[::-1], version)
        assert storage.get("a/large").data == body[::-1]

    def test_a_missing_object_is_not_found(self, storage: Storage) -> None:
        storage.put("a/b", b"x")
        for key in ("a/missing", "a", "missing/x"):
            with pytest.raises(NotFoundError) as caught:
                storage.get(key)
            assert caught.value.code == "object_not_found"
            with pytest.raises(NotFoundError):
                storage.get_ranges(key, [(0, 1)])

    def test_put_replaces(self, storage: Storage) -> None:
        storage.put("a", b"first")
        storage.put("a", b"second, longer")
        storage.put("a", b"3")
        assert storage.get("a").data == b"3"

    # ---------------------------------------------------------------------------------------------- conditions

    def test_create_is_refused_when_the_name_is_taken(self, storage: Storage) -> None:
        storage.put_create("a/b", b"first")
        with pytest.raises(ConflictError) as caught:
            storage.put_create("a/b", b"second")
        assert caught.value.code == "already_exists"
        assert storage.get("a/b").data == b"first"
        storage.put("a/c", b"")
        with pytest.raises(ConflictError):
            storage.put_create("a/c", b"second")
        assert storage.get("a/c").data == b""

    def test_create_works_again_after_delete(self, storage: Storage) -> None:
        storage.put_create("a", b"first")
        storage.delete_many(["a"])
        storage.put_create("a", b"second")
        assert storage.get("a").data == b"second"

    def test_replacing_needs_the_current_version(self, storage: Storage) -> None:
        first = storage.put_create("a", b"first")
        second = storage.put_if("a", b"second", first)
        assert second != first
        with pytest.raises(ConflictError) as caught:
            storage.put_if("a", b"third", first)
        assert caught.value.code == "version_changed"
        assert storage.get("a").data == b"second"
        storage.put_if("a", b"third", second)
        assert storage.get("a").data == b"third"

    def test_every_call_tells_the_same_version(self, storage: Storage) -> None:
        created = storage.put_create("a", b"first")
        assert storage.get("a").version == created
        replaced = storage.put_if("a", b"second", storage.get("a").version)
        assert storage.get("a").version == replaced
        put = storage.put("a", b"third")
        assert storage.get("a").version == put
        assert len({created, replaced, put}) == 3

    def test_replacing_a_missing_object_is_a_conflict_and_creates_nothing(self, storage: Storage) -> None:
        version = storage.put("a/other", b"other")
        with pytest.raises(ConflictError) as caught:
            storage.put_if("a/missing", b"x", version)
        assert caught.value.code == "version_changed"
        storage.delete_many(["a/other"])
        with pytest.raises(ConflictError):
            storage.put_if("a/other", b"x", version)
        assert list(storage.list("")) == []

    def test_a_version_from_elsewhere_is_a_conflict(self, storage: Storage) -> None:
        storage.put("a", b"a")
        other = storage.put("b", b"b")
        with pytest.raises(ConflictError):
            storage.put_if("a", b"x", other)
        assert storage.get("a").data == b"a"

    def test_back_to_the_same_meaning_is_another_version_when_the_bytes_are_unique(self, storage: Storage) -> None:
        """A to B to A again: with something unique in each body, a version never comes back."""
        first = storage.put_create("a", b"A 1")
        storage.put_if("a", b"B 2", first)
        storage.put("a", b"A 3")
        with pytest.raises(ConflictError):
            storage.put_if("a", b"C 4", first)
        assert storage.get("a").data == b"A 3"

    # ---------------------------------------------------------------------------------------------- ranges

    def test_ranges_come_in_the_order_asked_for(self, storage: Storage) -> None:
        body = bytes(range(256)) * 1000
        storage.put("a", body)
        ranges = [(255_000, 1000), (0, 10), (5, 10), (100_000, 1), (-1, 300), (0, 256_000), (0, 10)]
        right = [body[-300:] if start < 0 else body[start : start + length] for start, length in ranges]
        assert storage.get_ranges("a", ranges) == right

    def test_a_suffix_of_a_shorter_object_is_all_of_it(self, storage: Storage) -> None:
        storage.put("a", b"12345")
        storage.put("empty", b"")
        assert storage.get_ranges("a", [(-1, 5), (-1, 3), (-1, 100_000)]) == [b"12345", b"345", b"12345"]
        assert storage.get_ranges("empty", [(-1, 10)]) == [b""]

    def test_empty_ranges_are_empty(self, storage: Storage) -> None:
        storage.put("a", b"12345")
        assert storage.get_ranges("a", []) == []
        assert storage.get_ranges("a", [(2, 0), (1, 2), (-1, 0)]) == [b"", b"23", b""]

    @pytest.mark.parametrize("span", [(0, 6), (4, 2), (5, 1), (100, 1), (0, 100_000)])
    def test_a_range_past_the_end_is_truncation(self, storage: Storage, span: tuple[int, int]) -> None:
        storage.put("a", b"12345")
        for ranges in ([span], [(0, 1), span]):
            with pytest.raises(CorruptionError) as caught:
                storage.get_ranges("a", ranges)
            assert caught.value.code == "object_truncated"

    def test_a_negative_length_is_refused(self, storage: Storage) -> None:
        storage.put("a", b"12345")
        with pytest.raises(InvalidInputError):
            storage.get_ranges("a", [(0, -1)])

    # ---------------------------------------------------------------------------------------------- listing

    def test_a_listing_is_in_byte_order_and_recursive(self, storage: Storage) -> None:
        keys = ["b/c/d", "b-c", "B", "b/a", "b0", "a", "b/%61", "b/~", "b/c/%7c", "b/c-d"]
        for key in keys:
            storage.put(key, key.encode())
        assert [row.key for row in storage.list("")] == sorted(keys)
        assert [row.key for row in storage.list("b/")] == sorted(key for key in keys if key.startswith("b/"))
        assert [row.key for row in storage.list("b/c/")] == ["b/c/%7c", "b/c/d"]
        assert [row.size for row in storage.list("b/c/")] == [7, 5]

    def test_a_prefix_that_holds_nothing_lists_nothing(self, storage: Storage) -> None:
        assert list(storage.list("")) == []
        storage.put("ab/c", b"x")
        assert list(storage.list("a/")) == []
        assert list(storage.list("ab/c/")) == []

    def test_a_prefix_ends_with_a_slash(self, storage: Storage) -> None:
        for prefix in ("a", "/", "a//", "../"):
            with pytest.raises(InvalidInputError):
                storage.list(prefix)

    def test_start_after_is_exclusive_and_need_not_exist(self, storage: Storage) -> None:
        keys = ["p/a", "p/b", "p/bc", "p/c/x", "p/d"]
        for key in keys:
            storage.put(key, b"")
        storage.put("q", b"")

        def after(start_after: str, limit: int | None = None) -> list[str]:
            return [row.key for row in storage.list("p/", start_after=start_after, limit=limit)]

        assert after("p/a") == keys[1:]
        assert after("p/aa") == keys[1:]
        assert after("p/bc") == keys[3:]
        assert after("p/c/a") == keys[3:]
        assert after("p/c/x") == keys[4:]
        assert after("p/c/z") == keys[4:]
        assert after("p/d") == []
        assert after("q") == []
        assert after("a") == keys
        assert after("p/a", 2) == keys[1:3]
        assert after("", 1) == keys[:1]
        assert after("", 0) == []

    def test_a_listing_sees_what_just_changed(self, storage: Storage) -> None:
        for number in range(10):
            key = f"seen/{number}"
            version = storage.put_create(key, b"")
            assert key in [row.key for row in storage.list("seen/")]
            storage.put_if(key, b"123", version)
            assert [row.size for row in storage.list("seen/") if row.key == key] == [3]
        storage.delete_many([f"seen/{number}" for number in range(9)])
        assert [row.key for row in storage.list("seen/")] == ["seen/9"]

    def test_more_objects_than_a_page(self, storage: Storage) -> None:
        keys = [f"many/{number % 7}/{number:05}" for number in range(self.many_keys)]
        parallel([partial(storage.put, key, b"") for key in keys])
        keys.sort()
        assert [row.key for row in storage.list("many/")] == keys
        assert [row.key for row in storage.list("", start_after=keys[3], limit=1010)] == keys[4:1014]
        first = storage.list("many/")
        assert next(first).key == keys[0]
        storage.delete_many([*keys[5:], "many/missing"])
        assert [row.key for row in storage.list("many/")] == keys[:5]

    def test_modification_times_are_by_the_storages_clock(self, storage: Storage) -> None:
        before = storage.now_ms()
        storage.put("a", b"x")
        (row,) = storage.list("")
        # Servers tell whole seconds, and answer theirs to the nearest one.
        assert before - 2_500 <= row.modified_ms <= storage.now_ms() + 2_500

    # ---------------------------------------------------------------------------------------------- deleting

    def test_deleting_is_silent_about_what_is_missing(self, storage: Storage) -> None:
        storage.put("a/b", b"x")
        storage.put("a/c", b"x")
        storage.delete_many(["a/missing", "a/b", "missing/x", "a/b"])
        storage.delete_many(["a/b"])
        storage.delete_many([])
        storage.delete_many(key for key in ["a/d"])
        assert [row.key for row in storage.list("")] == ["a/c"]
        with pytest.raises(NotFoundError):
            storage.get("a/b")

    def test_one_bad_key_deletes_nothing(self, storage: Storage) -> None:
        storage.put("a", b"x")
        with pytest.raises(InvalidInputError):
            storage.delete_many(["a", "../a"])
        assert storage.get("a").data == b"x"

    # ---------------------------------------------------------------------------------------------- keys

    def test_keys_come_back_as_they_were_given(self, storage: Storage) -> None:
        for key in KEYS:
            storage.put_create(key, key.encode())
        assert [row.key for row in storage.list("")] == sorted(KEYS)
        for key in KEYS:
            assert storage.get(key).data == key.encode()
        storage.delete_many(KEYS)
        assert list(storage.list("")) == []

    @pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
    def test_what_is_no_key_is_refused(self, storage: Storage, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: storage.get(key),
            lambda: storage.get_ranges(key, [(0, 1)]),
            lambda: storage.put(key, b""),
            lambda: storage.put_create(key, b""),
            lambda: storage.put_if(key, b"", "version"),
            lambda: storage.delete_many([key]),
        ]
        for call in calls:
            with pytest.raises(InvalidInputError) as caught:
                call()
            assert caught.value.code == "invalid_key"

    # ---------------------------------------------------------------------------------------------- the rest

    def test_the_clock_is_near(self, storage: Storage) -> None:
        first = storage.now_ms()
        assert abs(first - clock.now_ms()) < self.clock_tolerance_ms
        assert storage.now_ms() >= first - 1_000

    def test_it_says_where_it_is_and_closes_twice(self, storage: Storage) -> None:
        assert isinstance(storage.url, str)
        assert storage.url
        assert storage.read_only is False
        assert isinstance(storage, Storage)
        storage.close()
        storage.close()
