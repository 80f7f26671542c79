"""The reconcile loop: observe, decide, act, until nothing is left to do.

In: a cohort's jobs in the store and a pool of slots. Out: every job in a terminal phase, every step
on the way in the store. What to do next is decided by `schedule.decide`, what a happening means by
`lifecycle`, both pure; this module has the effects. Next on the path: `tracking` and `scoring`,
which read what it wrote.

A cohort has one controller at a time, by a lease in the store. It lists the cohort once, then
watches its events. Slots end with the controller that started them.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jobs.errors import JobsError
from jobs.plan import MemberPlan
from orchestrator import lifecycle
from orchestrator.admission.cohort import Cohort, CohortSpec, Resources
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.updates import SlotPool
from orchestrator.control.combiner import Combiner
from orchestrator.control.gates import Gates
from orchestrator.control.recorder import Recorder
from orchestrator.control.sleep import Sleep
from orchestrator.control.standstill import Standstill
from orchestrator.errors import (
    ClusterLost,
    GameError,
    ResourcesChanged,
    StoreError,
    StoreUnavailable,
)
from orchestrator.fair_queue import Queue
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.results.truth import Truth
from orchestrator.retrying import retry_while_away
from orchestrator.schedule import Start, decide
from orchestrator.state import Fault, Job
from orchestrator.store import Ledger, Store

POLL_S = 0.5
"""How soon users' operations and a slot's epochs are noticed; a member's end is at once."""


@dataclass
class Controller:
    """Runs one cohort to its end.

    `resources` are what the pool's slots are made for; None where any would do. `fetched` tells
    whether what a plan trains on is here, or cannot be had, and has it fetched if not; until then
    its job gets no slot. `unfit` says why a plan can never run on this cluster, or None where it
    can; it is not asked while `nodes_may_come`. `on_change` is called with all jobs after every
    round, `on_trouble` with what is in the way of going on. `steady` is as in `Sleep`.
    """

    cohort: str
    store: Store
    ledger: Ledger
    pool: SlotPool
    artifacts: Artifacts
    truth: Truth
    clock: Callable[[], float]
    resources: Resources | None = None
    fetched: Callable[[MemberPlan], bool] = lambda _: True
    unfit: Callable[[MemberPlan], str | None] = lambda _: None
    nodes_may_come: Callable[[], bool] = lambda: False
    steady: Callable[[], float] | None = None
    on_change: Callable[[Sequence[Job]], None] = lambda _: None
    on_trouble: Callable[[str], None] = lambda _: None
    _spec: CohortSpec = field(default_factory=CohortSpec)
    _document: str = ""  # what `_spec` was read from
    _queue: Queue = field(default_factory=lambda: Queue("fair", 0.0))
    _jobs: dict[int, Job] = field(default_factory=dict)
    _demands: dict[int, int] = field(default_factory=dict)
    """How many members of each job want a slot or have one."""
    _plans: dict[int, tuple[MemberPlan, ...]] = field(default_factory=dict)
    _unjudged: set[int] = field(default_factory=set)
    """Jobs that may be too large for every node."""
    _gates: Gates = field(init=False)
    _recorder: Recorder = field(init=False)
    _combiner: Combiner = field(init=False)
    _standstill: Standstill = field(init=False)
    _poll_s: float = 0.0  # in the first round there is nothing to wait for
    _seen: int = 0
    """The id of the newest event whose job was read."""
    _listed: bool = False
    """Whether what is known here was read as a whole, with nothing missed since."""

    def __post_init__(self) -> None:
        self._gates = Gates(self.ledger, self.fetched, self._plans_of, self.clock)
        self._recorder = Recorder(self.ledger, self.artifacts)
        sleep = Sleep(self.clock, self.steady)
        self._standstill = Standstill(self.ledger, self._recorder, self.clock, sleep)
        self._combiner = Combiner(
            self.store, self.ledger, self.artifacts, self.truth, self.clock, self.on_trouble
        )

    @property
    def spec(self) -> CohortSpec:
        """The cohort's rules as they were last seen."""
        return self._spec

    def run(self) -> None:
        """Reconciles until every job is over or suspended, and every slot is idle.

        Raises `LeaseLost` where another controller takes over, `ClusterLost` where the cluster is
        gone, and `ResourcesChanged` where it takes other slots to go on. However it ends, what is
        still on a slot is queued again; the caller ends slots, and gives up the lease if there is
        still nothing left to do by then.
        """
        retry_while_away(lambda: self.ledger.recover(self.clock()), self.on_trouble)
        try:
            while not self._round():
                pass
        except BaseException as error:
            if isinstance(error, ClusterLost):
                self._recorder.take(self.pool.abandon(), self._standstill.now())
                # Where the network is away the store is too, and after a sleep so is the cluster.
                retry_while_away(self._account_for_standstill, self.on_trouble)
                retry_while_away(self._record_updates, self.on_trouble)
            with contextlib.suppress(GameError):  # or else the next controller does it
                self.ledger.recover(self.clock())
            raise

    def _round(self) -> bool:
        """One round of the loop; returns whether nothing is left to do."""
        try:
            # 1. Observe: what slots tell goes into the store, what it tells is read.
            self._recorder.take(self.pool.poll(self._poll_s), self._standstill.now())
            self._poll_s = POLL_S
            self._account_for_standstill()  # before anything is judged by the time
            self._record_updates()
            changed = self._watch()
            self.pool.want(sum(self._demands.values()))  # they start while images are fetched
            self._open_gates()
            self._refuse_unfit()
            # 2. Jobs that are at their end: combined, or over their time.
            self._finish(changed)
            # 3. Decide.
            slots = self.pool.states()
            actions = decide(self._queue, self._jobs, slots, self.clock())
            # 4. Act.
            for action in actions:
                if isinstance(action, Start):
                    self._start(action)
                else:
                    self.pool.stop(action.slot)
            # 5. Tidy up, while slots are at work.
            self.artifacts.sweep()
            # 6. Say what we see.
            self.on_change(list(self._jobs.values()))
            # 7. End where nothing is left to do.
            busy = any(slot.busy_with for slot in slots)
            return not (actions or busy or any(self._demands.values()) or self._combiner.busy)
        except StoreUnavailable as error:
            # Nothing is lost: what slots told waits here until the store answers.
            self.on_trouble(f"{error}; trying again")
            self._listed = False
            return False

    def _account_for_standstill(self) -> None:
        for job in self._standstill.account(self._jobs, self.pool.states()):
            self._update(job)

    # --- observing --------------------------------------------------------------------------------

    def _watch(self) -> list[Job]:
        """Reads what has changed since the last round, by whomever; at first everything."""
        if not self._listed:
            return self._list()
        changes = self.store.changes(self.cohort, self._seen, also=self._recorder.progressed)
        self._seen = max(self._seen, changes.last_event_id)
        self._recorder.progressed.clear()
        before = self._spec.queue
        self._see_rules(changes.spec)
        if self._spec.queue != before:
            return self._list()
        for job in changes.jobs:
            self._update(job)
        return list(changes.jobs)

    def _list(self) -> list[Job]:
        everything = self.store.changes(self.cohort, 0)
        self._seen = everything.last_event_id
        self._see_rules(everything.spec)
        self._queue = Queue(self._spec.queue.policy, self._spec.queue.max_wait_seconds)
        on_slots = {slot.busy_with for slot in self.pool.states()} | self._recorder.pending()
        for job in everything.jobs:
            self._update(job)
            for member in job.members:
                if member.phase is Phase.RUNNING and member.key not in on_slots:
                    # The store had written its start when the connection broke, unknown to us.
                    # Nothing ran since.
                    at = member.started_at or self.clock()
                    self._update(self.ledger.halt(member.key, member.attempt, at))
        self._listed = True
        return list(everything.jobs)

    def _see_rules(self, document: str) -> None:
        if document == self._document:
            return
        rules = Cohort.stored(json.loads(document)).spec
        if self.resources not in (None, rules.resources):
            raise ResourcesChanged("the cohort's resources were changed")
        self._document, self._spec = document, rules

    def _update(self, job: Job) -> None:
        before = self._jobs.get(job.id)
        self.artifacts.drop_checkpoints(job, before)
        if (before is None or before.phase.terminal) and not job.phase.terminal:  # new, or retried
            self._unjudged.add(job.id)
        self._jobs[job.id] = job
        self._demands[job.id] = sum(
            member.phase is Phase.RUNNING or (member.phase is Phase.PENDING and job.wants_slots)
            for member in job.members
        )
        self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        """Puts a job into the queue as it is now; a gated one gets no slot there."""
        if (now := self._gates.look(job)) is not job:
            self._update(now)
            return
        self._queue.put(job, gated=job.id in self._gates.shut)

    def _open_gates(self) -> None:
        for job_id in list(self._gates.shut):
            self._enqueue(self._jobs[job_id])

    def _refuse_unfit(self) -> None:
        """Gives up on jobs that would wait forever."""
        if self.nodes_may_come():  # whoever was judged by the nodes before is so once more
            self._unjudged.update(k for k, job in self._jobs.items() if not job.phase.terminal)
            return
        # Of others it is not known how many images there are.
        for job in [j for k in self._unjudged - self._gates.shut if (j := self._jobs[k]).waits]:
            plans = self._plans_of(job.id)
            reason = next((why for plan in plans if (why := self.unfit(plan))), None)
            if reason is not None:
                fault = Fault(Reason.UNSCHEDULABLE, reason, Blame.CLUSTER)
                self._update(self.ledger.give_up(job.id, fault, self.clock()))
            self._unjudged.discard(job.id)

    def _plans_of(self, job_id: int) -> tuple[MemberPlan, ...]:
        if job_id not in self._plans:
            self._plans[job_id] = self.store.plans(job_id)
        return self._plans[job_id]

    def _record_updates(self) -> None:
        for job in self._recorder.record(self._jobs, self._spec.retry):
            self._update(job)

    # --- jobs at their end ------------------------------------------------------------------------
    def _finish(self, changed: Sequence[Job]) -> None:
        for job_id in self._combiner.due([job.id for job in changed]):
            job = self._jobs[job_id]
            if not lifecycle.ready_to_finish(job):
                self._combiner.forget(job_id)
                continue
            plan = self._plans_of(job_id)[0].model_copy(update={"distill": None})
            if self.fetched(plan):  # images: a teacher has nothing to say any more
                self._update(self._combiner.combine(job, plan, self._spec.retry))
            else:
                self._combiner.put_off(job_id)
        self._account_for_standstill()
        limit_s = self._spec.limits.active_deadline_seconds
        for job in list(self._jobs.values()) if limit_s is not None else ():
            as_told = self._standstill.as_told(job)
            if (fault := lifecycle.overdue(as_told, limit_s, self.clock())) is not None:
                self._update(self.ledger.give_up(job.id, fault, self.clock()))

    # --- acting -----------------------------------------------------------------------------------

    def _start(self, action: Start) -> None:
        key, slot = action.key, action.slot
        plan = self._plans_of(key.job_id)[key.index]
        if not self.fetched(plan):  # it could not be had, some time ago
            self._enqueue(self._jobs[key.job_id])
            return
        trouble: Exception | None = None
        try:
            self.pool.prepare(plan)  # before the attempt begins, whose time is the team's
        except (StoreError, ClusterLost):
            raise
        except (OSError, JobsError, GameError) as error:
            trouble = error
        job = self.ledger.start(key, slot, self.pool.node(slot), self.clock())
        self._update(job)
        if job.members[key.index].phase is not Phase.RUNNING:
            return  # cancelled or suspended in this very moment
        attempt = job.members[key.index].attempt
        if trouble is not None:
            message = f"its images or its teacher cannot be read: {trouble}"
            fault = Fault(Reason.STORAGE, message, Blame.CLUSTER)
            self._update(self.ledger.fail(key, attempt, fault, self._spec.retry, self.clock()))
            return
        place = self.artifacts.place(job, key.index, attempt, self._spec.sandbox_rules)
        self.pool.start(slot, key, attempt, plan, place)
