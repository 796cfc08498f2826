"""The one line that each system needs, as the README has it, with what the system then does.

Goal: whoever copies a line from the tables of README.md has a program that keeps its state in an archive. Method: each line is
taken out of its table and executed among the names that such a program has; what it gives is used through the system itself
where the system runs in Python (LangGraph, Genkit's agents, StepFlow, Spark, Ray, Daft), through the system's interface
otherwise. A second handle on the same folder, as another process would have it, then finds what was kept.
"""

from __future__ import annotations

import asyncio
import operator
import os
import re
import sys
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from cjm_fasthtml_interactions.patterns.step_flow import Step, StepFlow
from genkit import FinishReason, Message, ModelRequest, ModelResponse, Part
from genkit.exp import Genkit
from langgraph.graph import START, StateGraph

import snapstore
from snapstore import Archive
from tests.e2e.readme import ROOT, rows

Names = dict[str, Any]

WAIT_S = 60.0

PLAIN = "plain"
"""A snapshot that lies in the archive before any system writes to it."""


def lines(title: str) -> dict[str, tuple[str, str]]:
    """The module and the line of each system in a section's table."""
    return {system: (module.strip("`"), line.strip("`")) for system, module, line in rows(title)}


SYSTEMS = lines("Behind the interfaces you use")
ENGINES = lines("Ask your history questions")


def executed(module: str, line: str, names: Names) -> Any:
    """Execute a line after importing the class that it names; return what it gives to its last name."""
    adapter = import_module(f"snapstore.adapters.{module}")
    public = {name: getattr(adapter, name) for name in adapter.__all__}
    used = {name: value for name, value in public.items() if re.search(rf"\b{name}\(", line)}
    assert used, f"the line uses something of snapstore.adapters.{module}: {line}"
    inside = {**names, **used}
    exec(line, inside)
    (*_, given) = re.findall(r"(\w+) = ", line.partition("(")[0] if ";" not in line else line.partition(";")[2])
    return inside[given]


def done(scenario: Coroutine[Any, Any, Any]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(WAIT_S):
            return await scenario

    return asyncio.run(limited())


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Where the archive lies."""
    return str(tmp_path / "runs")


@pytest.fixture
def archive(folder: str) -> Iterator[Archive]:
    """An archive that somebody uses already, without any framework."""
    with snapstore.open(folder, create=True, durability="os") as opened:
        opened.save({"goal": "refund"}, id=PLAIN, run="ticket-42", graph="support")
        yield opened


# ------------------------------------------------------------------------------------------- the systems


class Notes(TypedDict):
    """The state of the graph."""

    notes: Annotated[list[str], operator.add]


def langgraph(start: Callable[[Names], Any]) -> None:
    builder = StateGraph(Notes)
    builder.add_node("triage", lambda _: {"notes": ["a refund"]})
    builder.add_edge(START, "triage")
    thread = {"configurable": {"thread_id": "t"}}
    graph = start({"builder": builder})
    graph.invoke({"notes": ["opened"]}, thread)
    again = start({"builder": builder})
    assert again.invoke({"notes": ["called"]}, thread)["notes"] == ["opened", "a refund", "called", "a refund"]
    past = [state.values.get("notes", []) for state in again.get_state_history(thread)]
    assert [len(notes) for notes in past] == [4, 3, 2, 2, 1, 0]


def genkit(start: Callable[[Names], Any]) -> None:
    async def echo(request: ModelRequest[Any], _: Any) -> ModelResponse[Any]:
        reply = f"{request.messages[-1].text}, {len(request.messages)}"
        return ModelResponse(message=Message(role="model", content=[Part.from_text(reply)]), finish_reason=FinishReason.STOP)

    def agent() -> Any:
        ai = Genkit()
        ai.define_model(name="local", fn=echo)
        return start({"ai": ai})

    async def scenario() -> None:
        chat = agent().chat()
        assert (await chat.send("one")).text == "one, 1"
        other = agent()
        found = await other.get_snapshot(session_id=chat.session_id)
        assert [message.text for message in found.state.messages] == ["one", "one, 1"]
        assert (await other.chat(session_id=chat.session_id).send("two")).text == "two, 3"

    done(scenario())


def durable_flows(start: Callable[[Names], Any]) -> None:
    async def scenario() -> None:
        store = start({})
        for number in range(3):
            await store.save(f"flow-{number}", {"flowId": f"flow-{number}", "startTime": 1_700_000_000_000 + number, "steps": {}})
        again = start({})
        assert (await again.load("flow-1"))["startTime"] == 1_700_000_000_001
        page = await again.list({"limit": 2})
        assert [state["flowId"] for state in page["flowStates"]] == ["flow-2", "flow-1"]
        rest = await again.list({"continuationToken": page["continuationToken"]})
        assert [state["flowId"] for state in rest["flowStates"]] == ["flow-0"]

    done(scenario())


def flowkit(start: Callable[[Names], Any]) -> None:
    async def scenario() -> None:
        storage = start({})
        assert storage.ttl == 3600
        await storage.save({"conversationId": "user-7", "slots": {"name": "Ada"}})
        again = start({})
        await again.set_slot("user-7", "verified", True)
        assert (await storage.load("user-7"))["slots"] == {"name": "Ada", "verified": True}
        await storage.delete("user-7")
        assert await again.load("user-7") is None

    done(scenario())


def cjm(start: Callable[[Names], Any]) -> None:
    steps = [Step(name, name.title(), lambda context: context) for name in ("name", "mail")]
    session: dict[str, Any] = {}
    flow = start({"StepFlow": StepFlow, "steps": steps})
    flow.update_workflow_state(session, {"name": "Ada"})
    flow.set_current_step(session, "mail")
    again = start({"StepFlow": StepFlow, "steps": steps})
    assert again.get_workflow_state(session) == {"name": "Ada"}
    assert again.get_current_step_id(session) == "mail"
    assert again.state_store.undo("signup", session)
    assert again.get_current_step_id(session) == "name"


def agentos(start: Callable[[Names], Any]) -> None:
    async def scenario() -> None:
        store = start({})
        for number in range(2):
            names = {"id": f"c{number}", "runId": "run-7", "graphId": "g", "nodeId": "plan"}
            await store.save({**names, "timestamp": number, "state": {"scratch": {"tries": number}}})
        again = start({})
        assert (await again.latest("run-7"))["state"] == {"scratch": {"tries": 1}}
        fork = await again.fork("c0", {"scratch": {"retry": True}})
        assert (await store.latest(fork))["state"] == {"scratch": {"tries": 0, "retry": True}}

    done(scenario())


PROOFS: dict[str, tuple[str, Callable[[Callable[[Names], Any]], None]]] = {
    "LangGraph": ("langgraph", langgraph),
    "Genkit, agents of its Python version": ("genkit", genkit),
    "Genkit, durable flows of 0.5": ("genkit-flow", durable_flows),
    "FlowKit": ("flowkit", flowkit),
    "cjm-fasthtml-interactions": ("cjm", cjm),
    "AgentOS": ("agentos", agentos),
}
"""The first word of a system's names in the archive, and a program that uses what the line makes."""


def test_every_line_is_tried() -> None:
    assert SYSTEMS.keys() == PROOFS.keys()


# Genkit's agents are experimental; between versions they may announce changes that are no business of this test.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:genkit")
@pytest.mark.parametrize("system", PROOFS)
def test_the_line_is_all_that_a_program_needs(system: str, folder: str, archive: Archive) -> None:
    word, program = PROOFS[system]
    module, line = SYSTEMS[system]

    def start(names: Names) -> Any:
        return executed(module, line, {**names, "archive": snapstore.open(folder, durability="os")})

    program(start)
    others = [row for row in archive.list() if row.id != PLAIN]
    assert others, "it lies in this archive"
    for row in others:
        for name in (row.id, row.run, row.graph):
            assert name == word or name.startswith((f"{word}:", f"{word}-")), "names begin with the system"
    assert archive[PLAIN].state() == {"goal": "refund"}


# ------------------------------------------------------------------------------------------- engines


def spark_rows(url: str) -> list[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    spark = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        return [row.goal for row in executed(*ENGINES["Spark 4"], {"spark": spark, "url": url}).collect()]
    finally:
        spark.stop()


def ray_rows(url: str) -> list[Any]:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    workers = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, runtime_env=workers)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        return [row["goal"] for row in executed(*ENGINES["Ray"], {"ray": ray, "url": url}).take_all()]
    finally:
        ray.shutdown()


def daft_rows(url: str) -> list[Any]:
    pytest.importorskip("daft", reason="daft is not installed")
    found: list[Any] = executed(*ENGINES["Daft"], {"url": url}).to_pydict()["goal"]
    return found


RUNS: dict[str, Callable[[str], list[Any]]] = {"Spark 4": spark_rows, "Ray": ray_rows, "Daft": daft_rows}


def test_every_engine_is_tried() -> None:
    assert ENGINES.keys() == RUNS.keys()


@pytest.mark.engines
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # engines warn about pandas, sockets and environments; none of it is ours
@pytest.mark.parametrize("engine", RUNS)
def test_the_line_reads_the_archive_on_an_engine(
    engine: str, folder: str, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    archive.save({"goal": "exchange"}, run="ticket-43", graph="support")
    archive.save({"goal": "nothing"}, run="other", graph="other")
    assert sorted(RUNS[engine](folder)) == ["exchange", "refund"]
