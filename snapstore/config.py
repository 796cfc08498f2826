"""The numbers of snapstore, each with its unit and its reason.

Numbers that decide how bytes look on storage are part of the format: SPEC.md names them, and a change needs
a new format version or must be harmless to every reader.
"""

from typing import Final

__all__ = [
    "CHUNK_CLOSE_BYTES",
    "CHUNK_MAX_BYTES",
    "CHUNK_MEAN_BYTES",
    "CHUNK_MIN_BYTES",
    "DEFAULT_TIMEOUT_S",
    "INLINE_BYTES",
    "ITEM_MAX_BYTES",
    "NODE_MAX_ENTRIES",
    "NODE_MIN_ENTRIES",
    "PACKS_PER_SIZE",
    "PACK_BYTES",
    "SEGMENTS_MAX",
    "VALUE_TREE_BYTES",
]

CHUNK_MIN_BYTES: Final = 2 * 1024
CHUNK_MEAN_BYTES: Final = 6 * 1024
CHUNK_CLOSE_BYTES: Final = 16 * 1024
"""Items fill a chunk to at least the minimum, then each item closes it with a probability of its size / mean,
and at the close size it ends in any case: about 8 KiB on average. 4 KiB doubles the entries, 16 KiB doubles
what an edit in the middle rewrites."""

CHUNK_MAX_BYTES: Final = 32 * 1024
"""A chunk ends before an item that would take it beyond this."""

ITEM_MAX_BYTES: Final = 32 * 1024
"""A larger item is a tree of its own."""

VALUE_TREE_BYTES: Final = 1024
"""A value of a small dict (see SMALL_MAP_PAIRS in SPEC.md) larger than this is a tree of its own: the fields
of a state change at different times, and what did not change must not be written again."""

INLINE_BYTES: Final = 512
"""Runs of small pairs in a dict stay in the node up to this size: an entry with its digest costs about 45."""

NODE_MIN_ENTRIES: Final = 2
NODE_MAX_ENTRIES: Final = 64
"""A node closes at an entry whose digest begins with two zero bits, about every 5 entries. Every save writes half
a node per level, and digests do not compress: nodes of 10 entries cost 0.3 KB more per save of a 5 MB state, of 20
entries 0.7 KB (manifests/decisions)."""

SEGMENTS_MAX: Final = 16
"""A growing last chunk lies in at most so many pieces before it is written again as one."""

PACK_BYTES: Final = 16 * 1024 * 1024
"""A save's chunks beyond this go to further packs, which bounds memory and the size of one request."""

PACKS_PER_SIZE: Final = 12
"""After so many full packs in a lineage the next ones are twice as large: 64 packs then hold any state."""

DEFAULT_TIMEOUT_S: Final = 60.0
"""How long one storage operation may take in all, retries included."""
