"""A cohort's store in memory: what the controller asks of it, done at once and forgotten.

In: jobs and their plans. Out: the same answers that `Store` and `Ledger` give, without a database;
the rules of `lifecycle` are the real ones. Used by `one_member`, to tell the time of controller and
slot from the time of keeping books.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs.plan import MemberPlan
from orchestrator import lifecycle
from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.moves import Change
from orchestrator.state import EpochOfAttempt, Fault, Job, MemberKey
from orchestrator.store import TrainedWeights
from orchestrator.store.values import Changes
from tests.orchestrator.cohorts import cohort

NAME = "small"


class Books:
    """A store and a ledger in memory: what the controller asks of either, done at once."""

    def __init__(self, jobs: Sequence[Job], plans: Sequence[MemberPlan]) -> None:
        self._spec = cohort().model_dump_json(by_alias=True)
        self._jobs = {job.id: job for job in jobs}
        self._plans = tuple(plans)
        self._changed = set(self._jobs)
        self._num_changes = 1

    def plans(self, _job_id: int) -> tuple[MemberPlan, ...]:
        """The same for all jobs."""
        return self._plans

    def changes(self, _cohort: str, after: int, also: Collection[int] = ()) -> Changes:
        """What was written since the last call, or everything."""
        changed, self._changed = self._changed.union(also), set()
        return Changes(
            self._num_changes,
            tuple(self._jobs[n] for n in (changed if after else self._jobs)),
            self._spec,
        )

    def recover(self, _at: float) -> int:
        """There is nobody's work to queue again."""
        return 0

    def start(self, key: MemberKey, slot: str, node: str, at: float) -> Job:
        """Opens an attempt."""
        return self._write(lifecycle.started(self._jobs[key.job_id], key.index, slot, node, at))

    def record_epochs(self, _reports: Sequence[EpochOfAttempt]) -> None:
        """Epochs are not kept."""

    def succeed(
        self,
        key: MemberKey,
        _attempt: int,
        _trained: TrainedWeights,
        at: float,
        _reports: Sequence[EpochOfAttempt] = (),
    ) -> Job:
        """Closes an attempt."""
        return self._write(lifecycle.trained(self._jobs[key.job_id], key.index, at))

    def fail(self, key: MemberKey, _attempt: int, fault: Fault, retry: Retry, at: float) -> Job:
        """Closes an attempt without a result."""
        job = self._jobs[key.job_id]
        return self._write(lifecycle.failed(job, key.index, fault, retry, at))

    def halt(self, key: MemberKey, _attempt: int, at: float) -> Job:
        """Closes an attempt that was stopped."""
        return self._write(lifecycle.halted(self._jobs[key.job_id], key.index, at))

    def _write(self, change: Change) -> Job:
        self._jobs[change.job.id] = change.job
        self._changed.add(change.job.id)
        self._num_changes += 1
        return change.job


class NothingKept(Artifacts):
    """An artifact folder that keeps no results."""

    def save(
        self, job: Job, index: int, attempt: int, weights: bytes, val_probs: NDArray[np.float32]
    ) -> TrainedWeights:
        """Forgets them."""
        name = f"{job.uid}/{index}-{attempt}"
        return TrainedWeights(name, f"{len(weights)}", f"{len(val_probs)}")
