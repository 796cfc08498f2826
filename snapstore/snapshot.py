"""One snapshot: what it is, and its state, whole or in part.

`SnapshotInfo` is a row of a list; `Snapshot` reads; `SnapshotDraft` is what an update changes. Reading is lazy:
`snap["messages"][-10:]` fetches the chunks that hold the last ten messages and nothing else.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, BinaryIO, Literal, overload

from snapstore.errors import InvalidInputError, NotFoundError
from snapstore.format import values
from snapstore.format.metadata import metadata_from_text
from snapstore.format.node import LIST, MAP, TREE, Entry, Node
from snapstore.format.register import PreviousVersion, Register
from snapstore.history.heads import incomplete
from snapstore.history.tree import Tree
from snapstore.index.rows import Row

__all__ = ["ListView", "MapView", "Snapshot", "SnapshotDraft", "SnapshotInfo"]

FORMATS = ("msgpack", "json", "raw")

WALK_ITEMS = 256
"""Items that iterating a list view reads at first, and then twice as many each time: whoever stops early reads little."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What lists show of a snapshot.

    Attributes:
        id, run, graph, node, status: as given to `save`.
        parents: ids of the snapshots it continues.
        created_at, updated_at: aware datetimes, UTC; a rewrite or status change moves only `updated_at`.
        metadata: the caller's, as saved last.
        digest: BLAKE3 of the encoded state, hex; equal states have equal digests.
        size_bytes: size of the encoded state.
        stored_bytes: what the save of this content added to the storage, packs only.
        version: 1 for the first write of this id, one more with every change.
    """

    id: str
    run: str
    graph: str
    node: str | None
    status: str
    parents: tuple[str, ...]
    created_at: datetime.datetime
    updated_at: datetime.datetime
    metadata: Mapping[str, Any]
    digest: str
    size_bytes: int
    stored_bytes: int
    version: int

    @classmethod
    def of(cls, register: Register | Row, version: PreviousVersion | None = None) -> SnapshotInfo:
        """The row of a register, or of an earlier version in it; or a row of the index."""
        shown = register if version is None else version
        return cls(
            register.id,
            register.run,
            register.graph,
            shown.node,
            shown.status,
            register.parents,
            instant(register.created_at),
            instant(shown.updated_at),
            metadata_from_text(shown.metadata),
            shown.digest,
            shown.size_bytes,
            shown.stored_bytes,
            shown.version,
        )


def instant(time_ms: int) -> datetime.datetime:
    """Milliseconds since 1970 as an aware datetime in UTC."""
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(milliseconds=time_ms)


class Snapshot:
    """One version of a snapshot, ready to read.

    Attributes are those of `SnapshotInfo`, and `register` and `tree`, the documents behind them. The object shows what
    was current when it was read: later changes of the same id do not show in it.

    Args:
        info: what it shows.
        load: gives the register and the tree; called when they are used for the first time.
    """

    def __init__(self, info: SnapshotInfo, load: Callable[[], tuple[Register, Tree]]) -> None:
        self._load = load
        self.info = info
        self.id = info.id
        self.run = info.run
        self.graph = info.graph
        self.node = info.node
        self.parents = info.parents
        self.status = info.status
        self.metadata: Mapping[str, Any] = info.metadata
        self.created_at = info.created_at
        self.updated_at = info.updated_at
        self.digest = info.digest
        self.size_bytes = info.size_bytes
        self.stored_bytes = info.stored_bytes
        self.version = info.version

    @cached_property
    def _source(self) -> tuple[Register, Tree]:
        return self._load()

    @property
    def register(self) -> Register:
        """The document that says where everything lies."""
        return self._source[0]

    @property
    def tree(self) -> Tree:
        """The state's tree."""
        return self._source[1]

    def __repr__(self) -> str:
        return f"<Snapshot {self.id!r} run={self.run!r} graph={self.graph!r} status={self.status!r}>"

    def __eq__(self, other: object) -> bool:
        """Two objects are equal when they show the same version of the same snapshot."""
        return isinstance(other, Snapshot) and (self.id, self.version) == (other.id, other.version)

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    def state(self) -> Any:
        """The whole state, every chunk verified; two round trips from the id at most.

        Raises:
            CorruptionError: bytes on storage are not what was saved; nothing is returned.
            NotFoundError: `snapshot_incomplete`: its save never finished, or a pack is gone.
        """
        return self._read(self.tree.state)

    def __getitem__(self, key: Any) -> Any:
        """One field of the state; containers stored as trees of their own come as views that read on demand."""
        return self.view()[key]

    def __len__(self) -> int:
        return len(self.view())

    def __bool__(self) -> bool:
        """A snapshot is true, also when its state is empty or has no length."""
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.view())

    def __contains__(self, key: object) -> bool:
        return key in self.view()

    def write_to(self, file: BinaryIO, *, path: Sequence[Any] = (), format: Literal["msgpack", "json", "raw"] = "msgpack") -> int:
        """Write the state, or the value at `path`, to a binary file.

        Args:
            file: open for writing.
            path: keys and indexes from the root.
            format: "msgpack" streams the stored encoding; "json" is refused for what JSON cannot hold; "raw" streams
                the bytes of a text or bytes value.

        Returns:
            Bytes written. The last piece is only written if the whole state matches its digest.
        """
        written: int = self._read(lambda: self._write(file, tuple(path), format))
        return written

    def _write(self, file: BinaryIO, path: tuple[Any, ...], format: str) -> int:
        if format not in FORMATS:
            raise InvalidInputError("no such format", code="unknown_format", hint=f"one of {', '.join(FORMATS)}", format=format)
        value = self._at(path)
        entry = value.entry if isinstance(value, _View) else value
        if format == "json":
            return file.write(_json_bytes(self.tree.state() if not path else plain(plain_unless_view(self.tree, value))))
        if format == "raw":
            return self._write_raw(file, entry)
        if not path:
            return sum(file.write(piece) for piece in self.tree.stream())
        if isinstance(entry, Entry):
            return sum(file.write(piece) for piece in self.tree.pieces(entry))
        return file.write(values.encode(value))

    def _write_raw(self, file: BinaryIO, value: Any) -> int:
        if isinstance(value, Entry):
            node = self.tree.reader.loaded_node(value)
            if node.kind in (LIST, MAP):
                raise InvalidInputError("only text and bytes can be written raw", code="not_raw", hint="use format json")
            return sum(file.write(piece) for piece in self.tree.content(node))
        if isinstance(value, str):
            return file.write(value.encode())
        if isinstance(value, bytes):
            return file.write(value)
        raise InvalidInputError("only text and bytes can be written raw", code="not_raw", hint="use format json")

    def _at(self, path: tuple[Any, ...]) -> Any:
        """The value at a path: a view, a plain value, or the entry of a long text or bytes value."""
        value: Any = self._root()
        for part in path:
            try:
                value = value.child(part) if isinstance(value, _View) else value[part]
            except (KeyError, IndexError, TypeError) as error:
                raise NotFoundError("the state has no such path", code="path_not_found", path=list(path)) from error
        return value

    def _root(self) -> Any:
        entry = self.tree.root
        if entry.kind == TREE:
            return _view_or_entry(self.tree, entry)
        return self.tree.state()

    def view(self) -> Any:
        """The state as a view that reads on demand, or as a plain value when it is small."""
        return self._read(lambda: plain_unless_view(self.tree, self._root()))

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except NotFoundError as error:
            if error.code != "pack_missing":
                raise
            raise incomplete(self.id, error) from error


class _View:
    """A container whose content is read when it is used."""

    def __init__(self, tree: Tree, entry: Entry, node: Node) -> None:
        self._tree = tree
        self.entry = entry
        self._node = node

    def load(self) -> Any:
        """The whole container as plain values."""
        return self._tree.value(self.entry)

    def child(self, key: Any) -> Any:
        """The value of one key or index: a view, a plain value, or the entry of a long text or bytes value."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self._node.count

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _View):
            return self._node.digest == other._node.digest or bool(self.load() == other.load())
        return bool(self.load() == other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} items>"


class ListView(_View, Sequence[Any]):
    """A list in a stored state: indexing and slicing read only the chunks in question."""

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return plain_unless_view(self._tree, self.child(index))
        wanted = range(*index.indices(len(self)))
        if not wanted:
            return []
        forward = wanted if wanted.step > 0 else wanted[::-1]
        items = self._tree.items(self._node, forward[0], forward[-1] + 1, whole=forward.step == 1)
        loaded = [self._tree.loaded(item) for item in islice(items, 0, None, forward.step)]
        return loaded if wanted.step > 0 else loaded[::-1]

    def child(self, key: Any) -> Any:
        """As in `_View`, for an index."""
        if not isinstance(key, int) or isinstance(key, bool):
            raise TypeError("list indices must be integers or slices")
        index = key + len(self) if key < 0 else key
        if not 0 <= index < len(self):
            raise IndexError("list index out of range")
        return self._wrapped(next(self._tree.items(self._node, index, index + 1)))

    def _wrapped(self, item: Any) -> Any:
        return _view_or_entry(self._tree, item) if isinstance(item, Entry) else item

    def __iter__(self) -> Iterator[Any]:
        start, count = 0, WALK_ITEMS
        while start < len(self):
            stop = min(len(self), start + count)
            for item in self._tree.items(self._node, start, stop):
                yield plain_unless_view(self._tree, self._wrapped(item))
            start, count = stop, count * 2


class MapView(_View, Mapping[Any, Any]):
    """A dict in a stored state: a key reads the chunks of this dict only, a large value only when it is used."""

    _near: Entry | None = None  # the chunk in which the last key was found

    def __getitem__(self, key: Any) -> Any:
        return plain_unless_view(self._tree, self.child(key))

    def child(self, key: Any) -> Any:
        """As in `_View`, for a key."""
        found, self._near = self._tree.find(self._node, key, self._near)
        return _view_or_entry(self._tree, found) if isinstance(found, Entry) else found

    def __iter__(self) -> Iterator[Any]:
        for key, _ in self._tree.pairs(self._node):
            yield key

    def __contains__(self, key: object) -> bool:
        try:
            _, self._near = self._tree.find(self._node, key, self._near)
        except KeyError:
            return False
        return True

    def items(self) -> ItemsView[Any, Any]:
        """The pairs in order, read one after the other; large values as in `view[key]`."""
        return _Pairs(self)

    def values(self) -> ValuesView[Any]:
        """The values in order, as in `items`."""
        return _Values(self)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """The pairs in one pass: looking every key up by itself would read the dict once per key."""
        for key, value in self._tree.pairs(self._node, whole=True):
            found = _view_or_entry(self._tree, value) if isinstance(value, Entry) else value
            yield key, plain_unless_view(self._tree, found)


class _Pairs(ItemsView[Any, Any]):
    _mapping: MapView

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.pairs()


class _Values(ValuesView[Any]):
    _mapping: MapView

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.pairs())


def _view_or_entry(tree: Tree, entry: Entry) -> Any:
    node = tree.reader.loaded_node(entry)
    if node.kind == LIST:
        return ListView(tree, entry, node)
    return MapView(tree, entry, node) if node.kind == MAP else entry


def plain_unless_view(tree: Tree, value: Any) -> Any:
    """A view stays one; the entry of a long text or bytes value is read."""
    return tree.value(value) if isinstance(value, Entry) else value


def plain(value: Any) -> Any:
    """A view's whole content; other values as they are."""
    return value.load() if isinstance(value, _View) else value


def _json_bytes(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_not_json).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the state does not fit into JSON: {error}", code="not_json", hint="use the format msgpack"
        ) from error


def _not_json(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


@dataclass
class SnapshotDraft:
    """What `Archive.update` hands to the mutator, to be changed in place or replaced.

    Attributes:
        state: the state; read from storage only when it is touched.
        status, node, metadata: as in `save`.
    """

    state: Any = None
    status: str = "completed"
    node: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def lazy(cls, register: Register, load: Callable[[], Any]) -> SnapshotDraft:
        """A draft of a stored snapshot."""
        return _LazyDraft(register, load)

    def state_if_touched(self) -> tuple[bool, Any]:
        """Whether the state was read or replaced, and the state."""
        return True, self.state


class _LazyDraft(SnapshotDraft):
    """A draft whose state is read at the first touch."""

    def __init__(self, register: Register, load: Callable[[], Any]) -> None:
        self._load = load
        self._value: Any = None
        self._touched = False
        self.status = register.status
        self.node = register.node
        self.metadata = metadata_from_text(register.metadata)

    @property
    def state(self) -> Any:
        if not self._touched:
            self._value, self._touched = self._load(), True
        return self._value

    @state.setter
    def state(self, value: Any) -> None:
        self._value, self._touched = value, True

    def state_if_touched(self) -> tuple[bool, Any]:
        return self._touched, self._value
