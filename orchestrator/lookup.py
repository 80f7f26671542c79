"""What everybody who shows state looks up: a cohort's jobs with their outlook, a team's job.

In: the store. Out: values read at one moment. Used by `live` and by the commands `get`, `describe`
and `logs`. Next on the path: `display`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator import console
from orchestrator.cohort import Cohort
from orchestrator.errors import NotFound
from orchestrator.lease import is_gone
from orchestrator.outlook import Outlook, busy_slots, outlook
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Store


@dataclass(frozen=True)
class Lookup:
    """A cohort as it stood at `now`."""

    jobs: tuple[Job, ...]
    """All revisions, in order of submission."""
    outlook: Outlook
    controller: str | None
    """Who is at work on it."""
    now: float

    @property
    def over(self) -> bool:
        """Whether nothing is left that happens by itself."""
        at_work = self.controller is not None
        return all(
            job.phase.terminal or (job.suspended and not at_work)
            for job in newest_revisions(self.jobs)
        )


def look_up(store: Store, cohort: str, now: float) -> Lookup:
    """The cohort's jobs and what lies ahead of them; raises `NotFound` for an unknown cohort."""
    spec = Cohort.model_validate(store.cohort(cohort).spec).spec
    # Before the jobs are read: a controller that has ended by then has written everything.
    controller = controller_of(store, cohort, now)
    jobs = store.jobs(cohort)
    num_slots = busy_slots(jobs) if controller is not None else None
    return Lookup(jobs, outlook(jobs, spec, now, num_slots), controller, now)


def controller_of(store: Store, cohort: str, now: float) -> str | None:
    """Who is at work on the cohort; None also for a process of this machine that has died."""
    holder = store.lease_holder(cohort, now)
    return None if holder is None or is_gone(holder) else holder


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
