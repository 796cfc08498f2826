"""The checkpointer: LangGraph's `BaseCheckpointSaver` over an archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from snapstore.adapters.langgraph import deltas, threads
from snapstore.adapters.langgraph.codec import Codec
from snapstore.adapters.langgraph.pending import add_writes
from snapstore.adapters.langgraph.places import Place, checkpoint_id_of, configurable, place_of, spot_of
from snapstore.adapters.langgraph.record import Record, Row, matches
from snapstore.adapters.langgraph.store import Store
from snapstore.adapters.langgraph.tuples import ListedTuple
from snapstore.adapters.langgraph.twins import AsyncTwins
from snapstore.adapters.langgraph.writes import decoded, serialised
from snapstore.adapters.naming import home
from snapstore.archive import Archive
from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.opening import open_archive
from snapstore.snapshot import Snapshot

__all__ = ["SnapstoreSaver"]

METADATA = "$metadata"
"""Where a state keeps the metadata that does not fit into the register."""

Pending = list[PendingWrite]
"""`list` is a method of the class below."""

VERSION_DIGITS = 32
"""Digits of a channel version before the dot, as the other checkpointers write them: text order is number order."""


class SnapstoreSaver(AsyncTwins):
    """Keeps LangGraph checkpoints in an archive: sync and async, every capability, what did not change stored once.

    Safe to share between threads and event loops. One process may write to a thread while others read it.

    Args:
        archive: an open archive; other systems may use it too.
        namespace: keep the checkpoints in an isolated archive below it.
        serde: the serializer of values that are not plain data. The default takes types of LangGraph's allowlist back and
            hands others out as plain data; allow your own with `saver.with_allowlist([("my.module", "MyClass")])`, or
            pass `JsonPlusSerializer(allowed_msgpack_modules=[MyClass])`. Of any other serializer, such as an
            `EncryptedSerializer`, everything but names, ids and metadata goes through its hands.

    Example:
        >>> saver = SnapstoreSaver.from_url("memory://docs")
        >>> saver.get_tuple({"configurable": {"thread_id": "1"}}) is None
        True
    """

    def __init__(self, archive: Archive, *, namespace: str | None = None, serde: SerializerProtocol | None = None) -> None:
        super().__init__(serde=serde if serde is not None else JsonPlusSerializer(allowed_msgpack_modules=None))
        for one in (self.serde, getattr(self.serde, "serde", None)):
            if getattr(one, "pickle_fallback", False):
                raise InvalidInputError(
                    "a serializer that falls back to pickle runs code when it reads",
                    code="pickle_refused",
                    hint="pass JsonPlusSerializer() without pickle_fallback",
                )
        self._store = Store(home(archive, namespace))
        self._known_codec = Codec(self.serde)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str | None = None,
        serde: SerializerProtocol | None = None,
        create: bool = True,
        **options: Any,
    ) -> Self:
        """Open an archive, made when there is none, and keep checkpoints in it; further options are those of `snapstore.open`."""
        return cls(open_archive(url, create=create, **options), namespace=namespace, serde=serde)

    @property
    def archive(self) -> Archive:
        """Where the checkpoints lie."""
        return self._store.archive

    def close(self) -> None:
        """Close the archive."""
        self._store.archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Writing ------------------------------------------------------------------------------------------------

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002
    ) -> RunnableConfig:
        """Store a checkpoint: one pack, one register, one round trip.

        All values are looked at, whatever `new_versions` says: a value that was changed in place is stored as it is now.

        Args:
            config: names thread and namespace, and the parent as `checkpoint_id`.
            checkpoint: the checkpoint.
            metadata: LangGraph's metadata; the config's own goes with it.
            new_versions: not needed here.

        Returns:
            The config that names the stored checkpoint.

        Raises:
            InvalidInputError: no thread, or a value that cannot be stored; nothing was written.
        """
        place, checkpoint_id = place_of(config), checkpoint["id"]
        record = Record(dict(get_checkpoint_metadata(config, metadata)), parent=checkpoint_id_of(config))
        self._store.put(place, checkpoint_id, record, partial(self._state, checkpoint))
        named = {"thread_id": configurable(config)["thread_id"], "checkpoint_ns": place.namespace, "checkpoint_id": checkpoint_id}
        return {"configurable": named}

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Store what a task wrote, for the checkpoint that the config names, whether or not it is there yet."""
        place, checkpoint_id = place_of(config), _required(checkpoint_id_of(config))
        add_writes(self._store, place, checkpoint_id, serialised(self.serde, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread; silent when there are none."""
        threads.delete_thread(self._store, str(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints, with their writes, that these runs made (`run_id` in their metadata), in all threads."""
        wanted = {str(run_id) for run_id in run_ids}
        if wanted:
            rows = list(self._store.rows(None))
            threads.delete_rows(self._store, [row for row in rows if str(self._metadata(row).get("run_id")) in wanted])

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with all its checkpoints and writes; no value is copied, the copies share what is stored."""
        threads.copy_thread(self._store, str(source_thread_id), str(target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the newest checkpoint of each namespace ("keep_latest"), or everything ("delete").

        DeltaChannels are safe: the checkpoint that stays is given what its ancestors hold of them before they go.
        """
        if strategy not in {"keep_latest", "delete"}:
            raise InvalidInputError(
                "no such pruning strategy", code="unknown_strategy", hint='one of "keep_latest", "delete"', strategy=strategy
            )
        prune = threads.keep_latest if strategy == "keep_latest" else threads.delete_thread
        for thread_id in thread_ids:
            prune(self._store, str(thread_id))

    def get_next_version(self, current: str | float | None, channel: None) -> str:  # noqa: ARG002
        """The version after `current`, in the form of the other checkpointers: a thread can move to and fro between them.

        Args:
            current: this saver's, or another one's, text or number; None for a new channel.
            channel: not used any more.
        """
        number = int(current.split(".")[0]) if isinstance(current, str) else int(current or 0)
        return f"{number + 1:0{VERSION_DIGITS}}.0"

    # Reading ------------------------------------------------------------------------------------------------

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that the config names, or the newest of its thread and namespace; None when there is none."""
        place, checkpoint_id = place_of(config), checkpoint_id_of(config)
        if checkpoint_id is not None:
            snapshot = self._store.get(place, checkpoint_id)
            return self._tuple(config, place, checkpoint_id, snapshot) if snapshot is not None else None
        snapshot = self._store.latest(place)
        spot = spot_of(snapshot.id) if snapshot is not None else None
        if snapshot is None or spot is None:
            return None
        return self._tuple(place.config(spot[1]), place, spot[1], snapshot)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, highest id first; checkpoints and large writes are read when they are looked at, and not before.

        Args:
            config: the thread, and the namespace and checkpoint if it names them; None for all threads.
            filter: values that the metadata must have.
            before: only checkpoints with a lower id than this one's.
            limit: at most so many.
        """
        place = place_of(config) if config is not None else None
        namespace = configurable(config).get("checkpoint_ns") if config is not None else None
        only = checkpoint_id_of(config) if config is not None else None
        below = checkpoint_id_of(before) if before is not None else None
        left = limit
        rows = self._store.listed(place.thread if place is not None else None, namespace, limit)
        while left is None or left > 0:
            row = next(rows, None)
            if row is None:
                return
            if (only is not None and row.checkpoint_id != only) or (below is not None and row.checkpoint_id >= below):
                continue
            if matches(row.record.metadata, partial(self._more, row) if row.record.more else None, filter):
                left = None if left is None else left - 1
                yield self._listed(row)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """What the ancestors of a checkpoint hold of some channels: the nearest stored value, and the writes since."""
        if not channels:
            return {}
        place, checkpoint_id = place_of(config), checkpoint_id_of(config)
        if checkpoint_id is None:
            latest = self._store.latest(place)
            spot = spot_of(latest.id) if latest is not None else None
            checkpoint_id = spot[1] if spot is not None else ""
        found: dict[str, DeltaChannelHistory] = {}
        codec = self._codec()
        for channel, history in deltas.histories(self._store, place, checkpoint_id, channels).items():
            writes = [(write.task, channel, self.serde.loads_typed((write.kind, write.data))) for write in history.writes]
            found[channel] = {"writes": writes}
            if history.seeded:
                found[channel]["seed"] = codec.decode(history.seed)
        return found

    # Checkpoints and what is stored of them -------------------------------------------------------------------

    def _codec(self) -> Codec:
        """The codec of the serializer, which `with_allowlist` and users may replace."""
        if self._known_codec.serde is not self.serde:
            self._known_codec = Codec(self.serde, self._known_codec)
        return self._known_codec

    def _state(self, checkpoint: Checkpoint, rest: dict[str, Any], careful: bool) -> dict[str, Any]:
        """The state to store: the checkpoint without its id, and the metadata that did not fit elsewhere."""
        codec = self._codec()
        small: dict[str, Any] = {METADATA: codec.encode(rest, careful=careful)} if rest else {}
        for name, value in checkpoint.items():
            if name.startswith("$"):
                raise InvalidInputError("a checkpoint's keys do not begin with $", code="reserved_key", key=name)
            if name not in {"id", "channel_values"}:
                small[name] = codec.encode(value, careful=careful)
        values = {channel: codec.encode(value, careful=careful) for channel, value in checkpoint["channel_values"].items()}
        return {**small, "channel_values": values}  # behind the small fields, which then share one entry of the tree

    def _checkpoint(self, checkpoint_id: str, state: Mapping[str, Any]) -> Checkpoint:
        codec = self._codec()
        found: Any = {"id": checkpoint_id}
        for name, value in state.items():
            if name == "channel_values":
                found[name] = {channel: codec.decode(one) for channel, one in value.items()}
            elif not name.startswith("$"):
                found[name] = codec.decode(value)
        checkpoint: Checkpoint = found
        return checkpoint

    def _tuple(self, config: RunnableConfig, place: Place, checkpoint_id: str, snapshot: Snapshot) -> CheckpointTuple:
        """A whole tuple of a snapshot that has been read."""
        record = Record.of(snapshot.metadata)
        state = snapshot.state()
        metadata: Any = {**record.metadata, **(self._codec().decode(state[METADATA]) if record.more else {})}
        return CheckpointTuple(
            config,
            self._checkpoint(checkpoint_id, state),
            metadata,
            place.config(record.parent) if record.parent else None,
            self._pending(place, checkpoint_id, record),
        )

    def _listed(self, row: Row) -> ListedTuple:
        """A tuple of a row that reads what is behind it when it is looked at."""
        place, record = row.place, row.record
        metadata: Any = self._metadata(row)
        return ListedTuple(
            place.config(row.checkpoint_id),
            metadata,
            place.config(record.parent) if record.parent else None,
            lambda: self._checkpoint(row.checkpoint_id, self._read(row)),
            lambda: self._pending(place, row.checkpoint_id, record),
        )

    def _pending(self, place: Place, checkpoint_id: str, record: Record) -> Pending:
        return decoded(self.serde, self._store.pending_writes(place, checkpoint_id, record))

    def _metadata(self, row: Row) -> dict[str, Any]:
        return {**row.record.metadata, **(self._more(row) if row.record.more else {})}

    def _more(self, row: Row) -> dict[str, Any]:
        more: dict[str, Any] = self._codec().decode(self._read(row)[METADATA])
        return more

    def _read(self, row: Row) -> dict[str, Any]:
        snapshot = self._store.get(row.place, row.checkpoint_id)
        if snapshot is None:
            raise NotFoundError("the checkpoint was deleted after it was listed", code="snapshot_not_found", id=row.info.id)
        state: dict[str, Any] = snapshot.state()
        return state


def _required(checkpoint_id: str | None) -> str:
    if checkpoint_id is None:
        raise InvalidInputError(
            "the config names no checkpoint", code="checkpoint_id_missing", hint="pass the config that `put` returned"
        )
    return checkpoint_id
