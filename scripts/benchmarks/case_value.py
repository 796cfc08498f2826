"""One value of a gigabyte: save, restore to a file, and save again with 100 bytes inserted."""

from __future__ import annotations

import filecmp
import tempfile
from pathlib import Path
from typing import Any

import zstandard

from benchmarks import states
from benchmarks.baselines import ZSTD_LEVEL
from benchmarks.measure import folder_bytes, forget_peak, in_child, peak_bytes, spending
from benchmarks.report import Row, at_least, limit
from benchmarks.subject import costs, open_metered

VALUE_BYTES = 1_000_000_000
QUICK_VALUE_BYTES = 100_000_000

# MB per second of CPU that save and restore must reach, and memory above the value that they may take.
SPEED = {"text": 200, "random": 500}
EXTRA_MB = 400

INSERTED = b"-- one hundred bytes that were not there before, put into the middle of a value of a gigabyte ------"
assert len(INSERTED) == 100


def save(folder: str, inserted: bool) -> dict[str, Any]:
    """Save the value of the folder's file, with or without the inserted bytes; runs in a child."""
    path = Path(folder) / "archive"
    value = (Path(folder) / "value").read_bytes()
    if inserted:
        middle = len(value) // 2
        value = b"".join([value[:middle], INSERTED, value[middle:]])
    archive, meter = open_metered(str(path), create=not inserted)
    before = folder_bytes(path)
    run = archive.run("big", graph="bench")
    if inserted:
        run.latest()  # what a handle that goes on does: it sees the parent
    meter.reset()
    forget_peak()
    with spending() as spent:
        snap = run.save({"value": value})
    peak = peak_bytes()
    usage = meter.reset()
    archive.close()
    return {
        "id": snap.id,
        "stored": folder_bytes(path) - before,
        "cpu_s": spent.cpu_s,
        "wall_s": spent.wall_s,
        "above_mb": (peak - len(value)) / 1e6,
        "costs": {**costs(usage, spent.cpu_s, 1), "wall_s": spent.wall_s, "peak_mb": peak / 1e6},
    }


def restore(folder: str, id: str) -> dict[str, Any]:
    """Write the value to a file without holding it; runs in a child."""
    archive, meter = open_metered(str(Path(folder) / "archive"))
    meter.reset()
    target = Path(folder) / "restored"
    with spending() as spent, target.open("wb") as file:
        archive[id].write_to(file, path=("value",), format="raw")
    usage = meter.reset()
    peak = peak_bytes()
    archive.close()
    same = filecmp.cmp(target, Path(folder) / "value", shallow=False)
    target.unlink()
    if not same:
        raise AssertionError("the restored value is not the saved one")
    return {
        "cpu_s": spent.cpu_s,
        "peak": peak / 1e6,
        "costs": {**costs(usage, spent.cpu_s, 1), "wall_s": spent.wall_s, "peak_mb": peak / 1e6},
    }


def one_frame(folder: str) -> dict[str, Any]:
    """Compress and decompress the value as one zstd stream between files; runs in a child."""
    value, packed = Path(folder) / "value", Path(folder) / "value.zst"
    with spending() as there, value.open("rb") as source, packed.open("wb") as target:
        zstandard.ZstdCompressor(level=ZSTD_LEVEL).copy_stream(source, target)
    with spending() as back, packed.open("rb") as source, (Path(folder) / "back").open("wb") as target:
        zstandard.ZstdDecompressor().copy_stream(source, target)
    size = packed.stat().st_size
    packed.unlink()
    (Path(folder) / "back").unlink()
    return {"bytes": size, "compress_s": there.cpu_s, "decompress_s": back.cpu_s}


def rows_text(quick: bool) -> list[Row]:
    """Return the figures of a gigabyte of text."""
    return value_rows("text", quick)


def rows_random(quick: bool) -> list[Row]:
    """Return the figures of a gigabyte that cannot be compressed."""
    return value_rows("random", quick)


def value_rows(kind: str, quick: bool) -> list[Row]:
    """Return every figure of a large value of this kind."""
    size = QUICK_VALUE_BYTES if quick else VALUE_BYTES
    name = f"{size / 1e9:g} GB of {kind}"
    with tempfile.TemporaryDirectory(prefix="snapstore-bench-") as folder:
        states.write_value(Path(folder) / "value", size, kind)
        zstd = in_child("case_value:one_frame", folder=folder)
        first = in_child("case_value:save", folder=folder, inserted=False)
        back = in_child("case_value:restore", folder=folder, id=first["id"])
        again = in_child("case_value:save", folder=folder, inserted=True)
    megabytes, mbs, speed = size / 1e6, "MB/s of CPU", SPEED[kind]
    packing = {"baseline": megabytes / zstd["compress_s"], "baseline_name": "one zstd-3 stream"}
    unpacking = {"baseline": megabytes / zstd["decompress_s"], "baseline_name": "one zstd stream"}
    return [
        at_least(f"{name}: save", megabytes / first["cpu_s"], mbs, speed, costs=first["costs"], **packing),
        limit(f"{name}: save, memory above the value", first["above_mb"], "MB", EXTRA_MB),
        at_least(f"{name}: restore to a file", megabytes / back["cpu_s"], mbs, speed, costs=back["costs"], **unpacking),
        limit(f"{name}: restore to a file, peak memory", back["peak"], "MB", EXTRA_MB),
        limit(
            f"{name}: 100 bytes inserted, stored",
            again["stored"],
            "bytes",
            1e6,
            costs=again["costs"],
            baseline=zstd["bytes"],
            baseline_name="one zstd-3 stream again",
        ),
        Row(f"{name}: stored", first["stored"], "bytes", zstd["bytes"], "one zstd-3 stream"),
    ]
