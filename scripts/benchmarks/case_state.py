"""A state of 5 MB: the CPU of a save that appends 4 KB, and of a restore."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import ormsgpack

from benchmarks import states
from benchmarks.baselines import encode_and_compress
from benchmarks.measure import in_child, repeat_cpu, spending
from benchmarks.report import Row, at_most
from benchmarks.subject import costs, open_metered

STATE_BYTES = 5_000_000
APPENDED_BYTES = 4096

# Enough for three rounds of merging packs, so that the mean holds its cost.
SAVES = 32

# The smallest of this many, for what is measured as a whole.
REPEATS = 9


def save_and_restore(folder: str, saves: int) -> dict[str, Any]:
    """Append to a state and save it, over and over, with the baselines in between; runs in a child."""
    state = states.state_of(STATE_BYTES)
    path = str(Path(folder) / "archive")
    archive, meter = open_metered(path, create=True)
    run = archive.run("session", graph="bench")
    snap = run.save(state)
    spent_cpu, encodes, compresses = [], [], []
    meter.reset()
    for number in range(saves):
        state["messages"].append(states.small_record(APPENDED_BYTES, number))
        with spending() as spent:
            snap = run.save(state)
        spent_cpu.append(spent.cpu_s)
        encode, compress = encode_and_compress([state])
        encodes.append(encode)
        compresses.append(compress)
    usage = meter.reset()
    archive.close()
    return {
        "mean_s": statistics.mean(spent_cpu),
        "median_s": statistics.median(spent_cpu),
        "most_s": max(spent_cpu),
        "encode_s": statistics.median(encodes),
        "compress_s": statistics.median(compresses),
        "costs": costs(usage, sum(spent_cpu), saves),
        **restore(path, snap.id, state, Path(folder) / "whole.msgpack"),
    }


def restore(path: str, id: str, state: Any, blob: Path) -> dict[str, Any]:
    """Measure a restore through a new handle against reading and decoding one file of MessagePack."""
    blob.write_bytes(ormsgpack.packb(state))
    ours = float("inf")
    for _ in range(REPEATS):
        archive, meter = open_metered(path)
        meter.reset()
        with spending() as spent:
            restored = archive[id].state()
        ours = min(ours, spent.cpu_s)
        usage = meter.reset()
        archive.close()
        assert restored == state
        del restored
    whole = repeat_cpu(lambda: ormsgpack.unpackb(blob.read_bytes()), REPEATS)
    return {"restore_s": ours, "decode_s": whole, "restore_costs": costs(usage, ours, 1)}


def rows(quick: bool) -> list[Row]:
    """Return the figures of the state of 5 MB."""
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        got = in_child("case_state:save_and_restore", folder=folder, saves=10 if quick else SAVES)
    note = f"mean; median {1000 * got['median_s']:.2f} ms, most {1000 * got['most_s']:.2f} ms (merging packs)"
    held = {**got["costs"], "peak_mb": got["peak_mb"]}
    encode, compress = ("encoding the state once", got["encode_s"]), ("zstd-3 of the encoded state", got["compress_s"])
    whole = ("reading and decoding one MessagePack file", got["decode_s"])
    return [
        at_most("5 MB, 4 KB appended: CPU per save", got["mean_s"], "s of CPU", encode, 3, note=note, costs=held),
        at_most("5 MB, 4 KB appended: CPU per save", got["mean_s"], "s of CPU", compress, 1 / 3),
        at_most("5 MB: restore from disk", got["restore_s"], "s of CPU", whole, 2, costs=got["restore_costs"]),
    ]
