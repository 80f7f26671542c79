"""What the organizer and the teams want of a job: pure functions, as in `lifecycle`.

In: a job, and for some what is asked: another revision, cancel, withdraw, suspend, resume, retry,
another priority. Out: a `Change`; what was done already changes nothing. Every function raises
`Refused` with the reason where it cannot be done. Used by `store.desired`; the controller sees to
the rest.
"""

from dataclasses import replace

from orchestrator.errors import Refused
from orchestrator.moves import Change, Note, over, requeued, settled
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job

HIGHEST_PRIORITY = 10_000


def superseded(job: Job, revision: int, now: float) -> Change:
    """The team handed in another revision."""
    text = f"revision {revision} was handed in"
    after = over(job, Phase.SUPERSEDED, Reason.NEW_REVISION, text, now)
    return Change(after, (Note(None, Reason.NEW_REVISION, text),))


def cancelled(job: Job, now: float) -> Change:
    """The organizer ends the job; a second time changes nothing."""
    if job.phase is Phase.CANCELLED:
        return Change(job)
    _must_be_live(job, "cancel")
    reason = Reason.CANCELLED_BY_ORGANIZER
    after = over(job, Phase.CANCELLED, reason, "cancelled by the organizer", now)
    return Change(after, (Note(None, reason, after.message),))


def withdrawn(job: Job, now: float) -> Change:
    """The organizer takes the team out: no job of it counts any more, until it hands one in."""
    if job.phase is Phase.SUPERSEDED:
        return Change(job)
    reason, text = Reason.WITHDRAWN, "withdrawn by the organizer"
    if job.phase.terminal:
        after = replace(job, phase=Phase.SUPERSEDED, reason=reason, message=text, blame=None)
    else:
        after = over(job, Phase.SUPERSEDED, reason, text, now)
    return Change(after, (Note(None, reason, text),))


def suspended(job: Job) -> Change:
    """The organizer holds the job back; its members stop and keep what they have learnt."""
    _must_be_live(job, "suspend")
    if job.suspended:
        return Change(job)
    note = Note(None, Reason.SUSPENDED, "suspended by the organizer")
    return Change(settled(replace(job, suspended=True)), (note,))


def resumed(job: Job, now: float) -> Change:
    """The organizer lets a suspended job go on."""
    _must_be_live(job, "resume")
    if not job.suspended:
        return Change(job)
    held_back = (Reason.SUSPENDED, Reason.BACK_OFF)
    after = requeued(replace(job, suspended=False, queued_at=now), Reason.QUEUED, only=held_back)
    if job.phase is Phase.PENDING:
        after = replace(after, reason=Reason.QUEUED)
    return Change(after, (Note(None, Reason.RESUMED, "resumed by the organizer"),))


def retried(job: Job, now: float, why: str = "retried by the organizer") -> Change:
    """A job that failed or was cancelled is put back into the queue.

    Members that were trained stay so; the others go on from their checkpoints, with their failures
    forgotten and a new deadline.
    """
    if job.phase not in (Phase.FAILED, Phase.CANCELLED):
        raise Refused(
            f"team {job.team!r} has nothing to retry: its job (revision {job.revision}) is "
            f"{_instead_of_retry(job)}"
        )
    forgiven = [replace(m, team_failures=0, cluster_failures=0) for m in job.members]
    members = tuple(
        member
        if member.phase in (Phase.SUCCEEDED, Phase.RUNNING)
        else replace(
            member, phase=Phase.PENDING, reason=Reason.QUEUED, message="", blame=None,
            not_before=None,
        )
        for member in forgiven
    )  # fmt: skip
    # Members that were told to stop and have not done so yet still hold their slots.
    on_slot = any(member.phase is Phase.RUNNING for member in members)
    phase, reason = (Phase.RUNNING, Reason.TRAINING) if on_slot else (Phase.PENDING, Reason.QUEUED)
    after = replace(
        job, phase=phase, reason=reason, message="", blame=None, members=members,
        suspended=False, queued_at=now, ended_at=None, active_seconds=0.0,
        active_since=None if job.active_since is None else now,
    )  # fmt: skip
    return Change(after, (Note(None, Reason.RETRIED, why),))


def prioritized(job: Job, priority: int) -> Change:
    """The organizer gives the job another weight in the queue."""
    if not 1 <= priority <= HIGHEST_PRIORITY:
        raise Refused(f"priority is {priority}; allowed is 1 to {HIGHEST_PRIORITY}")
    _must_be_live(job, "prioritize")
    if job.priority == priority:
        return Change(job)
    text = f"priority changed from {job.priority} to {priority}"
    note = Note(None, Reason.PRIORITY_CHANGED, text)
    return Change(replace(job, priority=priority), (note,))


def _must_be_live(job: Job, verb: str) -> None:
    if job.phase.terminal:
        raise Refused(
            f"cannot {verb} the job of team {job.team!r}: it has ended ({job.phase}"
            f"{f', {job.reason}' if job.reason != job.phase else ''}); {_again(job)}"
        )


def _instead_of_retry(job: Job) -> str:
    """How a job stands that neither failed nor was cancelled, and what helps on there."""
    if job.suspended and not job.phase.terminal:
        resume = f"`gamectl resume {job.team} --cohort {job.cohort}`"
        return f"suspended; {resume} lets it go on"
    if job.phase is Phase.PENDING:
        return (
            "Pending and waits already; where no controller is at work, "
            f"`gamectl resume --cohort {job.cohort}` starts one"
        )
    if job.reason == Reason.WITHDRAWN:
        return f"{job.phase} ({job.reason}); {_again(job)}"
    return (
        f"{job.phase}; a job that is Failed or Cancelled can be retried, and a changed loadout "
        "submitted with `gamectl submit`"
    )


def _again(job: Job) -> str:
    """How a job that has ended goes on."""
    if job.phase in (Phase.FAILED, Phase.CANCELLED):
        return f"`gamectl retry {job.team} --cohort {job.cohort}` queues it again"
    if job.reason == Reason.WITHDRAWN:  # from the store it comes as text
        return "its loadout, submitted once more, brings the team back: `gamectl submit`"
    return "a changed loadout is the team's next revision: `gamectl submit`"
