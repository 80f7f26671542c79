"""Gates: a job waits before the queue until what its members train on is here.

In: jobs as they change, and whether a plan's images and teacher are here. Out: whether a job may
have slots; one that is gated for longer than a moment says so in the store. Used by `controller`.
Next on the path: `fair_queue`, which gives a gated job no turn.
"""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from jobs.plan import MemberPlan
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job
from orchestrator.store import Ledger

TOLD_AFTER_S = 2.0
"""A cache is read in less: of a cohort whose images are here nobody is told that it waits."""


@dataclass
class Gates:
    """The gated jobs of a cohort.

    `fetched` tells whether what a plan trains on is here, or cannot be had, and has it fetched if
    not; `plans_of` gives a job's plans.
    """

    ledger: Ledger
    fetched: Callable[[MemberPlan], bool]
    plans_of: Callable[[int], Sequence[MemberPlan]]
    clock: Callable[[], float]
    _since: dict[int, float] = field(default_factory=dict)

    @property
    def shut(self) -> Set[int]:
        """The jobs that are gated."""
        return self._since.keys()

    def look(self, job: Job) -> Job:
        """Shuts the job's gate, or opens it; returns the job as the store has it then."""
        if job.waits and not all(self.fetched(plan) for plan in self.plans_of(job.id)):
            now = self.clock()
            if now - self._since.setdefault(job.id, now) < TOLD_AFTER_S:
                return job
        else:
            self._since.pop(job.id, None)
        gated = job.id in self._since
        if job.phase is Phase.PENDING and gated != (job.reason == Reason.SCHEDULING_GATED):
            return self.ledger.gate(job.id, gated, self.clock())
        return job
