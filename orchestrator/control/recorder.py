"""What slots told, written to the store: epochs, results, failures.

In: news of a slot pool. Out: the jobs as they are afterwards, for the `controller`; weights and
probabilities among the artifacts. What the store has not taken is kept until the next time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.news import Failed, News, Progress, Trained, epochs_of, whose
from orchestrator.phases import Blame, Reason
from orchestrator.state import EpochOfAttempt, Fault, Job, MemberKey
from orchestrator.store import Ledger


@dataclass
class Recorder:
    """Writes news to the ledger, each once."""

    ledger: Ledger
    artifacts: Artifacts
    progressed: set[int] = field(default_factory=set)
    """Jobs with new epochs, which make no event; whoever has read them takes them out."""
    _news: list[tuple[News, float]] = field(default_factory=list)
    """What the store does not know yet, and when it was told: the store may be away for long."""

    def take(self, news: Iterable[News], at: float) -> None:
        """Takes what slots told at that time; `record` writes it."""
        self._news.extend((each, at) for each in news)

    def begun_later(self, seconds: float) -> None:
        """What the news are about began so much later, by the jobs' time, and so ended later."""
        self._news = [(news, at + seconds) for news, at in self._news]

    def pending(self) -> set[MemberKey]:
        """The members of whom there is something to write."""
        return {news.key for news, _ in self._news}

    def record(self, jobs: Mapping[int, Job], retry: Retry) -> Iterator[Job]:
        """Writes the news, and gives each job that changed by it; `jobs` are those before.

        Raises `StoreError` where the store does not take it.
        """
        # An attempt's last epochs go with its result, and all others together: a transaction each.
        others, last = epochs_of([news for news, _ in self._news])
        if others:
            self.ledger.record_epochs(others)
            self.progressed.update(key.job_id for key, *_ in others)
        self._news = [
            (news, at)
            for news, at in self._news
            if not isinstance(news, Progress) or whose(news) in last
        ]
        for end, at in list(self._news):
            if isinstance(end, Progress):
                continue
            if isinstance(end, Trained):
                job = self._keep(end, last[whose(end)], jobs[end.key.job_id], retry, at)
            elif isinstance(end, Failed):
                job = self.ledger.fail(end.key, end.attempt, end.fault, retry, at)
            else:
                job = self.ledger.halt(end.key, end.attempt, at)
            self._news = [(news, at) for news, at in self._news if whose(news) != whose(end)]
            yield job

    def _keep(
        self, news: Trained, epochs: list[EpochOfAttempt], job: Job, retry: Retry, at: float
    ) -> Job:
        key, attempt = news.key, news.attempt
        try:
            trained = self.artifacts.save(job, key.index, attempt, news.weights, news.val_probs)
        except OSError as error:
            self.ledger.record_epochs(epochs)
            message = f"its results cannot be kept: {error}"
            fault = Fault(Reason.STORAGE, message, Blame.CLUSTER)
            return self.ledger.fail(key, attempt, fault, retry, at)
        return self.ledger.succeed(key, attempt, trained, at, epochs)
