"""Made registers: snapshots that the index has to read, written by the format's own code without the states behind them.

Places, graphs and runs are those of `index_rows`, so they continue the made history. Closures are those of a real run of
small saves, one pack to a dozen: a register's size is what decoding it costs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import snapstore
from benchmarks.index_rows import chunk
from snapstore import clock
from snapstore.format import names
from snapstore.format.register import Register
from snapstore.index.rows import Row, from_table
from snapstore.storage.protocol import Storage

TEMPLATES = 48
"""Saves of the real run: closures grow to 12 packs and are merged again."""


@cache
def templates() -> tuple[Register, ...]:
    """Return the registers of a real run of small saves."""
    archive = snapstore.open("memory://bench-registers", create=True, index_after=None)
    run = archive.run("session", graph="bench")
    messages: list[dict[str, str]] = []
    found = []
    for number in range(TEMPLATES):
        messages.append({"role": "user", "content": random.Random(number).randbytes(300).hex()})
        found.append(run.save({"messages": messages, "cost": number / 8}).register)
    return tuple(found)


def register_of(row: Row, number: int) -> Register:
    """Return a register for a made row."""
    txid = clock.random_hex()
    return replace(
        templates()[number % TEMPLATES],
        id=row.id,
        run=row.run,
        graph=row.graph,
        node=row.node,
        status=row.status,
        parents=row.parents,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.created_at,
        txid=txid,
        recent=(txid,),
        digest=row.digest,
        stored_bytes=row.stored_bytes,
    )


def save(storage: Storage, start: int, count: int, *, marked: bool = True) -> list[Register]:
    """Write the registers of the rows from `start` on, and their change markers, as saves do; return them."""
    rows = from_table(chunk(start, count, seed=5))
    made = [register_of(row, number) for number, row in enumerate(rows)]
    write(storage, made, marked=marked)
    return made


def rewrite(storage: Storage, registers: Iterable[Register]) -> None:
    """Change the status of snapshots, as an update does."""
    later = [
        register.successor(txid=clock.random_hex(), updated_at=register.updated_at + 1, status="reviewed")
        for register in registers
    ]
    write(storage, later)


def write(storage: Storage, registers: Iterable[Register], *, marked: bool = True) -> None:
    """Put registers, and the markers of their last change unless a fold is supposed to have deleted these."""
    for register in registers:
        storage.put(names.register_key(register.id), register.encode())
        if marked:
            storage.put(names.change_key(register.graph, register.updated_at, register.txid, register.id), b"")


def forget(storage: Storage, registers: Iterable[Register]) -> None:
    """Delete registers and markers, as if they had never been written."""
    made = list(registers)
    storage.delete_many([names.register_key(register.id) for register in made])
    storage.delete_many([names.change_key(one.graph, one.updated_at, one.txid, one.id) for one in made])
