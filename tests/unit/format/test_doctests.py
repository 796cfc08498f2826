"""The examples in the format room's docstrings run.

Goal: what a page shows is what happens.
Method: doctest over every module of the room; at least the three with examples must have some.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from snapstore import format as room

MODULES = [info.name for info in pkgutil.iter_modules(room.__path__, "snapstore.format.")]
WITH_EXAMPLES = {"snapstore.format.canonical", "snapstore.format.metadata", "snapstore.format.names"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted or name not in WITH_EXAMPLES
