"""Reading the store: rows in, values of `orchestrator.state` out.

In: an open connection. Out: jobs with their members, newest attempts and last epochs. Every
function reads within the caller's transaction, so that what it returns is one moment's state.
Next on the path: `store`, which wraps these.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, select

from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import CohortRecord, DataRecord, Event, Job, Member, MemberKey
from orchestrator.store.tables import attempts, cohorts, epochs, events, jobs, members


def read_cohort(connection: Connection, name: str) -> CohortRecord | None:
    """The cohort of that name, or None."""
    row = connection.execute(select(cohorts).where(cohorts.c.name == name)).one_or_none()
    return None if row is None else _cohort(row)


def read_cohorts(connection: Connection) -> list[CohortRecord]:
    """All cohorts, the one submitted last first."""
    rows = connection.execute(select(cohorts).order_by(cohorts.c.submitted_at.desc()))
    return [_cohort(row) for row in rows]


def read_jobs(connection: Connection, cohort: str) -> tuple[Job, ...]:
    """All revisions of all teams of a cohort, in order of submission."""
    in_cohort = jobs.c.cohort == cohort
    tries: dict[MemberKey, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(
        select(attempts)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(in_cohort)
        .order_by(attempts.c.number)
    ):
        tries[MemberKey(row.job_id, row.idx)].append(row)

    newest = (
        select(epochs.c.job_id, epochs.c.idx, epochs.c.attempt, func.max(epochs.c.epoch).label("e"))
        .join(jobs, jobs.c.id == epochs.c.job_id)
        .where(in_cohort)
        .group_by(epochs.c.job_id, epochs.c.idx, epochs.c.attempt)
        .subquery()
    )
    progress = {
        (row.job_id, row.idx, row.attempt): (row.epoch, row.val_accuracy)
        for row in connection.execute(
            select(epochs).join(
                newest,
                (epochs.c.job_id == newest.c.job_id)
                & (epochs.c.idx == newest.c.idx)
                & (epochs.c.attempt == newest.c.attempt)
                & (epochs.c.epoch == newest.c.e),
            )
        )
    }

    by_job: dict[int, list[Member]] = defaultdict(list)
    for row in connection.execute(
        select(members)
        .join(jobs, jobs.c.id == members.c.job_id)
        .where(in_cohort)
        .order_by(members.c.job_id, members.c.idx)
    ):
        key = MemberKey(row.job_id, row.idx)
        by_job[row.job_id].append(_member(row, key, tries[key], progress))

    return tuple(
        _job(row, by_job[row.id], (attempt for m in by_job[row.id] for attempt in tries[m.key]))
        for row in connection.execute(select(jobs).where(in_cohort).order_by(jobs.c.id))
    )


def read_events(connection: Connection, cohort: str, after_id: int = 0) -> list[Event]:
    """The events of a cohort with a higher id than `after_id`, oldest first."""
    rows = connection.execute(
        select(events, jobs.c.team, jobs.c.revision)
        .join(jobs, jobs.c.id == events.c.job_id)
        .where((jobs.c.cohort == cohort) & (events.c.id > after_id))
        .order_by(events.c.id)
    )
    return [
        Event(
            id=row.id,
            at=row.at,
            kind=row.kind,
            team=row.team,
            revision=row.revision,
            member=row.member,
            reason=row.reason,
            message=row.message,
        )
        for row in rows
    ]


def _cohort(row: Row[Any]) -> CohortRecord:
    data = json.loads(row.data)
    return CohortRecord(
        name=row.name,
        spec=json.loads(row.spec),
        data=DataRecord(
            source=data["source"],
            fingerprint=data["fingerprint"],
            test_fingerprint=data["test_fingerprint"],
            classes=tuple(data["classes"]),
        ),
        submitted_at=row.submitted_at,
    )


def _member(
    row: Row[Any],
    key: MemberKey,
    tries: list[Row[Any]],
    progress: dict[tuple[int, int, int], tuple[int, float]],
) -> Member:
    last = tries[-1] if tries else None
    epoch, val_accuracy = 0, None
    if last is not None:
        epoch, val_accuracy = progress.get((key.job_id, key.index, last.number), (0, None))
    # An attempt that only the controller's end cut short is nobody's failure.
    blames = [t.blame for t in tries if t.reason != Reason.INTERRUPTED]
    return Member(
        key=key,
        phase=Phase(row.phase),
        reason=row.reason,
        message=row.message,
        blame=Blame(row.blame) if row.blame else None,
        work=row.work,
        attempt=last.number if last is not None else 0,
        team_failures=blames.count(Blame.TEAM),
        cluster_failures=blames.count(Blame.CLUSTER),
        slot=last.slot if last is not None else None,
        node=last.node if last is not None else None,
        started_at=last.started_at if last is not None else None,
        ended_at=last.ended_at if last is not None else None,
        epoch=epoch,
        epochs=row.epochs,
        val_accuracy=val_accuracy,
    )


def _job(row: Row[Any], its_members: list[Member], tries: Iterable[Row[Any]]) -> Job:
    return Job(
        id=row.id,
        uid=row.uid,
        cohort=row.cohort,
        team=row.team,
        revision=row.revision,
        phase=Phase(row.phase),
        reason=row.reason,
        message=row.message,
        blame=Blame(row.blame) if row.blame else None,
        combine=row.combine,
        spent_bnn=row.spent_bnn,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        val_accuracy=row.val_accuracy,
        val_accuracy_refit=row.val_accuracy_refit,
        slot_seconds=sum(t.ended_at - t.started_at for t in tries if t.ended_at is not None),
        members=tuple(its_members),
    )
