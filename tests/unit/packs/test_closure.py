"""Which packs a save merges: few enough to restore from, seldom enough not to copy everything all the time.

Goal: no sequence of saves passes the cap, and each byte is copied only as often as the tiers are deep.
Method: a model of a lineage, in which each save adds a pack of some size and merges what `choose_merges` says.
"""

from __future__ import annotations

import random

from snapstore.format.limits import CLOSURE_LIMIT
from snapstore.format.node import INLINE, LEAF, LIST, Entry, Node
from snapstore.format.register import PackRef
from snapstore.packs.closure import NEVER_MERGED_BYTES, TIER_PACKS, Usage, choose_merges, merge_usage, usage_of, usage_of_root

KB = 1024


def chosen(sizes: dict[int, int]) -> set[int]:
    """What is merged when the packs have so many bytes in use."""
    usage = {ordinal: (live, 0, live) for ordinal, live in sizes.items()}
    return set(choose_merges(usage, {ordinal: PackRef(ordinal, "runs/a", "x", live, 0, live) for ordinal, live in sizes.items()}))


def simulated(saves: list[int]) -> tuple[list[int], int]:
    """The packs after each save of so many new bytes, and the bytes written in all."""
    packs: dict[int, int] = {}
    counts, written = [], 0
    for number, size in enumerate(saves, 1):
        merged = chosen(packs)
        packs[number] = size + sum(packs.pop(ordinal) for ordinal in merged)
        written += packs[number]
        counts.append(len(packs))
    return counts, written


def test_few_packs_are_left_alone() -> None:
    assert chosen({}) == set()
    assert chosen(dict.fromkeys(range(1, TIER_PACKS + 1), 500)) == set()


def test_a_full_tier_is_merged_and_no_other() -> None:
    small = dict.fromkeys(range(1, TIER_PACKS + 2), 500)
    large = dict.fromkeys(range(100, 105), 500 * KB)
    assert chosen({**small, **large}) == set(small)


def test_what_a_merge_adds_to_the_next_tier_counts_there() -> None:
    small = dict.fromkeys(range(1, TIER_PACKS + 2), 500)
    middle = dict.fromkeys(range(100, 100 + TIER_PACKS), 100 * KB)
    assert chosen({**small, **middle}) == {*small, *middle}


def test_large_packs_are_never_copied_below_the_cap() -> None:
    assert chosen(dict.fromkeys(range(1, 50), NEVER_MERGED_BYTES)) == set()


def test_at_the_cap_the_smallest_are_merged_so_that_it_does_not_happen_again_soon() -> None:
    sizes = {n: NEVER_MERGED_BYTES + n for n in range(1, CLOSURE_LIMIT)}
    merged = chosen(sizes)
    assert merged == set(range(1, len(merged) + 1))
    assert len(sizes) - len(merged) + 1 < CLOSURE_LIMIT - 15


def test_a_pack_that_nothing_uses_is_merged_like_the_smallest() -> None:
    """Its chunks have all been replaced: there is nothing to copy."""
    assert chosen(dict.fromkeys(range(1, 20), 0)) == set(range(1, 20))


def test_ten_thousand_appends_need_few_packs_and_few_copies() -> None:
    rng = random.Random(1)
    saves = [rng.choice([300, 1000, 4000]) for _ in range(10_000)]
    counts, written = simulated(saves)
    assert max(counts) <= 3 * (TIER_PACKS + 1)
    assert sum(counts) / len(counts) <= 24
    assert written < 5 * sum(saves)  # a byte is copied once per tier


def test_no_mixture_of_sizes_passes_the_cap() -> None:
    for seed in range(10):
        rng = random.Random(seed)
        saves = [int(10 ** rng.uniform(2, 7.5)) for _ in range(600)]
        assert max(simulated(saves)[0]) <= CLOSURE_LIMIT
    assert max(simulated([NEVER_MERGED_BYTES * 2] * 500)[0]) <= CLOSURE_LIMIT


# Usage ----------------------------------------------------------------------------------------------------------------


def entry(*places: tuple[int, int, int, int, int]) -> Entry:
    return Entry(LEAF, b"d" * 32, 5, 1, place=places)


def test_usage_counts_every_segment_and_spans_its_frames() -> None:
    low = Node(LIST, 0, [entry((1, 100, 50, 0, 40), (2, 8, 20, 0, 7)), entry((1, 300, 50, 9, 5))])
    low.entry.place = ((3, 8, 30, 0, 22),)
    root = Node(LIST, 1, [low.entry, Entry(INLINE, b"", 1, 1, payload=b"\xc0")])
    assert usage_of(low) == {1: (45, 100, 350), 2: (7, 8, 28)}
    assert usage_of(root) == {1: (45, 100, 350), 2: (7, 8, 28), 3: (22, 8, 38)}
    item = root.as_item()
    item.place = ((3, 50, 10, 0, 9),)
    assert usage_of_root(item) == {1: (45, 100, 350), 2: (7, 8, 28), 3: (31, 8, 60)}
    assert usage_of(root)[3] == (22, 8, 38)  # what is remembered of a node is not changed by who asks


def test_usage_of_a_pack_under_construction_is_not_remembered() -> None:
    low = Node(LIST, 0, [entry((1, 100, 50, 0, 40))])
    item = low.as_item()
    assert usage_of_root(item, lambda one: [(9, 0, 0, 0, 1)] if one is low.entries[0] else []) == {9: (1, 0, 0)}
    assert low.usage is None


def test_usages_add_up() -> None:
    into: Usage = {1: (5, 10, 20)}
    merge_usage(into, {1: (7, 2, 15), 2: (1, 0, 9)})
    assert into == {1: (12, 2, 20), 2: (1, 0, 9)}
