"""Small wrappers and the storage in memory: what they add to the suite that each of them passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from snapstore.errors import ConflictError, InvalidInputError, NotFoundError, ReadOnlyError, StorageError
from snapstore.storage import MemoryStorage, Prefixed, ReadOnlyStorage, SingleWriter, memory
from snapstore.storage.protocol import BytesLike


class TestMemory:
    def test_a_name_is_shared_in_the_process(self) -> None:
        memory.named("shared-in-test").put("a", b"1")
        assert memory.named("shared-in-test").get("a").data == b"1"
        assert memory.named("shared-in-test").url == "memory://shared-in-test"
        memory.forget("shared-in-test")
        memory.forget("shared-in-test")
        with pytest.raises(NotFoundError):
            memory.named("shared-in-test").get("a")
        memory.forget("shared-in-test")

    def test_no_name_is_private(self) -> None:
        memory.named("").put("a", b"1")
        with pytest.raises(NotFoundError):
            memory.named("").get("a")

    def test_equal_bytes_get_versions_of_their_own(self) -> None:
        storage = MemoryStorage()
        assert storage.put("a", b"1") != storage.put("a", b"1")

    def test_what_is_stored_does_not_change_with_the_callers_buffer(self) -> None:
        storage = MemoryStorage()
        buffer = bytearray(b"123")
        storage.put("a", buffer)
        buffer[0] = 0
        assert storage.get("a").data == b"123"


@pytest.mark.parametrize("storage", [ReadOnlyStorage(MemoryStorage()), MemoryStorage(read_only=True)], ids=["wrapper", "memory"])
class TestReadOnly:
    def test_every_write_is_refused(self, storage: MemoryStorage) -> None:
        assert storage.read_only
        calls: list[Callable[[], object]] = [
            lambda: storage.put("a", b""),
            lambda: storage.put_create("a", b""),
            lambda: storage.put_if("a", b"", "v"),
            lambda: storage.delete_many(["a"]),
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError):
                call()
        assert list(storage.list("")) == []


class TestPrefixed:
    def test_it_lies_below_the_prefix(self) -> None:
        inner = MemoryStorage("x")
        outer = Prefixed(inner, "ns/7/")
        outer.put("a", b"1")
        assert [row.key for row in inner.list("")] == ["ns/7/a"]
        assert outer.url == "memory://x/ns/7"
        assert Prefixed(MemoryStorage(), "a/").url == "memory://a"

    def test_nobody_climbs_out(self) -> None:
        outer = Prefixed(MemoryStorage(), "ns/7/")
        for key in ("../8/a", "/a", ".snapstore/x"):
            with pytest.raises(InvalidInputError):
                outer.get(key)
            with pytest.raises(InvalidInputError):
                outer.delete_many([key])

    def test_prefixes_nest(self) -> None:
        inner = MemoryStorage()
        Prefixed(Prefixed(inner, "a/"), "b/").put("c", b"1")
        assert inner.get("a/b/c").data == b"1"

    def test_a_prefix_is_checked(self) -> None:
        for prefix in ("a", "../", "/"):
            with pytest.raises(InvalidInputError):
                Prefixed(MemoryStorage(), prefix)


class Unconditional(MemoryStorage):
    """A storage without conditional writes."""

    def put_create(self, key: str, data: BytesLike) -> str:
        raise StorageError("no", code="unsafe_storage")

    def put_if(self, key: str, data: BytesLike, version: str) -> str:
        raise StorageError("no", code="unsafe_storage")


class TestSingleWriter:
    def test_it_needs_no_conditional_writes(self) -> None:
        storage = SingleWriter(Unconditional())
        version = storage.put_create("a", b"1")
        storage.put_if("a", b"2", version)
        with pytest.raises(ConflictError):
            storage.put_create("a", b"3")
        with pytest.raises(ConflictError):
            storage.put_if("a", b"3", version)

    def test_writes_of_different_keys_do_not_wait_for_each_other(self) -> None:
        together = threading.Barrier(2, timeout=10)

        class Slow(Unconditional):
            def put(self, key: str, data: BytesLike) -> str:
                together.wait()  # breaks unless both writes are under way at the same time
                return super().put(key, data)

        storage = SingleWriter(Slow())
        other = next(key for key in map(str, range(1000)) if hash(key) % 64 != hash("a") % 64)
        threads = [threading.Thread(target=storage.put_create, args=(key, b"1")) for key in ("a", other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(storage.list(""))) == 2
