"""The error tree, as callers and programs rely on it.

Goal: the classes, their builtin bases, codes, exit codes and statuses stay as they are published.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable

import pytest

from snapstore import errors
from snapstore.errors import (
    EXIT_CODES,
    HTTP_STATUSES,
    ConflictError,
    CorruptionError,
    FormatError,
    InvalidInputError,
    MissingExtraError,
    NotFoundError,
    ReadOnlyError,
    SnapstoreError,
    StorageError,
    exit_code,
    http_status,
)

TREE = {
    "SnapstoreError": (Exception, "error", 1, 500),
    "InvalidInputError": (ValueError, "invalid_input", 2, 400),
    "NotFoundError": (LookupError, "not_found", 5, 404),
    "ConflictError": (SnapstoreError, "conflict", 11, 409),
    "ReadOnlyError": (SnapstoreError, "read_only", 12, 403),
    "StorageError": (SnapstoreError, "storage_error", 1, 503),
    "FormatError": (SnapstoreError, "invalid_format", 4, 500),
    "CorruptionError": (SnapstoreError, "corrupted", 4, 500),
    "MissingExtraError": (ImportError, "missing_extra", 2, 501),
}


def test_the_tree_is_the_published_one() -> None:
    found = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, SnapstoreError) and cls.__module__ == errors.__name__
    }
    assert set(found) == set(TREE)
    for name, (base, code, exits, status) in TREE.items():
        error = found[name]("something happened")
        assert isinstance(error, base)
        assert isinstance(error, SnapstoreError)
        assert (error.code, exit_code(error), http_status(error)) == (code, exits, status)
        assert name in (errors.__doc__ or "")
    assert set(EXIT_CODES) == set(HTTP_STATUSES) == set(found.values())


def test_a_code_can_have_an_exit_code_of_its_own() -> None:
    assert exit_code(NotFoundError("no archive", code="archive_not_found")) == 10
    assert exit_code(StorageError("no", code="permission_denied")) == 12
    assert exit_code(StorageError("no", code="credentials_invalid")) == 12
    assert exit_code(StorageError("no", code="storage_full")) == 1


def test_a_subclass_takes_the_numbers_of_its_class() -> None:
    class RivalError(ConflictError):
        pass

    assert exit_code(RivalError("x")) == 11
    assert http_status(RivalError("x")) == 409


def test_the_text_is_a_sentence_and_pairs() -> None:
    error = CorruptionError("the object is damaged", key="a/b", size=3, path="with blank", empty="", line="a\nb", pair="a=b")
    assert str(error) == "the object is damaged key=a/b size=3 path='with blank' empty='' line='a\\nb' pair='a=b'"
    assert error.context["size"] == 3


def test_long_values_are_cut_in_the_text_only() -> None:
    error = InvalidInputError("the id is too long", id="x" * 10_000)
    assert len(str(error)) < 300
    assert "10000 characters" in str(error)
    assert error.context["id"] == "x" * 10_000


def test_the_hint_is_shown_by_a_traceback_and_not_by_the_text() -> None:
    error = ReadOnlyError("cannot write", hint="open it for writing")
    assert str(error) == "cannot write"
    assert "hint: open it for writing" in "".join(traceback.format_exception(error))
    assert FormatError("x").hint is None


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_errors_cross_process_borders(duplicate: Callable[[SnapstoreError], SnapstoreError]) -> None:
    # Both go through __reduce_ex__, as the machinery that carries an error out of a worker process does.
    storage = StorageError("slow", code="storage_timeout", retryable=True, hint="wait", key="a", n=3)
    again = duplicate(storage)
    assert isinstance(again, StorageError)
    assert (str(again), again.code, again.hint, again.retryable) == ("slow key=a n=3", "storage_timeout", "wait", True)
    assert again.context == {"key": "a", "n": 3}
    missing = duplicate(MissingExtraError("no boto3", hint="pip install it"))
    assert (str(missing), missing.code) == ("no boto3", "missing_extra")
