"""The format: what every byte of an archive means. `manifests/SPEC.md` is the normative text of the same thing.

What it is for. Names become keys (`names`), documents become canonical bytes and back (`config_document`, `manifest`,
`register`), values become MessagePack (`values`), the state tree has its nodes (`node`) and packs their layout
(`pack`). `canonical` defines canonical JSON and reports problems, `fields` checks the fields of documents, `metadata`
carries the user's JSON inside them, `closure` lists the packs a version needs, `frames` is the door to zstd, `limits`
is the table of sizes.

What it promises. Every function is pure: same input, same output, no clock, no storage. What is written reads
back equal. What is read was valid, canonical and within its limits, or a typed error says so: `CorruptionError` for
damaged bytes, `FormatError` for bytes that are whole and not understood, with every problem at once. No input, however
hostile, makes a reader hold more than the limits or run long.

What it does not do. It moves no bytes, never decides what to write or when, and knows no storage.
"""
