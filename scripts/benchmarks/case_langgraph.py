"""LangGraph's checkpointer: one thread of many steps against LangGraph's own SQLite saver, which stores each state whole."""

from __future__ import annotations

import gc
import importlib.util
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Any, TypedDict

from benchmarks.measure import Spent, folder_bytes, in_child, repeat_cpu, spending
from benchmarks.report import Row, at_most, limit, skipped
from benchmarks.subject import open_metered, pack_count

# Each node adds one message of 1 KB; what else the thread holds, and how many steps it takes.
SHAPES = {
    "steps": "1 KB message per step",
    "document": "the same with an unchanged 100 KB channel",
    "chat": "chat turns, human and model",
}
STEPS, TURNS = 500, 250
QUICK_STEPS, QUICK_TURNS = 60, 30

MESSAGE_CHARS = 1024
DOCUMENT_CHARS = 100_000
THREAD = "1b2c3d4e-0000-4000-8000-123456789abc"
CONFIG: dict[str, Any] = {"configurable": {"thread_id": THREAD}}

# Puts compared at the beginning and at the end of a thread.
EDGE = 50

NEEDS = ("langgraph", "langgraph.checkpoint.sqlite")


def absent() -> str | None:
    """Return what is not installed, or None."""
    missing = [
        name for name in NEEDS if importlib.util.find_spec(name.split(".")[0]) is None or not importlib.util.find_spec(name)
    ]
    return f"not installed: {', '.join(missing)}" if missing else None


@cache
def words() -> list[str]:
    """Return invented words with the letters of English."""
    rng = random.Random(1)
    return ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.randint(2, 11))) for _ in range(4000)]


def text(number: int, chars: int = MESSAGE_CHARS) -> str:
    """Return a text of its own for each number, which compresses about as prose does."""
    return " ".join(random.Random(number).choices(words(), k=chars // 4))[:chars]


def graph(saver: Any, shape: str, steps: int) -> Any:
    """Return a graph that adds one message per step (or per turn) and keeps a count."""
    from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
    from langgraph.graph import END, START, StateGraph
    from langgraph.graph.message import add_messages

    fields: Any = {"messages": Annotated[list[AnyMessage], add_messages], "document": str, "count": int}
    kind = AIMessage if shape == "chat" else HumanMessage

    def step(now: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [kind(text(now["count"]), id=f"m{now['count']}")], "count": now["count"] + 1}

    builder: Any = StateGraph(TypedDict("State", fields))  # type: ignore[operator]  # made here: it needs the framework
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    if shape == "chat":
        builder.add_edge("step", END)
    else:
        builder.add_conditional_edges("step", lambda now: END if now["count"] >= steps else "step")
    return builder.compile(checkpointer=saver)


def recorded(shape: str, steps: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Run a thread once and return what the graph asked of its checkpointer, so that both are asked the same."""
    from langchain_core.messages import HumanMessage
    from langgraph.checkpoint.memory import InMemorySaver

    calls: list[tuple[str, tuple[Any, ...]]] = []

    class Recorder(InMemorySaver):
        """Notes every write and passes it on."""

        def put(self, *arguments: Any) -> Any:
            calls.append(("put", arguments))
            return super().put(*arguments)

        def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            calls.append(("put_writes", (config, list(writes), task_id, task_path)))
            super().put_writes(config, writes, task_id, task_path)

    built = graph(Recorder(), shape, steps)
    config = {**CONFIG, "recursion_limit": steps + 10}
    if shape == "chat":
        for turn in range(steps):
            asked = HumanMessage(text(-1 - turn), id=f"h{turn}")
            built.invoke({"messages": [asked], **({} if turn else {"count": 0})}, config, durability="sync")
    else:
        first = {"count": 0, **({"document": text(10**6, DOCUMENT_CHARS)} if shape == "document" else {})}
        built.invoke(first, config, durability="sync")
    return calls


@contextmanager
def opened(kind: str, folder: str) -> Iterator[tuple[Any, Any]]:
    """Open a checkpointer on a folder; the second value counts what ours asks of the storage."""
    if kind == "sqlite":
        from langgraph.checkpoint.sqlite import SqliteSaver

        connection = sqlite3.connect(Path(folder) / "checkpoints.sqlite", check_same_thread=False)
        yield SqliteSaver(connection), None
        connection.close()
        return
    from snapstore.adapters.langgraph import SnapstoreSaver

    archive, counter = open_metered(str(Path(folder) / "archive"), create=True)
    with archive:
        yield SnapstoreSaver(archive), counter


def thread(kind: str, shape: str, steps: int) -> dict[str, Any]:
    """Save one thread with one checkpointer and measure it; runs in a child."""
    calls = recorded(shape, steps)
    gc.freeze()  # no process holds all calls of a thread: the collector must not look at them with every put
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        with opened(kind, folder) as (saver, counter):
            taken: dict[str, list[Spent]] = {"put": [], "put_writes": []}
            saver.get_tuple(CONFIG)  # as every graph does before it begins
            for name, arguments in calls:
                with spending() as spent:
                    getattr(saver, name)(*arguments)
                taken[name].append(spent)
            puts = taken["put"]
            found: dict[str, Any] = {
                "puts": len(puts),
                "put_s": mean(puts),
                # Medians: a burst of somebody else's work must not decide between the beginning and the end.
                "first_s": median(one.cpu_s for one in puts[:EDGE]),
                "last_s": median(one.cpu_s for one in puts[-EDGE:]),
                "writes_s": mean(taken["put_writes"]),
                "wall_s": sum(spent.wall_s for spent in puts) / len(puts),
                **lists(saver, counter, steps // 2),
            }
            if counter is None:
                # What stays when the file is closed: the log is folded in.
                saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            found["bytes"] = folder_bytes(Path(folder))
        if kind == "ours":
            found |= copied(folder)
    return found


def mean(spent: list[Spent]) -> float:
    """Return the mean CPU time in seconds."""
    return sum(one.cpu_s for one in spent) / len(spent)


def lists(saver: Any, counter: Any, step: int) -> dict[str, Any]:
    """Return what listing costs in CPU seconds, as a server does that has the thread open, and the packs it reads."""
    if counter is not None:
        counter.reset()
    calls: dict[str, dict[str, Any]] = {"list_s": {"limit": 10}, "filter_s": {"filter": {"step": step}}}
    found: dict[str, Any] = {}
    for name, wanted in calls.items():
        found[name] = repeat_cpu(lambda wanted=wanted: list(saver.list(CONFIG, **wanted)), 3)  # type: ignore[misc]
        assert next(saver.list(CONFIG, **wanted), None) is not None
    return {**found, "packs": pack_count(counter.reset()) if counter is not None else 0}


def copied(folder: str) -> dict[str, Any]:
    """Copy the thread with a checkpointer that knows nothing; return the packs read, and the bytes one copy takes."""
    before = folder_bytes(Path(folder))
    with opened("ours", folder) as (saver, counter):
        with spending() as spent:
            listed = list(saver.list(CONFIG))
        counter.reset()
        saver.copy_thread(THREAD, "copy")
        packs = pack_count(counter.reset())
    return {"copy_packs": packs, "copy_bytes": (folder_bytes(Path(folder)) - before) / len(listed), "cold_list_s": spent.cpu_s}


def rows(quick: bool) -> list[Row]:
    """Return the rows of the three threads."""
    reason = absent()
    if reason is not None:
        return [skipped("LangGraph threads", reason)]
    found: list[Row] = []
    for shape, what in SHAPES.items():
        steps = (QUICK_TURNS if quick else TURNS) if shape == "chat" else (QUICK_STEPS if quick else STEPS)
        theirs, ours = (in_child("case_langgraph:thread", kind=kind, shape=shape, steps=steps) for kind in ("sqlite", "ours"))
        label = f"LangGraph, {steps} {what}" if shape == "chat" else f"LangGraph, {steps} steps, {what}"
        stored = f"{ours['bytes'] / ours['puts']:.0f} bytes per checkpoint"
        times = f"{1000 * ours['wall_s']:.1f} ms of wall time, theirs {1000 * theirs['wall_s']:.1f}"
        writes = f"put_writes {1000 * ours['writes_s']:.1f} ms of CPU, theirs {1000 * theirs['writes_s']:.1f}"
        found += [
            at_most(f"{label}: stored", ours["bytes"], "bytes", ("SqliteSaver", theirs["bytes"]), 1 / 60, note=stored),
            at_most(f"{label}: put", ours["put_s"], "s of CPU", ("SqliteSaver", theirs["put_s"]), 1.0, note=f"{times}; {writes}"),
            at_most(f"{label}: last {EDGE} puts", ours["last_s"], "s of CPU", (f"first {EDGE}", ours["first_s"]), 1.5),
        ]
        if shape == "steps":
            found += _whole_thread_rows(label, ours, theirs)
    return found


def _whole_thread_rows(label: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Row]:
    names = {"list_s": "list(limit=10)", "filter_s": "list(filter={'step': half})"}
    note = f"a checkpointer that knows nothing lists all in {1000 * ours['cold_list_s']:.0f} ms"
    return [
        *(
            at_most(f"{label}: {what}", ours[name], "s of CPU", ("SqliteSaver", theirs[name]), 0.1, note=note)
            for name, what in names.items()
        ),
        limit(f"{label}: packs that lists read", ours["packs"], "packs", 0),
        limit(f"{label}: packs that copy_thread reads", ours["copy_packs"], "packs", 0),
        Row(f"{label}: stored per copied checkpoint", ours["copy_bytes"], "bytes"),
    ]
