"""The form that a traveller fills in, kept through the interface that its wizard already uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snapstore.adapters.cjm import PastState, SnapWorkflowStateStore

if TYPE_CHECKING:
    from snapstore import Archive

FLOW = "traveller"

# What a program does that uses StepFlow of cjm-fasthtml-interactions; the rest of it stays as it is.
LINE = f'StepFlow("{FLOW}", steps, state_store=SnapWorkflowStateStore(archive))'

CHANGES = 4
"""Changes that `fill_in` makes, each of which is a snapshot."""


def fill_in(archive: Archive, session: str) -> tuple[dict[str, Any], list[PastState]]:
    """Do to the store what the wizard does while a form is filled in, and take back one answer.

    Returns:
        The answers, and what they were before, newest first.
    """
    store = SnapWorkflowStateStore(archive)
    store.update_state(FLOW, session, {"name": "Ada Example"})
    store.set_current_step(FLOW, session, "seat")
    store.update_state(FLOW, session, {"seat": "12A"})
    store.undo(FLOW, session)
    return store.get_state(FLOW, session), store.history(FLOW, session)
