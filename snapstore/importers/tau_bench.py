"""tau-bench results: the trials of one task are sibling branches that share the messages they begin with.

The document is `[{task_id, trial, reward, info, traj: [message]}]`. A task is one run, named `<file>/<task>`; each
message is one snapshot, `{"task_id": ..., "messages": [...]}`. Two trials share the snapshots of their common
beginning. The last snapshot of a trial also holds `results`, what the benchmark said about it, so that nothing of the
document is lost; a trial without messages gives no snapshot. Ids read `<file>/<task>/<trial>/<message>-<digest>`: the
trial is the first one that came that way, and the digest keeps another experiment under the same file name apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from snapstore.importers.records import malformed, read_document
from snapstore.importers.step import Branches, Source, Step, content_id, stable_bytes

SUFFIXES = (".json",)

_ID_DIGEST_CHARS = 6
"""Hex digits at the end of an id: enough to tell a handful of experiments under one name apart."""


@dataclass(slots=True)
class _Message:
    """One message of one task, shared by the trials that reach it with the same beginning.

    Attributes:
        place: `<file>/<task>/<first trial>/<number>`, the readable part of the id.
        chain: Digest of the messages up to this one.
        parent: The message before it.
        message: As the document has it.
        trials: The trials that come through here.
        results: The outcomes of the trials that end here.
    """

    place: str
    chain: str
    parent: _Message | None
    message: dict[str, Any]
    trials: list[Any] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The id of its snapshot; results are part of the state, so they are part of the digest."""
        digest = content_id(self.chain, stable_bytes(self.results)) if self.results else self.chain
        return f"{self.place}-{digest[:_ID_DIGEST_CHARS]}"


def read(source: Source) -> Iterator[Step]:
    """Yield one step per distinct beginning of each task's trials, trial after trial."""
    tasks = _tasks(source, read_document(source))
    for done, (task_id, trials) in enumerate(tasks.items(), 1):
        branches = Branches()
        run = f"{source.base_name}/{task_id}"
        for message in _messages(run, trials):
            parent_id = message.parent.id if message.parent else None
            branches.add(message.id, parent_id, message.message)
            yield Step(
                run=run,
                graph=source.base_name,
                id=message.id,
                parent_id=parent_id,
                node=_node(message.message),
                status=_status(message),
                build=partial(_state, branches, message, trials[0]["task_id"]),
                metadata=_metadata(message),
                fraction=done / len(tasks),
            )


def _tasks(source: Source, document: Any) -> dict[str, list[dict[str, Any]]]:
    """Return {task: its trials in order}, or raise for a document that is something else."""
    if not isinstance(document, list):
        malformed(source, f"results must be a list, not {type(document).__name__}")
    tasks: dict[str, list[dict[str, Any]]] = {}
    for number, result in enumerate(document):
        if not isinstance(result, dict) or not isinstance(result.get("traj"), list):
            malformed(source, "a result must be an object with a list `traj`", entry=number)
        if not isinstance(result.get("task_id"), int | str) or not isinstance(result.get("trial", 0), int):
            malformed(source, "a result needs a task_id and a number as trial", entry=number)
        if not all(isinstance(message, dict) for message in result["traj"]):
            malformed(source, "every message of `traj` must be an object", entry=number)
        tasks.setdefault(str(result["task_id"]), []).append(result)
    return {task: sorted(trials, key=lambda result: int(result.get("trial", 0))) for task, trials in tasks.items()}


def _messages(run: str, trials: list[dict[str, Any]]) -> list[_Message]:
    """Return the tree of a task's messages, parents first; equal beginnings are one message."""
    tree: dict[str, _Message] = {}
    for result in trials:
        trial = result.get("trial", 0)
        chain, last = run, None
        for number, message in enumerate(result["traj"]):
            chain = content_id(chain, stable_bytes(message))
            if chain not in tree:
                tree[chain] = _Message(f"{run}/{trial}/{number}", chain, last, message)
            last = tree[chain]
            last.trials.append(trial)
        if last is not None:
            last.results.append({key: value for key, value in result.items() if key not in {"traj", "task_id"}})
    return list(tree.values())


def _state(branches: Branches, message: _Message, task_id: Any) -> dict[str, Any]:
    state = {"task_id": task_id, "messages": branches.records(message.id)}
    return {**state, "results": message.results} if message.results else state


def _node(message: dict[str, Any]) -> str | None:
    """Return the tool's name for a tool's answer, otherwise the role."""
    for key in ("name", "role") if message.get("role") == "tool" else ("role",):
        if isinstance(message.get(key), str) and message[key]:
            return str(message[key])
    return None


def _status(message: _Message) -> str:
    """Return `completed` for the end of a trial that earned a reward, `failed` for one that did not."""
    if not message.results:
        return "running"
    return "completed" if any(result.get("reward") for result in message.results) else "failed"


def _metadata(message: _Message) -> dict[str, Any]:
    facts: dict[str, Any] = {"trials": message.trials}
    if message.results:
        facts["rewards"] = [result.get("reward") for result in message.results]
    return facts
