"""The phases that a job went through, and when: read off its events.

In: the events of a job, oldest first; each says where it stood afterwards. Out: `Step`s, the last
of which is where the job stands. Pure. Used by `gamectl describe`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.phases import Phase
from orchestrator.state import Event


@dataclass(frozen=True)
class Step:
    """The job came into a phase, or into another reason for the same."""

    at: float
    phase: Phase
    reason: str


def timeline(events: Iterable[Event]) -> list[Step]:
    """The phases of one job in order, each with the time at which it began."""
    steps: list[Step] = []
    for event in events:
        if event.job_phase is None:
            continue
        step = Step(event.at, event.job_phase, event.job_reason)
        if not steps or (steps[-1].phase, steps[-1].reason) != (step.phase, step.reason):
            steps.append(step)
    return steps
