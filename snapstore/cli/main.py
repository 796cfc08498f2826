"""The entry of the command line: run a command, and turn every way it can end into an exit code.

Results are on stdout and messages on stderr. A failure is one message (with `--json` one JSON object) on stderr, and a
code from the table in `snapstore.errors`; besides those, 0 is success, 1 an unexpected failure or `diff --exit-code`,
2 wrong usage, 130 Ctrl-C, 143 a polite kill, and 141 a reader that closed the pipe, as the shell would count it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from snapstore.cli.app import cli
from snapstore.cli.session import Session
from snapstore.errors import SnapstoreError, exit_code

PROGRAM = "snapstore"
COMPLETION_VARIABLE = "_SNAPSTORE_COMPLETE"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, which Windows does not name
EXIT_TERMINATED = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with its exit code.

    Args:
        arguments: Words after the program's name; those of the process when None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    if not _has_stdout():
        message, hint = "standard output is closed", "send it to /dev/null, if nobody reads it"
        sys.exit(_report(message, "os_error", EXIT_FAILED, "--json" in words, hint=hint))
    code = run(words)
    # A pipe that closed or a disk that is full may show only now; the interpreter would complain on its way out.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _broken_pipe()
    except OSError as error:
        _silence_stdout()
        code = _unexpected(error, as_json="--json" in words)
    sys.exit(code)


def _has_stdout() -> bool:
    """Return whether there is a stdout, after nothing was put in the place of standard streams that the caller has closed.

    Python has None for these, and the next file that is opened gets their number: what a library prints would go into it.
    """
    found = sys.stdout is not None
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number, mode = os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    return found


def run(words: list[str]) -> int:
    """Run the command line with these words and return the exit code; every failure has been reported."""
    with warnings.catch_warnings():  # the session changes how some are shown
        return _run(words)


def _run(words: list[str]) -> int:
    as_json = "--json" in words
    session = Session()
    try:
        if COMPLETION_VARIABLE in os.environ:
            cli.main(words, prog_name=PROGRAM)  # click answers the shell and leaves
        # Not `cli.main`: it would answer Ctrl-C and closed pipes by itself.
        with cli.make_context(PROGRAM, words, obj=session) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        return _usage(error, as_json)
    except click.ClickException as error:
        return _report(error.format_message(), "failed", error.exit_code, as_json)
    except SnapstoreError as error:
        return _failure(error, as_json)
    except (KeyboardInterrupt, click.Abort):
        if sys.stderr.isatty():
            click.echo(err=True)  # ends the line of ^C
        return _report("interrupted", "interrupted", EXIT_INTERRUPTED, as_json)
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as error:  # noqa: BLE001 - the last door: a person gets a sentence, not a stack
        return _unexpected(error, as_json)
    finally:
        session.close()
    return result if isinstance(result, int) else 0


def _usage(error: click.UsageError, as_json: bool) -> int:
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not as_json:
        click.echo(message, err=True)
        return EXIT_USAGE
    if as_json:
        return _report(message, "usage", EXIT_USAGE, as_json)
    context = error.ctx
    if context is not None:
        click.echo(context.get_usage(), err=True)
    hint = f"{context.command_path if context else PROGRAM} --help"
    return _report(message, "usage", EXIT_USAGE, as_json, hint=f"see {hint}")


def _failure(error: SnapstoreError, as_json: bool) -> int:
    context = {key: value if isinstance(value, int | float | bool) else str(value) for key, value in error.context.items()}
    text = error.message if as_json else str(error)
    return _report(text, error.code, exit_code(error), as_json, hint=error.hint, context=context)


def _unexpected(error: Exception, as_json: bool) -> int:
    if os.environ.get("SNAPSTORE_TRACEBACK"):
        raise error
    if isinstance(error, OSError) and error.strerror:
        place = f" file={error.filename}" if error.filename else ""
        return _report(f"{error.strerror.lower()}{place}", "os_error", EXIT_FAILED, as_json)
    return _report(
        f"unexpected failure: {type(error).__name__}: {error}",
        "unexpected",
        EXIT_FAILED,
        as_json,
        hint="this is a defect of snapstore; SNAPSTORE_TRACEBACK=1 shows where",
    )


def _report(
    message: str,
    code: str,
    exit_code: int,
    as_json: bool,
    *,
    hint: str | None = None,
    context: dict[str, Any] | None = None,
) -> int:
    """Write one failure to stderr and return its exit code."""
    from snapstore.cli.output import error_document, error_text

    with contextlib.suppress(BrokenPipeError):
        if as_json:
            click.echo(error_document(message, code, exit_code, hint=hint, context=context or {}), err=True)
        else:
            click.echo(error_text(message, hint), err=True)
    return exit_code


def _broken_pipe() -> int:
    """Let the rest of the output go nowhere: the reader has seen what it wanted."""
    _silence_stdout()
    return EXIT_BROKEN_PIPE


def _silence_stdout() -> None:
    """Put nothing in the place of a stdout that cannot be written, so that its buffer can be let go."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM as on Ctrl-C, so that temporary files go away."""
    raise SystemExit(EXIT_TERMINATED)  # no `Exception`: code that tries again must not catch it


if __name__ == "__main__":
    main()
