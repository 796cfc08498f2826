"""Pending writes: what tasks have written to a checkpoint whose successor does not exist yet.

All writes of a checkpoint together are mostly small, and travel in its register: one conditional write and no pack. What does
not fit lies apart, one snapshot per task in a run of the checkpoint's own, and the register only says so.

Writes are known by (task, index). A write that is there already stays, unless its whole group went to the special channels
(errors, interrupts, resumes), whose indexes are negative and whose last write counts: LangGraph's rule for every checkpointer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP, PendingWrite, writes_sort_key
from langgraph.checkpoint.serde.base import SerializerProtocol

from snapstore.errors import CorruptionError
from snapstore.format import values

PRESET = (
    b"__error____scheduled____interrupt____resume__nullbytes~__pregel_push, ~__pregel_pull, branch:to:msgpack"
    b"usage_metadatainput_tokensoutput_tokenstotal_tokensfinish_reasonmodel_namelangchain_core.messages.tool"
    b"ToolMessagetool_call_idartifactstatussuccesslangchain_core.messages.aiAIMessageinvalid_tool_callstool_callsargs"
    b"langchain_core.messages.human\xacHumanMessage\x86\xa7content\xda\x04\x00"
    b"\xb1additional_kwargs\x80\xb1response_metadata\x80\xa4type\xa5human\xa4name\xc0\xa2id\xb3model_validate_json"
)
"""What most pending writes repeat: a message costs 110 bytes less with it. Part of what is stored, so it never changes."""

__all__ = ["Write", "decoded", "dropped", "from_rows", "from_text", "merged", "replaces", "rows_of", "serialised", "text_of"]


@dataclass(frozen=True, slots=True)
class Write:
    """One pending write, serialised.

    Attributes:
        task: id of the task.
        path: its path in the step, which orders the writes of parallel tasks.
        index: position among the task's writes; negative for special channels.
        channel: the channel written to.
        kind, data: what the serializer made of the value.
    """

    task: str
    path: str
    index: int
    channel: str
    kind: str
    data: bytes

    @property
    def key(self) -> tuple[str, int]:
        """What makes two writes the same one."""
        return self.task, self.index


def serialised(serde: SerializerProtocol, writes: Sequence[tuple[str, Any]], task: str, path: str) -> list[Write]:
    """The writes of one call, each value through the serializer."""
    found = []
    for position, (channel, value) in enumerate(writes):
        kind, data = serde.dumps_typed(value)
        found.append(Write(task, path, WRITES_IDX_MAP.get(channel, position), channel, kind, bytes(data)))
    return found


def replaces(writes: Iterable[Write]) -> bool:
    """Whether the writes of one call replace those that are there: all of them go to special channels."""
    return all(write.channel in WRITES_IDX_MAP for write in writes)


def merged(old: Sequence[Write], new: Sequence[Write]) -> list[Write]:
    """Old and new writes of a checkpoint together; equal to `old` when nothing is new."""
    found = {write.key: write for write in old}
    replace = replaces(new)
    for write in new:
        if replace or write.key not in found:
            found[write.key] = write
    return list(found.values())


def dropped(old: Sequence[Write], gone: Iterable[tuple[str, int]]) -> list[Write]:
    """The old writes without those with the given keys."""
    keys = set(gone)
    return [write for write in old if write.key not in keys]


def decoded(serde: SerializerProtocol, writes: Iterable[Write]) -> list[PendingWrite]:
    """The writes as LangGraph wants them, in the order in which a step applies them."""
    ordered = sorted(writes, key=lambda write: writes_sort_key(write.path, write.task, write.index))
    return [(write.task, write.channel, serde.loads_typed((write.kind, write.data))) for write in ordered]


def rows_of(writes: Sequence[Write]) -> list[list[Any]]:
    """The writes as plain data, one list each."""
    return [[write.task, write.path, write.index, write.channel, write.kind, write.data] for write in writes]


def from_rows(rows: Any) -> list[Write]:
    """The way back from `rows_of`."""
    return [Write(*row) for row in rows]


def text_of(writes: Sequence[Write]) -> str:
    """The writes as a short text: MessagePack, zlib with the preset, hex; empty for none.

    Hex looks long, but what counts is the compressed register, whose digests are hex too: the same writes in base64 cost
    84 bytes more there.
    """
    if not writes:
        return ""
    packer = zlib.compressobj(level=9, zdict=PRESET)
    return (packer.compress(values.encode(rows_of(writes))) + packer.flush()).hex()


def from_text(text: str) -> list[Write]:
    """The way back from `text_of`.

    Raises:
        CorruptionError: the text is no such thing.
    """
    if not text:
        return []
    try:
        unpacker = zlib.decompressobj(zdict=PRESET)
        return from_rows(values.decode(unpacker.decompress(bytes.fromhex(text))))
    except (ValueError, TypeError, zlib.error) as error:
        raise CorruptionError("stored pending writes cannot be read", code="writes_damaged") from error
