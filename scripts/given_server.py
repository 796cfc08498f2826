"""A pytest plugin that keeps only the tests that use the S3 server which `scripts/test.py --s3 KIND` started.

Those are the tests that ask for the fixture `s3_endpoint`. Everything else says the same on every server, and has been
run before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

FIXTURE = "s3_endpoint"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop the tests that do not use the fixture, so that pytest counts them as deselected."""
    kept = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
    dropped = [item for item in items if FIXTURE not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept
