"""The limits of format 1, in one table: SPEC.md "Limits" states the same numbers and a test compares them.

A limit bounds what a reader must be ready to hold, so it is part of the format and not a setting.
"""

from __future__ import annotations

from typing import Final

FORMAT_VERSION: Final = 1
"""The major version this program writes, and the newest it reads."""

NAME_LIMIT_BYTES: Final = 16 * 1024
"""An id, run, graph or node in UTF-8; the systems we serve test ids of 10 kB."""

ENCODED_NAME_LIMIT_BYTES: Final = 120
"""The longest encoded name before the digest form: the longest file name, a change marker, is then
12 + 1 + 32 + 1 + 120 = 166 bytes, below the 255 of common file systems with room for a temporary suffix."""

STATUS_LIMIT_BYTES: Final = 1024
"""A status in UTF-8: a word, not a document; it is repeated in every earlier version."""

METADATA_LIMIT_BYTES: Final = 8 * 1024
"""The JSON text of the user's metadata in UTF-8: it travels in the register, which every read fetches."""

METADATA_DEPTH_LIMIT: Final = 32
"""Objects and arrays within each other in metadata, the outermost included: far below the 1,000 or so at which
parsers start to differ."""

DOCUMENT_DEPTH_LIMIT: Final = 40
"""The same in a document: room for an unknown field as deep as metadata at every place that may have one."""

DOCUMENT_LIMIT_BYTES: Final = 256 * 1024
"""The canonical bytes of any document, so also the decompressed size of a register."""

REGISTER_LIMIT_BYTES: Final = 260 * 1024
"""A stored register: DOCUMENT_LIMIT_BYTES and what a zstd frame of incompressible bytes adds (less than 1 %)."""

PARENTS_LIMIT: Final = 64
"""Parents of one snapshot."""

CLOSURE_LIMIT: Final = 64
"""Packs of one closure, so the objects that one restore fetches; merging keeps 24 in practice."""

PREVS_LIMIT: Final = 16
"""Earlier versions that a register keeps; the model check never saw a chain longer than 2."""

RECENT_LIMIT: Final = 8
"""Transaction ids a register remembers, to recognise a write whose response was lost."""

INTEGER_LIMIT: Final = 2**53
"""The magnitude up to which every JSON parser keeps integers exact (RFC 7493, section 2.2), inclusive."""

TIME_LIMIT_MS: Final = 2**48 - 1
"""The last instant that a 12-digit reversed time can name: the year 10889."""
