"""The suite that every adapter passes: what any persistence contract over an archive must hold, one behaviour a test."""

# The name of a test is its sentence:
# ruff: noqa: D102

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from snapstore.errors import ReadOnlyError
from snapstore.testing.adapter_driver import AdapterDriver, needs
from snapstore.testing.adapter_handles import Refusing, contents, handle, payload_reads, recorded, size_bytes
from snapstore.testing.adapter_races import AdapterRaces

# Names as they come off the wire. Each must stand for itself alone, and none may be taken for a path or a pattern.
KEYS = [
    "a", "b", "A", "a:b", "a/b", "a\\b", "a%2Fb", "a%252Fb", "%", "../x", "..", ".", "/", "/a", "a/", " ", " a", "\0", "a\0",
    "|", "a|b", "*", "a@00000001", "a@00000002", "__x__", "\n", "'\"", "\u00fc", "u\u0308", "\U0001f980",
    "x" * 10_000, "x" * 9_999 + "y",
]  # fmt: skip

_EXAMPLE = {
    "n": 1,
    "text": "gr\u00fc\u00dfe \U0001f980 \x00\u2028",
    "list": [1, 2.5, None, True, False, "", [], {}, [[{"deep": [[]]}]]],
    "zeta": {"": "an empty key", "order": "is kept", "a": 1, "__proto__": 2, "$ref": 3, "a.b": 4},
    "numbers": [0, -1, 2**53, 1e-9, 1.0, 123456789.25],
}


def example() -> dict[str, Any]:
    """A value of everything that JSON holds, a new one each time: nobody's changes may reach another's."""
    return copy.deepcopy(_EXAMPLE)


def conversation(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Messages of about 300 bytes that compress badly, as ciphertext or identifiers do; the same each time."""
    drawn = 0x9E3779B97F4A7C15
    messages = []
    for number in range(first, first + count):
        words = []
        for position in range(16):
            drawn = (drawn * 6364136223846793005 + number + position + 1442695040888963407) % 2**64
            words.append(f"{drawn:016x}")
        messages.append({"role": "user", "content": " ".join(words), "n": number})
    return messages


class AdapterContract(AdapterRaces):
    """All behaviours of an adapter. Subclass it, name the `driver`, and define the fixture `archive`.

    Tests of capabilities that the driver does not have are not collected.
    """

    #: Drivers of adapters to share one archive with; those of the same system are left out.
    neighbours: ClassVar[Sequence[type[AdapterDriver]]] = ()
    #: The keys that must not meet; fewer only on very slow storages.
    odd_keys: ClassVar[Sequence[str]] = KEYS
    #: How many messages a large value has; 1000 are 300 KB.
    large: ClassVar[int] = 1000

    def __init_subclass__(cls) -> None:
        """Hide the tests that this driver is not for."""
        super().__init_subclass__()
        if not hasattr(cls, "driver"):
            return
        for name in dir(AdapterContract):
            if not all(cls.driver.can(capability) for capability in getattr(getattr(AdapterContract, name), "needs", ())):
                setattr(cls, name, None)

    @pytest.fixture
    def archive(self) -> Any:
        """Give an open archive, empty and its own for every test; subclasses replace this."""
        raise NotImplementedError("define the fixture `archive` in your subclass")

    # ---------------------------------------------------------------------------------------------- values

    def test_what_was_written_is_read(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", example())
        for reader in (driver, self.driver(archive), self.driver(handle(archive))):
            # As text, because 1, 1.0 and True are equal, and so are dicts in another order.
            assert json.dumps(reader.read("key")) == json.dumps(example())

    def test_what_was_never_written_is_none(self, archive: Any) -> None:
        driver = self.driver(archive)
        before = contents(archive)
        assert driver.read("key") is None
        driver.write("key", example())
        assert driver.read("ke") is None
        assert driver.read("key2") is None
        assert self.driver(handle(archive)).read("other") is None
        assert before != contents(archive)

    def test_writing_again_replaces(self, archive: Any) -> None:
        driver = self.driver(archive)
        for number in range(3):
            driver.write("key", {"n": number, f"only{number}": []})
            assert driver.read("key") == {"n": number, f"only{number}": []}
        assert self.driver(handle(archive)).read("key") == {"n": 2, "only2": []}

    def test_a_large_value_comes_back(self, archive: Any) -> None:
        value = {"messages": conversation(self.large), "text": "t" * 100_000}
        self.driver(archive).write("key", value)
        assert self.driver(handle(archive)).read("key") == value

    def test_an_empty_value_is_a_value(self, archive: Any) -> None:
        self.driver(archive).write("key", {})
        assert self.driver(handle(archive)).read("key") == {}

    def test_what_the_caller_changes_afterwards_is_not_written(self, archive: Any) -> None:
        driver = self.driver(archive)
        mine = example()
        driver.write("key", mine)
        mine["list"].append("later")
        mine["zeta"]["later"] = 1
        assert driver.read("key") == example()

    def test_what_was_read_is_the_readers_own(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", example())
        for _ in range(2):
            mine = driver.read("key")
            assert mine == example()
            mine["list"].append("mine")
            mine["zeta"].clear()
        assert driver.read("key") == example()

    def test_a_value_that_cannot_be_held_is_refused_and_nothing_is_written(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", example())
        before = contents(archive)
        for bad in self.driver.refused_values:
            for key in ("key", "new"):
                with pytest.raises(self.driver.refusals):
                    driver.write(key, {"fine": 1, "list": [{"bad": bad}]})
        assert contents(archive) == before
        assert driver.read("key") == example()
        assert driver.read("new") is None
        driver.write("key", {"n": 2})
        assert driver.read("key") == {"n": 2}

    # ---------------------------------------------------------------------------------------------- keys

    def test_every_key_stands_for_itself(self, archive: Any) -> None:
        driver = self.driver(archive)
        keys = [key for key in self.odd_keys if key not in self.driver.refused_keys]
        for number, key in enumerate(keys):
            driver.write(key, {"n": number})
        for number, key in enumerate(keys[::3]):
            driver.write(key, {"again": number})
        for reader in (driver, self.driver(handle(archive))):
            found = [reader.read(key) for key in keys]
            assert found == [{"again": n // 3} if n % 3 == 0 else {"n": n} for n in range(len(keys))]

    def test_a_key_that_is_no_text_is_refused_and_nothing_is_written(self, archive: Any) -> None:
        driver = self.driver(archive)
        before = contents(archive)
        for key in (*self.driver.refused_keys, "half a pair \ud800"):
            with pytest.raises(self.driver.refusals):
                driver.write(key, example())
        assert contents(archive) == before

    def test_everything_it_writes_begins_with_its_own_word(self, archive: Any) -> None:
        """So that adapters and plain saves share one archive."""
        driver = self.driver(archive)
        for key in ("key", "plain:key", "../key"):
            driver.write(key, example())
            driver.write(key, {"n": 2})
        names = [name for row in archive.list() for name in (row.id, row.run, row.graph)]
        assert names
        assert {name.partition(":")[0] for name in names} <= set(self.driver.words)

    # ---------------------------------------------------------------------------------------------- sharing

    def test_two_handles_see_what_the_other_wrote(self, archive: Any) -> None:
        """As two processes would: neither may go on from what it remembers."""
        one, other = self.driver(archive), self.driver(handle(archive))
        assert one.read("key") is None
        assert other.read("key") is None
        for number in range(0, 8, 2):
            one.write("key", {"n": number})
            assert other.read("key") == {"n": number}
            other.write("key", {"n": number + 1})
            assert one.read("key") == {"n": number + 1}

    def test_namespaces_do_not_see_each_other(self, archive: Any) -> None:
        names = [None, "a", "b", "../a", "a/b", "a:b"]
        drivers = [self.driver(archive, name) for name in names]
        for name, driver in zip(names, drivers, strict=True):
            assert driver.read("key") is None
            driver.write("key", {"in": name})
        assert [driver.read("key") for driver in drivers] == [{"in": name} for name in names]
        again = [self.driver(handle(archive), name) for name in names]
        assert [driver.read("key") for driver in again] == [{"in": name} for name in names]

    @needs("keys")
    def test_namespaces_list_their_own_keys(self, archive: Any) -> None:
        drivers = {name: self.driver(archive, name) for name in (None, "a", "b")}
        for name, driver in drivers.items():
            driver.write(f"key of {name}", example())
        assert {name: driver.keys() for name, driver in drivers.items()} == {name: [f"key of {name}"] for name in drivers}

    def test_plain_saves_are_left_alone_and_not_taken_for_its_own(self, archive: Any) -> None:
        driver = self.driver(archive)
        archive.save({"plain": 1}, id="key", run="key", graph="key")
        assert driver.read("key") is None
        driver.write("key", example())
        archive.save({"plain": 2}, id="key2", run="key", graph="key")
        assert driver.read("key") == example()
        assert driver.read("key2") is None
        assert archive.get("key").state() == {"plain": 1}
        assert [row.id for row in archive.list(run="key")] == ["key2", "key"]
        if self.driver.can("keys"):
            assert driver.keys() == ["key"]
        if self.driver.can("delete"):
            driver.delete("key")
            driver.delete("key2")
            assert sorted(row.id for row in archive.list(graph="key")) == ["key", "key2"]

    def test_adapters_share_an_archive_without_meeting(self, archive: Any) -> None:
        others = [other(archive) for other in self.neighbours if not set(other.words) & set(self.driver.words)]
        driver = self.driver(archive)
        for number, other in enumerate(others):
            other.write("key", {"other": number})
        assert driver.read("key") is None
        driver.write("key", example())
        assert [other.read("key") for other in others] == [{"other": number} for number in range(len(others))]
        if self.driver.can("keys"):
            assert driver.keys() == ["key"]
        for other in others:
            if other.can("delete"):
                other.delete("key")
        assert driver.read("key") == example()

    def test_a_read_only_archive_is_read_and_never_written(self, archive: Any) -> None:
        self.driver(archive).write("key", example())
        before = contents(archive)
        driver = self.driver(handle(archive, Refusing(archive.storage), read_only=True))
        assert driver.read("key") == example()
        assert driver.read("other") is None
        for key in ("key", "other"):
            with pytest.raises(ReadOnlyError):
                driver.write(key, {"n": 2})
        if self.driver.can("delete"):
            with pytest.raises(ReadOnlyError):
                driver.delete("key")
        assert driver.read("key") == example()
        assert contents(archive) == before

    # ---------------------------------------------------------------------------------------------- cost

    def test_a_small_change_of_a_large_value_costs_a_small_fraction(self, archive: Any) -> None:
        driver = self.driver(archive)
        messages = conversation(self.large)
        driver.write("key", {"messages": messages, "step": 1})
        first = size_bytes(archive)
        driver.write("key", {"messages": [*messages, *conversation(1, self.large)], "step": 2})
        second = size_bytes(archive)
        assert second - first < first / 8
        messages[self.large // 2] = {"role": "system", "content": "changed"}
        other = self.driver(handle(archive))
        assert other.read("key") is not None  # what a process has never seen, it may store again
        other.write("key", {"messages": messages, "step": 3})
        assert size_bytes(archive) - second < first / 8
        assert driver.read("key") == {"messages": messages, "step": 3}

    # ---------------------------------------------------------------------------------------------- capabilities

    @needs("delete")
    def test_what_was_deleted_is_gone_for_everybody_and_may_come_again(self, archive: Any) -> None:
        one, other = self.driver(archive), self.driver(handle(archive))
        for number in range(2):
            one.write("key", {"n": number})
            one.write("stays", {"n": number})
            assert other.read("key") == {"n": number}
            other.delete("key")
            assert [driver.read("key") for driver in (one, other, self.driver(handle(archive)))] == [None] * 3
            assert one.read("stays") == {"n": number}
            other.delete("key")
            one.delete("key")
        one.write("key", example())
        assert other.read("key") == example()

    @needs("delete")
    def test_deleting_what_is_not_there_is_silent_and_writes_nothing(self, archive: Any) -> None:
        driver = self.driver(archive)
        before = contents(archive)
        driver.delete("key")
        driver.delete("../key")
        assert contents(archive) == before

    @needs("keys")
    def test_all_keys_are_listed_and_no_others(self, archive: Any) -> None:
        driver = self.driver(archive)
        assert driver.keys() == []
        keys = {key for key in self.odd_keys if key not in self.driver.refused_keys and len(key) < 9_000}
        for key in keys:
            driver.write(key, {"n": 1})
        driver.write(min(keys), {"n": 2})
        listed = self.driver(handle(archive)).keys()
        assert len(listed) == len(set(listed))
        assert set(listed) == keys

    @needs("keys", "delete")
    def test_what_was_deleted_is_not_listed(self, archive: Any) -> None:
        driver = self.driver(archive)
        for key in ("a", "b", "c"):
            driver.write(key, example())
        driver.delete("b")
        assert sorted(driver.keys()) == ["a", "c"]
        assert sorted(self.driver(handle(archive)).keys()) == ["a", "c"]

    @needs("keys_of_rows")
    def test_rows_are_listed_without_a_look_at_their_payload(self, archive: Any) -> None:
        driver = self.driver(archive)
        for number in range(3):
            driver.write(f"key{number}", {"n": number, "messages": conversation(100)})
        record = recorded(archive.storage)
        rows = self.driver(handle(archive, record)).keys_of_rows()
        assert sorted(rows) == ["key0", "key1", "key2"]
        assert payload_reads(record) == []

    @needs("history")
    def test_what_was_overwritten_stays_in_the_history(self, archive: Any) -> None:
        one, other = self.driver(archive), self.driver(handle(archive))
        values = [{"n": number, "messages": conversation(10 * number)} for number in range(6)]
        for number, value in enumerate(values):
            (one, other)[number % 2].write("key", value)
            one.write("other", {"n": number})
        for reader in (one, self.driver(handle(archive))):
            assert reader.history("key") == values[::-1]
        assert one.history("nothing") == []

    @needs("history", "delete")
    def test_a_history_begins_where_the_key_came_to_be(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", {"life": 1})
        driver.delete("key")
        assert driver.history("key") == []
        driver.write("key", {"life": 2})
        assert driver.history("key") == [{"life": 2}]

    @needs("fork")
    def test_a_fork_goes_its_own_way_and_copies_nothing(self, archive: Any) -> None:
        driver = self.driver(archive)
        value = {"n": 1, "messages": conversation(self.large)}
        driver.write("key", value)
        before = size_bytes(archive)
        key = self.driver(handle(archive)).fork("key")
        assert size_bytes(archive) - before < 20_000
        assert driver.read(key) == value
        driver.write(key, {"n": 2})
        assert driver.read("key") == value
        driver.write("key", {"n": 3})
        assert self.driver(handle(archive)).read(key) == {"n": 2}

    @needs("fork", "delete")
    def test_a_fork_outlives_what_it_came_from(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", example())
        key = driver.fork("key")
        driver.delete("key")
        assert driver.read("key") is None
        assert self.driver(handle(archive)).read(key) == example()

    @needs("set_field")
    def test_fields_are_set_one_by_one(self, archive: Any) -> None:
        one, other = self.driver(archive), self.driver(handle(archive))
        one.write("key", example())
        one.set_field("key", "a", [1])
        other.set_field("key", "b", {"x": None})
        one.set_field("key", "c", "three")
        for reader in (one, other, self.driver(handle(archive))):
            assert reader.fields("key") == {"a": [1], "b": {"x": None}, "c": "three"}
            assert reader.read("key") == example()

    @needs("append")
    def test_the_latest_of_a_group_is_what_was_added_last(self, archive: Any) -> None:
        """Also within one millisecond, which is where sorting by time alone goes wrong."""
        one, other = self.driver(archive), self.driver(handle(archive))
        assert one.latest("group") is None
        for number in range(6):
            value = {"n": number, "messages": conversation(number)}
            one.append("group", value)
            one.append("another", {"n": -1})
            assert one.latest("group") == value
            assert other.latest("group") == value
        assert self.driver(handle(archive)).latest("grou") is None

    @needs("append")
    def test_every_group_stands_for_itself(self, archive: Any) -> None:
        driver = self.driver(archive)
        groups = [key for key in self.odd_keys[::3] if key not in self.driver.refused_keys]
        for number, group in enumerate(groups):
            driver.append(group, {"n": number})
        reader = self.driver(handle(archive))
        assert [reader.latest(group) for group in groups] == [{"n": number} for number in range(len(groups))]

    @needs("heartbeat")
    def test_a_heartbeat_is_one_conditional_write(self, archive: Any) -> None:
        record = recorded(archive.storage)
        driver = self.driver(handle(archive, record))
        driver.write("key", {"messages": conversation(100)})
        for _ in range(2):
            record.arm(None)
            driver.heartbeat("key")
            assert [call.verb for call in record.calls if call.writes] == ["put_if"]
        assert driver.read("key") == {"messages": conversation(100)}

    @needs("increment")
    def test_what_an_increment_raises_is_not_half_written(self, archive: Any) -> None:
        driver = self.driver(archive)
        driver.write("key", {"n": "no number"})
        before = contents(archive)
        with pytest.raises(TypeError):
            driver.increment("key")
        assert contents(archive) == before
