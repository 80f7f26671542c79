"""What each happening does to a job: pure functions from a job to the changed job.

In: a `Job` as the store has it and what happened: a member started, was trained, failed or was
stopped; what the organizer and the teams want is in `operations`. Out: a `Change`, the job
afterwards with the events to tell of it. Nothing here reads a clock or writes anything, so that the
store, the simulation and the tests share one behaviour. Next on the path: `store` writes changes,
checking `phases.TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.moves import (
    Change,
    Closed,
    Note,
    moved,
    off_slot,
    over,
    settled,
    uncharged,
    unused,
    with_member,
)
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, Job, Member, MemberKey

if TYPE_CHECKING:  # it builds pydantic models, and who only looks needs none
    from orchestrator.admission.cohort import Retry

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0
STOPPED = "stopped because its job is over"
WAITS_FOR_WORKERS = "waits for its workers"


# --- what slots tell ------------------------------------------------------------------------------


def started(job: Job, index: int, slot: str, node: str, now: float) -> Change:
    """A slot begins with the member's next attempt."""
    member = job.members[index]
    number = member.attempt + 1
    running = replace(
        moved(member, Phase.RUNNING, Reason.TRAINING), attempt=number, slot=slot, node=node,
        started_at=now, ended_at=None, not_before=None,
    )  # fmt: skip
    after = with_member(job, running)
    after = replace(
        after,
        phase=Phase.RUNNING,
        reason=Reason.TRAINING,
        message="",
        started_at=now if job.started_at is None else job.started_at,
        active_since=now if job.active_since is None else job.active_since,
    )
    note = Note(index, Reason.TRAINING, f"attempt {number} started on {slot}")
    return Change(after, (note,), opened=index)


def trained(job: Job, index: int, now: float) -> Change:
    """A member came to its last epoch. `finished` ends the job once all members have ended."""
    member = job.members[index]
    after = off_slot(job, moved(member, Phase.SUCCEEDED, Reason.COMPLETED), now)
    note = Note(index, Reason.COMPLETED, f"attempt {member.attempt} trained")
    return Change(settled(after), (note,), closed=(Closed(index, Reason.COMPLETED),))


def failed(job: Job, index: int, fault: Fault, retry: Retry, now: float) -> Change:
    """An attempt ended without a result: the member waits for the next one, or is lost."""
    member = _counted(job.members[index], fault)
    charged = fault.blame is Blame.TEAM
    closed = (Closed(index, fault.reason, fault.message, fault.blame),)
    if job.phase.terminal:
        note = Note(index, fault.reason, fault.message)
        return Change(_stopped(job, index, now, charged), (note,), closed=closed)
    if _again(member, fault, retry):
        by_team = fault.blame is Blame.TEAM
        wait_s = back_off_s(member.team_failures if by_team else member.cluster_failures)
        waits = replace(
            moved(member, Phase.PENDING, Reason.BACK_OFF, fault.message), not_before=now + wait_s
        )
        message = f"{fault.reason}: {fault.message}; queued again in {wait_s:g} s"
        note = Note(index, Reason.BACK_OFF, message, warning=True)
        return Change(settled(off_slot(job, waits, now, charged)), (note,), closed=closed)
    lost = moved(member, Phase.FAILED, fault.reason, fault.message, fault.blame)
    after = off_slot(job, lost, now, charged)
    notes = (Note(index, fault.reason, fault.message, warning=True),)
    num_left = sum(m.phase is not Phase.FAILED for m in after.members)
    if num_left >= job.min_members:
        message = f"goes on with {num_left} of {len(job.members)} members; member {index} is lost"
        goes_on = Note(None, Reason.DEGRADED, message, warning=True)
        return Change(settled(after), (*notes, goes_on), closed=closed)
    text, blame = f"{_whose(job, index)}{fault.message}", fault.blame
    lost_by_team = sum(m.phase is Phase.FAILED and m.blame is Blame.TEAM for m in after.members)
    if blame is Blame.TEAM and len(after.members) - lost_by_team >= job.min_members:
        blame, text = Blame.CLUSTER, f"{text}; but for what the cluster lost, enough would be left"
    ended = over(after, Phase.FAILED, Reason.MEMBER_FAILED, text, now, blame)
    note = Note(None, Reason.MEMBER_FAILED, text, warning=True)
    return Change(ended, (*notes, note), closed=closed)


def halted(job: Job, index: int, now: float) -> Change:
    """A member was stopped because the controller asked for it."""
    if job.phase.terminal:
        reason, message = Reason.JOB_ENDED, STOPPED
    else:
        reason = Reason.SUSPENDED if job.suspended else Reason.QUEUED
        message = "stopped after its last whole epoch"
    return Change(
        _stopped(job, index, now),
        (Note(index, reason, message),),
        closed=(Closed(index, reason, message),),
    )


def interrupted(job: Job, now: float) -> Change:
    """The controller ended, and with it the slots: whatever they held waits for the next one."""
    message = "the controller ended"
    on_slots = [m.index for m in job.members if m.phase is Phase.RUNNING]
    after = job
    for index in on_slots:
        member = after.members[index]
        if job.phase.terminal:
            left = moved(member, Phase.CANCELLED, Reason.JOB_ENDED)
        else:
            left = moved(member, Phase.PENDING, Reason.INTERRUPTED, message)
        after = off_slot(after, left, now)
    waiting = any(not m.phase.terminal for m in after.members)
    if after.phase is Phase.RUNNING and waiting:
        after = replace(after, phase=Phase.PENDING, reason=Reason.INTERRUPTED, message=message)
    # A job that had nothing on a slot just then has an event all the same: it changed its phase.
    told: list[int | None] = [*on_slots] or ([None] if after.phase is not job.phase else [])
    return Change(
        settled(after),
        tuple(Note(index, Reason.INTERRUPTED, message, warning=True) for index in told),
        closed=tuple(Closed(index, Reason.INTERRUPTED, message) for index in on_slots),
    )


# --- what the controller finds --------------------------------------------------------------------


def gated(job: Job) -> Change:
    """What it trains on is not here yet: until `ungated` it gets no slot."""
    if job.phase is not Phase.PENDING or job.suspended or job.reason == Reason.SCHEDULING_GATED:
        return Change(job)
    text = "its images, or what its teacher says of them, are being fetched"
    after = replace(job, reason=Reason.SCHEDULING_GATED, message=text)
    return Change(after, (Note(None, Reason.SCHEDULING_GATED, text),))


def ungated(job: Job) -> Change:
    """What it trains on is here, or cannot be had, which its attempts will say."""
    if job.phase is not Phase.PENDING or job.reason != Reason.SCHEDULING_GATED:
        return Change(job)
    after = replace(job, reason=Reason.QUEUED, message="")
    return Change(after, (Note(None, Reason.QUEUED, "no longer gated"),))


def ready_to_finish(job: Job) -> bool:
    """Whether all that is left to do is to combine the members."""
    return not job.phase.terminal and all(m.phase.terminal for m in job.members)


def finished(job: Job, val_accuracy: float, val_accuracy_refit: float | None, now: float) -> Change:
    """The members that were trained are combined."""
    num_trained, num_members = job.members_trained, len(job.members)
    text = f"validation accuracy {val_accuracy:.1%}"
    if num_trained < num_members:
        lost = [f"member {m.index}: {m.message}" for m in job.members if m.phase is Phase.FAILED]
        message = f"{num_trained} of {num_members} members; lost {'; '.join(lost)}"
        reason = Reason.DEGRADED
        note = Note(None, reason, f"{message}; {text}", warning=True)
    else:
        message, reason = "", Reason.COMPLETED
        note = Note(None, reason, f"all members trained, {text}")
    after = replace(
        over(job, Phase.SUCCEEDED, reason, message, now),
        val_accuracy=val_accuracy,
        val_accuracy_refit=val_accuracy_refit,
    )
    return Change(after, (note,))


def results_lost(job: Job, index: int, message: str, retry: Retry, now: float) -> Change:
    """A trained member's results are gone: it is trained again, from the first epoch on.

    Where they were lost too often the job is given up; retried, it trains that member again.
    """
    fault = Fault(Reason.STORAGE, message, Blame.CLUSTER)
    member = replace(_counted(job.members[index], fault), epoch=0)
    job = uncharged(job, job.members[index])
    if member.cluster_failures > retry.cluster_retries:
        lost = moved(member, Phase.FAILED, fault.reason, fault.message, fault.blame)
        return given_up(with_member(job, lost), fault, now)
    again = moved(member, Phase.PENDING, Reason.QUEUED, message)
    note = Note(index, Reason.STORAGE, f"{message}; it is trained again", warning=True)
    return Change(settled(with_member(job, again)), (note,))


def stood_still(job: Job, before: Job, seconds: float) -> Change:
    """The machine slept, or its clock was set: what is still on a slot began so much later.

    `before` is the job as it was known when that was noticed; what has changed since stays, and a
    second time changes nothing.
    """
    members = tuple(
        replace(now, started_at=then.started_at + seconds)
        if now.phase is then.phase is Phase.RUNNING
        and now.attempt == then.attempt
        and then.started_at is not None
        else now
        for now, then in zip(job.members, before.members, strict=True)
    )
    since = job.active_since
    if since is not None and since == before.active_since:
        since += seconds
    return Change(replace(job, members=members, active_since=since))


def waited(job: Job, until: Mapping[MemberKey, float], waiting: Container[MemberKey]) -> Change:
    """Members that hold a slot waited for their workers until then, at least.

    It is as if they began then, and the job with the first of its members that uses the time.
    `waiting` are those that still wait.
    """
    members = tuple(
        replace(
            m, started_at=max(m.started_at or 0.0, until[m.key]),
            message=WAITS_FOR_WORKERS if m.key in waiting else "",
        )
        if m.phase is Phase.RUNNING and m.key in until
        else m
        for m in job.members
    )  # fmt: skip
    after = replace(job, members=members)
    if job.active_since is None or job.phase.terminal:
        return Change(after)
    since = job.active_since + unused(job.members, members, job.active_since)
    return Change(replace(after, active_since=since))


def overdue(job: Job, limit_s: float | None, now: float) -> Fault | None:
    """What is said of a job that has run for longer than it may; None where it has not."""
    if limit_s is None or job.phase.terminal or job.active_since is None:
        return None
    if job.active_seconds_at(now) <= limit_s:
        return None
    message = f"it ran for longer than limits.activeDeadlineSeconds, {limit_s:g} s"
    return Fault(Reason.DEADLINE_EXCEEDED, message, Blame.TEAM)


def given_up(job: Job, fault: Fault, now: float) -> Change:
    """The job as a whole cannot go on: its deadline, no node for it, its results not combined."""
    after = over(job, Phase.FAILED, fault.reason, fault.message, now, fault.blame)
    return Change(after, (Note(None, fault.reason, fault.message, warning=True),))


# --- rules ----------------------------------------------------------------------------------------


def back_off_s(failures: int) -> float:
    """How long to wait after so many failures, from 1 on: 1, 2, 4, ... 60 s."""
    return float(min(FIRST_BACK_OFF_S * 2 ** (failures - 1), LONGEST_BACK_OFF_S))


def _counted(member: Member, fault: Fault) -> Member:
    """The member with one more failure; the cluster's count anew once it has come further."""
    if fault.blame is Blame.TEAM:
        return replace(member, team_failures=member.team_failures + 1)
    further = member.epoch > member.safe_epoch
    failures = 1 if further else member.cluster_failures + 1
    return replace(
        member, cluster_failures=failures, safe_epoch=max(member.epoch, member.safe_epoch)
    )


def _again(member: Member, fault: Fault, retry: Retry) -> bool:
    if fault.blame is Blame.TEAM:
        return member.team_failures <= retry.backoff_limit
    return member.cluster_failures <= retry.cluster_retries


def _stopped(job: Job, index: int, now: float, charged: bool = True) -> Job:
    """The job after a member left its slot unfinished, without anybody's fault."""
    member = job.members[index]
    if job.phase.terminal:
        left = moved(member, Phase.CANCELLED, Reason.JOB_ENDED, STOPPED)
    else:
        left = moved(member, Phase.PENDING, Reason.QUEUED)
    return settled(off_slot(job, left, now, charged))


def _whose(job: Job, index: int) -> str:
    """Which member a message is about, where there is more than one."""
    return f"member {index}: " if len(job.members) > 1 else ""
