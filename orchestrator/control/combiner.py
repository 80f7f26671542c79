"""Combining the members of jobs whose members have all ended; again where that failed.

In: a job from the `controller`, and its members' probabilities from the artifacts. Out: the job
afterwards, in the ledger. What cannot be read or written is tried again after a while; a member
whose results are gone for good is trained again, and has the same bits then. Next on the path:
`finish`, which computes the result.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs.errors import JobsError
from jobs.plan import MemberPlan
from orchestrator import lifecycle
from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.errors import ArtifactsAway, Damaged, InputsFailed
from orchestrator.phases import Blame, Reason
from orchestrator.results.finish import job_result
from orchestrator.results.truth import Truth
from orchestrator.state import Fault, Job, MemberKey
from orchestrator.store import Ledger, Store

TRIES_BEFORE_TRAINING_AGAIN = 3
"""A disk that is away for a moment costs no training."""


@dataclass
class Combiner:
    """Combines jobs, again and again where it has to. `on_trouble` is told what is in the way."""

    store: Store
    ledger: Ledger
    artifacts: Artifacts
    truth: Truth
    clock: Callable[[], float]
    on_trouble: Callable[[str], None]
    _again: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By job: how often it has failed, and when to try again."""

    @property
    def busy(self) -> bool:
        """Whether a job waits to be tried again."""
        return bool(self._again)

    def due(self, changed: Collection[int]) -> set[int]:
        """Which jobs to look at now: those that have changed, and those whose wait is over."""
        now = self.clock()
        # One that is further away than any wait was set by a clock that was ahead of this one.
        furthest = now + lifecycle.LONGEST_BACK_OFF_S
        waited = {job_id for job_id, (_, at) in self._again.items() if not now < at <= furthest}
        return waited | {job_id for job_id in changed if job_id not in self._again}

    def forget(self, job_id: int) -> None:
        """The job has come to an end by another way."""
        self._again.pop(job_id, None)

    def put_off(self, job_id: int) -> None:
        """What its members trained on is being fetched: it is looked at again soon."""
        failures, _ = self._again.get(job_id, (0, 0.0))
        self._again[job_id] = failures, self.clock()

    def combine(self, job: Job, plan: MemberPlan, retry: Retry) -> Job:
        """Returns the job afterwards: with a result, given up, in training again, or as it was."""
        failures = self._again.get(job.id, (0, 0.0))[0] + 1
        probs: list[NDArray[np.float32]] = []
        try:
            for index, trained in sorted(self.store.weights(job.id).items()):
                try:
                    probs.append(self.artifacts.val_probs(trained))
                except Damaged as error:
                    if failures <= min(TRIES_BEFORE_TRAINING_AGAIN, retry.cluster_retries):
                        raise
                    return self._train_again(job, index, str(error), retry)
            result = job_result(job, probs, self.truth(plan.data), self.artifacts)
        except (OSError, JobsError, Damaged, ArtifactsAway, InputsFailed) as error:
            if failures > retry.cluster_retries:
                self.forget(job.id)
                text = f"its results cannot be combined: {error}"
                fault = Fault(Reason.STORAGE, text, Blame.CLUSTER)
                return self.ledger.give_up(job.id, fault, self.clock())
            wait_s = lifecycle.back_off_s(failures)
            self._again[job.id] = (failures, self.clock() + wait_s)
            self.on_trouble(f"{job.team}: {error}; trying again in {wait_s:g} s")
            return job
        self.forget(job.id)
        return self.ledger.finish(job.id, result, self.clock())

    def _train_again(self, job: Job, index: int, why: str, retry: Retry) -> Job:
        key = MemberKey(job.id, index)
        after = self.ledger.train_again(key, f"its results are gone: {why}", retry, self.clock())
        self.forget(job.id)
        return after
