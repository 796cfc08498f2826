"""Which packs one snapshot needs, and which of them the next save merges into its own.

Every save adds a pack, so a long history would scatter a state over thousands of them. Packs are sorted into
tiers by the bytes that the state still uses of them; a tier that is full is copied into the pack being
written (the chunks are in memory anyway, since the whole state is). Measured numbers: manifests/decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from snapstore.format.limits import CLOSURE_LIMIT
from snapstore.format.node import NODE, TREE, Entry, Node, Segment
from snapstore.format.register import PackRef

__all__ = ["Usage", "choose_merges", "merge_usage", "usage_of", "usage_of_root"]

Usage = dict[int, tuple[int, int, int]]
"""By pack ordinal: bytes in use (decompressed), and the range [start, end) of the pack that holds them."""

Places = Callable[[Entry], Iterable[Segment]]

TIER_PACKS = 10
"""A tier with more packs than this is merged."""

TIER_SAVES = 9
TIER_BASE_BYTES = (4 * 1024, 32 * 1024)
TIER_FACTOR = 8
"""Tier 0 holds packs with less in use than `TIER_SAVES` average saves of the lineage, within the limits of the base: what ten
packs are merged into then belongs to the next tier, and is not merged again with the next ten. Each further tier holds
`TIER_FACTOR` times more."""

NEVER_MERGED_BYTES = 8 * 1024 * 1024
"""Copying packs with more in use than this would make single saves slow; they only merge at the hard cap."""

TYPICAL_PACKS = 24
"""Beyond this the lowest tier is merged when it is half full: it holds little, so a restore of two dozen requests costs
1 % more bytes over 1,100 saves. Merging higher tiers early would double them over 10,000."""

_NOTHING = (0, 0, 0)

_AFTER_CAP = 40
"""When the cap forces a merge, merge down to this many packs, so that not every following save merges again."""


def usage_of(node: Node) -> Usage:
    """What the subtree below `node` uses of each pack; nodes must be loaded and their places final."""
    if node.usage is None:
        usage: Usage = {}
        for entry in node.entries:
            _count(usage, entry.place)
            if entry.kind in (NODE, TREE) and entry.node is not None:
                merge_usage(usage, usage_of(entry.node))
        node.usage = usage
    return node.usage


def usage_of_root(root: Entry, places: Places | None = None) -> Usage:
    """What a whole state uses of each pack.

    Args:
        root: its root.
        places: gives an entry's segments while its pack is still under construction; nothing is remembered then.
    """
    usage: Usage = {}
    _count(usage, root.place if places is None else places(root))
    if root.node is not None:
        merge_usage(usage, usage_of(root.node) if places is None else _usage(root.node, places))
    return usage


def _usage(node: Node, places: Places) -> Usage:
    if node.usage is not None:
        return node.usage
    usage: Usage = {}
    for entry in node.entries:
        _count(usage, places(entry))
        if entry.kind in (NODE, TREE) and entry.node is not None:
            merge_usage(usage, _usage(entry.node, places))
    return usage


def merge_usage(into: Usage, other: Usage) -> None:
    """Add `other` to `into`."""
    for ordinal, (live, start, end) in other.items():
        known = into.get(ordinal)
        into[ordinal] = (live, start, end) if known is None else (known[0] + live, min(known[1], start), max(known[2], end))


def choose_merges(usage: Usage, closure: Mapping[int, PackRef]) -> frozenset[int]:
    """Choose the packs whose bytes the next save copies into its own pack.

    Args:
        usage: of the state that the save starts from.
        closure: its packs.
    """
    # Packs are numbered in the order of the lineage, so the highest number is how many saves there were, or nearly.
    average = sum(live for live, _, _ in usage.values()) // max(closure, default=1)
    lowest, highest = TIER_BASE_BYTES
    base = min(max(TIER_SAVES * average, lowest), highest)
    tiers: dict[int, list[int]] = {}
    for ordinal in closure:
        live = usage.get(ordinal, _NOTHING)[0]
        if live < NEVER_MERGED_BYTES:
            tiers.setdefault(_tier(live, base), []).append(ordinal)
    chosen: set[int] = set()
    for tier in sorted(tiers):
        if len(tiers[tier]) + (1 if chosen else 0) > TIER_PACKS:
            chosen.update(tiers[tier])
    left = len(closure) - len(chosen) + 1
    smallest = tiers.get(0, [])
    if left > TYPICAL_PACKS and len(smallest) > TIER_PACKS // 2 and not chosen:
        chosen.update(smallest)
        left = len(closure) - len(chosen) + 1
    if left >= CLOSURE_LIMIT:
        by_size = sorted((o for o in closure if o not in chosen), key=lambda o: usage.get(o, _NOTHING)[0])
        chosen.update(by_size[: left - _AFTER_CAP])
    return frozenset(chosen)


def _tier(live: int, base: int) -> int:
    tier, limit = 0, base
    while live >= limit:
        tier, limit = tier + 1, limit * TIER_FACTOR
    return tier


def _count(usage: Usage, place: Iterable[Segment]) -> None:
    for ordinal, offset, size, _, length in place:
        live, start, end = usage.get(ordinal, (0, offset, offset + size))
        usage[ordinal] = (live + length, min(start, offset), max(end, offset + size))
