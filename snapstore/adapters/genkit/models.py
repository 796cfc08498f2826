"""The door to genkit: its snapshot models and its errors, loaded when they are first needed.

`import genkit` takes a second, and the plain dicts of the JavaScript dialect need none of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from snapstore.adapters.genkit.documents import Json, snapshot_copy
from snapstore.errors import ConflictError, InvalidInputError, MissingExtraError, SnapstoreError

if TYPE_CHECKING:
    from genkit.exp.agent import SessionSnapshot, SnapshotStatus

__all__ = ["from_model", "in_genkit_words", "require_genkit", "status_of", "to_model"]

PRECONDITIONS = frozenset({"branching_snapshots", "no_leaf", "other_session", "final_status", "unknown_to_genkit"})
"""Codes of conflicts that Genkit calls FAILED_PRECONDITION."""

REASONS = {
    "blank_snapshot_id": "INVALID_SNAPSHOT_ID",
    "blank_session_id": "SESSION_ID_REQUIRED",
    "one_id_needed": "INVALID_INPUT",
}
"""Genkit's reasons for codes of invalid input."""


@cache
def _agent_module() -> Any:
    try:
        # Agents are experimental in 0.12, and were in genkit.agent before.
        from genkit.exp import agent  # noqa: PLC0415 - loaded when used
    except ImportError:
        try:
            from genkit import agent  # type: ignore[attr-defined, no-redef] # noqa: PLC0415 - loaded when used
        except ImportError as error:
            raise MissingExtraError(
                "genkit is needed for its snapshot models",
                hint="pip install 'snapstore[genkit]', or use getSnapshot and saveSnapshot with plain dicts",
            ) from error
    return agent


def require_genkit() -> None:
    """Load genkit.

    Raises:
        MissingExtraError: it is not installed.
    """
    _agent_module()


def to_model(snapshot: Json) -> SessionSnapshot:
    """A stored snapshot as Genkit's model. A missing status means completed, as Genkit JS defines it.

    Raises:
        ConflictError: `unknown_to_genkit`: a newer runtime wrote fields or a status that this version does not know.
    """
    try:
        model: SessionSnapshot = _agent_module().SessionSnapshot.model_validate({"status": "completed", **snapshot})
    except ValueError as error:
        raise ConflictError(
            f"Snapshot '{snapshot['snapshotId']}' does not fit the models of this version of genkit: {error}",
            code="unknown_to_genkit",
            hint="read it with getSnapshot, which returns plain dicts",
        ) from error
    return model


def from_model(model: SessionSnapshot) -> Json:
    """A plain copy of a snapshot, spelled as Genkit spells it on the wire.

    Raises:
        InvalidInputError: `not_a_snapshot`, or `not_json`: NaN, half a surrogate pair, or a type that has no JSON form.
    """
    if not isinstance(model, _agent_module().SessionSnapshot):
        raise InvalidInputError("a mutator returns a SessionSnapshot or None", code="not_a_snapshot", type=type(model).__name__)
    # Genkit's own fallback writes the repr of what it does not know, and its JSON mode writes null for NaN.
    plain: Json = snapshot_copy(model.model_dump(mode="python", fallback=None), _jsonable())
    return plain


def _jsonable() -> Callable[[Any], Any]:
    """From a date, a tuple or a model in the custom state to what pydantic writes into JSON for it."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415 - comes with genkit

    return lambda value: to_jsonable_python(value, by_alias=True, exclude_none=True)


def status_of(text: str) -> SnapshotStatus:
    """A status as Genkit's enum, which is text itself; the plain text when this version of genkit does not know it."""
    try:
        status: SnapshotStatus = _agent_module().SnapshotStatus(text)
    except ValueError:
        return cast("SnapshotStatus", text)
    return status


@contextlib.contextmanager
def in_genkit_words() -> Iterator[None]:
    """Turn our refusals into `GenkitError` with Genkit's status.

    Without genkit the error is ours, with the same status as its attribute `status`.
    """
    try:
        yield
    except InvalidInputError as error:
        raise _refusal("INVALID_ARGUMENT", error) from error
    except ConflictError as error:
        if error.code not in PRECONDITIONS:
            raise
        raise _refusal("FAILED_PRECONDITION", error) from error


def _refusal(status: Literal["INVALID_ARGUMENT", "FAILED_PRECONDITION"], error: SnapstoreError) -> Exception:
    try:
        from genkit import GenkitError, RuntimeErrorReason  # noqa: PLC0415 - loaded when used
    except ImportError:
        error.status = status  # type: ignore[attr-defined]
        return error
    reason = REASONS.get(error.code)
    return GenkitError(status=status, message=str(error), reason=RuntimeErrorReason(reason) if reason is not None else None)
