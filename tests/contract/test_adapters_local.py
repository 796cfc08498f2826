"""The exported suite on our own adapters, over archives in folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from snapstore.archive import Archive
from snapstore.opening import open_on
from snapstore.storage import connect
from snapstore.testing import AdapterContract
from tests.contract import adapter_drivers as drivers
from tests.fault.witness import empty


class OnLocal(AdapterContract):
    neighbours = drivers.SYSTEMS

    @pytest.fixture
    def archive(self, tmp_path: Path) -> Archive:
        # As in an archive that was made before: the probe at its making takes longer than most tests.
        storage, made = connect(tmp_path / "archive", create=True, durability="os"), empty()
        for row in made.list(""):
            storage.put(row.key, made.get(row.key).data)
        return open_on(storage)


class TestGenkitFlow(OnLocal):
    driver = drivers.FlowStateDriver


class TestFlowkit(OnLocal):
    driver = drivers.FlowkitDriver


class TestCjm(OnLocal):
    driver = drivers.WorkflowDriver


class TestGenkit(OnLocal):
    driver = drivers.SessionDriver


class TestGenkitPython(OnLocal):
    driver = drivers.PythonSessionDriver


class TestAgentos(OnLocal):
    driver = drivers.CheckpointDriver


class TestLanggraph(OnLocal):
    driver = drivers.ThreadDriver
