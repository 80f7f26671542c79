"""What a measurement asks of its side cohort, apart from what other calls of it asked.

In: the store, and the names of the jobs that this call wants. Out: only these are run, and they are
known again afterwards. Used by `workflows`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import Refused
from orchestrator.state import Job, newest_revisions
from orchestrator.terminal.lookup import controller_of

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store


def set_others_aside(store: Store, cohort: str, wanted: Collection[str], now: float) -> None:
    """Holds back what an interrupted call left to do, and lets go on what is wanted of it.

    Where another call is at work, nothing of what it wants is held back.
    """
    at_work = controller_of(store, cohort) is not None
    for job in newest_revisions(store.jobs(cohort)):
        if job.team in wanted:
            if job.suspended and not job.phase.terminal:
                store.resume(cohort, job.team, now)
        elif job.wants_slots and not at_work:
            store.suspend(cohort, job.team, now)


def handed_in(store: Store, cohort: str, wanted: Collection[str]) -> list[Job]:
    """The newest jobs of the wanted names."""
    return [job for job in newest_revisions(store.jobs(cohort)) if job.team in wanted]


def check_same(before: Sequence[Job], after: Sequence[Job]) -> None:
    """Raises `Refused` where another call has handed in something else under the same names."""
    kept = {job.uid for job in after}
    others = sorted(job.team for job in before if job.uid not in kept)
    if others:
        raise Refused(
            f"another call has handed in something else meanwhile, as {', '.join(others)}; let it "
            "end, and run this again: what is the same is not trained twice"
        )
