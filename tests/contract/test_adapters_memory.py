"""The exported suite on our own adapters, over archives in memory.

Goal: whatever contract an adapter serves, it keeps what every contract needs: values whole and the reader's own, names apart,
writers apart, nothing written that was refused, and no more stored or read than necessary.
Method: each adapter is held by its driver; its own tests hold what only its contract promises.
"""

from __future__ import annotations

import pytest

from snapstore.archive import Archive
from snapstore.opening import open_on
from snapstore.testing import AdapterContract
from tests.contract import adapter_drivers as drivers
from tests.fault.witness import empty


class OnMemory(AdapterContract):
    neighbours = drivers.SYSTEMS

    @pytest.fixture
    def archive(self) -> Archive:
        return open_on(empty())


class TestGenkitFlow(OnMemory):
    driver = drivers.FlowStateDriver


class TestFlowkit(OnMemory):
    driver = drivers.FlowkitDriver


class TestCjm(OnMemory):
    driver = drivers.WorkflowDriver


class TestGenkit(OnMemory):
    driver = drivers.SessionDriver


class TestGenkitPython(OnMemory):
    driver = drivers.PythonSessionDriver


class TestAgentos(OnMemory):
    driver = drivers.CheckpointDriver


class TestLanggraph(OnMemory):
    driver = drivers.ThreadDriver
