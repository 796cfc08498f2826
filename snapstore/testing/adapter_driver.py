"""The handle by which the suite of adapters holds an adapter: its contract seen as values under keys.

Every persistence contract keeps documents under names that its caller chooses, whatever it calls them. A driver says how:
`write` and `read` are required, everything else is a capability that a contract may have, declared by overriding its method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from snapstore.errors import InvalidInputError

__all__ = ["AdapterDriver", "needs"]

Test = TypeVar("Test", bound=Callable[..., Any])


class AdapterDriver:
    """What the suite does with an adapter. Subclass it, and override the methods that your contract has an answer to.

    A value is a JSON object. Where the contract's own record demands more (a start time, a step), the driver adds it when
    writing and takes it away when reading. Methods of asynchronous adapters wait: the suite calls from ordinary threads.

    Args:
        archive: where the adapter works.
        namespace: passed on to the adapter.
    """

    #: The word before the colon with which every id, run and graph of the adapter begins; several when it has several kinds.
    words: ClassVar[Sequence[str]] = ()
    #: Those of the suite's keys that the contract refuses, such as blank ones.
    refused_keys: ClassVar[Sequence[str]] = ()
    #: Values that the contract cannot hold; each is tried inside of an object.
    refused_values: ClassVar[Sequence[Any]] = (float("nan"), object(), {1, 2}, "\ud800")
    #: What the adapter raises for them.
    refusals: ClassVar[tuple[type[Exception], ...]] = (InvalidInputError, TypeError, ValueError)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        raise NotImplementedError("make your adapter here")

    @classmethod
    def can(cls, capability: str) -> bool:
        """Whether the method with this name is there."""
        return getattr(cls, capability) is not getattr(AdapterDriver, capability)

    # ---------------------------------------------------------------------------------------------- required

    def write(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value under a key, in place of an earlier one."""
        raise NotImplementedError

    def read(self, key: str) -> dict[str, Any] | None:
        """Return what was written last, None when there is nothing."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------- capabilities

    def delete(self, key: str) -> None:
        """Let there be nothing under a key; silent when there was nothing."""
        raise NotImplementedError

    def keys(self) -> list[str]:
        """Return all keys that have a value, in any order."""
        raise NotImplementedError

    def keys_of_rows(self) -> list[str]:
        """Return the same from a call that promises to read no payload."""
        raise NotImplementedError

    def history(self, key: str) -> list[dict[str, Any]]:
        """Return the values of a key that were written since it came to be, newest first."""
        raise NotImplementedError

    def fork(self, key: str) -> str:
        """Give a value a second key, from where it goes its own way, and return that key."""
        raise NotImplementedError

    def set_field(self, key: str, field: str, value: Any) -> None:
        """Set one field beside the value of a key that exists, atomically: fields that others set meanwhile stay."""
        raise NotImplementedError

    def fields(self, key: str) -> dict[str, Any]:
        """Return the fields that `set_field` set; comes with it."""
        raise NotImplementedError

    def increment(self, key: str) -> None:
        """Add one to the field `n` of the value, atomically, by a function of the present value."""
        raise NotImplementedError

    def append(self, group: str, value: dict[str, Any]) -> None:
        """Add a value to a group (a run, a session) behind its newest one."""
        raise NotImplementedError

    def latest(self, group: str) -> dict[str, Any] | None:
        """Return the newest value of a group, None when there is none; comes with `append`."""
        raise NotImplementedError

    def heartbeat(self, key: str) -> None:
        """Say that whoever works on this value is alive."""
        raise NotImplementedError


def needs(*capabilities: str) -> Callable[[Test], Test]:
    """Mark a test that only runs for drivers with all of these capabilities."""

    def mark(test: Test) -> Test:
        test.needs = capabilities  # type: ignore[attr-defined]
        return test

    return mark
