"""The queue of a cohort: who gets the next free slot.

In: jobs as they change (`Queue.put`) and the time. Out: the member to start next (`Queue.next`) and
the line as people see it (`Queue.order`). It reads no clock, no database and no cluster. Next on
the path: `schedule.decide`, which hands slots to the members that come out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.lazy_heap import LazyHeap, Rank
from orchestrator.lifecycle import LONGEST_BACK_OFF_S
from orchestrator.phases import Phase
from orchestrator.state import DEFAULT_PRIORITY, Job, MemberKey

Policy = Literal["fair", "longest-first"]


@dataclass(slots=True)
class _Team:
    """What a team has used, over all its revisions."""

    revision: int = 0
    priority: int = DEFAULT_PRIORITY
    """Of the newest revision."""
    used_s: float = 0.0
    """Of attempts that have ended."""
    num_running: int = 0
    sum_started_at: float = 0.0
    waiting: set[int] = field(default_factory=set)
    """Its jobs that have not begun."""

    def slot_seconds_at(self, now: float) -> float:
        return self.used_s + max(0.0, self.num_running * now - self.sum_started_at)


@dataclass(slots=True)
class _Entry:
    """A job that is neither over nor suspended."""

    job: Job
    began_at: float | None
    ready: list[int]
    """Members that may be started now; the next one is the last."""
    backing_off: list[int]


class Queue:
    """The members that wait for a slot, in the order in which they get one.

    `fair`:

    1. Members of jobs that have begun, in the order in which the jobs did: an ensemble trains
       together, and what was begun comes to an end.
    2. Jobs that have waited for longer than `max_wait_s`, the longest-waiting first; of those that
       were queued together, in the order of 3.
    3. The job of the team with the fewest slot-seconds over all its revisions, divided by its
       priority / 100; then the higher priority, the earlier submission, the lower id.

    Nobody waits forever. A job that has waited for `max_wait_s` is overtaken no more by any job
    that was queued after it and has not begun, so every slot is busy with members of jobs that were
    queued no later or had begun by then (or that the organizer resumed or retried). It has its
    first slot at the latest `max_wait_s + S / num_slots` after it was queued, where S are the
    seconds that those jobs still had slots, whoever comes in the meantime. (What the cluster lost
    of these is in no team's account.)

    `longest-first` aims at the shortest makespan: the highest priority first; of one priority
    first the jobs that have begun, then the job with the most work left, its longest member first.
    Here a job waits for as long as longer ones come; `max_wait_s` does not count.

    `put` and `next` take O(log n) amortised, and O(members of the job); memory is linear.
    """

    def __init__(self, policy: Policy, max_wait_s: float) -> None:
        self._fair = policy == "fair"
        self._max_wait_s = max_wait_s
        self._teams: dict[str, _Team] = {}
        self._accounts: dict[int, tuple[float, int, float]] = {}
        self._entries: dict[int, _Entry] = {}
        self._begun: LazyHeap[int] = LazyHeap()
        self._waiting: LazyHeap[int] = LazyHeap()
        self._oldest: LazyHeap[int] = LazyHeap()
        self._backing_off: LazyHeap[tuple[int, int]] = LazyHeap()
        self._now = 0.0

    def put(self, job: Job, *, gated: bool = False) -> None:
        """Takes note of the newest state of a job, in any phase.

        It replaces what was known, members that `next` gave out included: those that are Pending
        here wait again, unless the job is `gated`, until it is put without. Jobs that are over or
        suspended leave.
        """
        team = self._account(job)
        known = self._entries.get(job.id)
        if known is not None:
            for index in known.backing_off:
                self._backing_off.discard((job.id, index))
        if job.phase.terminal or job.suspended:
            if known is not None:
                self._remove(job.id)
                team.waiting.discard(job.id)
                del self._entries[job.id]
            return
        ready: list[int] = []
        backing_off: list[int] = []
        for index, member in enumerate(job.members):
            if member.phase is not Phase.PENDING or gated:
                continue
            if member.not_before is None:
                ready.append(index)
            else:
                backing_off.append(index)
                self._backing_off.put((job.id, index), (member.not_before,))
        entry = _Entry(job, job.started_at, ready, backing_off)
        self._entries[job.id] = entry
        if job.begun:
            team.waiting.discard(job.id)
        else:
            team.waiting.add(job.id)
        self._sort(entry)

    def next(self, now: float) -> MemberKey | None:
        """Takes out the member to start next; None where none may be started now.

        It comes back with the next `put` of its job that shows it Pending, or with `put_back`; so
        the job is put once more after the start, whether that went well or not.
        """
        self._wake(now)
        job_id = self._first(now)
        if job_id is None:
            return None
        entry = self._entries[job_id]
        index = entry.ready.pop()
        if entry.began_at is None:
            entry.began_at = now
            self._teams[entry.job.team].waiting.discard(job_id)
        self._place(entry)
        return MemberKey(job_id, index)

    def put_back(self, key: MemberKey) -> None:
        """Lets a member wait again that `next` gave out and nobody started."""
        entry = self._entries.get(key.job_id)
        if entry is not None and key.index not in entry.ready:
            entry.ready.append(key.index)
            self._sort(entry)

    def order(self, now: float) -> list[Job]:
        """The jobs that wait, the next to get its (first) slot first. O(n log n)."""
        waiting = [entry for entry in self._entries.values() if entry.job.phase is Phase.PENDING]
        return [entry.job for entry in sorted(waiting, key=lambda e: self._in_line(e, now))]

    def next_change(self, now: float) -> float | None:
        """When the next back-off ends, after `now`; None where nobody backs off."""
        self._wake(now)
        first = self._backing_off.first()
        return None if first is None else first[0][0]

    # --- what teams have used ---------------------------------------------------------------------

    def _account(self, job: Job) -> _Team:
        """Puts the job's slot-seconds to its team's account."""
        team = self._teams.setdefault(job.team, _Team())
        started = [
            member.started_at
            for member in job.members
            if member.phase is Phase.RUNNING and member.started_at is not None
        ]
        new = (job.slot_seconds, len(started), sum(started))
        old = self._accounts.get(job.id, (0.0, 0, 0.0))
        newest = job.revision >= team.revision
        if new == old and not (newest and job.priority != team.priority):
            team.revision = max(team.revision, job.revision)
            return team
        self._accounts[job.id] = new
        team.used_s += new[0] - old[0]
        team.num_running += new[1] - old[1]
        # Differences of times since 1970 leave a rest that must not add up over the attempts.
        team.sum_started_at = team.sum_started_at + new[2] - old[2] if team.num_running else 0.0
        if newest:
            team.revision, team.priority = job.revision, job.priority
        for other in team.waiting - {job.id}:
            self._place(self._entries[other])
        return team

    def _fairness(self, job: Job, now: float) -> Rank:
        team = self._teams[job.team]
        weight = team.priority / DEFAULT_PRIORITY
        return (team.slot_seconds_at(now) / weight, -weight, job.submitted_at)

    def _seniority(self, job: Job, now: float) -> Rank:
        """A whole class is handed in at one moment: that alone would put fairness out of force."""
        return (job.queued_at, *self._fairness(job, now))

    # --- who is next ------------------------------------------------------------------------------

    def _first(self, now: float) -> int | None:
        begun, waiting = self._begun.first(), self._waiting.first()
        if begun is not None and (waiting is None or self._fair or begun[0][0] <= waiting[0][0]):
            return begun[1]
        if waiting is None:
            return None
        if not self._fair:
            return waiting[1]
        oldest = self._oldest.first()
        if oldest is not None and now - oldest[0][0] > self._max_wait_s:
            return self._fairest(self._oldest, self._seniority, now)
        return self._fairest(self._waiting, self._fairness, now)

    def _fairest(
        self, heap: LazyHeap[int], rank_of: Callable[[Job, float], Rank], now: float
    ) -> int | None:
        """The first job by its present rank.

        A team that still has members of an earlier revision on slots uses more by the second. As
        that only takes it further back, it is enough to look again at whoever comes to the front.
        """
        while (first := heap.first()) is not None:
            rank, job_id = first
            rank_now = rank_of(self._entries[job_id].job, now)
            if rank_now <= rank:
                return job_id
            heap.put(job_id, rank_now)
        return None

    def _wake(self, now: float) -> None:
        """Queues again the members whose back-off has ended.

        One that would last for longer than any does was begun before the clock was set back.
        """
        self._now = now
        while (first := self._backing_off.first()) is not None:
            (until,), (job_id, index) = first
            if now < until <= now + LONGEST_BACK_OFF_S:
                break
            self._backing_off.discard(first[1])
            entry = self._entries[job_id]
            entry.backing_off.remove(index)
            entry.ready.append(index)
            self._sort(entry)

    def _sort(self, entry: _Entry) -> None:
        """Brings the members that may be started, and so the job, into their order."""
        if self._fair:
            entry.ready.sort(reverse=True)
        else:
            entry.ready.sort(key=lambda index: (entry.job.members[index].work, -index))
        self._place(entry)

    def _place(self, entry: _Entry) -> None:
        """Puts the job where it belongs by its present rank."""
        job = entry.job
        if not entry.ready:
            self._remove(job.id)
        elif entry.began_at is not None:
            tier = 0.0 if self._fair else -job.priority
            self._begun.put(job.id, (tier, entry.began_at, job.submitted_at))
            self._waiting.discard(job.id)
            self._oldest.discard(job.id)
        else:
            self._begun.discard(job.id)
            if self._fair:
                self._oldest.put(job.id, self._seniority(job, self._now))
                self._waiting.put(job.id, self._fairness(job, self._now))
            else:
                self._waiting.put(job.id, _length(job))

    def _remove(self, job_id: int) -> None:
        for heap in (self._begun, self._waiting, self._oldest):
            heap.discard(job_id)

    def _in_line(self, entry: _Entry, now: float) -> tuple[Rank, int]:
        """Compares jobs as `next` does."""
        job = entry.job
        tier = 0.0 if self._fair else -job.priority
        rank: Rank
        if entry.began_at is not None:
            rank = (tier, 0, entry.began_at, job.submitted_at)
        elif not self._fair:
            rank = (tier, 1, *_length(job)[1:])
        elif now - job.queued_at > self._max_wait_s:
            rank = (tier, 1, *self._seniority(job, now))
        else:
            rank = (tier, 2, *self._fairness(job, now))
        return rank, job.id


def _length(job: Job) -> Rank:
    """The rank by length: priority, then the work left, then the submission."""
    work_left = sum(member.work for member in job.members if not member.phase.terminal)
    return (-job.priority, -work_left, job.submitted_at)
