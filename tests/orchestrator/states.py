"""A cohort with a job in every state, as a day at a workshop leaves it behind."""

from jobs.plan import EpochReport
from orchestrator.admission.cohort import Retry
from orchestrator.phases import Blame, Reason
from orchestrator.state import Fault, Job, Member, MemberKey, newest_revisions
from orchestrator.store import JobResult, Ledger, Store, TrainedWeights
from tests.orchestrator.cohorts import epoch, new_job, submit

EPOCHS = 20
DIVERGED = Fault(Reason.DIVERGED, "validation loss is nan after epoch 3", Blame.TEAM)
SLOT_LOST = Fault(Reason.SLOT_LOST, "the process of slot-1 ended", Blame.CLUSTER)
TOO_LATE = Fault(
    Reason.DEADLINE_EXCEEDED,
    "it ran for longer than limits.activeDeadlineSeconds, 60 s",
    Blame.TEAM,
)
WEIGHTS = TrainedWeights("w", "0" * 64, "p")
LONG_NAME = "a-team-with-a-very-long-name-that-goes-on-and-on-and-on-and-on"


class Game:
    """A controller's ledger with the times of a cohort that began `began_at`."""

    def __init__(self, store: Store, began_at: float) -> None:
        self.store = store
        self.began_at = began_at
        self.ledger: Ledger = store.acquire("small", "test", began_at, 1e12)
        self.ledger.tell_slots(2)

    def job(self, team: str) -> Job:
        """The team's newest job."""
        jobs = newest_revisions(self.store.jobs("small"))
        return next(job for job in jobs if job.team == team)

    def start(self, team: str, index: int = 0, at_s: float = 10.0) -> None:
        """Puts a member on a slot."""
        key, at = MemberKey(self.job(team).id, index), self.began_at + at_s
        assert self.ledger.start(key, f"slot-{index}", "node-a", at) is not None

    def report(self, team: str, index: int = 0, epochs: int = EPOCHS) -> None:
        """Stores the first epochs of a member that runs: each took two seconds."""
        key, member = self._running(team, index)
        reports = [(n, timed_epoch(n)) for n in range(1, epochs + 1)]
        self.ledger.record_epochs(
            [(key, member.attempt, r, (member.started_at or 0) + 2 * n) for n, r in reports]
        )

    def train(self, team: str, index: int = 0, at_s: float = 51.0) -> None:
        """Brings a member that runs to its last epoch."""
        self.report(team, index)
        key, member = self._running(team, index)
        self.ledger.succeed(key, member.attempt, WEIGHTS, self.began_at + at_s)

    def fail(
        self, team: str, fault: Fault, index: int = 0, backoff_limit: int = 0, at_s: float = 20.0
    ) -> None:
        """Ends the attempt of a member that runs."""
        key, member = self._running(team, index)
        retry = Retry(backoff_limit=backoff_limit)
        self.ledger.fail(key, member.attempt, fault, retry, self.began_at + at_s)

    def finish(self, team: str, val_accuracy: float, at_s: float = 60.0) -> None:
        """Combines the members that were trained."""
        self.ledger.finish(self.job(team).id, JobResult(val_accuracy), self.began_at + at_s)

    def _running(self, team: str, index: int) -> tuple[MemberKey, Member]:
        job = self.job(team)
        return MemberKey(job.id, index), job.members[index]


def timed_epoch(number: int) -> EpochReport:
    """The report of an epoch that took two seconds, a little better than the one before."""
    report = epoch(number, val_accuracy=0.3 + 0.02 * number)
    return report.model_copy(update={"seconds": 2.0})


def every_state(store: Store, began_at: float) -> Game:
    """Twelve teams, each in another state; a controller has been at work since `began_at`."""
    alone = ("quiet-apes", "wild", "flaky", "sleepy", "tree-huggers", "swing-state", "gone", "slow")
    submit(
        store,
        new_job("howling-pixels", 4, EPOCHS, min_members=3),
        *(new_job(team, epochs=EPOCHS) for team in alone),
        new_job("banana-republic", 3, EPOCHS),
        new_job(LONG_NAME, 5, EPOCHS),
        new_job("revised", epochs=EPOCHS),
        at=began_at,
    )
    game = Game(store, began_at)
    for index in range(4):
        game.start("howling-pixels", index)
    game.report("howling-pixels", 2, epochs=3)
    game.fail("howling-pixels", DIVERGED, 2)
    for index in (0, 1, 3):
        game.train("howling-pixels", index)
    game.finish("howling-pixels", 0.6125)

    game.start("quiet-apes")
    game.train("quiet-apes")
    game.finish("quiet-apes", 0.584)

    for epochs, at_s in ((3, 12.0), (4, 22.0)):
        game.start("wild", at_s=at_s)
        game.report("wild", epochs=epochs)
        game.fail("wild", DIVERGED, backoff_limit=1, at_s=at_s + 8)

    game.start("flaky", at_s=36)
    game.report("flaky", epochs=7)
    game.fail("flaky", SLOT_LOST, at_s=50)

    game.start("slow")
    game.report("slow", epochs=2)
    game.ledger.give_up(game.job("slow").id, TOO_LATE, began_at + 71)
    game.ledger.halt(MemberKey(game.job("slow").id, 0), 1, began_at + 72)

    for index, epochs in enumerate((7, 12)):
        game.start("banana-republic", index, at_s=62)
        game.report("banana-republic", index, epochs)
    for index in range(3):
        game.start(LONG_NAME, index, at_s=70)
        game.report(LONG_NAME, index, 3 * index)

    store.suspend("small", "sleepy", began_at + 5)
    store.cancel("small", "gone", began_at + 6)
    submit(store, new_job("revised", epochs=EPOCHS, seed=9), at=began_at + 30)
    return game
