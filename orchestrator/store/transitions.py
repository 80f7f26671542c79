"""The moves that the store's transactions are made of, each on the caller's connection.

In: a connection within a writing transaction. Out: changed rows; a move that
`phases.TRANSITIONS` does not know is our own error and raises `AssertionError`, undoing the
transaction. Used by `store` (submission) and `ledger` (everything the controller does).
"""

import json
import uuid
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, insert, select, update

from orchestrator.phases import TRANSITIONS, Blame, Phase, Reason
from orchestrator.state import DataRecord, MemberKey
from orchestrator.store.tables import attempts, cohorts, events, jobs, members
from orchestrator.store.values import NewJob, Submitted

JOB = -1
"""Stands for the job itself where a member's index is expected."""


def put_cohort(
    connection: Connection, name: str, spec: dict[str, Any], data: DataRecord, at: float
) -> None:
    """Writes a cohort, or brings the one of that name up to date."""
    values = {"spec": json.dumps(spec), "data": json.dumps(asdict(data)), "submitted_at": at}
    known = connection.scalar(select(cohorts.c.name).where(cohorts.c.name == name))
    if known is None:
        connection.execute(insert(cohorts).values(name=name, **values))
    else:
        connection.execute(update(cohorts).where(cohorts.c.name == name).values(**values))


def teams_on_other_data(
    connection: Connection, cohort: str, data: DataRecord, submitted: Collection[str]
) -> list[str]:
    """Teams of the cohort that are not submitted now and whose newest job is on other data."""
    query = select(jobs.c.team, jobs.c.data_fingerprint).where(jobs.c.cohort == cohort)
    newest = {row.team: row for row in connection.execute(query.order_by(jobs.c.revision))}
    return sorted(
        team
        for team, row in newest.items()
        if team not in submitted and row.data_fingerprint != data.fingerprint
    )


def put_job(connection: Connection, cohort: str, new: NewJob, at: float) -> Submitted:
    """Writes a job as the team's next revision, unless its newest revision equals it.

    One that failed by the cluster's fault is made again although nothing has changed.
    """
    mine = (jobs.c.cohort == cohort) & (jobs.c.team == new.team)
    older = connection.execute(select(jobs).where(mine).order_by(jobs.c.revision.desc())).first()
    priced = {"receipt": json.dumps(new.receipt), "spent_bnn": new.receipt["total_bnn"]}
    lost = older is not None and older.phase == Phase.FAILED and older.blame == Blame.CLUSTER
    if older is not None and older.digest == new.digest and not lost:
        # Another price or another comment in the file does not change what was trained.
        connection.execute(
            update(jobs).where(jobs.c.id == older.id).values(loadout=new.loadout, **priced)
        )
        return Submitted(new.team, older.revision, created=False)

    revision = 1 if older is None else older.revision + 1
    job_id = connection.execute(
        insert(jobs)
        .values(
            uid=uuid.uuid4().hex,
            cohort=cohort,
            team=new.team,
            revision=revision,
            digest=new.digest,
            data_fingerprint=new.plans[0].data.fingerprint,
            loadout=new.loadout,
            combine=new.combine,
            phase=Phase.PENDING,
            reason=Reason.QUEUED,
            submitted_at=at,
            **priced,
        )
        .returning(jobs.c.id)
    ).scalar_one()
    connection.execute(
        insert(members),
        [
            {
                "job_id": job_id,
                "idx": index,
                "plan": plan.model_dump_json(),
                "work": work,
                "epochs": plan.epochs,
                "phase": Phase.PENDING,
                "reason": Reason.QUEUED,
            }
            for index, (plan, work) in enumerate(zip(new.plans, new.work, strict=True))
        ],
    )
    add_event(
        connection, at, MemberKey(job_id, JOB), Reason.QUEUED, f"revision {revision} admitted"
    )
    if older is not None and not Phase(older.phase).terminal:
        text = f"revision {revision} was handed in"
        move_job(connection, older.id, Phase.SUPERSEDED, Reason.NEW_REVISION, text)
        set_job(connection, older.id, ended_at=at)
        add_event(connection, at, MemberKey(older.id, JOB), Reason.NEW_REVISION, text)
        cancel_waiting(connection, older.id)
    return Submitted(new.team, revision, created=True)


def move_job(
    connection: Connection,
    job_id: int,
    to: Phase,
    reason: Reason,
    message: str = "",
    blame: Blame | None = None,
) -> None:
    """Changes a job's phase."""
    _move(connection, jobs, jobs.c.id == job_id, to, reason, message, blame)


def move_member(
    connection: Connection,
    key: MemberKey,
    to: Phase,
    reason: Reason,
    message: str = "",
    blame: Blame | None = None,
) -> None:
    """Changes a member's phase."""
    _move(connection, members, _is(members, key), to, reason, message, blame)


def set_job(connection: Connection, job_id: int, **values: float | str | None) -> None:
    """Writes columns of a job that no rule guards."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def job_phase(connection: Connection, job_id: int) -> Phase:
    """The phase a job is in."""
    return Phase(connection.execute(select(jobs.c.phase).where(jobs.c.id == job_id)).scalar_one())


def cancel_waiting(connection: Connection, job_id: int) -> None:
    """Cancels the members of an ended job that are not on a slot."""
    connection.execute(
        update(members)
        .where((members.c.job_id == job_id) & (members.c.phase == Phase.PENDING))
        .values(phase=Phase.CANCELLED, reason=Reason.JOB_ENDED, message="")
    )


def close_attempt(
    connection: Connection,
    key: MemberKey,
    number: int,
    at: float,
    reason: Reason,
    message: str,
    blame: Blame | None,
    **trained: str,
) -> None:
    """Ends an attempt that is open; `trained` are the columns of its results, where it has some."""
    closed = connection.execute(
        update(attempts)
        .where(_is(attempts, key) & (attempts.c.number == number) & attempts.c.ended_at.is_(None))
        .values(ended_at=at, reason=reason, message=message, blame=blame, **trained)
    )
    assert closed.rowcount == 1, f"attempt {number} of {key} is not open"


def add_event(
    connection: Connection,
    at: float,
    key: MemberKey,
    reason: Reason,
    message: str,
    warning: bool = False,
) -> None:
    """Appends an event about a member, or about the job where the index is `JOB`."""
    connection.execute(
        insert(events).values(
            at=at,
            job_id=key.job_id,
            member=None if key.index == JOB else key.index,
            kind="Warning" if warning else "Normal",
            reason=reason,
            message=message,
        )
    )


def _is(table: Table, key: MemberKey) -> ColumnElement[bool]:
    return (table.c.job_id == key.job_id) & (table.c.idx == key.index)


def _move(
    connection: Connection,
    table: Table,
    where: ColumnElement[bool],
    to: Phase,
    reason: Reason,
    message: str,
    blame: Blame | None,
) -> None:
    allowed = [phase for phase, targets in TRANSITIONS.items() if to in targets]
    moved = connection.execute(
        update(table)
        .where(where & table.c.phase.in_(allowed))
        .values(phase=to, reason=reason, message=message, blame=blame)
    )
    assert moved.rowcount == 1, f"no move to {to} from the phase that {where} is in"
