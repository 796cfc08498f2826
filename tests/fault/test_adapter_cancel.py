"""A program stops waiting for an asynchronous call, and the call still takes effect as a whole.

Goal: a cancelled request of a web server, or a turn that ran out of time, leaves no half-written value and no adapter that
hangs: the write goes on behind the cancelled wait.
Method: the storage stands still in the middle of a write; the wait is cancelled; the storage goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from snapstore.opening import open_on
from snapstore.testing import AdapterDriver
from snapstore.testing.faults import Freeze, on
from tests.contract.adapter_drivers import CheckpointDriver, FlowkitDriver, FlowStateDriver, SessionDriver
from tests.fault.witness import empty

Call = Callable[[Any], Coroutine[Any, Any, object]]

NEW = {"n": 2}

CALLS: list[tuple[type[AdapterDriver], Call]] = [
    (FlowStateDriver, lambda driver: driver.store.save("x", driver.record("x", NEW))),
    (FlowkitDriver, lambda driver: driver.store.save(driver.record("x", NEW))),
    (SessionDriver, lambda driver: driver.store.saveSnapshot("x", lambda _: driver.record(NEW))),
    (CheckpointDriver, lambda driver: driver.store.save(driver.record("x", "run", NEW))),
]


@pytest.mark.parametrize("verb", ["put", "put_create"])
@pytest.mark.parametrize(("driver", "call"), CALLS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_cancelled_write_takes_effect(driver: type[AdapterDriver], call: Call, verb: str) -> None:
    storage = Freeze(empty())
    adapter = driver(open_on(storage))
    storage.arm(on(verb))

    async def give_up() -> None:
        waiting = asyncio.create_task(call(adapter))
        assert await asyncio.to_thread(storage.reached.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert driver(open_on(storage.inner)).read("x") in (None, NEW)
        storage.release()

    asyncio.run(give_up())  # leaving it waits for the threads
    assert driver(open_on(storage.inner)).read("x") == NEW
    adapter.write("x", {"n": 3})
    assert adapter.read("x") == {"n": 3}
