"""Which snapshots a person means: the options of `list`, `scan` and `export`, and what is typed for them."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from snapstore import clock
from snapstore.cli import paths
from snapstore.errors import InvalidInputError

_AGE = re.compile(r"(\d{1,6})\s*([smhdwy])")
_AGE_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_557_600}

Command = TypeVar("Command", bound=Callable[..., Any])


class Moment(click.ParamType[datetime.datetime]):
    """A time: ISO 8601 (UTC when it names no zone), or an age like 30m, 12h, 3d, 2w."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime.datetime:
        """Return the time that a text names."""
        if isinstance(value, datetime.datetime):
            return value
        text = str(value).strip()
        age = _seconds(text)
        if age is not None:
            return datetime.datetime.fromtimestamp(max(0.0, clock.now_ms() / 1000 - age), datetime.UTC)
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no time: write 2026-11-20, 2026-11-20T12:30Z or an age like 12h", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


class Age(click.ParamType[float]):
    """A length of time: 30s, 5m, 12h, 3d; a number alone is seconds."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds that a text names."""
        text = str(value).strip()
        age = _seconds(text)
        if age is None and not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
            self.fail(f"{text!r} is no length of time: write 30s, 5m or 12h", param, ctx)
        return float(text) if age is None else float(age)


def _seconds(text: str) -> int | None:
    found = _AGE.fullmatch(text)
    return int(found[1]) * _AGE_SECONDS[found[2]] if found else None


_OPTIONS = [
    click.option("--graph", metavar="NAME", help="Of this graph only."),
    click.option("--run", metavar="NAME", help="Of this run only."),
    click.option("--node", metavar="NAME", help="Produced by this step only."),
    click.option("--status", metavar="TEXT", help="With this status only."),
    click.option("--since", type=Moment(), help="Created at or after: a time, or an age like 12h, 3d."),
    click.option("--until", type=Moment(), help="Created before: a time or an age."),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        help="With this fact; the value is JSON or text, a KEY with = stands in quotes. May be repeated.",
    ),
]


def filter_options(command: Command) -> Command:
    """Give a command the options that choose snapshots; `where` understands them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def where(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `filter_options` gave as arguments of `Archive.list`, without those that were not given."""
    given = {key: value for key, value in chosen.items() if value not in (None, ())}
    if "metadata" in given:
        given["metadata"] = pairs("--metadata", given["metadata"])
    return given


def pairs(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return what KEY=VALUE and "KEY"=VALUE texts say; a value that is JSON counts as such, everything else as text.

    Raises:
        click.UsageError: a text without a key.
    """
    facts: dict[str, Any] = {}
    for text in texts:
        key, value = _pair(text)
        if not key:
            raise click.UsageError(f"{option} needs KEY=VALUE, not {text!r}")
        facts[key] = json_or_text(value)
    return facts


def _pair(text: str) -> tuple[str, str]:
    """Return key and value of KEY=VALUE or "KEY"=VALUE; without a key, none."""
    if text[:1] in {'"', "'"}:
        for found in re.finditer("=", text):
            try:
                (key,) = paths.parse(f"[{text[: found.start()]}]")  # quoted as the keys of paths are
            except InvalidInputError:
                continue
            return str(key), text[found.end() :]
    key, equals, value = text.partition("=")
    return (key, value) if equals else ("", "")


def json_or_text(text: str) -> Any:
    """Return the value of a JSON text, or the text itself when it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text
