"""The phases of a job, read off its events: none is missed, as every change makes an event."""

import random

import pytest

from orchestrator import lifecycle, operations
from orchestrator.admission.cohort import Retry
from orchestrator.moves import Change
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Event, Fault, Job, Member, MemberKey
from orchestrator.terminal.timeline import Step, timeline

FAULTS = [
    Fault(Reason.DIVERGED, "loss is nan", Blame.TEAM),
    Fault(Reason.SLOT_LOST, "the slot ended", Blame.CLUSTER),
]


def new_job(num_members: int, min_members: int) -> Job:
    members = tuple(
        Member(MemberKey(1, index), Phase.PENDING, Reason.QUEUED, "", None, 1.0, "base", 5)
        for index in range(num_members)
    )
    return Job(
        id=1, uid="u", cohort="small", team="apes", revision=1, phase=Phase.PENDING,
        reason=Reason.QUEUED, message="", blame=None, combine="mean", spent_bnn=0,
        submitted_at=0.0, members=members, min_members=min_members, queued_at=0.0,
    )  # fmt: skip


class History:
    """A job to which one thing happens after the other, a second apart."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.now = 0.0
        self.events: list[Event] = []
        self.seen: list[Step] = []
        self._tell(None, Reason.QUEUED, "revision 1 admitted", warning=False)
        self._look()

    def happen(self, change: Change) -> None:
        self.job = change.job
        for note in change.notes:
            self._tell(note.member, note.reason, note.message, note.warning)
        self._look()

    def _tell(self, member: int | None, reason: Reason, message: str, warning: bool) -> None:
        kind = "Warning" if warning else "Normal"
        number = len(self.events) + 1
        stands = (self.job.phase, self.job.reason)
        told = Event(number, self.now, kind, "apes", 1, member, reason, message, *stands)
        self.events.append(told)

    def _look(self) -> None:
        step = Step(self.now, self.job.phase, self.job.reason)
        before = self.seen[-1] if self.seen else None
        if before is None or (before.phase, before.reason) != (step.phase, step.reason):
            self.seen.append(step)


def possible(history: History, dice: random.Random) -> list[Change]:
    """What may happen next to the job."""
    job, now = history.job, history.now
    running = [m.index for m in job.members if m.phase is Phase.RUNNING]
    waiting = [m.index for m in job.members if m.phase is Phase.PENDING]
    live = not job.phase.terminal
    retry = Retry(backoff_limit=1, cluster_retries=1)
    changes: list[Change] = []
    if live and waiting and not job.suspended:
        changes += [lifecycle.started(job, dice.choice(waiting), "slot-0", "node", now)] * 4
    if running:
        index = dice.choice(running)
        if not job.suspended:
            changes.append(lifecycle.trained(job, index, now))
        if live:
            changes.append(lifecycle.failed(job, index, dice.choice(FAULTS), retry, now))
        changes.append(lifecycle.interrupted(job, now))
        if job.suspended or not live:
            changes += [lifecycle.halted(job, index, now)] * 3
    if lifecycle.ready_to_finish(job):
        changes += [lifecycle.finished(job, 0.5, None, now)] * 5
    if live:
        changes.append(operations.suspended(job))
        changes.append(operations.resumed(job, now))
        if dice.random() < 0.1:
            changes.append(operations.cancelled(job, now))
            changes.append(lifecycle.given_up(job, FAULTS[0], now))
            changes.append(operations.superseded(job, 2, now))
    if job.phase in (Phase.FAILED, Phase.CANCELLED):
        changes.append(operations.retried(job, now))
    return changes


@pytest.mark.parametrize("seed", range(100))
def test_the_timeline_is_what_the_job_went_through(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a walk that can be repeated
    num_members = dice.randint(1, 3)
    history = History(new_job(num_members, dice.randint(1, num_members)))
    for _ in range(25):
        history.now += 1.0
        changes = possible(history, dice)
        if not changes:
            break
        history.happen(dice.choice(changes))
    told = timeline(history.events)
    assert told == history.seen


def test_a_life_with_everything_in_it() -> None:
    history = History(new_job(2, 1))
    job = history.job

    def at(now: float) -> float:
        history.now = now
        return now

    history.happen(lifecycle.started(job, 0, "slot-0", "node", at(1)))
    history.happen(operations.suspended(history.job))
    history.happen(lifecycle.halted(history.job, 0, at(3)))
    history.happen(operations.resumed(history.job, at(4)))
    history.happen(lifecycle.started(history.job, 0, "slot-0", "node", at(5)))
    history.happen(lifecycle.interrupted(history.job, at(6)))
    history.happen(operations.cancelled(history.job, at(7)))
    history.happen(operations.retried(history.job, at(8)))
    history.happen(lifecycle.started(history.job, 0, "slot-0", "node", at(9)))
    history.happen(lifecycle.failed(history.job, 0, FAULTS[0], Retry(), at(10)))
    history.happen(lifecycle.started(history.job, 1, "slot-0", "node", at(11)))
    history.happen(lifecycle.trained(history.job, 1, at(12)))
    history.happen(lifecycle.finished(history.job, 0.5, None, at(13)))
    assert [(step.at, step.phase, step.reason) for step in timeline(history.events)] == [
        (0, "Pending", "Queued"),
        (1, "Running", "Training"),
        (3, "Pending", "Suspended"),
        (4, "Pending", "Queued"),
        (5, "Running", "Training"),
        (6, "Pending", "Interrupted"),
        (7, "Cancelled", "CancelledByOrganizer"),
        (8, "Pending", "Queued"),
        (9, "Running", "Training"),
        (13, "Succeeded", "Degraded"),
    ]


def test_events_of_a_job_that_goes_on_without_a_member_are_no_end() -> None:
    history = History(new_job(2, 1))
    history.happen(lifecycle.started(history.job, 0, "slot-0", "node", 0.0))
    history.happen(lifecycle.failed(history.job, 0, FAULTS[0], Retry(), 0.0))
    assert history.events[-1].reason == Reason.DEGRADED
    assert timeline(history.events)[-1].phase is Phase.RUNNING
