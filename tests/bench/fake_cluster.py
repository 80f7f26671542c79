"""A cohort on fake slots with a fake clock: a simulation of discrete events without training.

In: jobs and operations with their times, how long members take and which attempts fail. Out: the
jobs at their end, and what was counted on the way. The queue, the decision and the state machine
are the real ones; the store is a dictionary that checks `phases.TRANSITIONS`, the pool a heap of
ends of attempts. Next on the path: `simulate`, which draws workloads and holds the outcome against
what was promised.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import process_time

from orchestrator import lifecycle
from orchestrator.admission.cohort import CohortSpec
from orchestrator.fair_queue import Queue
from orchestrator.moves import Change, replace, with_member
from orchestrator.phases import TRANSITIONS, Blame, Phase, Reason
from orchestrator.schedule import SlotState, Start, decide
from orchestrator.state import Fault, Job, Member, MemberKey
from tests.bench.fairness import Fairness

STOP_TAKES_S = 0.5
LOST = Fault(Reason.SLOT_LOST, "the slot's process ended", Blame.CLUSTER)
DIVERGED = Fault(Reason.DIVERGED, "the loss is not a number", Blame.TEAM)


@dataclass(frozen=True)
class Odds:
    """How likely an attempt fails, by whose fault."""

    team: float = 0.0
    cluster: float = 0.0


@dataclass(frozen=True)
class Run:
    """An attempt on a slot."""

    number: int
    key: MemberKey
    began_at: float


@dataclass
class Counts:
    """What a simulation counted."""

    starts: int = 0
    stops: int = 0
    failures: int = 0
    run_twice: int = 0
    """Starts of a member that a slot was busy with, that had ended, or whose job was over."""
    decision_s: float = 0.0
    """CPU time spent in the queue and in `decide`."""
    longest_wait_s: float = 0.0
    """For a first slot."""
    trained: set[MemberKey] = field(default_factory=set)


class FakeCluster:
    """Runs one cohort. `epoch_s` has the seconds that a member takes for an epoch."""

    def __init__(
        self,
        spec: CohortSpec,
        num_slots: int,
        epoch_s: Mapping[MemberKey, float],
        odds: Odds,
        seed: int = 0,
        fairness_every: int = 1,
    ) -> None:
        self.now = 0.0
        self.jobs: dict[int, Job] = {}
        self.newest: dict[str, int] = {}
        """The job of each team's newest revision."""
        self.counts = Counts()
        self.fairness = Fairness(spec.queue.max_wait_seconds, fairness_every)
        self.on_end: Callable[[Job], None] = lambda _: None
        """Called with every job that has come to its end."""
        self._spec = spec
        self._epoch_s = epoch_s
        self._odds = odds
        self._random = random.Random(seed)  # noqa: S311
        self._slots = [f"slot-{index}" for index in range(num_slots)]
        self._reset_slots()
        self._queue = self._new_queue()
        self._todo: list[tuple[float, int, Callable[[], None]]] = []
        self._num_todo = 0
        self._num_runs = 0

    # --- what happens from outside ----------------------------------------------------------------

    def at(self, time: float, what: Callable[[], None]) -> None:
        """Does something at that time."""
        self._num_todo += 1
        heappush(self._todo, (max(time, self.now), self._num_todo, what))

    def submit(self, job: Job) -> None:
        """Takes a new job."""
        self.jobs[job.id] = job
        self.newest[job.team] = job.id
        self._put(job)
        self.fairness.seen(job, self.now)

    def operation(self, change: Change) -> None:
        """Writes what a client wants, as `store` does; the decision sees it at once."""
        self._write(change)
        members = self.jobs[change.job.id].members
        self._decide([self._on_slots[m.key] for m in members if m.phase is Phase.RUNNING])

    def restart(self) -> None:
        """The controller ends with its slots; another one lists the cohort and goes on."""
        for slot in list(self._runs):
            self._leave(slot)
        self._reset_slots()
        for job in list(self.jobs.values()):
            if not job.phase.terminal or any(m.phase is Phase.RUNNING for m in job.members):
                self._write(lifecycle.interrupted(job, self.now))
        self._queue = self._new_queue()
        for job in self.jobs.values():
            self._put(job)

    def observed(self) -> list[Job]:
        """The jobs as a client sees them now, with the epochs that running members reported."""
        jobs = dict(self.jobs)
        for run in self._runs.values():
            jobs[run.key.job_id] = self._progressed(jobs[run.key.job_id], run, whole=False)
        return list(jobs.values())

    # --- the loop ---------------------------------------------------------------------------------

    def run(self, until: float = float("inf")) -> None:
        """Goes on until nothing more can happen, or up to that time."""
        while True:
            self._decide([])
            wake_at = self._queue.next_change(self.now) if self._free else None
            if self._todo and (wake_at is None or self._todo[0][0] <= wake_at):
                next_at = self._todo[0][0]
            elif wake_at is not None:
                next_at = wake_at
            else:
                return
            if next_at > until:
                self.now = until
                return
            self.now = next_at
            if self._todo and self._todo[0][0] <= next_at:
                heappop(self._todo)[2]()

    def _decide(self, touched: list[str]) -> None:
        """Looks at these busy slots, and fills the free ones for as long as somebody waits."""
        states = [SlotState(slot, self._runs[slot].key) for slot in touched]
        while states or self._free:
            if self._free:
                states.append(SlotState(self._free[-1], None))
            began = process_time()
            actions = decide(self._queue, self.jobs, states, self.now, self._on_slots)
            self.counts.decision_s += process_time() - began
            for action in actions:
                if isinstance(action, Start):
                    self._start(action.key, action.slot)
                else:
                    self._stop(action.slot)
            states = []
            if not any(isinstance(action, Start) for action in actions):
                return

    # --- slots ------------------------------------------------------------------------------------

    def _start(self, key: MemberKey, slot: str) -> None:
        job = self.jobs[key.job_id]
        twice = key in self._on_slots or job.members[key.index].phase is not Phase.PENDING
        self.counts.run_twice += twice or job.phase.terminal or job.suspended
        if not job.begun:
            self.fairness.picked(job, self.now)
            wait_s = self.now - job.queued_at
            self.counts.longest_wait_s = max(self.counts.longest_wait_s, wait_s)
        self.counts.starts += 1
        self._num_runs += 1
        assert self._free.pop() == slot, "it is the free slot that was offered"
        run = Run(self._num_runs, key, self.now)
        self._runs[slot] = run
        self._on_slots[key] = slot
        self._write(lifecycle.started(job, key.index, slot, "node", self.now))
        member = self.jobs[key.job_id].members[key.index]
        fault, lasts_s = self._fate(member, self._epoch_s[key])
        self.at(self.now + lasts_s, lambda: self._end(slot, run, fault))

    def _fate(self, member: Member, epoch_s: float) -> tuple[Fault | None, float]:
        whole_s = (member.epochs - member.epoch) * epoch_s
        drawn = self._random.random()
        if drawn < self._odds.team:
            return DIVERGED, whole_s * self._random.random()
        if drawn < self._odds.team + self._odds.cluster:
            return LOST, whole_s * self._random.random()
        return None, whole_s

    def _end(self, slot: str, run: Run, fault: Fault | None) -> None:
        if self._runs.get(slot) != run:
            return  # It was stopped, or its controller ended.
        index = run.key.index
        job = self._leave(slot, whole=fault is None)
        if fault is None:
            self.counts.trained.add(run.key)
            self._write(lifecycle.trained(job, index, self.now))
        else:
            self.counts.failures += 1
            self._write(lifecycle.failed(job, index, fault, self._spec.retry, self.now))

    def _stop(self, slot: str) -> None:
        run = self._runs[slot]
        if run.number in self._stopping:
            return
        self._stopping.add(run.number)
        self.counts.stops += 1
        self.at(self.now + STOP_TAKES_S, lambda: self._halt(slot, run))

    def _halt(self, slot: str, run: Run) -> None:
        if self._runs.get(slot) == run:
            self._write(lifecycle.halted(self._leave(slot), run.key.index, self.now))

    def _leave(self, slot: str, whole: bool = False) -> Job:
        """Frees the slot; the epochs that the member came to are known."""
        run = self._runs.pop(slot)
        del self._on_slots[run.key]
        self._stopping.discard(run.number)
        self._free.append(slot)
        job = self._progressed(self.jobs[run.key.job_id], run, whole)
        self.jobs[job.id] = job
        return job

    def _progressed(self, job: Job, run: Run, whole: bool) -> Job:
        """The job with the epochs of a run: all of them, or those that it has had the time for."""
        member, epoch_s = job.members[run.key.index], self._epoch_s[run.key]
        num_epochs = int((self.now - run.began_at) / epoch_s)
        last = member.epochs if whole else min(member.epoch + num_epochs, member.epochs - 1)
        if last == member.epoch:
            return job
        return with_member(job, replace(member, epoch=last, epoch_seconds=epoch_s))

    def _reset_slots(self) -> None:
        self._runs: dict[str, Run] = {}
        self._on_slots: dict[MemberKey, str] = {}
        self._stopping: set[int] = set()
        self._free = list(reversed(self._slots))

    # --- the store --------------------------------------------------------------------------------

    def _write(self, change: Change) -> None:
        old, new = self.jobs[change.job.id], change.job
        assert new.phase is old.phase or new.phase in TRANSITIONS[old.phase], (old, new)
        for before, after in zip(old.members, new.members, strict=True):
            if before is not after and before.phase is not after.phase:
                assert after.phase in TRANSITIONS[before.phase], (before, after)
                left = before.phase is Phase.RUNNING
                assert left == any(c.member == after.index for c in change.closed), change
                entered = after.phase is Phase.RUNNING
                assert entered == (change.opened == after.index), change
        self.jobs[new.id] = new
        self._put(new)
        self.fairness.seen(new, self.now)
        if lifecycle.ready_to_finish(new):
            self._write(lifecycle.finished(new, 0.5, None, self.now))
        elif new.phase.terminal and not old.phase.terminal:
            self.on_end(new)

    def _put(self, job: Job) -> None:
        began = process_time()
        self._queue.put(job)
        self.counts.decision_s += process_time() - began

    def _new_queue(self) -> Queue:
        return Queue(self._spec.queue.policy, self._spec.queue.max_wait_seconds)
