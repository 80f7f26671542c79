"""`gamectl logs`: what a member wrote while it trained.

In: the store, which knows the attempts, and the log files among the artifacts. Out: the file's
lines on stdout, with everything escaped that a terminal would act on. `terminal.follow` reads a log
that is still being written.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator import console
from orchestrator.cli import completing
from orchestrator.cli.common import cohort_option
from orchestrator.cli.numbers import WholeNumber
from orchestrator.errors import NotFound
from orchestrator.opening import open_store, pick_cohort
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.terminal.lookup import Absence, Lookup, controller_of, find_job, look_up

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.artifacts import Artifacts
    from orchestrator.store import Store
    from orchestrator.terminal.follow import MemberTail

POLL_S = 0.5


@click.command(
    "logs",
    epilog="""\b
    Example:
      gamectl logs howling-pixels
      gamectl logs howling-pixels --member 2 --attempt 1
      gamectl logs howling-pixels --revision 1
      gamectl logs howling-pixels --follow""",
)
@click.argument("team", shell_complete=completing.teams)
@click.option("--member", type=WholeNumber(min=0), help="Of an ensemble; 0 by default.")
@click.option("--attempt", type=WholeNumber(min=1), help="The newest by default.")
@click.option("--revision", type=WholeNumber(min=1), help="The newest by default.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the training has ended.")
@cohort_option
def command(
    team: str,
    member: int | None,
    attempt: int | None,
    revision: int | None,
    follow: bool,
    cohort: str | None,
) -> None:
    """Show what a team's members wrote while they trained.

    With --follow and without --member, all members of an ensemble are shown, each line with the
    member that wrote it. Followed is the newest attempt, and then the next ones; Ctrl-C ends it.
    """
    from orchestrator.artifacts import Artifacts
    from orchestrator.terminal.follow import MemberTail

    settings = Settings()
    artifacts = Artifacts(settings.artifacts)
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        seen = look_up(store, name, time.time())
        job = find_job(seen.jobs, name, team, revision)
        if member is not None and member >= len(job.members):
            raise NotFound(f"team {team!r} has no member {member}; there {_indices(job)}")
        _check_attempt(job, member or 0, attempt, at_least=1 if follow else 0)
        if follow:
            chosen = range(len(job.members)) if member is None else [member]
            tails = [MemberTail(artifacts, index, attempt) for index in chosen]
            with contextlib.suppress(KeyboardInterrupt):
                job = _follow(store, seen, job, tails)
                if not any(tail.found for tail in tails):
                    raise _no_log(artifacts, seen, job, chosen[0], attempt)
            return
    if member is None and len(job.members) > 1:
        console.print_note(f"member 0 of {len(job.members)}; --member shows another")
    _show(artifacts, seen, job, member or 0, attempt)


def _check_attempt(job: Job, index: int, attempt: int | None, at_least: int) -> None:
    """Raises `NotFound` for an attempt that never was; the first one may still be waited for."""
    last = max(job.members[index].attempt, at_least)
    if attempt is not None and attempt > last > 0:
        there = "is only 1" if last == 1 else f"are 1 to {last}"
        raise NotFound(f"{_who(job, index)} has no attempt {attempt}; there {there}")


def _show(artifacts: Artifacts, seen: Lookup, job: Job, index: int, attempt: int | None) -> None:
    member = job.members[index]
    if member.attempt == 0:
        raise _no_log(artifacts, seen, job, index, attempt)
    number = attempt or member.attempt
    path = artifacts.log_path(job, index, number)
    from orchestrator.terminal.follow import Tail

    try:
        for line in Tail(path).lines(ended=True):
            console.print_text(line)
    except FileNotFoundError:
        if number == member.attempt and member.phase is Phase.RUNNING:
            console.print_note(f"{_who(job, index)} has written nothing yet; --follow waits for it")
            return
        raise _no_log(artifacts, seen, job, index, attempt) from None


def _no_log(
    artifacts: Artifacts, seen: Lookup, job: Job, index: int, attempt: int | None
) -> NotFound:
    number = attempt or job.members[index].attempt
    if number == 0:
        return NotFound(f"{_who(job, index)} has no log: {_why_none(seen, job, index)}")
    path = artifacts.log_path(job, index, number)
    return NotFound(f"the log of attempt {number} of {_who(job, index)} is gone: {path}")


def _follow(store: Store, seen: Lookup, job: Job, tails: Sequence[MemberTail]) -> Job:
    """Prints what is new until there is nothing more to come; returns the job as it is then."""
    absence = Absence(job.cohort)
    for tail in tails:
        if job.members[tail.index].attempt == 0 and not job.members[tail.index].phase.terminal:
            why = _why_none(seen, job, tail.index)
            console.print_note(f"{_who(job, tail.index)} has no log yet: {why}")
    while True:
        for tail in tails:
            prefix = f"member {tail.index} | " if len(tails) > 1 else ""
            for line in tail.lines(job):
                console.print_text(prefix + line)
        if all(tail.done(job) for tail in tails):
            return job
        absence.look(controller_of(store, job.cohort) is not None, [job])
        time.sleep(POLL_S)
        job = store.job(job.id)


def _why_none(seen: Lookup, job: Job, index: int) -> str:
    """Why a member was never started."""
    member = job.members[index]
    if member.phase.terminal:
        return f"it never started, and is {member.phase}"
    if job.suspended:
        return "the job is suspended"
    place = seen.outlook.positions.get(job.id)
    waits = f"it waits, position {place}" if place else "it waits for a slot"
    return waits if seen.controller else f"{waits}, and no controller is at work"


def _who(job: Job, index: int) -> str:
    return f"member {index} of team {job.team!r}" if len(job.members) > 1 else f"team {job.team!r}"


def _indices(job: Job) -> str:
    return f"are 0 to {len(job.members) - 1}" if len(job.members) > 1 else "is only 0"
