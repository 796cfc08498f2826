"""Checkpoint tuples that read what they show: a list of them costs registers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self, SupportsIndex

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata, CheckpointTuple, PendingWrite

__all__ = ["ListedTuple"]


class ListedTuple(CheckpointTuple):
    """A `CheckpointTuple` whose checkpoint and pending writes are read at the first use, and then kept.

    The tuple is lazy and not the checkpoint in it: encoders written in C look past the methods of a dict's subclass, and would
    take one that is not filled yet for an empty one.

    Args:
        config, metadata, parent_config: as in `CheckpointTuple`.
        load_checkpoint: reads the checkpoint.
        load_writes: reads the pending writes.
    """

    _load_checkpoint: Callable[[], Checkpoint]
    _load_writes: Callable[[], list[PendingWrite]]

    def __new__(
        cls,
        config: RunnableConfig,
        metadata: CheckpointMetadata,
        parent_config: RunnableConfig | None,
        load_checkpoint: Callable[[], Checkpoint],
        load_writes: Callable[[], list[PendingWrite]],
    ) -> Self:
        """Make one; reads nothing."""
        unread: Any = None
        made: Self = tuple.__new__(cls, (config, unread, metadata, parent_config, unread))
        made._load_checkpoint = load_checkpoint
        made._load_writes = load_writes
        return made

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, whole; every access gives the same object.

        Raises:
            NotFoundError: it was deleted after it was listed.
        """
        if "_checkpoint" not in self.__dict__:
            self.__dict__["_checkpoint"] = self._load_checkpoint()
        found: Checkpoint = self.__dict__["_checkpoint"]
        return found

    @property
    def pending_writes(self) -> list[PendingWrite]:
        """The pending writes, in the order in which a step applies them."""
        if "_writes" not in self.__dict__:
            self.__dict__["_writes"] = self._load_writes()
        found: list[PendingWrite] = self.__dict__["_writes"]
        return found

    def whole(self) -> CheckpointTuple:
        """An ordinary tuple with everything in it."""
        return CheckpointTuple(self.config, self.checkpoint, self.metadata, self.parent_config, self.pending_writes)

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self.whole()))

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        return tuple(self.whole())[index]

    def __contains__(self, value: object) -> bool:
        return value in tuple(self.whole())

    def __eq__(self, other: object) -> bool:
        return tuple(self.whole()) == (tuple(other) if isinstance(other, tuple) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # as for any tuple with a dict in it

    def __repr__(self) -> str:
        return repr(self.whole())

    def __reduce__(self) -> tuple[Any, ...]:
        return CheckpointTuple, tuple(self.whole())

    def _replace(self, **changed: Any) -> CheckpointTuple:  # type: ignore[override]  # the result is an ordinary one
        return self.whole()._replace(**changed)

    def _asdict(self) -> dict[str, Any]:
        return self.whole()._asdict()
