"""Reading JSON documents and JSON lines; every problem names the file and the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from snapstore.errors import InvalidInputError, StorageError
from snapstore.importers.step import Source

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a JSON lines file.

    Attributes:
        number: Counted from 1; blank lines count, but give no record.
        raw: The line's bytes without the blanks around it.
        value: What they say.
        fraction: How much of the file has been read with it, 0 to 1; None when the size is unknown.
    """

    number: int
    raw: bytes
    value: Any
    fraction: float | None


def read_document(source: Source) -> Any:
    """Return the one JSON value that a source holds."""
    with _opened(source) as stream:
        return _parse(stream.read(), source, None)


def read_lines(source: Source) -> Iterator[Line]:
    """Yield the records of a JSON lines source one by one; the first malformed line ends it with an error."""
    done_bytes = 0
    with _opened(source) as stream:
        for number, raw in enumerate(stream, 1):
            done_bytes += len(raw)
            text = (raw.removeprefix(_BYTE_ORDER_MARK) if number == 1 else raw).strip()
            if text:
                fraction = min(1.0, done_bytes / source.size_bytes) if source.size_bytes else None
                yield Line(number, text, _parse(text, source, number), fraction)


def malformed(source: Source, problem: str, line: int | None = None, **context: object) -> NoReturn:
    """Raise the error for a source that is not what its format promises."""
    place = {"file": source.label} if line is None else {"file": source.label, "line": line}
    raise InvalidInputError(
        f"malformed input: {problem}",
        code="malformed_input",
        hint="repair the file and import it again: what is in the archive already is skipped",
        **place,
        **context,
    )


def _parse(data: bytes, source: Source, line: int | None) -> Any:
    try:
        return json.loads(data.removeprefix(_BYTE_ORDER_MARK).decode())
    except json.JSONDecodeError as error:
        column = error.colno if line is not None else f"{error.lineno}:{error.colno}"
        malformed(source, f"not valid JSON ({error.msg})", line, column=column)
    except UnicodeDecodeError as error:
        malformed(source, f"not UTF-8 at byte {error.start}", line)
    except RecursionError:
        malformed(source, "JSON nested too deeply", line)
    except ValueError as error:  # an integer of more than 4,300 digits
        malformed(source, f"not usable JSON ({error})", line)


def _opened(source: Source) -> Any:
    try:
        return source.open()
    except OSError as error:
        raise StorageError(f"cannot read {source.label}: {error.strerror}", code="unreadable_input") from error
