"""What lies ahead of the jobs of a cohort: their places in the queue and when they may end.

In: the jobs as the store has them, the cohort's rules, how many slots there are. Out: an `Outlook`,
for `live`, `gamectl get` and `gamectl describe` to show. Pure: the same queue that the controller
takes from is asked, and the speeds that members have had so far are projected. Next on the path:
`display`, which puts it into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.fair_queue import Queue
from orchestrator.forecasting.forecast import forecast
from orchestrator.forecasting.speeds import Speeds
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job

if TYPE_CHECKING:  # it builds pydantic models, and who only looks needs none
    from orchestrator.admission.cohort import CohortSpec


@dataclass(frozen=True)
class Outlook:
    """What is expected of the jobs that are not over; nothing is known of any by default."""

    positions: Mapping[int, int] = field(default_factory=dict)
    """By job id: its place among the jobs that wait for a slot, from 1."""
    finish: Mapping[int, float] = field(default_factory=dict)
    """By job id: when it is expected to end, in seconds since 1970."""
    end: float | None = None
    """When the last of them is expected to end."""


def outlook(
    jobs: Sequence[Job], spec: CohortSpec, now: float, num_slots: int | None = None
) -> Outlook:
    """The outlook at `now` for a cohort on `num_slots` slots; None where nothing runs it.

    Times are expected only where there are slots and at least one member has been measured.
    Suspended jobs have neither a place nor an end.
    """
    queue = Queue(spec.queue.policy, spec.queue.max_wait_seconds)
    for job in jobs:
        queue.put(job)
    line = [job for job in queue.order(now) if job.reason != Reason.SCHEDULING_GATED]
    positions = {job.id: place for place, job in enumerate(line, start=1)}
    speeds = Speeds.of(member for job in jobs for member in job.members)
    if not num_slots or not speeds.measured:
        return Outlook(positions)
    speeds = speeds.in_worker_groups(spec.resources.in_worker_group)
    ahead = forecast(jobs, num_slots, speeds.seconds, spec.queue, now)
    return Outlook(positions, ahead.finish, ahead.end if ahead.finish else None)


def busy_slots(jobs: Sequence[Job]) -> int:
    """How many slots train now: all there are, wherever a member waits for one."""
    return sum(member.phase is Phase.RUNNING for job in jobs for member in job.members)
