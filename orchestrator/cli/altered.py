"""What an operation has changed about a job, in words.

In: a job before and after. Out: a few words for the line of its team. Used by `control`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.phases import Phase, Reason
from orchestrator.state import Job

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store.values import Altered

REPEATED: set[str] = {Reason.DIVERGED}
"""Failures that the same plan leads to again, as its numbers are the same to the bit."""


def cancelled(altered: Altered, at_work: bool) -> str:
    """A job that was to be cancelled."""
    if altered.after == altered.before:
        return "was cancelled already"
    return f"cancelled{_stopping(altered.after, at_work)}"


def withdrawn(altered: Altered, at_work: bool) -> str:
    """A job that was to be withdrawn."""
    if altered.after == altered.before:
        return "was withdrawn already"
    return f"withdrawn{_stopping(altered.after, at_work)}"


def suspended(altered: Altered, at_work: bool) -> str:
    """A job that was to be suspended."""
    if altered.after == altered.before:
        return "is suspended already"
    return f"suspended{_stopping(altered.after, at_work)}"


def _stopping(job: Job, at_work: bool) -> str:
    """How many members are still to stop; without a controller none trains, whatever is written."""
    number = sum(member.phase is Phase.RUNNING for member in job.members) if at_work else 0
    if number == 0:
        return ""
    return f"; {'1 member stops' if number == 1 else f'{number} members stop'} at the next batch"


def resumed(altered: Altered) -> str:
    """A job that was to be resumed."""
    if altered.after == altered.before:
        return "is not suspended"
    return "resumed; queued again" if altered.after.phase is Phase.PENDING else "resumed"


def retried(altered: Altered) -> str:
    """A job that was to be retried."""
    trained, number = altered.after.members_trained, len(altered.after.members)
    kept = f"; {trained} of {number} members are trained already" if trained else ""
    own = {str(m.reason) for m in altered.before.members if m.phase is Phase.FAILED} & REPEATED
    again = f"; it will fail again ({', '.join(sorted(own))}) unless its loadout is changed"
    return f"queued again{kept}{again if own else ''}"


def prioritized(altered: Altered) -> str:
    """A job that was to have another priority."""
    if altered.after == altered.before:
        return f"has priority {altered.after.priority} already"
    return f"priority {altered.after.priority} (was {altered.before.priority})"
