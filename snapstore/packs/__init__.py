"""Content: chunks in packs, by digest.

Purpose: put new chunks and tree nodes of a save into packs (`builder`), get them back (`reader`), and keep
the number of packs that one snapshot needs small (`closure`).

Promises: a chunk or node that comes out of here has been verified against its digest; a pack is written once
under a name never used before; memory is bounded by a few packs, whatever the size of the state.

Does not: know what a state looks like, or decide when a save is committed.
"""
