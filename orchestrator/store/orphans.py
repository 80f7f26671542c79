"""Attempts that were left open: their controller has ended, and with it all of its slots.

In: a connection within a writing transaction that has locked the cohort. Out: their members queued
again. Used where a lease changes hands, in the same transaction, and by the `ledger` for slots that
its own controller has lost. Next on the path: `writes`.
"""

from sqlalchemy import Connection, Select, select

from orchestrator import lifecycle
from orchestrator.phases import Phase
from orchestrator.state import Job
from orchestrator.store.reads import read_jobs_by_id
from orchestrator.store.tables import jobs, members
from orchestrator.store.writes import write


def on_slots_of(cohort: str) -> Select[int]:
    """The query for the job ids of members with an open attempt, one row a member."""
    return (
        select(members.c.job_id)
        .join(jobs, jobs.c.id == members.c.job_id)
        .where((jobs.c.cohort == cohort) & (members.c.phase == Phase.RUNNING))
    )


def requeue_orphans(
    connection: Connection, cohort: str, at: float, left_at: float | None = None
) -> int:
    """Queues again what a controller had on its slots; returns how many members.

    Time without a controller is nobody's: the attempts of one that was seen for the last time at
    `left_at` end then; None where it is alive, and knows.
    """
    begun = (jobs.c.cohort == cohort) & (jobs.c.phase == Phase.RUNNING)
    on_slots = list(connection.scalars(on_slots_of(cohort)))
    running = connection.scalars(select(jobs.c.id).where(begun))
    for job in read_jobs_by_id(connection, sorted({*on_slots, *running})):
        change = lifecycle.interrupted(job, _end_of_attempts(job, at, left_at))
        if change.job != job:
            write(connection, job, change, at)
    return len(on_slots)


def _end_of_attempts(job: Job, at: float, left_at: float | None) -> float:
    """When the attempts that were left open ended, as far as anybody knows."""
    running = [m.started_at or 0.0 for m in job.members if m.phase is Phase.RUNNING]
    return max([at if left_at is None else min(left_at, at), *running])
