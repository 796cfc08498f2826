"""The part of the adapter suite that lets threads race. Subclass `AdapterContract`, which includes it."""

# The name of a test is its sentence:
# ruff: noqa: D102

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from snapstore.testing.adapter_driver import AdapterDriver, needs
from snapstore.testing.adapter_handles import handle, together


class AdapterRaces:
    """Behaviour under rivals: threads on one handle, and on handles of their own as other processes would have."""

    #: The adapter under test.
    driver: ClassVar[type[AdapterDriver]]
    #: How many threads race.
    writers: ClassVar[int] = 8

    def test_of_racing_writes_one_whole_value_is_left(self, archive: Any) -> None:
        values = [{"by": number, "parts": [number] * 500} for number in range(self.writers)]
        drivers = self.drivers(archive)
        together([partial(driver.write, "key", value) for driver, value in zip(drivers, values, strict=True)])
        found = [reader.read("key") for reader in (*drivers, self.driver(handle(archive)))]
        assert found[0] in values
        assert found == [found[0]] * len(found)

    def test_threads_on_different_keys_do_not_disturb_each_other(self, archive: Any) -> None:
        driver = self.driver(archive)

        def work(number: int) -> None:
            for step in range(3):
                driver.write(f"key{number}", {"step": step})
                assert driver.read(f"key{number}") == {"step": step}

        together([partial(work, number) for number in range(self.writers)])
        reader = self.driver(handle(archive))
        assert [reader.read(f"key{number}") for number in range(self.writers)] == [{"step": 2}] * self.writers

    def test_readers_see_whole_values_while_they_are_replaced(self, archive: Any) -> None:
        writer, readers = self.driver(archive), [self.driver(archive), self.driver(handle(archive))]
        writer.write("key", {"n": 0, "parts": [0] * 500})

        def write() -> None:
            for number in range(1, 6):
                writer.write("key", {"n": number, "parts": [number] * 500})

        def read(reader: AdapterDriver) -> None:
            last = 0
            while last < 5:
                found = reader.read("key")
                assert found is not None
                assert found["parts"] == [found["n"]] * 500
                assert found["n"] >= last
                last = found["n"]

        together([write, *[partial(read, reader) for reader in readers]])

    @needs("set_field")
    def test_no_field_gets_lost(self, archive: Any) -> None:
        drivers = self.drivers(archive)
        drivers[0].write("key", {"n": 1})

        def work(number: int) -> None:
            for step in range(3):
                drivers[number].set_field("key", f"field {number} {step}", [number, step])

        together([partial(work, number) for number in range(self.writers)])
        wanted = {f"field {number} {step}": [number, step] for number in range(self.writers) for step in range(3)}
        assert self.driver(handle(archive)).fields("key") == wanted
        assert drivers[-1].read("key") == {"n": 1}

    @needs("increment")
    def test_no_increment_gets_lost(self, archive: Any) -> None:
        drivers = self.drivers(archive)
        drivers[0].write("key", {"n": 0})

        def work(driver: AdapterDriver) -> None:
            for _ in range(3):
                driver.increment("key")

        together([partial(work, driver) for driver in drivers])
        assert self.driver(handle(archive)).read("key") == {"n": self.writers * 3}

    @needs("append")
    def test_of_racing_additions_none_is_lost_to_the_next(self, archive: Any) -> None:
        """Rivals may branch, and the latest is one of theirs; what is added afterwards is the latest again."""
        drivers = self.drivers(archive)
        values = [{"by": number} for number in range(self.writers)]
        together([partial(driver.append, "group", value) for driver, value in zip(drivers, values, strict=True)])
        assert self.driver(handle(archive)).latest("group") in values
        drivers[0].append("group", {"by": "the last"})
        assert self.driver(handle(archive)).latest("group") == {"by": "the last"}

    def drivers(self, archive: Any) -> list[AdapterDriver]:
        """Return a driver for each thread: half of them share the archive's handle, the others have their own."""
        return [self.driver(archive if number % 2 else handle(archive)) for number in range(self.writers)]
