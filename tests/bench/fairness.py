"""How fairly slots were shared: what teams had used, and got, while they waited for slots.

In: every state of every job and every first start, as they happen. Out: three figures, in
slot-seconds divided by the team's priority / 100. Used by `fake_cluster`. The figures:

- `pick_excess_s`: how much more than the least of all waiting teams a team had used that got a
  first slot. 0 where the rule of `fair` is kept (jobs that have waited for too long left out).
- `common_wait_s`: the most that any team got during one uninterrupted wait (it has a job with
  members that want slots). What two teams got during any time in which both waited differs by no
  more: the relative fairness of Golestani (1994), "A self-clocked fair queueing scheme".
- `total_s`: the largest difference between all that two teams had used when both were waiting for
  a first slot, whatever one of them had used before the other came.
"""

from time import process_time

from orchestrator.phases import Phase
from orchestrator.state import DEFAULT_PRIORITY, Job


class Fairness:
    """Watches a cohort; looks at every `every`-th first start, as each look costs O(teams)."""

    def __init__(self, max_wait_s: float, every: int = 1) -> None:
        self.pick_excess_s = 0.0
        self.common_wait_s = 0.0
        self.total_s = 0.0
        self.largest_job_s = 0.0
        """The most that one job used, for comparison."""
        self.num_looks = 0
        self.cpu_s = 0.0
        """What watching cost."""
        self._max_wait_s = max_wait_s
        self._every = every
        self._num_picks = 0
        self._jobs: dict[str, dict[int, Job]] = {}
        self._unbegun: dict[str, Job] = {}
        self._used_before: dict[str, float] = {}
        """By team: its slot-seconds when its present wait began."""

    def seen(self, job: Job, now: float) -> None:
        """Takes note of a job as it is now."""
        began = process_time()
        self._jobs.setdefault(job.team, {})[job.id] = job
        live = not job.phase.terminal and not job.suspended
        if live and not job.begun:
            self._unbegun[job.team] = job
        elif job.team in self._unbegun and self._unbegun[job.team].id == job.id:
            del self._unbegun[job.team]
        newest = max(self._jobs[job.team])
        if job.id == newest:
            waits = live and any(member.phase is Phase.PENDING for member in job.members)
            if waits:
                self._used_before.setdefault(job.team, self._used_s(job.team, now))
            elif job.team in self._used_before:
                got_s = self._used_s(job.team, now) - self._used_before.pop(job.team)
                self.common_wait_s = max(self.common_wait_s, got_s / _weight(job))
        if job.phase.terminal:
            self.largest_job_s = max(self.largest_job_s, job.slot_seconds_at(now) / _weight(job))
        self.cpu_s += process_time() - began

    def picked(self, job: Job, now: float) -> None:
        """Takes note of a job that is about to get its first slot."""
        self._num_picks += 1
        if self._num_picks % self._every:
            return
        began = process_time()
        self.num_looks += 1
        used = {
            team: self._used_s(team, now) / _weight(waiting)
            for team, waiting in self._unbegun.items()
        }
        least, most = min(used.values()), max(used.values())
        self.total_s = max(self.total_s, most - least)
        if now - job.queued_at <= self._max_wait_s:
            self.pick_excess_s = max(self.pick_excess_s, used[job.team] - least)
        self.cpu_s += process_time() - began

    def _used_s(self, team: str, now: float) -> float:
        return sum(job.slot_seconds_at(now) for job in self._jobs[team].values())


def _weight(job: Job) -> float:
    return job.priority / DEFAULT_PRIORITY
