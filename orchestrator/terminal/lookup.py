"""What everybody who shows state looks up: a cohort's jobs with their outlook, a team's job.

In: the store. Out: values read at one moment. Used by `live` and by the commands `get`, `describe`
and `logs`. Next on the path: `display`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator import console
from orchestrator.errors import NotFound
from orchestrator.forecasting.outlook import Outlook, outlook
from orchestrator.lease import is_gone
from orchestrator.phases import Phase
from orchestrator.state import CohortRecord, Job, newest_revisions

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.admission.cohort import CohortSpec
    from orchestrator.store import Store
    from orchestrator.store.values import Lease


@dataclass(frozen=True)
class Lookup:
    """A cohort as it stood at `now`."""

    jobs: tuple[Job, ...]
    """All revisions, in order of submission."""
    spec: CohortSpec
    controller: str | None
    """Who is at work on it."""
    num_slots: int | None
    now: float
    until: float
    """So far is known what goes on: `now` or, where nobody is at work, when somebody last was."""

    @cached_property
    def outlook(self) -> Outlook:
        """What lies ahead; a large cohort's takes a second, which not everybody needs."""
        return outlook(self.jobs, self.spec, self.now, self.num_slots)

    @property
    def over(self) -> bool:
        """Whether nothing is left that happens by itself."""
        return is_over(newest_revisions(self.jobs), self.controller is not None)


def is_over(newest: Iterable[Job], at_work: bool) -> bool:
    """Whether nothing is left of these jobs that happens by itself."""
    return all(job.phase.terminal or not (at_work or job.is_left) for job in newest)


def look_up(store: Store, cohort: str, now: float) -> Lookup:
    """The cohort's jobs and what lies ahead of them; raises `NotFound` for an unknown cohort."""
    spec = rules_of(store.cohort(cohort))
    # Before the jobs are read: a controller that has ended by then has written everything.
    lease = lease_of(store, cohort)
    jobs = store.jobs(cohort)
    if lease is not None:
        return Lookup(jobs, spec, lease.holder, lease.slots, now, until=now)
    last = store.lease(cohort)
    begun = [
        member.started_at or now
        for job in jobs
        for member in job.members
        if member.phase is Phase.RUNNING
    ]
    seen_at = now if last is None else max(last.renewed_at, *begun, 0.0)
    return Lookup(jobs, spec, None, None, now, until=min(now, seen_at))


class Absence:
    """Says on stderr that nobody is at work on a cohort, once each time that it comes to that."""

    def __init__(self, cohort: str) -> None:
        self._cohort = console.printable(cohort)
        self._said = False

    def look(self, at_work: bool, jobs: Iterable[Job]) -> None:
        """Called again and again while somebody waits for the `jobs`."""
        missed = not at_work and any(job.is_left for job in jobs)
        if missed and not self._said:
            console.print_note(nobody_at_work(self._cohort))
        self._said = missed


def nobody_at_work(cohort: str) -> str:
    """What is said where something is left to do and nobody does it."""
    resume = f"`gamectl resume --cohort {cohort}`"
    return f"no controller is at work on cohort {cohort}: {resume} starts one"


def rules_of(cohort: CohortRecord) -> CohortSpec:
    """A cohort's rules as the store has them; raises `Refused` as `Cohort.stored`."""
    from orchestrator.admission.cohort import Cohort  # its pydantic models take a moment to build

    return Cohort.stored(cohort.spec).spec


def lease_of(store: Store, cohort: str) -> Lease | None:
    """The lease of whoever is at work on the cohort; None also where that process has died here."""
    lease = store.lease(cohort)
    if lease is None or lease.expires_at <= 0 or is_gone(lease.holder):
        return None  # without a question to the clock
    return lease if lease.expires_at > store.now() else None


def controller_of(store: Store, cohort: str) -> str | None:
    """Who is at work on the cohort, or None; as `lease_of`."""
    lease = lease_of(store, cohort)
    return None if lease is None else lease.holder


def find_job(jobs: Sequence[Job], cohort: str, team: str, revision: int | None = None) -> Job:
    """A team's newest job, or the one of that revision.

    Raises `NotFound` with the nearest team, or with the revisions there are.
    """
    mine = {job.revision: job for job in jobs if job.team == team}
    if not mine:
        near = difflib.get_close_matches(team, {job.team for job in jobs}, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"see `gamectl get jobs --cohort {cohort}`"
        raise NotFound(f"cohort {cohort!r} has no team {console.shortened(team)!r}; {hint}")
    wanted = max(mine) if revision is None else revision
    if wanted not in mine:
        there = f"there are 1 to {max(mine)}" if len(mine) > 1 else "there is only 1"
        raise NotFound(f"team {team!r} has no revision {wanted} in cohort {cohort!r}; {there}")
    return mine[wanted]
