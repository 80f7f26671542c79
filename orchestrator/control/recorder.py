"""What slots told, written to the store: epochs, results, failures.

In: updates of a slot pool. Out: the jobs as they are afterwards, for the `controller`; weights and
probabilities among the artifacts. What the store has not taken is kept until the next time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.updates import Failed, Progress, Trained, Update, epochs_of, whose
from orchestrator.phases import Blame, Reason
from orchestrator.state import EpochOfAttempt, Fault, Job, MemberKey
from orchestrator.store import Ledger


@dataclass
class Recorder:
    """Writes updates to the ledger, each once."""

    ledger: Ledger
    artifacts: Artifacts
    progressed: set[int] = field(default_factory=set)
    """Jobs with new epochs, which make no event; whoever has read them takes them out."""
    _updates: list[tuple[Update, float]] = field(default_factory=list)
    """What the store does not know yet, and when it was told: the store may be away for long."""

    def take(self, updates: Iterable[Update], at: float) -> None:
        """Takes what slots told at that time; `record` writes it."""
        self._updates.extend((each, at) for each in updates)

    def begun_later(self, seconds: float) -> None:
        """What the updates are about began so much later, by the jobs' time, and so ended later."""
        self._updates = [(update, at + seconds) for update, at in self._updates]

    def pending(self) -> set[MemberKey]:
        """The members of whom there is something to write."""
        return {update.key for update, _ in self._updates}

    def record(self, jobs: Mapping[int, Job], retry: Retry) -> Iterator[Job]:
        """Writes the updates, and gives each job that changed by it; `jobs` are those before.

        Raises `StoreError` where the store does not take it.
        """
        # An attempt's last epochs go with its result, and all others together: a transaction each.
        others, last = epochs_of([update for update, _ in self._updates])
        if others:
            self.ledger.record_epochs(others)
            self.progressed.update(key.job_id for key, *_ in others)
        self._updates = [
            (update, at)
            for update, at in self._updates
            if not isinstance(update, Progress) or whose(update) in last
        ]
        for end, at in list(self._updates):
            if isinstance(end, Progress):
                continue
            if isinstance(end, Trained):
                job = self._keep(end, last[whose(end)], jobs[end.key.job_id], retry, at)
            elif isinstance(end, Failed):
                job = self.ledger.fail(end.key, end.attempt, end.fault, retry, at)
            else:
                job = self.ledger.halt(end.key, end.attempt, at)
            self._updates = [
                (update, at) for update, at in self._updates if whose(update) != whose(end)
            ]
            yield job

    def _keep(
        self, update: Trained, epochs: list[EpochOfAttempt], job: Job, retry: Retry, at: float
    ) -> Job:
        key, attempt = update.key, update.attempt
        try:
            trained = self.artifacts.save(job, key.index, attempt, update.weights, update.val_probs)
        except OSError as error:
            self.ledger.record_epochs(epochs)
            message = f"its results cannot be kept: {error}"
            fault = Fault(Reason.STORAGE, message, Blame.CLUSTER)
            return self.ledger.fail(key, attempt, fault, retry, at)
        return self.ledger.succeed(key, attempt, trained, at, epochs)
