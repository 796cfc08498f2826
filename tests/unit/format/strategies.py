"""Generated values of the format room: names, closures, registers and manifests as a writer may make them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from snapstore.format import names
from snapstore.format.closure import PackRef
from snapstore.format.config_document import ArchiveConfig, Features
from snapstore.format.limits import INTEGER_LIMIT, TIME_LIMIT_MS
from snapstore.format.manifest import Manifest, ParentRef, Root
from snapstore.format.register import ManifestRef, PreviousVersion, Register, RootRef

# Every code point but the surrogates, which UTF-8 cannot hold.
characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=40)
ids = st.text(characters, min_size=1, max_size=60)
times = st.integers(0, TIME_LIMIT_MS)
sizes = st.integers(0, INTEGER_LIMIT)


def hex_digits(count: int) -> st.SearchStrategy[str]:
    """Return a strategy for lower-case hex digits."""
    return st.binary(min_size=count // 2, max_size=count // 2).map(bytes.hex)


txids = hex_digits(32)
digests = hex_digits(64)

scalars = st.none() | st.booleans() | st.integers(-INTEGER_LIMIT, INTEGER_LIMIT) | texts
ascii_keys = st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=12)

json_values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_keys, inner, max_size=4), max_leaves=12
)
json_objects = st.dictionaries(ascii_keys, json_values, max_size=6)

# A later minor version adds fields; none of ours begins with x_.
extras = st.dictionaries(ascii_keys.map(lambda key: "x_" + key), json_values, max_size=2)

metadata_values: st.SearchStrategy[Any] = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
metadata_objects = st.dictionaries(texts, metadata_values, max_size=4)
metadata_texts = st.dictionaries(texts, scalars, max_size=3).map(lambda value: json.dumps(value, ensure_ascii=False))


@st.composite
def pack_refs(draw: st.DrawFn, ordinal: int, runs: list[str]) -> PackRef:
    """Draw the reference of one pack, in a run's folder or below packs/."""
    txid = draw(txids)
    if draw(st.integers(0, 4)):
        key = names.pack_key(draw(st.sampled_from(runs)), draw(times), draw(ids), draw(st.none() | ids), txid)
    else:
        key = names.extra_pack_key(txid)
    folder, name = key.rsplit("/", 1)
    start, end, size = sorted(draw(st.tuples(sizes, sizes, sizes)))
    return PackRef(ordinal, folder, name, size, start, end)


@st.composite
def closures(draw: st.DrawFn, max_size: int = 8) -> dict[int, PackRef]:
    """Draw a closure of at least one pack; names differ by their random transaction."""
    runs = draw(st.lists(ids, min_size=1, max_size=2))
    ordinals = sorted(draw(st.sets(st.integers(1, 200), min_size=1, max_size=max_size)))
    closure = {ordinal: draw(pack_refs(ordinal, runs)) for ordinal in ordinals}
    keys = {pack.key for pack in closure.values()}
    return closure if len(keys) == len(closure) else {ordinals[0]: closure[ordinals[0]]}


@st.composite
def manifest_refs(draw: st.DrawFn, closure: dict[int, PackRef]) -> ManifestRef:
    """Draw the place of a manifest within a closure; the pack must hold at least one byte."""
    pack = closure[draw(st.sampled_from(sorted(closure)))]
    offset = draw(st.integers(0, max(0, pack.size - 1)))
    size = draw(st.integers(1, max(1, pack.size - offset)))
    other = closure[draw(st.sampled_from(sorted(closure)))]
    frame = draw(st.integers(0, other.size))
    place = (other.ordinal, frame, draw(st.integers(0, other.size - frame)), draw(sizes), draw(sizes))
    root = RootRef(draw(digests), draw(st.sampled_from(["leaf", "node"])), place)
    return ManifestRef(draw(digests), pack.ordinal, offset, size, root)


@st.composite
def versions(draw: st.DrawFn, closure: dict[int, PackRef]) -> dict[str, Any]:
    """Draw the fields that current and earlier versions share."""
    usable = {ordinal: pack for ordinal, pack in closure.items() if pack.size}
    if not usable:
        ordinal, pack = next(iter(closure.items()))
        closure = usable = {ordinal: PackRef(ordinal, pack.folder, pack.name, 10, 0, 10)}
    return {
        "closure": closure,
        "manifest": draw(manifest_refs(usable)),
        "digest": draw(digests),
        "metadata": draw(metadata_texts),
        "node": draw(st.none() | texts),
        "size_bytes": draw(sizes),
        "status": draw(texts),
        "stored_bytes": draw(sizes),
        "updated_at": draw(times),
        "extra": draw(extras),
    }


@st.composite
def registers(draw: st.DrawFn) -> Register:
    """Draw a live register with up to three earlier versions, some of whose packs the current one shares."""
    current = draw(versions(draw(closures())))
    recent = tuple(draw(st.lists(txids, min_size=1, max_size=8, unique=True)))
    numbers = sorted(draw(st.sets(st.integers(1, 1000), min_size=1, max_size=4)), reverse=True)
    prevs = []
    for number in numbers[1:]:
        shared = draw(st.sets(st.sampled_from(sorted(current["closure"]))))
        closure = draw(closures()) | {ordinal: current["closure"][ordinal] for ordinal in shared}
        if len({pack.key for pack in closure.values()}) != len(closure):
            closure = {ordinal: current["closure"][ordinal] for ordinal in current["closure"]}
        fields = draw(versions(closure))
        prevs.append(PreviousVersion(version=number, txid=draw(txids), **fields))
    return Register(
        id=draw(ids),
        run=draw(ids),
        graph=draw(ids),
        parents=tuple(draw(st.lists(ids, max_size=3, unique=True))),
        created_at=draw(times),
        version=numbers[0],
        txid=recent[-1],
        recent=recent,
        epoch=draw(sizes),
        prevs=tuple(prevs),
        **current,
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Draw a manifest."""
    parents = draw(st.lists(ids, max_size=4, unique=True))
    return Manifest(
        id=draw(ids),
        run=draw(ids),
        graph=draw(ids),
        node=draw(st.none() | texts),
        parents=tuple(ParentRef(parent, draw(digests)) for parent in parents),
        created_at=draw(times),
        metadata=draw(metadata_texts),
        digest=draw(digests),
        root=Root(draw(digests), draw(st.sampled_from(["leaf", "node"])), draw(sizes)),
        extra=draw(extras),
    )


feature_names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
feature_lists = st.lists(feature_names, max_size=3, unique=True).map(lambda values: tuple(sorted(values)))
configs = st.builds(ArchiveConfig, txids, times, st.builds(Features, feature_lists, feature_lists, feature_lists), extras)
