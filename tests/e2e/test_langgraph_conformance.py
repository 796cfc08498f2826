"""LangGraph's own conformance suite for checkpointers, complete: 81 tests, none skipped, once async and once sync.

Goal: the saver has every capability that LangGraph knows, and passes all that LangGraph tests. Method: the published package,
over memory, a local folder and S3; its asynchronous tests again on a saver whose async methods call the sync ones directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from snapstore import clock
from snapstore.adapters.langgraph import SnapstoreSaver
from tests.servers import Endpoint

EXPECTED = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}


class SyncSaver(SnapstoreSaver):
    """A saver whose async methods are the sync ones, called in place: the suite knows no sync tests."""

    async def aput(self, *args: Any) -> Any:
        """As `put`."""
        return self.put(*args)

    async def aput_writes(self, *args: Any, **kwargs: Any) -> None:
        """As `put_writes`."""
        self.put_writes(*args, **kwargs)

    async def aget_tuple(self, *args: Any) -> Any:
        """As `get_tuple`."""
        return self.get_tuple(*args)

    async def alist(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """As `list`."""
        for one in self.list(*args, **kwargs):
            yield one

    async def adelete_thread(self, *args: Any) -> None:
        """As `delete_thread`."""
        self.delete_thread(*args)

    async def adelete_for_runs(self, *args: Any) -> None:
        """As `delete_for_runs`."""
        self.delete_for_runs(*args)

    async def acopy_thread(self, *args: Any) -> None:
        """As `copy_thread`."""
        self.copy_thread(*args)

    async def aprune(self, *args: Any, **kwargs: Any) -> None:
        """As `prune`."""
        self.prune(*args, **kwargs)


@pytest.mark.parametrize("kind", [SnapstoreSaver, SyncSaver])
@pytest.mark.parametrize("where", ["memory", "local"])
def test_the_suite_passes_in_full(kind: type[SnapstoreSaver], where: str, tmp_path: Path) -> None:
    """On a fast storage, through both halves of the interface."""
    url = str(tmp_path) if where == "local" else f"memory://{kind.__name__}-conformance"
    check(lambda: kind.from_url(url, durability="os"))


def test_the_suite_passes_on_s3(s3_endpoint: Endpoint) -> None:
    """Where checkpoints are meant to lie; `scripts/test.py --s3 KIND` names the server, else ministack."""
    url = f"s3://{s3_endpoint.bucket}/langgraph-{clock.random_hex()}"
    check(lambda: SnapstoreSaver.from_url(url, storage_options=s3_endpoint.options))


def check(opened: Callable[[], SnapstoreSaver]) -> None:
    """Run the suite; each capability gets a fresh saver on the same archive, as a service that restarts would."""

    @checkpointer_test(name="SnapstoreSaver")
    async def saver() -> AsyncIterator[SnapstoreSaver]:
        yield opened()

    report = asyncio.run(validate(saver))
    assert [failure for result in report.results.values() for failure in result.failures] == []
    assert {name: result.tests_passed for name, result in report.results.items()} == EXPECTED
    assert sum(EXPECTED.values()) == 81
    assert (report.conformance_level(), report.passed_all_base(), report.passed_all()) == ("FULL", True, True)
