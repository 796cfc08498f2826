"""Drivers of our own adapters: how the exported suite, and the tests of faults, hold each of them.

Each imports its adapter when it is made: where one framework is missing, the others can still be tested.
"""

from __future__ import annotations

import asyncio
import atexit
import datetime
import functools
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from snapstore import clock
from snapstore.testing import AdapterDriver

T = TypeVar("T")

START_MS = 1_763_700_000_000
"""A time for records whose contract asks their caller for one."""


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, for all drivers: starting one takes longer than most operations."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(64))  # as many as race at most
    thread = threading.Thread(target=loop.run_forever, name="drivers", daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    atexit.register(stop)
    return loop


def wait(awaitable: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and wait for it; drivers are called from many threads."""
    return asyncio.run_coroutine_threadsafe(awaitable, _loop()).result()


class FlowStateDriver(AdapterDriver):
    """Genkit's durable flows: the value is one memorised step of a flow."""

    words = ("genkit-flow",)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.genkit_flow import FlowStateStore

        self.store = FlowStateStore(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        wait(self.store.save(key, self.record(key, value)))

    def read(self, key: str) -> dict[str, Any] | None:
        found = wait(self.store.load(key))
        return found["cache"]["step"]["value"] if found is not None else None

    def keys(self) -> list[str]:
        found: list[str] = []
        query: dict[str, Any] = {"limit": 3}
        while True:
            page = wait(self.store.list(query))
            found += [state["flowId"] for state in page["flowStates"]]
            if "continuationToken" not in page:
                return found
            query["continuationToken"] = page["continuationToken"]

    def history(self, key: str) -> list[dict[str, Any]]:
        return [snapshot.state()["cache"]["step"]["value"] for snapshot in wait(self.store.history(key))]

    @staticmethod
    def record(key: str, value: dict[str, Any]) -> dict[str, Any]:
        """A flow that waits at its second step."""
        return {
            "name": "suite",
            "flowId": key,
            "startTime": START_MS,
            "cache": {"step": {"value": value}},
            "eventsTriggered": {},
            "blockedOnStep": {"name": "second"},
            "operation": {"name": key, "done": False},
            "executions": [],
        }


class FlowkitDriver(AdapterDriver):
    """FlowKit: the value is one slot of a conversation, fields are others."""

    words = ("flowkit",)
    refused_keys = ("", " ", "\n")

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.flowkit import StorageAdapter

        self.store = StorageAdapter(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        wait(self.store.save(self.record(key, value)))

    def read(self, key: str) -> dict[str, Any] | None:
        found = wait(self.store.load(key))
        return found["slots"]["value"] if found is not None else None

    def delete(self, key: str) -> None:
        wait(self.store.delete(key))

    def history(self, key: str) -> list[dict[str, Any]]:
        return [snapshot.state()["slots"]["value"] for snapshot in wait(self.store.history(key))]

    def set_field(self, key: str, field: str, value: Any) -> None:
        wait(self.store.set_slot(key, field, value))

    def fields(self, key: str) -> dict[str, Any]:
        slots = wait(self.store.get_slots(key))
        assert slots is not None
        return {name: slot for name, slot in slots.items() if name != "value"}

    @staticmethod
    def record(key: str, value: dict[str, Any]) -> dict[str, Any]:
        """A conversation at its first step."""
        return {
            "conversationId": key,
            "currentStep": "start",
            "slots": {"value": value},
            "history": [{"role": "user", "content": "hello"}],
            "ended": False,
            "createdAt": START_MS,
            "updatedAt": START_MS,
        }


class WorkflowDriver(AdapterDriver):
    """cjm: the value is one key of a session's state, fields are others."""

    words = ("cjm",)
    refused_values = (object(),)  # the contract is Python's: whatever the archive holds comes back

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.cjm import SnapWorkflowStateStore

        self.store = SnapWorkflowStateStore(archive, namespace, trust_s=0.0)

    def write(self, key: str, value: dict[str, Any]) -> None:
        self.store.update_state("flow", key, {"value": value})

    def read(self, key: str) -> dict[str, Any] | None:
        return self.store.get_state("flow", key).get("value")

    def delete(self, key: str) -> None:
        self.store.clear_state("flow", key)

    def keys(self) -> list[str]:
        return self.keys_of_rows()

    def keys_of_rows(self) -> list[str]:
        return [summary.session_id for summary in self.store.list_sessions("flow")]

    def history(self, key: str) -> list[dict[str, Any]]:
        return [version.state().get("value", {}) for version in self.store.history("flow", key)]

    def set_field(self, key: str, field: str, value: Any) -> None:
        self.store.update_state("flow", key, {field: value})

    def fields(self, key: str) -> dict[str, Any]:
        return {name: found for name, found in self.store.get_state("flow", key).items() if name != "value"}


class SessionDriver(AdapterDriver):
    """Genkit's agents in the JavaScript shape: the value is the custom state of a snapshot, a group is a session."""

    words = ("genkit",)
    refusals = (Exception,)  # Genkit's own error where genkit is installed

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.genkit import SessionStore

        self.store = SessionStore(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        wait(self.store.saveSnapshot(key, lambda _: self.record(value)))

    def read(self, key: str) -> dict[str, Any] | None:
        found = wait(self.store.getSnapshot({"snapshotId": key}))
        return found["state"]["custom"] if found is not None else None

    def set_field(self, key: str, field: str, value: Any) -> None:
        def change(current: Any) -> Any:
            current["state"].setdefault("fields", {})[field] = value
            return current

        wait(self.store.saveSnapshot(key, change))

    def fields(self, key: str) -> dict[str, Any]:
        found = wait(self.store.getSnapshot({"snapshotId": key}))
        assert found is not None
        fields: dict[str, Any] = found["state"].get("fields", {})
        return fields

    def increment(self, key: str) -> None:
        def change(current: Any) -> Any:
            current["state"]["custom"]["n"] += 1
            return current

        wait(self.store.saveSnapshot(key, change))

    def append(self, group: str, value: dict[str, Any]) -> None:
        last = wait(self.store.getSnapshot({"sessionId": group}))
        parent = {"parentId": last["snapshotId"]} if last is not None else {}
        wait(self.store.saveSnapshot(None, lambda _: {**self.record(value), "sessionId": group, **parent}))

    def latest(self, group: str) -> dict[str, Any] | None:
        found = wait(self.store.getSnapshot({"sessionId": group}))
        return found["state"]["custom"] if found is not None else None

    def heartbeat(self, key: str) -> None:
        now = _iso(clock.now_ms())
        wait(self.store.saveSnapshot(key, lambda current: {**(current or {}), "heartbeatAt": now}))

    @staticmethod
    def record(value: dict[str, Any]) -> dict[str, Any]:
        """A turn that was sent to the background, and lives."""
        beat = {"heartbeatAt": _iso(clock.now_ms())}
        return {"createdAt": _iso(START_MS), **beat, "status": "pending", "state": {"custom": value, "messages": []}}


class PythonSessionDriver(AdapterDriver):
    """Genkit's agents in Python: the same snapshots as model objects."""

    words = ("genkit",)
    refused_keys = ("", " ", "\n")
    refused_values = (float("nan"), object(), "\ud800")  # a set becomes a list in Genkit's models
    refusals = (Exception,)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.genkit import SessionStore

        self.store = SessionStore(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        self.save(key, {"custom": value})

    def read(self, key: str) -> dict[str, Any] | None:
        return self.custom(wait(self.store.get_snapshot(snapshot_id=key)))

    def increment(self, key: str) -> None:
        def change(current: Any) -> Any:
            current.state.custom["n"] += 1
            return current

        wait(self.store.save_snapshot(key, change))

    def append(self, group: str, value: dict[str, Any]) -> None:
        last = wait(self.store.get_snapshot(session_id=group))
        parent = {"parentId": last.snapshot_id} if last is not None else {}
        self.save(clock.random_hex(), {"custom": value, "sessionId": group}, sessionId=group, **parent)

    def latest(self, group: str) -> dict[str, Any] | None:
        return self.custom(wait(self.store.get_snapshot(session_id=group)))

    @staticmethod
    def custom(found: Any) -> dict[str, Any] | None:
        """The value in a snapshot object."""
        return found.state.custom if found is not None else None

    def save(self, key: str, state: dict[str, Any], **more: Any) -> None:
        """Save a snapshot that is under way."""
        from genkit.exp import SessionSnapshot

        def made(_: Any) -> Any:
            return SessionSnapshot.model_validate(
                {"snapshotId": key, "createdAt": "", "status": "pending", "state": state, **more}
            )

        wait(self.store.save_snapshot(key, made))


class CheckpointDriver(AdapterDriver):
    """AgentOS: the value is the scratch space of a checkpoint, a group is a run."""

    words = ("agentos",)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.agentos import CheckpointStore

        self.store = CheckpointStore(archive, namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        wait(self.store.save(self.record(key, "run", value)))

    def read(self, key: str) -> dict[str, Any] | None:
        found = wait(self.store.get(key))
        return found["state"]["scratch"] if found is not None else None

    def delete(self, key: str) -> None:
        wait(self.store.delete(key))

    def keys(self) -> list[str]:
        return self.keys_of_rows()

    def keys_of_rows(self) -> list[str]:
        return [row["id"] for row in wait(self.store.list("graph"))]

    def fork(self, key: str) -> str:
        run = wait(self.store.fork(key))
        (row,) = wait(self.store.list("graph", {"runId": run}))
        id: str = row["id"]
        return id

    def append(self, group: str, value: dict[str, Any]) -> None:
        wait(self.store.save(self.record(clock.random_hex(), group, value)))

    def latest(self, group: str) -> dict[str, Any] | None:
        found = wait(self.store.latest(group))
        return found["state"]["scratch"] if found is not None else None

    @staticmethod
    def record(key: str, run: str, value: dict[str, Any]) -> dict[str, Any]:
        """A checkpoint; all have the same time, so that only the order of saves tells them apart."""
        return {
            "id": key,
            "graphId": "graph",
            "runId": run,
            "nodeId": "node",
            "timestamp": START_MS,
            "state": {"input": 1, "scratch": value, "artifacts": {}, "diagnostics": {}},
            "nodeResults": {},
            "visitedNodes": ["node"],
            "pendingEdges": [],
        }


class ThreadDriver(AdapterDriver):
    """LangGraph: the value is a channel of a thread's newest checkpoint, fields are pending writes."""

    words = ("langgraph", "langgraph-writes")
    refused_values = (object(),)

    def __init__(self, archive: Any, namespace: str | None = None) -> None:
        from snapstore.adapters.langgraph import SnapstoreSaver

        self.saver = SnapstoreSaver(archive, namespace=namespace)

    def write(self, key: str, value: dict[str, Any]) -> None:
        from langgraph.checkpoint.base import empty_checkpoint

        last = self.saver.get_tuple(_thread(key))
        config = last.config if last is not None else {"configurable": {"thread_id": key, "checkpoint_ns": ""}}
        before = last.checkpoint["channel_versions"].get("value") if last is not None else None
        version = self.saver.get_next_version(before, None)
        checkpoint: Any = {
            **empty_checkpoint(),
            "channel_values": {"value": value},
            "channel_versions": {"value": version},
        }
        metadata: Any = {"source": "loop", "step": 1}
        self.saver.put(config, checkpoint, metadata, {"value": version})

    def read(self, key: str) -> dict[str, Any] | None:
        found = self.saver.get_tuple(_thread(key))
        return found.checkpoint["channel_values"]["value"] if found is not None else None

    def delete(self, key: str) -> None:
        self.saver.delete_thread(key)

    def keys(self) -> list[str]:
        return self.keys_of_rows()

    def keys_of_rows(self) -> list[str]:
        found = [row.config["configurable"]["thread_id"] for row in self.saver.list(None)]
        return [*dict.fromkeys(found)]

    def history(self, key: str) -> list[dict[str, Any]]:
        return [row.checkpoint["channel_values"]["value"] for row in self.saver.list(_thread(key))]

    def fork(self, key: str) -> str:
        self.saver.copy_thread(key, f"{key} fork")
        return f"{key} fork"

    def set_field(self, key: str, field: str, value: Any) -> None:
        found = self.saver.get_tuple(_thread(key))
        assert found is not None
        self.saver.put_writes(found.config, [(field, value)], task_id=f"task {field}")

    def fields(self, key: str) -> dict[str, Any]:
        found = self.saver.get_tuple(_thread(key))
        assert found is not None
        return {channel: value for _, channel, value in found.pending_writes or []}


DRIVERS: list[type[AdapterDriver]] = [
    FlowStateDriver, FlowkitDriver, WorkflowDriver, SessionDriver, PythonSessionDriver, CheckpointDriver, ThreadDriver,
]  # fmt: skip

SYSTEMS = [driver for driver in DRIVERS if driver is not PythonSessionDriver]
"""One driver for each system: both faces of Genkit keep the same snapshots."""


def _iso(time_ms: int) -> str:
    """An instant as JavaScript prints it."""
    moment = datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}Z"


def _thread(key: str) -> Any:
    return {"configurable": {"thread_id": key, "checkpoint_ns": ""}}
