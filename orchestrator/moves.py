"""The small steps that changes of a job are made of.

In: a job and what is to become of it or of a member. Out: the job afterwards; nothing is checked
and nothing told. Used by `lifecycle` and `operations`, which give the steps their meaning.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Job, Member

if TYPE_CHECKING:
    from dataclasses import replace as replace
else:
    Value = TypeVar("Value", Job, Member)

    def replace(value: Value, /, **fields: Any) -> Value:
        """`dataclasses.replace` in a seventh of the time: no `__init__` sets 25 fields anew."""
        new = object.__new__(type(value))
        new.__dict__.update(value.__dict__, **fields)
        return new


@dataclass(frozen=True)
class Note:
    """An event to be: about a member, or about the job where `member` is None."""

    member: int | None
    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Closed:
    """The end of a member's open attempt."""

    member: int
    reason: Reason
    message: str = ""
    blame: Blame | None = None


@dataclass(frozen=True)
class Change:
    """A job after something happened, and what there is to tell."""

    job: Job
    notes: tuple[Note, ...] = ()
    opened: int | None = None
    """The member that has a new attempt."""
    closed: tuple[Closed, ...] = ()


def moved(
    member: Member, to: Phase, reason: Reason, message: str = "", blame: Blame | None = None
) -> Member:
    """The member in another phase."""
    return replace(member, phase=to, reason=reason, message=message, blame=blame)


def with_member(job: Job, member: Member) -> Job:
    """The job with this member in its place."""
    members = (*job.members[: member.index], member, *job.members[member.index + 1 :])
    return replace(job, members=members)


def off_slot(job: Job, member: Member, now: float, charged: bool = True) -> Job:
    """The job with this member, which leaves its slot now; the time is put to account.

    What the cluster lost is not `charged`: neither the team's share of the slots gets shorter by it
    nor, unless other members had slots meanwhile, its deadline.
    """
    before = job.members[member.index]
    assert before.started_at is not None, f"{before.key} is on no slot"
    after = with_member(job, replace(member, ended_at=now))
    seconds = max(0.0, now - before.started_at)
    if charged:
        after = replace(after, slot_seconds=job.slot_seconds + seconds)
        if any(m.phase is Phase.RUNNING for m in after.members):
            return after
        return replace(after, active_seconds=job.active_seconds_at(now), active_since=None)
    # A job that was retried while the member was on its slot has counted from then on only.
    begun = max(before.started_at, job.active_since or before.started_at)
    alone = max(0.0, now - begun - _used(_others(after.members, member), begun, now))
    if any(m.phase is Phase.RUNNING for m in after.members):
        if job.active_since is None:
            return after
        return replace(after, active_since=job.active_since + alone)
    active_seconds = max(job.active_seconds, job.active_seconds_at(now) - alone)
    return replace(after, active_seconds=active_seconds, active_since=None)


def unused(before: Sequence[Member], after: Sequence[Member], since: float) -> float:
    """Seconds from `since` on that no member of a job has used, as those on slots begin later.

    `before` has them as they were, and `after` with the later starts.
    """
    starts = [m.started_at or 0.0 for m in after if m.phase is Phase.RUNNING]
    if not starts:
        return 0.0
    held_since = min(m.started_at or 0.0 for m in before if m.phase is Phase.RUNNING)
    begun, until = max(since, held_since), min(starts)
    ended = [m for m in before if m.phase is not Phase.RUNNING]
    return max(0.0, until - begun - _used(ended, begun, until))


def _others(members: Sequence[Member], one: Member) -> list[Member]:
    """Those whose time counts beside that of one: on slots, or ended otherwise than lost.

    Of those that wait again it is not known any more why, so that theirs does not.
    """
    return [
        m
        for m in members
        if m.index != one.index
        and (m.phase is Phase.RUNNING or (m.phase.terminal and m.blame != Blame.CLUSTER))
    ]


def _used(members: Iterable[Member], since: float, until: float) -> float:
    """Seconds of a span in which any of these members was on a slot, in its newest attempt."""
    spans = sorted(
        (m.started_at, until if m.phase is Phase.RUNNING or m.ended_at is None else m.ended_at)
        for m in members
        if m.started_at is not None
    )
    seconds, reached = 0.0, since
    for begun, ended in spans:
        seconds += max(0.0, min(ended, until) - max(begun, reached))
        reached = max(reached, ended)
    return seconds


def uncharged(job: Job, member: Member) -> Job:
    """The job without the time of a member's last attempt, whose result the cluster has lost.

    In an ensemble other members used that time, too: its deadline does not move.
    """
    if member.started_at is None or member.ended_at is None:
        return job
    seconds = max(0.0, member.ended_at - member.started_at)
    alone = len(job.members) == 1
    return replace(
        job,
        slot_seconds=max(0.0, job.slot_seconds - seconds),
        active_seconds=max(0.0, job.active_seconds - (seconds if alone else 0.0)),
    )


def over(
    job: Job, to: Phase, reason: Reason, message: str, now: float, blame: Blame | None = None
) -> Job:
    """The job at its end. Members that wait end with it; those on slots are stopped by and by."""
    members = tuple(
        moved(m, Phase.CANCELLED, Reason.JOB_ENDED) if m.phase is Phase.PENDING else m
        for m in job.members
    )
    return replace(
        job,
        phase=to,
        reason=reason,
        message=message,
        blame=blame,
        ended_at=now,
        members=members,
        suspended=False,
    )


def settled(job: Job) -> Job:
    """The job, Pending where it is suspended, not done, and nothing of it is on a slot any more."""
    on_slot = any(m.phase is Phase.RUNNING for m in job.members)
    done = all(m.phase.terminal for m in job.members)
    if not job.suspended or job.phase.terminal or on_slot or done:
        return job
    waiting = requeued(job, Reason.SUSPENDED)
    return replace(waiting, phase=Phase.PENDING, reason=Reason.SUSPENDED, message="", blame=None)


def requeued(job: Job, reason: Reason, only: Collection[str] = ()) -> Job:
    """The job with its waiting members (of these reasons, or all) waiting for another reason."""
    members = tuple(
        replace(moved(m, Phase.PENDING, reason), not_before=None)
        if m.phase is Phase.PENDING and (not only or m.reason in only)
        else m
        for m in job.members
    )
    return replace(job, members=members)
