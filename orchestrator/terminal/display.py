"""How the state of jobs reads: the words and figures that tables and lines share.

In: jobs, members and an `Outlook`. Out: short strings for people. Times are of the day, in the
local time zone; what is expected rather than known has a tilde. Used by `live_table`, `live` and
the commands that show state.
"""

import time

from orchestrator.forecasting.outlook import Outlook
from orchestrator.phases import Phase, Reason
from orchestrator.state import Event, Job, Member

MEMBERS_SHOWN = 3
DAY_S = 24 * 3600.0

SELF_EVIDENT = frozenset(
    {Reason.TRAINING, Reason.COMPLETED, Reason.CANCELLED_BY_ORGANIZER, Reason.NEW_REVISION}
)
"""Reasons that say no more than the phase does."""


def reason(job: Job) -> str:
    """The job's reason where it says more than its phase; what it is about to be, included."""
    if job.suspended and job.phase is Phase.RUNNING:
        return "Suspending"
    if job.reason == Reason.MEMBER_FAILED:
        lost = [m.reason for m in job.members if m.phase is Phase.FAILED]
        return lost[-1] if lost else job.reason
    if job.phase is Phase.RUNNING and any(m.reason == Reason.BACK_OFF for m in job.members):
        return Reason.BACK_OFF
    return "" if job.reason in SELF_EVIDENT else job.reason


def status(job: Job) -> str:
    """Phase and reason in one word, the one by which people know the state."""
    known_by_phase = job.phase in (Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED)
    word = reason(job)
    return job.phase if known_by_phase or word in ("", Reason.QUEUED) else word


def team_of(job: Job) -> str:
    """The team, and the revision where it is not the first: `apes r2`."""
    return job.team if job.revision == 1 else f"{job.team} r{job.revision}"


def lost_note(job: Job) -> str:
    """What became of members that were lost, of a job that goes on or succeeded without them."""
    lost = [m for m in job.members if m.phase is Phase.FAILED]
    if not lost or job.phase in (Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED):
        return ""
    if job.reason == Reason.DEGRADED:
        return job.message
    names = ", ".join(str(m.index) for m in lost)
    left = len(job.members) - len(lost)
    return f"goes on with {left} of {len(job.members)} members; lost: {names}"


def member_epochs(member: Member) -> str:
    """How far a member is, `7/20`; one that is lost is marked with a cross."""
    mark = "✗" if member.phase is Phase.FAILED else ""
    return f"{mark}{member.epoch}/{member.epochs}"


def epochs(job: Job, max_members: int = MEMBERS_SHOWN) -> str:
    """How far its first members are, and what `more` says of the others."""
    shown = [member_epochs(member) for member in job.members[:max_members]]
    rest = more(job, max_members)
    return " ".join([*shown, rest] if rest else shown)


def more(job: Job, num_shown: int) -> str:
    """How many members a job has beside those that are shown, and how many of those were lost.

    `+2`, or `+2 ✗1`; nothing where all are shown.
    """
    hidden = job.members[num_shown:]
    if not hidden:
        return ""
    lost = sum(member.phase is Phase.FAILED for member in hidden)
    return f"+{len(hidden)} ✗{lost}" if lost else f"+{len(hidden)}"


def accuracy(job: Job) -> str:
    """The job's accuracy once it is known, until then the mean of its members' newest."""
    if job.val_accuracy is not None:
        return f"{job.val_accuracy:.1%}"
    known = [m.val_accuracy for m in job.members if m.val_accuracy is not None]
    return f"{sum(known) / len(known):.1%}" if known else ""


def expected(job: Job, outlook: Outlook, now: float) -> str:
    """Its place in the queue and its expected end: `#3, ~14:05`; a dash where none is known."""
    if job.phase.terminal:
        return ""
    place, end = outlook.positions.get(job.id), outlook.finish.get(job.id)
    # What was looked ahead some seconds ago may have begun since.
    parts = [f"#{place}"] if place is not None and job.phase is Phase.PENDING else []
    parts += [f"~{short_time(end, now)}"] if end is not None else []
    return ", ".join(parts) or "-"


def took(job: Job, now: float) -> str:
    """For how long it has had members on slots; waiting and suspension left out."""
    return "" if job.started_at is None else duration(job.active_seconds_at(now))


def duration(seconds: float) -> str:
    """A span of time as kubectl writes it: `42s`, `3m10s`, `2h05m`, `3d4h`."""
    whole = max(0, round(seconds))
    minutes, rest_s = divmod(whole, 60)
    hours, rest_min = divmod(minutes, 60)
    days, rest_h = divmod(hours, 24)
    if days:
        return f"{days}d{rest_h}h"
    if hours:
        return f"{hours}h{rest_min:02}m"
    return f"{minutes}m{rest_s:02}s" if minutes else f"{whole}s"


def short_time(at: float, now: float) -> str:
    """A time near `now` without seconds; with the day where it is another one."""
    return _local("%H:%M" if _same_day(at, now) else "%b %d %H:%M", at)


def clock_time(at: float | None, now: float) -> str:
    """A time for people, with the day where it is not today's; nothing for None."""
    if at is None:
        return ""
    return _local("%H:%M:%S" if _same_day(at, now) else "%b %d %H:%M:%S", at)


def object_of(event: Event) -> str:
    """What an event is about: `team`, or `team/1` for member 1; other revisions are named."""
    revision = f" r{event.revision}" if event.revision > 1 else ""
    member = "" if event.member is None else f"/{event.member}"
    return f"{event.team}{revision}{member}"


def _local(form: str, at: float) -> str:
    return time.strftime(form, time.localtime(at))


def _same_day(at: float, now: float) -> bool:
    return abs(at - now) < DAY_S and time.localtime(at).tm_yday == time.localtime(now).tm_yday
