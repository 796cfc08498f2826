"""`snapstore doctor`: is this installation whole, and can it use that archive?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

import snapstore
from snapstore import clock
from snapstore.cli import output
from snapstore.cli.options import CommandWithCommonOptions
from snapstore.cli.session import Session, session_of
from snapstore.errors import SnapstoreError, exit_code
from snapstore.format import names
from snapstore.snapshot import instant
from snapstore.storage.probe import ProbeResult

if TYPE_CHECKING:
    from snapstore.archive import Archive

NEEDED = ("blake3", "ormsgpack", "zstandard", "pyfastcdc", "obstore", "click", "rich")
EXTRAS = {
    "s3": ("boto3",),
    "fsspec": ("fsspec", "s3fs"),
    "index": ("pyarrow",),
    "query": ("duckdb",),
    "delta": ("deltalake",),
}

_SHOWN_VARIABLES = ("SNAPSTORE_", "AWS_", "GOOGLE_", "AZURE_")
_SKEW_LIMIT_MS = 30_000
"""Half a minute: signatures of S3 requests fail at 15 minutes, ages in listings look wrong long before."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What it is.
        state: `ok`, `warning` or `failed`; `info` when there is nothing to judge.
        text: What was found.
    """

    name: str
    state: str
    text: str


@click.command("doctor", cls=CommandWithCommonOptions, short_help="Check this installation and an archive; changes nothing.")
@click.pass_context
def command(ctx: click.Context) -> int:
    """Check this installation, and the archive when one is named; changes nothing.

    Environment variables are shown by name only. The exit code is 0, or that of the archive's failure.
    """
    current = session_of(ctx)
    checks = installation()
    code = 0
    try:
        current.repository()
    except click.UsageError:
        checks.append(Check("archive", "info", "none named: -r URL or SNAPSTORE_REPOSITORY"))
    else:
        try:
            checks += archive_checks(current.open(read_only=True))
        except SnapstoreError as error:
            text = f"{error}" + (f"; {error.hint}" if error.hint else "")
            checks.append(Check("archive", "failed", text))
            code = exit_code(error)
    _print(current, checks)
    return code or int(any(check.state == "failed" for check in checks))


def installation() -> list[Check]:
    """Return what was found about this program and what it runs on."""
    checks = [
        Check("snapstore", "info", snapstore.__version__),
        Check("python", "info", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
    ]
    for package in NEEDED:
        version = _version(package)
        checks.append(Check(package, "failed" if version is None else "ok", version or "missing: reinstall snapstore"))
    for extra, packages in EXTRAS.items():
        versions = {package: _version(package) for package in packages}
        there = all(versions.values())
        text = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        checks.append(
            Check(f"extra [{extra}]", "ok" if there else "info", text if there else f"pip install 'snapstore[{extra}]'")
        )
    names = sorted(name for name in os.environ if name.startswith(_SHOWN_VARIABLES))
    checks.append(Check("environment", "info", ", ".join(names) or "no variables of ours"))
    return checks


def archive_checks(archive: Archive) -> list[Check]:
    """Return what was found about an archive; a few small reads."""
    features = archive.config.features
    unknown = {operation: archive.config.unknown_features(operation) for operation in ("read", "write", "gc")}
    needed = sorted({*features.read, *features.write, *features.gc})
    foreign = sorted({name for names_ in unknown.values() for name in names_})
    return [
        Check("archive", "ok", archive.url),
        Check("archive id", "info", f"{archive.id}, created {output.when(instant(archive.config.created_at))}"),
        Check("features", "warning" if foreign else "ok", f"unknown here: {', '.join(foreign)}" if foreign else "all known")
        if needed
        else Check("features", "ok", "none needed"),
        *_probes(archive),
        _clock(archive),
    ]


def _probes(archive: Archive) -> list[Check]:
    """Return what the probes of the storage found; one check per endpoint that it was reached through."""
    checks = []
    for info in archive.storage.list(names.PROBES_PREFIX):
        try:
            record = json.loads(archive.storage.get(info.key).data)
            safe = ProbeResult.from_json(record["result"]).multi_writer
            when = output.when(instant(int(record["probed_at"])))
        except (ValueError, KeyError, TypeError):
            checks.append(Check("probe", "warning", f"unreadable record {info.key}; the next writer probes again"))
            continue
        text = "safe for any number of writers" if safe else "safe for one writer only"
        checks.append(Check("probe", "ok" if safe else "warning", f"{text}, found {when}"))
    if not checks:
        checks.append(Check("probe", "info", "no record here: a namespace has it outside, or nobody has written yet"))
    return checks


def _clock(archive: Archive) -> Check:
    skew_ms = archive.storage.now_ms() - clock.now_ms()
    state = "ok" if abs(skew_ms) < _SKEW_LIMIT_MS else "warning"
    return Check("clock", state, f"the storage is {abs(skew_ms):,} ms {'behind' if skew_ms < 0 else 'ahead'}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


_SIGNS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "failed": ("FAIL", "red"), "info": ("-", None)}


def _print(current: Session, checks: list[Check]) -> None:
    if current.json:
        rows = [{"name": check.name, "state": check.state, "text": check.text} for check in checks]
        output.say(current, output.to_json("doctor", {"checks": rows}))
        return
    width = max(len(check.name) for check in checks)
    for check in checks:
        sign, color = _SIGNS[check.state]
        line = f"{output.paint(current, sign.ljust(4), color)}  {check.name.ljust(width)}  {output.printable(check.text)}"
        output.say(current, line)
