"""The history of DeltaChannels: their values are not stored at most checkpoints, but follow from the writes of the ancestors.

Pending writes of ancestors are state here, not scratch. So pruning first hands the kept checkpoint what its ancestors still
hold for it: for each such channel the nearest stored value (the seed) and the writes since, below `$history` of its state. Walks
that reach it take this and end there. Nothing is recomputed, so no reducer is needed, and the ancestors can go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import writes_sort_key

from snapstore.adapters.langgraph.places import Place
from snapstore.adapters.langgraph.record import Row
from snapstore.adapters.langgraph.store import Store
from snapstore.adapters.langgraph.writes import Write, from_rows, rows_of

__all__ = ["HISTORY", "ChannelHistory", "histories", "kept_by", "walked_channels"]

HISTORY = "$history"
"""Where a state keeps what pruned ancestors held: {channel: {"writes": [...], "seed": value}}."""

COUNTERS = "counters_since_delta_snapshot"
"""LangGraph's metadata of a checkpoint: the DeltaChannels that have no value stored there."""

PAGES = (64, 1024, None)
"""Rows read before a walk looks whether it needs more; a DeltaChannel stores its value every 100 updates by default."""


@dataclass(slots=True)
class ChannelHistory:
    """What the ancestors hold of one channel.

    Attributes:
        writes: oldest first, in the order in which their steps applied them.
        seeded: whether a stored value was found.
        seed: its stored form.
    """

    writes: list[Write] = field(default_factory=list)
    seeded: bool = False
    seed: Any = None


def histories(store: Store, place: Place, checkpoint_id: str, channels: Iterable[str]) -> dict[str, ChannelHistory]:
    """Walk from a checkpoint to its ancestors until every channel has a stored value.

    Reads registers, and the states of those ancestors only that may hold a value.
    """
    found = {channel: ChannelHistory() for channel in channels}
    left = set(found)
    chain = _Chain(store, place)
    row = chain.find(checkpoint_id)
    seen = set()
    while row is not None and left:
        if row.record.history:
            left -= _take_kept(store, row, found, left)
        parent = row.record.parent
        seen.add(row.checkpoint_id)
        # Putting a checkpoint again as the child of its own descendant makes a loop.
        row = chain.find(parent) if left and parent is not None and parent not in seen else None
        if row is not None:
            left -= _take(store, row, found, left)
    for history in found.values():
        history.writes.reverse()
    return found


def walked_channels(record_metadata: Mapping[str, Any], versions: Mapping[str, Any], stored: Iterable[str]) -> list[str]:
    """The channels of a checkpoint whose value may have to be found at ancestors.

    LangGraph names its DeltaChannels in the metadata. Checkpoints of other origin may not: there every channel without a
    value counts, but for those that LangGraph makes for itself, which are empty when nothing is stored.
    """
    counted = record_metadata.get(COUNTERS) or {}
    absent = set(versions) - set(stored)
    return sorted(name for name in absent if name in counted or not name.startswith(("__", "branch:", "join:")))


def kept_by(histories_: Mapping[str, ChannelHistory]) -> dict[str, Any]:
    """What to keep below `$history`; channels of which nothing is known are left out."""
    kept: dict[str, Any] = {}
    for channel, history in histories_.items():
        if history.writes or history.seeded:
            kept[channel] = {"writes": rows_of(history.writes)} | ({"seed": history.seed} if history.seeded else {})
    return kept


def _take(store: Store, row: Row, found: dict[str, ChannelHistory], left: set[str]) -> set[str]:
    """Collect an ancestor's writes, newest first, and stored values; returns the channels that are done."""
    writes = [write for write in store.pending_writes(row.place, row.checkpoint_id, row.record) if write.channel in left]
    writes.sort(key=lambda write: writes_sort_key(write.path, write.task, write.index), reverse=True)
    for write in writes:
        found[write.channel].writes.append(write)
    if left <= (row.record.metadata.get(COUNTERS) or {}).keys():
        return set()
    values = _state(store, row).get("channel_values", {})
    done = left.intersection(values)
    for channel in done:
        found[channel].seeded, found[channel].seed = True, values[channel]
    return done


def _take_kept(store: Store, row: Row, found: dict[str, ChannelHistory], left: set[str]) -> set[str]:
    """Take what a pruned checkpoint keeps of its former ancestors: there is nothing behind it."""
    kept = _state(store, row).get(HISTORY, {})
    done = left.intersection(kept)
    for channel in done:
        found[channel].writes += reversed(from_rows(kept[channel]["writes"]))
        if "seed" in kept[channel]:
            found[channel].seeded, found[channel].seed = True, kept[channel]["seed"]
    return done


def _state(store: Store, row: Row) -> dict[str, Any]:
    snapshot = store.get(row.place, row.checkpoint_id)
    state: dict[str, Any] = snapshot.state() if snapshot is not None else {}
    return state


class _Chain:
    """The rows of a namespace by checkpoint id, read as far back as a walk needs them."""

    def __init__(self, store: Store, place: Place) -> None:
        self._store = store
        self._place = place
        self._pages = iter(PAGES)
        self._rows: dict[str, Row] = {}
        self._complete = False

    def find(self, checkpoint_id: str) -> Row | None:
        """The row of a checkpoint, or None."""
        while checkpoint_id not in self._rows and not self._complete:
            limit = next(self._pages)
            read = list(self._store.rows(self._place.thread, limit))
            self._complete = limit is None or len(read) < limit
            own = (row for row in read if row.place == self._place and not row.pending)
            self._rows.update((row.checkpoint_id, row) for row in own)
        return self._rows.get(checkpoint_id)
