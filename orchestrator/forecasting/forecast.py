"""When each job will be finished, as far as can be known now.

In: the jobs of a cohort, the number of slots, and how many seconds the rest of each member takes
(`speeds` measures that). Out: a `Forecast`: the cohort played to its end with the queue and the
state machine that run it, on slots that lose nothing. Used by the commands that show the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestrator import lifecycle
from orchestrator.fair_queue import Queue
from orchestrator.phases import Phase
from orchestrator.state import Job, Member

if TYPE_CHECKING:  # it builds pydantic models, and who only looks needs none
    from orchestrator.admission.cohort import Queue as QueueRules

Seconds = Callable[[Member], float]

AROUND_S = 15.0
"""About how long a run takes around its training: for Ray, its slots and MLflow."""


@dataclass(frozen=True)
class Forecast:
    """Expected times, in seconds since 1970."""

    finish: Mapping[int, float]
    """When each job is finished, by its id; without jobs that are over, that are suspended, or
    that no slot will be free for."""
    active: Mapping[int, float]
    """For how many seconds each of them will have run by then, as its deadline counts."""

    @property
    def end(self) -> float | None:
        """When the last of these jobs is finished; None where there is none."""
        return max(self.finish.values(), default=None)


def forecast(
    jobs: Iterable[Job],
    num_slots: int,
    seconds: Seconds,
    rules: QueueRules,
    now: float,
) -> Forecast:
    """When each job will be finished if nothing fails and nobody submits anything more.

    `jobs` are all jobs of the cohort, those that are over too: what a team has used decides its
    place. `seconds` says how long a member will be on a slot from now on. O(n log n) in the members
    that have not ended.
    """
    simulation = _Simulation(Queue(rules.policy, rules.max_wait_seconds), seconds, now)
    for job in jobs:
        simulation.add(job)
    simulation.run(num_slots)
    return Forecast(simulation.finish, simulation.active)


class _Simulation:
    """What will happen, one end of a member after the other."""

    def __init__(self, queue: Queue, seconds: Seconds, now: float) -> None:
        self.finish: dict[int, float] = {}
        self.active: dict[int, float] = {}
        self._queue = queue
        self._seconds = seconds
        self._now = now
        self._jobs: dict[int, Job] = {}
        self._ends: list[tuple[float, int, int]] = []

    def add(self, job: Job) -> None:
        """Takes over a job as it is now; slots that nobody needs any more count as free."""
        running = [member for member in job.members if member.phase is Phase.RUNNING]
        for member in running:
            if job.phase.terminal or job.suspended:
                job = lifecycle.halted(job, member.index, self._now).job
            else:
                self._expect(member)
        self._see(job)

    def run(self, num_slots: int) -> None:
        """Plays on until nothing more can happen."""
        free = num_slots - len(self._ends)
        while True:
            while free > 0 and (key := self._queue.next(self._now)) is not None:
                waiting = self._jobs[key.job_id]
                self._see(lifecycle.started(waiting, key.index, "", "", self._now).job)
                self._expect(waiting.members[key.index])
                free -= 1
            wake_at = self._queue.next_change(self._now) if free > 0 else None
            if wake_at is not None and (not self._ends or wake_at < self._ends[0][0]):
                self._now = wake_at
            elif self._ends:
                self._now, job_id, index = heappop(self._ends)
                self._see(lifecycle.trained(self._jobs[job_id], index, self._now).job)
                free += 1
            else:
                return

    def _expect(self, member: Member) -> None:
        ends_at = self._now + max(0.0, self._seconds(member))
        heappush(self._ends, (ends_at, member.key.job_id, member.index))

    def _see(self, job: Job) -> None:
        if lifecycle.ready_to_finish(job):
            job = lifecycle.finished(job, 0.0, None, self._now).job
            self.finish[job.id] = self._now
            self.active[job.id] = job.active_seconds
        self._jobs[job.id] = job
        self._queue.put(job)
