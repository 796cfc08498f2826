"""The errors that snapstore raises: one small tree, one class per thing that a caller does differently.

```text
SnapstoreError                     anything below; catch this to catch us
├── InvalidInputError (ValueError)     what you passed cannot be stored or understood; change the input
├── NotFoundError (LookupError)        the archive, snapshot or object is not there
├── ConflictError                      somebody else wrote first; read again and decide anew
├── ReadOnlyError                      this storage or archive cannot be written
├── StorageError                       the storage failed; `.retryable` says whether the same call may work later
├── FormatError                        the bytes are whole but this version does not understand them
├── CorruptionError                    the bytes are damaged or incomplete; nothing of them was returned
└── MissingExtraError (ImportError)    an optional package is needed; the hint says what to install
```

Every error carries a stable `.code` (for programs), a `.hint` (what a person does next, or None) and `.context` (the
values of the message). `str(error)` is a lowercase sentence followed by `key=value` pairs; the hint is attached as a
note, so that a traceback shows it too. Secrets never go into messages, hints or contexts.
"""

from __future__ import annotations

from typing import Any, ClassVar

# A value longer than this is cut in messages: ids come off the wire and may be 10 kB long.
_MAX_SHOWN_CHARS = 200


class SnapstoreError(Exception):
    """Base of every error that snapstore raises.

    Args:
        message: A lowercase sentence without a final stop.
        code: Stable identifier for programs, `snake_case`; the class's own `default_code` when None.
        hint: One sentence that says what to do, or None when there is nothing useful to say.
        **context: Values that belong to the message; shown as `key=value`, kept whole in `.context`.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.context: dict[str, object] = context
        if hint:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        return " ".join([self.message, *(f"{key}={_shown(value)}" for key, value in self.context.items())])

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions cross process borders (multiprocessing, Ray, Spark): the default would lose the keyword arguments.
        return _rebuild, (type(self), self.message, self.code, self.hint, self.context)


class InvalidInputError(SnapstoreError, ValueError):
    """The caller passed something that cannot be stored or understood; nothing was written."""

    default_code = "invalid_input"


class NotFoundError(SnapstoreError, LookupError):
    """The archive, snapshot or object that was asked for does not exist."""

    default_code = "not_found"


class ConflictError(SnapstoreError):
    """Somebody else wrote first, and nothing of this write took effect: read again and decide anew."""

    default_code = "conflict"


class ReadOnlyError(SnapstoreError):
    """The storage or the archive cannot be written, and trying again will not help."""

    default_code = "read_only"


class StorageError(SnapstoreError):
    """The storage failed; whether a write took effect is unknown unless the code says so.

    Args:
        message: As for `SnapstoreError`.
        retryable: Whether the same call may succeed later without anybody changing anything.
        code: As for `SnapstoreError`.
        hint: As for `SnapstoreError`.
        **context: As for `SnapstoreError`.
    """

    default_code = "storage_error"

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        code: str | None = None,
        hint: str | None = None,
        **context: object,
    ) -> None:
        super().__init__(message, code=code, hint=hint, **context)
        self.retryable = retryable

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.code, self.hint, {"retryable": self.retryable, **self.context})


class FormatError(SnapstoreError):
    """The bytes are whole, but this version of snapstore does not understand them."""

    default_code = "invalid_format"


class CorruptionError(SnapstoreError):
    """The bytes are damaged or incomplete: a digest, a checksum or a length does not match."""

    default_code = "corrupted"


class MissingExtraError(SnapstoreError, ImportError):
    """An optional package is needed for this; the hint says what to install."""

    default_code = "missing_extra"


# Exit codes of the command line. 0 is success, 1 any other failure, 2 wrong usage, 3 a partial result, 130 interrupted.
EXIT_CODES: dict[type[SnapstoreError], int] = {
    SnapstoreError: 1,
    InvalidInputError: 2,
    CorruptionError: 4,
    FormatError: 4,
    NotFoundError: 5,
    ConflictError: 11,
    ReadOnlyError: 12,
    StorageError: 1,
    MissingExtraError: 2,
}

# A few codes leave with a number of their own: scripts branch on "no archive there yet" and on "not allowed".
EXIT_CODES_BY_CODE: dict[str, int] = {
    "archive_not_found": 10,
    "permission_denied": 12,
    "credentials_invalid": 12,
}

# HTTP statuses of the same classes, for servers built on top.
HTTP_STATUSES: dict[type[SnapstoreError], int] = {
    SnapstoreError: 500,
    InvalidInputError: 400,
    CorruptionError: 500,
    FormatError: 500,
    NotFoundError: 404,
    ConflictError: 409,
    ReadOnlyError: 403,
    StorageError: 503,
    MissingExtraError: 501,
}


def exit_code(error: SnapstoreError) -> int:
    """Return the exit code of the command line for an error: by its code first, then by its class."""
    if error.code in EXIT_CODES_BY_CODE:
        return EXIT_CODES_BY_CODE[error.code]
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)


def http_status(error: SnapstoreError) -> int:
    """Return the HTTP status for an error, by its class."""
    return next(HTTP_STATUSES[cls] for cls in type(error).__mro__ if cls in HTTP_STATUSES)


def _shown(value: object) -> str:
    """Return a value as one word where possible, quoted where it has blanks, cut where it is long."""
    text = value if isinstance(value, str) else str(value)
    if len(text) > _MAX_SHOWN_CHARS:
        text = f"{text[:_MAX_SHOWN_CHARS]}... ({len(text)} characters)"
    plain = text.isprintable() and text != "" and not any(c.isspace() or c == "=" for c in text)
    return text if plain else repr(text)


def _rebuild(cls: type[SnapstoreError], message: str, code: str, hint: str | None, context: dict[str, Any]) -> SnapstoreError:
    """Make an unpickled error; a module-level function because pickle names it."""
    return cls(message, code=code, hint=hint, **context)
