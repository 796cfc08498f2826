"""Real LangGraph graphs over our checkpointer: what they compute, show and resume is what they do over LangGraph's own.

Goal: a program changes one line and notices nothing. Method: the same graph with the same inputs over `InMemorySaver` and ours,
states and histories compared; each time again through a fresh saver on the same folder.
"""

from __future__ import annotations

import asyncio
import operator
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

from snapstore import clock
from snapstore.adapters.langgraph import SnapstoreSaver
from snapstore.opening import open_on
from snapstore.storage.memory import MemoryStorage
from snapstore.storage.protocol import BytesLike
from snapstore.storage.wrapper import WrappedStorage

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*:langchain_core._api.beta_decorator.LangChainBetaWarning",  # DeltaChannel says that it is young
)

Saver = BaseCheckpointSaver[Any]
THREAD: RunnableConfig = {"configurable": {"thread_id": "t"}, "recursion_limit": 200}
DURABILITIES = ["sync", "async", "exit"]


class State(TypedDict, total=False):
    """What the graphs below hold."""

    messages: Annotated[list[BaseMessage], add_messages]
    parts: Annotated[list[str], operator.add]
    count: int


def chat(saver: Saver, *, turns: int = 3) -> Any:
    """A loop of one node that answers until it has answered so often."""

    def answer(state: State) -> State:
        number = state.get("count", 0)
        return {"messages": [AIMessage(f"answer {number}", id=f"a{number}")], "count": number + 1}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_conditional_edges("answer", lambda state: END if state["count"] % turns == 0 else "answer")
    return builder.compile(checkpointer=saver)


def fan_out(saver: Saver) -> Any:
    """Three parallel branches, two more by Send, one node that joins them."""

    def branch(name: str) -> Any:
        return lambda state: {"parts": [f"{name}{state.get('count', '')}"]}

    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, branch(name))
        builder.add_edge(START, name)
    builder.add_node("sent", branch("sent"))
    builder.add_node("join", lambda state: {"count": len(state["parts"])}, defer=True)
    builder.add_conditional_edges("a", lambda state: [Send("sent", {"count": number}) for number in (1, 2)], ["sent"])
    # No edge from several nodes at once: such a barrier hands its live set to savers, so that with durability "async" what a
    # checkpoint holds depends on how soon it is saved, over LangGraph's own savers too.
    for name in ("b", "c", "sent"):
        builder.add_edge(name, "join")
    return builder.compile(checkpointer=saver)


def nested(saver: Saver) -> Any:
    """A graph in a graph in a graph, the innermost with an interrupt: namespaces `outer:id|inner:id`."""
    innermost = StateGraph(State)
    innermost.add_node("ask", lambda state: {"parts": [interrupt({"question": state["count"]})]})
    innermost.add_edge(START, "ask")
    inner = StateGraph(State)
    inner.add_node("before", lambda state: {"parts": ["before"]})
    inner.add_node("inner", innermost.compile())
    inner.add_edge(START, "before")
    inner.add_edge("before", "inner")
    builder = StateGraph(State)
    builder.add_node("outer", inner.compile())
    builder.add_node("after", lambda state: {"parts": ["after"]})
    builder.add_edge(START, "outer")
    builder.add_edge("outer", "after")
    return builder.compile(checkpointer=saver)


def plain(value: Any) -> Any:
    """A state snapshot without what is drawn anew in every run: ids, times, versions."""
    found = (value.values, value.next, value.metadata.get("source"), value.metadata.get("step"))
    tasks = [(task.name, task.error, [one.value for one in task.interrupts], task.result) for task in value.tasks]
    return (*found, sorted(tasks, key=repr))


def history(graph: Any, config: RunnableConfig = THREAD) -> list[Any]:
    """The whole history of a thread."""
    return [plain(one) for one in graph.get_state_history(config)]


def savers(folder: Path) -> tuple[Saver, SnapstoreSaver]:
    """LangGraph's saver, and ours on a folder."""
    return InMemorySaver(), SnapstoreSaver.from_url(str(folder), durability="os")


def again(folder: Path) -> SnapstoreSaver:
    """Ours on the same folder, as after a restart."""
    return SnapstoreSaver.from_url(str(folder), create=False)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_conversation(durability: str, tmp_path: Path) -> None:
    """The ordinary use: turns on one thread, in all three ways to save, sync and async methods mixed."""
    theirs, ours = savers(tmp_path)
    for saver in (theirs, ours):
        graph = chat(saver)
        graph.invoke({"messages": [HumanMessage("one", id="h1")]}, THREAD, durability=durability)
        asyncio.run(graph.ainvoke({"messages": [HumanMessage("two", id="h2")]}, THREAD, durability=durability))
    expected = history(chat(theirs))
    assert len(expected) == (2 if durability == "exit" else 10)
    for saver in (ours, again(tmp_path)):
        assert history(chat(saver)) == expected

        async def read(saver: Saver = saver) -> list[Any]:
            return [plain(one) async for one in chat(saver).aget_state_history(THREAD)]

        assert asyncio.run(read()) == expected


@pytest.mark.parametrize("durability", DURABILITIES)
def test_parallel_branches(durability: str, tmp_path: Path) -> None:
    """Their pending writes arrive at the same time, and in any order against the checkpoints."""
    theirs, ours = savers(tmp_path)
    for saver in (theirs, ours):
        found = fan_out(saver).invoke({"parts": []}, THREAD, durability=durability)
        assert (found["parts"], found["count"]) == (["a", "b", "c", "sent1", "sent2"], 5)
    for saver in (ours, again(tmp_path)):
        assert history(fan_out(saver)) == history(fan_out(theirs))


@pytest.mark.parametrize("durability", DURABILITIES)
def test_nested_graphs_interrupt_and_resume_in_a_new_process(durability: str, tmp_path: Path) -> None:
    """Namespaces with `|` and `:` in them; the resume comes through a saver that knows nothing."""
    theirs, ours = savers(tmp_path)
    expected: list[Any] = []
    for saver, resuming in ((theirs, theirs), (ours, again(tmp_path))):
        seen: list[Any] = []
        nested(saver).invoke({"count": 7, "parts": []}, THREAD, durability=durability)
        graph = nested(resuming)
        state = graph.get_state(THREAD, subgraphs=True)
        inner = state.tasks[0].state.tasks[0].state
        assert inner.config["configurable"]["checkpoint_ns"].count("|") == 1
        seen += [plain(inner)[:2], [one.value for one in state.interrupts]]
        seen.append(graph.invoke(Command(resume="yes"), THREAD, durability=durability))
        seen.append(history(graph))
        expected = expected or seen
        assert seen == expected
    assert expected[2]["parts"][-2:] == ["yes", "after"]


def test_time_travel_and_forks(tmp_path: Path) -> None:
    """Going back, changing a state and running on from there makes a branch; the old line stays readable."""
    theirs, ours = savers(tmp_path)
    results = []
    for saver in (theirs, ours):
        graph = chat(saver)
        graph.invoke({"messages": [HumanMessage("one", id="h1")]}, THREAD)
        past = next(one for one in graph.get_state_history(THREAD) if one.values.get("count") == 1)
        replayed = graph.invoke(None, past.config)
        forked = graph.update_state(past.config, {"messages": [HumanMessage("instead", id="h9")], "count": 5})
        branch = graph.invoke(None, forked)
        old = graph.get_state(past.config)
        texts = [message.content for message in branch["messages"]]
        results.append((replayed, branch, texts, plain(old), history(graph), plain(graph.get_state(THREAD))))
    assert results[0] == results[1]
    assert results[1][2] == ["one", "answer 0", "instead", "answer 5"]
    assert history(chat(again(tmp_path))) == results[0][4]


def test_a_failed_task_is_run_again_and_its_siblings_are_not(tmp_path: Path) -> None:
    """What pending writes are for: work that was done is not done again after a crash."""
    runs: list[str] = []

    def build(saver: Saver, *, broken: bool) -> Any:
        def work(name: str) -> Any:
            def run(state: State) -> State:
                runs.append(name)
                if name == "b" and broken:
                    raise ConnectionError("the model is away")
                return {"parts": [name]}

            return run

        builder = StateGraph(State)
        for name in "ab":
            builder.add_node(name, work(name))
            builder.add_edge(START, name)
        return builder.compile(checkpointer=saver)

    saver = SnapstoreSaver.from_url(str(tmp_path), durability="os")
    with pytest.raises(ConnectionError):
        build(saver, broken=True).invoke({"parts": []}, THREAD)
    assert build(again(tmp_path), broken=False).invoke(None, THREAD)["parts"] == ["a", "b"]
    assert sorted(runs) == ["a", "b", "b"]


class Slow(WrappedStorage):
    """A storage far away: each write takes a moment, in which the graph goes on."""

    def put(self, key: str, data: BytesLike) -> str:
        """Write, after a while."""
        clock.sleep(0.004)
        return self.inner.put(key, data)

    def put_create(self, key: str, data: BytesLike) -> str:
        """Write, after a while."""
        clock.sleep(0.004)
        return self.inner.put_create(key, data)


def test_a_graph_that_is_faster_than_its_storage(tmp_path: Path) -> None:
    """With durability "async" pending writes then arrive long before their checkpoints, for many steps in a row."""
    theirs, _ = savers(tmp_path)
    memory = MemoryStorage()
    ours = SnapstoreSaver(open_on(Slow(memory), create=True))
    for saver in (theirs, ours):
        chat(saver, turns=25).invoke({"messages": [HumanMessage("one", id="h1")]}, THREAD, durability="async")
        fan_out(saver).invoke({"parts": []}, {"configurable": {"thread_id": "u"}}, durability="async")
    cold = SnapstoreSaver(open_on(memory))
    assert history(chat(cold, turns=25)) == history(chat(theirs, turns=25))
    other: RunnableConfig = {"configurable": {"thread_id": "u"}}
    assert history(fan_out(cold), other) == history(fan_out(theirs), other)
    assert all(row.status == "completed" for row in cold.archive.list())


def join(state: list[Any], writes: list[list[Any]]) -> list[Any]:
    """A reducer for a DeltaChannel: all writes of a batch, in order."""
    return [*state, *(item for items in writes for item in items)]


class DeltaState(TypedDict, total=False):
    """A state whose list is stored now and then only."""

    items: Annotated[list[Any], DeltaChannel(join, snapshot_frequency=7)]
    count: int


def delta_graph(saver: Saver, steps: int) -> Any:
    """Two parallel nodes in a loop, both adding to the DeltaChannel."""

    def left(state: DeltaState) -> DeltaState:
        return {"items": [f"left {state['count']}"], "count": state["count"] + 1}

    def right(state: DeltaState) -> DeltaState:
        return {"items": [HumanMessage(f"right {state['count']}", id=str(state["count"]))]}

    builder = StateGraph(DeltaState)
    builder.add_node("left", left)
    builder.add_node("right", right)
    builder.add_node("again", lambda state: {})
    for name in ("left", "right"):
        builder.add_edge(START, name)
        builder.add_edge(name, "again")
    builder.add_conditional_edges("again", lambda state: END if state["count"] % steps == 0 else ["left", "right"])
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", DURABILITIES)
def test_delta_channels(durability: str, tmp_path: Path) -> None:
    """Values that are rebuilt from pending writes: every checkpoint of the history has the right ones."""
    theirs, ours = savers(tmp_path)
    for saver in (theirs, ours):
        graph = delta_graph(saver, 5)
        graph.invoke({"items": ["first"], "count": 0}, THREAD, durability=durability)
        graph.invoke({"items": ["second"]}, THREAD, durability=durability)
    expected = history(delta_graph(theirs, 5))
    assert len(expected[0][0]["items"]) == 22
    for saver in (ours, again(tmp_path)):
        assert history(delta_graph(saver, 5)) == expected


@pytest.mark.parametrize("durability", DURABILITIES)
def test_a_delta_thread_is_pruned_copied_and_goes_on(durability: str, tmp_path: Path) -> None:
    """Other checkpointers refuse to prune such threads, because their ancestors hold the state."""
    _, ours = savers(tmp_path)
    graph = delta_graph(ours, 5)
    whole = graph.invoke({"items": ["first"], "count": 0}, THREAD, durability=durability)
    ours.copy_thread("t", "copy")
    copied: RunnableConfig = {"configurable": {"thread_id": "copy"}, "recursion_limit": 200}
    ours.prune(["t"])
    assert len(history(graph)) == 1
    ours.delete_thread("missing")
    for config in (THREAD, copied):
        fresh = delta_graph(again(tmp_path), 5)
        assert fresh.get_state(config).values == whole
        for _ in range(2):
            before = fresh.get_state(config).values["items"]
            after = fresh.invoke({"items": ["more"]}, config, durability=durability)["items"]
            assert after[: len(before) + 1] == [*before, "more"]
            assert len(after) == len(before) + 11
            again(tmp_path).prune([config["configurable"]["thread_id"]])
            assert fresh.get_state(config).values["items"] == after


def test_a_thread_begun_with_sqlite_goes_on_here_and_back(tmp_path: Path) -> None:
    """Moving over: the tuples of the old saver, in the order in which it lists them; and the same way back."""
    ours = SnapstoreSaver.from_url(str(tmp_path / "runs"), durability="os")
    with SqliteSaver.from_conn_string(str(tmp_path / "old.sqlite")) as theirs:
        chat(theirs).invoke({"messages": [HumanMessage("one", id="h1")]}, THREAD)
        move(theirs, ours)
        assert history(chat(ours)) == history(chat(theirs))
        chat(ours).invoke({"messages": [HumanMessage("two", id="h2")]}, THREAD)
        texts = [message.content for message in chat(ours).get_state(THREAD).values["messages"]]
        assert texts == ["one", "answer 0", "answer 1", "answer 2", "two", "answer 3", "answer 4", "answer 5"]
    with SqliteSaver.from_conn_string(str(tmp_path / "new.sqlite")) as back:
        move(ours, back)
        assert history(chat(back)) == history(chat(ours))
        chat(back).invoke({"messages": [HumanMessage("three", id="h3")]}, THREAD)
        assert len(chat(back).get_state(THREAD).values["messages"]) == 12


def move(source: Saver, target: Saver) -> None:
    """Copy a thread from one checkpointer to another, with what the interface offers."""
    for one in source.list(THREAD):
        parent = one.parent_config["configurable"]["checkpoint_id"] if one.parent_config else None
        named = {**one.config["configurable"], "checkpoint_id": parent}
        stored = target.put({"configurable": named}, one.checkpoint, one.metadata, one.checkpoint["channel_versions"])
        for task, writes in groupby(one.pending_writes or [], key=lambda write: write[0]):
            target.put_writes(stored, [(channel, value) for _, channel, value in writes], task)


SECOND = """
import sys
from langchain_core.messages import HumanMessage
from tests.e2e.test_langgraph_graphs import THREAD, again, chat
from pathlib import Path
graph = chat(again(Path(sys.argv[1])))
found = graph.invoke({"messages": [HumanMessage("two", id="h2")]}, THREAD)
print([message.content for message in found["messages"]])
"""


def test_a_second_process_goes_on(tmp_path: Path) -> None:
    """Another host or worker takes over a conversation from what is stored, and the first one sees it."""
    first = chat(SnapstoreSaver.from_url(str(tmp_path), durability="os"))
    first.invoke({"messages": [HumanMessage("one", id="h1")]}, THREAD)
    command = [sys.executable, "-c", SECOND, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["one", "answer 0", "answer 1", "answer 2", "two", "answer 3", "answer 4", "answer 5"])
    found = first.invoke({"messages": [HumanMessage("three", id="h3")]}, THREAD)
    assert [message.id for message in found["messages"]][-4:] == ["h3", "a6", "a7", "a8"]
