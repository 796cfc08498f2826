"""How results look: JSON documents with a schema version, and aligned tables for people.

Times are UTC and sizes binary (KiB = 1024 bytes) for people; JSON has ISO 8601 times and plain bytes.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from snapstore import clock

if TYPE_CHECKING:
    from snapstore.cli.session import Session
    from snapstore.export import Exported
    from snapstore.snapshot import Snapshot, SnapshotInfo

SCHEMA_VERSION = 1
"""Version of the JSON documents: raised when a field goes away or changes its meaning, not when one is added."""

MIN_TERMINAL_COLUMNS = 40
"""Narrower terminals are treated as this wide: below it a table holds nothing that can be read."""

WIDE_TERMINAL_COLUMNS = 110
"""From here on a row has room for whole times."""

_ID_SHORT_CHARS = 12
_MAX_ID_COLUMNS = 48
_GAP = 2
_LEAST_COLUMNS = 12
"""A column is not cut below this: it would say nothing, and an id could not be typed any more."""
_ELLIPSIS = "…"

_STATUS_COLORS = {"completed": "green", "failed": "red", "running": "yellow"}
_LANE_COLORS = ("red", "green", "yellow", "blue", "magenta", "cyan")


# ------------------------------------------------------------------------------------------- JSON


def to_json(type: str, fields: Mapping[str, Any]) -> str:
    """Return one JSON document in one line, with its type and schema version first."""
    return json.dumps({"schema_version": SCHEMA_VERSION, "type": type, **fields}, ensure_ascii=False, default=plain)


def plain(value: Any) -> Any:
    """Return what JSON has no type for as the nearest thing that it has; used for values of states only."""
    if isinstance(value, datetime.datetime):
        return iso(value) if value.tzinfo else value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def snapshot_fields(snapshot: Snapshot | SnapshotInfo) -> dict[str, Any]:
    """Return the JSON fields of a snapshot, the same for every command."""
    return {
        "id": snapshot.id,
        "run": snapshot.run,
        "graph": snapshot.graph,
        "node": snapshot.node,
        "status": snapshot.status,
        "parents": list(snapshot.parents),
        "created_at": iso(snapshot.created_at),
        "updated_at": iso(snapshot.updated_at),
        "metadata": dict(snapshot.metadata),
        "size_bytes": snapshot.size_bytes,
        "stored_bytes": snapshot.stored_bytes,
        "digest": snapshot.digest,
        "version": snapshot.version,
    }


def error_document(message: str, code: str, exit_code: int, *, hint: str | None, context: Mapping[str, Any]) -> str:
    """Return the JSON object of a failure, the last line of stderr."""
    return to_json("error", {"code": code, "message": message, "hint": hint, "exit_code": exit_code, "context": dict(context)})


def error_text(message: str, hint: str | None) -> str:
    """Return the text of a failure: the sentence, and what to do about it."""
    return f"snapstore: {message}" + (f"\n  hint: {hint}" if hint else "")


# ------------------------------------------------------------------------------------------- words


def iso(moment: datetime.datetime) -> str:
    """Return an aware time as ISO 8601 in UTC, with milliseconds and Z."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(since_1970_ms: int) -> datetime.datetime:
    """Return milliseconds since 1970 UTC as an aware time."""
    return datetime.datetime.fromtimestamp(since_1970_ms / 1000, datetime.UTC)


def when(moment: datetime.datetime) -> str:
    """Return an aware time for people: `2026-11-20 23:06:12Z (3m ago)`."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S}Z ({ago(moment)})"


def when_in(session: Session, moment: datetime.datetime) -> str:
    """Return an aware time for a row: as `when`, without year and zone where the terminal is narrow."""
    columns = terminal_columns(session)
    if columns is None or columns >= WIDE_TERMINAL_COLUMNS:
        return when(moment)
    return f"{moment.astimezone(datetime.UTC):%m-%d %H:%M:%S} ({ago(moment)})"


def ago(moment: datetime.datetime) -> str:
    """Return the distance from now in its largest unit: `now`, `3m ago`, `in 2h`."""
    seconds = clock.now_ms() / 1000 - moment.timestamp()
    for unit, length in (("y", 31_557_600), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count = int(abs(seconds) // length)
        if count:
            return f"{count}{unit} ago" if seconds > 0 else f"in {count}{unit}"
    return "now"


def size(count_bytes: float) -> str:
    """Return a number of bytes for people: `17 B`, `3.2 KiB`, `1.1 GiB`."""
    if count_bytes < 1024:
        return f"{int(count_bytes)} B"
    units = ["KiB", "MiB", "GiB", "TiB"]
    count_bytes /= 1024
    while count_bytes >= 1024 and len(units) > 1:
        count_bytes /= 1024
        del units[0]
    return f"{count_bytes:.1f} {units[0]}"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 snapshot`, `5,144 snapshots`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ratio(full: float, part: float) -> str:
    """Return how many times larger `full` is: `143x`, `3.4x`; a dash when there is nothing to compare."""
    if part <= 0:
        return "-"
    times = full / part
    return f"{times:,.0f}x" if times >= 10 else f"{times:.1f}x"


def short_id(id: str, session: Session) -> str:
    """Return an id as a table shows it: whole in pipes; on a terminal random ids by their beginning."""
    text = printable(id)
    if not session.on_terminal:
        return text
    digits = id.replace("-", "")
    if len(digits) >= 32 and all(c in "0123456789abcdef" for c in digits.lower()):
        return id[:_ID_SHORT_CHARS]
    return cut(text, _MAX_ID_COLUMNS)


def printable(text: str) -> str:
    """Return text from outside in one line that cannot steer a terminal: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def cut(text: str, columns: int) -> str:
    """Return text that takes at most so many columns, with an ellipsis where something is missing."""
    if columns_of(text) <= columns:
        return text
    kept, taken = [], 0
    for c in text:
        taken += columns_of(c)
        if taken > columns - 1:
            break
        kept.append(c)
    return "".join(kept) + _ELLIPSIS


def columns_of(text: str) -> int:
    """Return how many terminal columns a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(c) or c in "\u200d\ufe0f" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


# ------------------------------------------------------------------------------------------- tables


def terminal_columns(session: Session) -> int | None:
    """Return the width that lines are cut at, or None when nobody looks at a screen."""
    if not session.on_terminal:
        return None
    return max(MIN_TERMINAL_COLUMNS, shutil.get_terminal_size().columns)


def say(session: Session, text: str) -> None:
    """Print one line of a result, with its colours when the session has any."""
    click.echo(text, color=session.colored)


def paint(session: Session, text: str, color: str | None, **style: Any) -> str:
    """Return text in a colour when the session has any."""
    return click.style(text, fg=color, **style) if session.colored and text else text


def paint_status(session: Session, text: str, status: str) -> str:
    """Return a status in the colour that people expect."""
    return paint(session, text, _STATUS_COLORS.get(status))


def paint_lanes(session: Session, text: str) -> str:
    """Return the lanes of a history with each column in its colour."""
    if not session.colored:
        return text
    return "".join(c if c == " " else paint(session, c, _LANE_COLORS[i // 2 % 6]) for i, c in enumerate(text))


def table(
    session: Session,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: frozenset[int] | set[int] = frozenset(),
    status_column: int | None = None,
    asked: int = 0,
) -> list[str]:
    """Print an aligned table; on a terminal lines fit its width. Return the headings of columns that found no room.

    Args:
        session: Where to print.
        headings: One per column; upper case for ours, as they are for columns that the user named.
        rows: Cells as text; what comes from outside is made printable here.
        right: Columns that are aligned to the right.
        status_column: The column that is coloured by its value.
        asked: So many of the first columns are what the user asked for: they share the width before others get any.
    """
    cells = [[printable(cell) for cell in headings], *([printable(cell) for cell in row] for row in rows)]
    limit = terminal_columns(session)
    if limit is not None:
        cells = [[cut(cell, limit if i < asked else limit // 2) for i, cell in enumerate(row)] for row in cells]
    widths = [max(columns_of(row[i]) for row in cells) for i in range(len(headings))]
    if limit is not None:
        widths = fitting(widths, limit, asked)
    for number, row in enumerate(cells):
        parts = []
        for i, (width, whole) in enumerate(zip(widths, row, strict=False)):
            cell = cut(whole, width)
            padding = " " * (width - columns_of(cell))
            text = padding + cell if i in right else cell + padding
            if i == len(widths) - 1 and i not in right:
                text = cell
            if number == 0:
                text = paint(session, text, None, bold=True)
            elif i == status_column:
                text = paint_status(session, text, whole)
            parts.append(text)
        say(session, (" " * _GAP).join(parts).rstrip())
    return list(headings[len(widths) :])


def fitting(widths: Sequence[int], limit: int, asked: int) -> list[int]:
    """Return the widths in which columns are shown on a line of `limit` columns; those at the end that do not fit have none.

    The first `asked` columns share the line, and the widest are cut. The others take what is left, one after the other.
    """
    first = list(widths[:asked])
    while len(first) > 1 and sum(min(width, _LEAST_COLUMNS) + _GAP for width in first) > limit + _GAP:
        first.pop()
    most = room = limit + _GAP - _GAP * len(first)
    for place, width in enumerate(sorted(first)):
        most = room // (len(first) - place)
        if width > most:
            break
        room -= width
    shown = [min(width, most) for width in first]
    left = limit - sum(width + _GAP for width in shown)
    for width in widths[asked:] if len(first) == asked else ():
        if min(width, left) < min(width, _LEAST_COLUMNS):
            break
        shown.append(min(width, left))
        left -= shown[-1] + _GAP
    return shown


def hidden(session: Session, headings: Sequence[str]) -> None:
    """Say on stderr which columns of a table found no room."""
    if headings:
        text = f"--json shows all; no room for {', '.join(map(printable, headings))}"
        click.echo(cut(text, terminal_columns(session) or len(text)), err=True)


def exported(session: Session, done: Exported) -> None:
    """Print what an export did."""
    if session.json:
        fields = {"to": done.target, "format": done.format, "rows": done.rows, "bytes_written": done.bytes_written}
        say(session, to_json("export", fields))
        return
    taken = "" if done.bytes_written is None else f", {size(done.bytes_written)}"
    say(session, f"exported {count(done.rows, 'row')} to {printable(done.target)} ({done.format}{taken})")


def facts(session: Session, pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other, values aligned."""
    listed = [(name, printable(value)) for name, value in pairs]
    width = max((len(name) for name, _ in listed), default=0)
    for name, value in listed:
        say(session, f"{paint(session, name.ljust(width), None, bold=True)}  {value}".rstrip())
