"""The suite of adapters on plain saves, and the suite itself put to the test.

Goal: the suite asks nothing of an adapter that the archive does not give, and it notices each mistake that it is there for.
Method: a driver straight on the archive passes all of it; drivers with one mistake each fail the test that names it.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from snapstore.archive import Archive
from snapstore.errors import InvalidInputError
from snapstore.opening import open_on
from snapstore.testing import AdapterContract, AdapterDriver
from tests.contract.plain_driver import PlainDriver
from tests.fault.witness import empty


class TestPlain(AdapterContract):
    driver = PlainDriver

    @pytest.fixture
    def archive(self) -> Archive:
        return open_on(empty())


class Remembers(PlainDriver):
    """Goes on from what it has read once."""

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        super().__init__(archive, namespace)
        self.seen: dict[str, Any] = {}

    def read(self, key: str) -> dict[str, Any] | None:
        if self.seen.get(key) is None:
            self.seen[key] = super().read(key)
        return self.seen[key]  # type: ignore[no-any-return]

    def write(self, key: str, value: dict[str, Any]) -> None:
        super().write(key, value)
        self.seen[key] = value


class Joins(PlainDriver):
    """Takes ids as parts of paths."""

    def name(self, key: str) -> str:
        return f"plain:{key.replace('..', '.').strip('/')}"


class Shortens(PlainDriver):
    """Cuts long ids."""

    def name(self, key: str) -> str:
        return super().name(key[:200])


class Unprefixed(PlainDriver):
    """Uses ids as they come."""

    def name(self, key: str) -> str:
        return key


class ChecksLate(PlainDriver):
    """Writes before it looks."""

    def write(self, key: str, value: dict[str, Any]) -> None:
        self.archive.save({"value": {}}, id=self.name(key), run=self.name(key), graph="plain")
        super().write(key, value)


class Forgets(PlainDriver):
    """Reads, changes and writes, with nothing to keep others away."""

    def set_field(self, key: str, field: str, value: Any) -> None:
        name = self.name(key)
        state = self.archive[name].state()
        state["fields"][field] = value
        self.archive.save(state, id=name, run=name, graph="plain")

    def increment(self, key: str) -> None:
        value = self.read(key)
        assert value is not None
        self.write(key, {"n": value["n"] + 1})

    def heartbeat(self, key: str) -> None:
        value = self.read(key)
        assert value is not None
        self.write(key, value)


class ReadsAll(PlainDriver):
    """Opens every snapshot to list it, and lists what belongs to others."""

    def keys(self) -> list[str]:
        rows = [row for row in self.archive.list() if self.archive[row.id].state()]
        return [row.id.partition(":")[2] for row in rows]


class Copies(PlainDriver):
    """Forks by reading and writing, and ignores namespaces."""

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        self.archive = archive

    def fork(self, key: str) -> str:
        value = self.read(key)
        assert value is not None
        self.write(f"{key} fork", value)
        return f"{key} fork"


class Packs(PlainDriver):
    """Makes one text of the value, changed from front to back."""

    def write(self, key: str, value: dict[str, Any]) -> None:
        import json
        import zlib

        if len(text := json.dumps(value)) > 100_000:
            value = {"z": zlib.compress(text.encode()).hex()}
        super().write(key, value)

    def read(self, key: str) -> dict[str, Any] | None:
        import json
        import zlib

        value = super().read(key)
        if value is None or "z" not in value:
            return value
        unpacked: dict[str, Any] = json.loads(zlib.decompress(bytes.fromhex(value["z"])))
        return unpacked


MISTAKES: list[tuple[type[AdapterDriver], str]] = [
    (Remembers, "test_two_handles_see_what_the_other_wrote"),
    (Remembers, "test_what_the_caller_changes_afterwards_is_not_written"),
    (Remembers, "test_what_was_read_is_the_readers_own"),
    (Remembers, "test_what_was_deleted_is_gone_for_everybody_and_may_come_again"),
    (Joins, "test_every_key_stands_for_itself"),
    (Shortens, "test_every_key_stands_for_itself"),
    (Unprefixed, "test_everything_it_writes_begins_with_its_own_word"),
    (Unprefixed, "test_plain_saves_are_left_alone_and_not_taken_for_its_own"),
    (ChecksLate, "test_a_value_that_cannot_be_held_is_refused_and_nothing_is_written"),
    (Forgets, "test_no_field_gets_lost"),
    (Forgets, "test_no_increment_gets_lost"),
    (Forgets, "test_a_heartbeat_is_one_conditional_write"),
    (ReadsAll, "test_plain_saves_are_left_alone_and_not_taken_for_its_own"),
    (ReadsAll, "test_rows_are_listed_without_a_look_at_their_payload"),
    (Copies, "test_a_fork_goes_its_own_way_and_copies_nothing"),
    (Copies, "test_namespaces_do_not_see_each_other"),
    (Packs, "test_a_small_change_of_a_large_value_costs_a_small_fraction"),
]


@pytest.mark.parametrize(("mistaken", "name"), MISTAKES, ids=lambda value: getattr(value, "__name__", None))
def test_the_suite_notices(mistaken: type[AdapterDriver], name: str) -> None:
    """A test that cannot fail is a defect."""

    class Suite(AdapterContract):
        driver = mistaken

    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        getattr(Suite(), name)(open_on(empty()))


def test_what_a_contract_cannot_do_is_not_asked() -> None:
    class Least(AdapterDriver):
        def __init__(self, archive: Any, namespace: str | None = None) -> None:
            self.plain = PlainDriver(archive, namespace)

        def write(self, key: str, value: dict[str, Any]) -> None:
            self.plain.write(key, value)

        def read(self, key: str) -> dict[str, Any] | None:
            return self.plain.read(key)

    class Suite(AdapterContract):
        driver = Least

    def tests(suite: type[AdapterContract]) -> set[str]:
        return {name for name, found in inspect.getmembers(suite, callable) if name.startswith("test_")}

    left = tests(Suite)
    assert len(left) > 15
    assert tests(TestPlain) - left == {
        name for name, found in inspect.getmembers(AdapterContract, callable) if hasattr(found, "needs")
    } - {"test_what_was_overwritten_stays_in_the_history", "test_a_history_begins_where_the_key_came_to_be"}
    with pytest.raises(InvalidInputError):
        Least(open_on(empty())).write("x", {"x": float("nan")})
