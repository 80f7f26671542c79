"""The reconcile loop: observe, decide, act, until nothing is left to do.

In: a cohort's jobs in the store and a pool of slots. Out: every job in a terminal phase, every step
on the way in the store. The decision is `schedule.decide`, a pure function; this module has the
effects. Next on the path: `tracking` and `scoring`, which read what it wrote.

A cohort has one controller at a time, held together by a lease in the store. Slots die with the
controller that started them; a new one queues again what the old one left open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jobs.plan import DataPlan, MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.cohort import Cohort
from orchestrator.errors import Damaged
from orchestrator.finish import Truth, job_result
from orchestrator.news import Failed, Halted, News, Progress, Trained
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.schedule import SlotState, Start, decide, retries
from orchestrator.state import Job, Member, MemberKey
from orchestrator.store import JobResult, Ledger, Store

POLL_S = 0.25

Clock = Callable[[], float]


class SlotPool(Protocol):
    """What the controller needs of slots; `slots.RaySlots` is the real one."""

    def states(self) -> list[SlotState]:
        """The slots that can train, and what they are busy with."""

    def node(self, slot: str) -> str:
        """The node that a slot is on."""

    def start(self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan) -> None:
        """Starts an attempt on a free slot."""

    def stop(self, slot: str) -> None:
        """Asks a slot to stop what it trains."""

    def poll(self, timeout_s: float) -> list[News]:
        """What happened since the last call; waits up to `timeout_s` for something to."""


@dataclass
class Controller:
    """Runs one cohort to its end.

    `on_change` is called with the state of all jobs after every round, for people to watch.
    """

    cohort: Cohort
    store: Store
    ledger: Ledger
    pool: SlotPool
    artifacts: Artifacts
    truth: Truth
    clock: Clock
    on_change: Callable[[Sequence[Job]], None] = lambda _: None

    def run(self) -> None:
        """Reconciles until every job is in a terminal phase and every slot is idle.

        Raises `LeaseLost` where another controller takes over. However it ends, what is still on a
        slot is queued again; the caller ends the slots.
        """
        self.ledger.recover(self.clock())
        try:
            while True:
                # 1. Observe: what slots have to tell goes into the store, then read it whole.
                for news in self.pool.poll(POLL_S):
                    self._record(news)
                jobs = self.store.jobs(self.cohort.name)
                slots = self.pool.states()
                # 2. Decide.
                actions = decide(jobs, slots, self.cohort.spec.queue.policy)
                # 3. Act.
                for action in actions:
                    if isinstance(action, Start):
                        self._start(action)
                    else:
                        self.pool.stop(action.slot)
                # 4. Say what we see.
                self.on_change(jobs)
                # 5. End where nothing is left to do.
                if all(j.phase.terminal for j in jobs) and not any(s.busy_with for s in slots):
                    return
        finally:
            self.ledger.recover(self.clock())

    def _start(self, action: Start) -> None:
        plan = self.store.plans(action.key.job_id)[action.key.index]
        node = self.pool.node(action.slot)
        attempt = self.ledger.start(action.key, action.slot, node, self.clock())
        self.pool.start(action.slot, action.key, attempt, plan)

    def _record(self, news: News) -> None:
        now = self.clock()
        if isinstance(news, Progress):
            self.ledger.record_epochs([(news.key, news.attempt, r, at) for r, at in news.reports])
        elif isinstance(news, Halted):
            self.ledger.stop(news.key, news.attempt, now)
        elif isinstance(news, Trained):
            try:
                self._succeed(news, now)
            except (OSError, Damaged) as error:
                message = f"its results cannot be kept: {error}"
                self._fail(
                    Failed(news.key, news.attempt, Reason.STORAGE, message, Blame.CLUSTER), now
                )
        elif isinstance(news, Failed):
            self._fail(news, now)

    def _succeed(self, news: Trained, now: float) -> None:
        job, member = self._find(news.key)
        trained = self.artifacts.save(job, member.index, news.weights, news.val_probs)
        result = self._job_result(job, news)
        self.ledger.succeed(news.key, news.attempt, trained, now, result)

    def _fail(self, news: Failed, now: float) -> None:
        job, member = self._find(news.key)
        failure = (news.key, news.attempt, news.reason, news.message, news.blame, now)
        again = retries(member, news.blame, self.cohort.spec.retry)
        if again and not job.phase.terminal:
            self.ledger.requeue(*failure)
        else:
            self.ledger.fail(*failure)

    def _job_result(self, job: Job, news: Trained) -> JobResult | None:
        others = [m for m in job.members if m.key != news.key]
        if job.phase.terminal or any(m.phase is not Phase.SUCCEEDED for m in others):
            return None
        probs = {
            trained_index: self.artifacts.val_probs(trained)
            for trained_index, trained in self.store.weights(job.id).items()
        }
        probs[news.key.index] = news.val_probs
        data: DataPlan = self.store.plans(job.id)[0].data
        in_order = [probs[index] for index in sorted(probs)]
        return job_result(job, in_order, self.truth(data), self.artifacts)

    def _find(self, key: MemberKey) -> tuple[Job, Member]:
        jobs = self.store.jobs(self.cohort.name)
        job = next(job for job in jobs if job.id == key.job_id)
        return job, job.members[key.index]
