"""Reading the store: rows in, values of `orchestrator.state` out.

In: an open connection. Out: jobs with their members, events, attempts. Columns are named as the
fields of the values that they become. Every function reads within the caller's transaction, so that
what it returns is one moment's state. Next on the path: `store`, which wraps these.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Table,
    bindparam,
    func,
    select,
)

from jobs.plan import EpochReport
from orchestrator.console import encodable
from orchestrator.phases import Blame, Phase
from orchestrator.state import Attempt, CohortRecord, DataRecord, Event, Job, Member, MemberKey
from orchestrator.store.tables import attempts, cohorts, epochs, events, jobs, members
from orchestrator.store.values import Changes

JOB_FIELDS = tuple(field.name for field in fields(Job) if field.name != "members")
MEMBER_FIELDS = tuple(field.name for field in fields(Member) if field.name != "key")
ATTEMPT_FIELDS = tuple(field.name for field in fields(Attempt) if field.name != "key")
IDS_A_QUERY = 500
SIDE = "side"
"""Kept beside the data of a cohort, and not among its rules, which a file sets; older stores have
none."""


def _columns(table: Table, names: Iterable[str]) -> list[Column[Any]]:
    return [table.c[name] for name in names]


_JOBS = select(*_columns(jobs, JOB_FIELDS)).order_by(jobs.c.id)
_MEMBERS = select(*_columns(members, ("job_id", "idx", *MEMBER_FIELDS))).order_by(
    members.c.job_id, members.c.idx
)
_ATTEMPTS = select(*_columns(attempts, ("job_id", "idx", *ATTEMPT_FIELDS))).order_by(
    attempts.c.idx, attempts.c.number
)

# Made once: making a statement takes as long as executing it, and a controller does so all day.
_MEMBERS_OF = _MEMBERS.where(members.c.job_id == bindparam("job_id"))
_JOB = _JOBS.where(jobs.c.id == bindparam("job_id"))
_SPEC = select(cohorts.c.spec).where(cohorts.c.name == bindparam("cohort"))
_LAST_EVENT = select(func.max(events.c.id)).where(events.c.cohort == bindparam("cohort"))
_EVENTS_AFTER = (
    select(events.c.id, events.c.job_id)
    .where((events.c.cohort == bindparam("cohort")) & (events.c.id > bindparam("after")))
    .order_by(events.c.id)
)

_HISTORY = (
    select(epochs)
    .where(
        (epochs.c.job_id == bindparam("job_id"))
        & (epochs.c.idx == bindparam("idx"))
        & (epochs.c.epoch > bindparam("after"))
    )
    .order_by(epochs.c.epoch, epochs.c.attempt)
)
_EPOCHS = _HISTORY.where(epochs.c.attempt == bindparam("attempt"))


def read_cohort(connection: Connection, name: str) -> CohortRecord | None:
    """The cohort of that name, or None."""
    if not encodable(name):  # no database takes it, not even to compare
        return None
    row = connection.execute(select(cohorts).where(cohorts.c.name == name)).one_or_none()
    return None if row is None else _cohort(row)


def read_cohorts(connection: Connection) -> list[CohortRecord]:
    """All cohorts, the one submitted last first."""
    rows = connection.execute(select(cohorts).order_by(cohorts.c.submitted_at.desc()))
    return [_cohort(row) for row in rows]


def read_is_left(connection: Connection, cohort: str) -> bool:
    """Whether a controller would find something to do, as `Job.is_left` says of one job."""
    live = jobs.c.phase.in_([phase for phase in Phase if not phase.terminal])
    wanted = jobs.c.suspended.is_(False) | (jobs.c.phase == Phase.RUNNING)
    left = (jobs.c.cohort == cohort) & live & wanted
    return connection.execute(select(jobs.c.id).where(left).limit(1)).first() is not None


def read_retries(connection: Connection, cohort: str) -> dict[Blame, int]:
    """How many attempts failed and were followed by another, by blame."""
    query = (
        select(attempts.c.blame, func.count())
        .join(members, (members.c.job_id == attempts.c.job_id) & (members.c.idx == attempts.c.idx))
        .join(jobs, jobs.c.id == members.c.job_id)
        .where((jobs.c.cohort == cohort) & (attempts.c.number < members.c.attempt))
        .where(attempts.c.blame.is_not(None))
        .group_by(attempts.c.blame)
    )
    return {Blame(blame): count for blame, count in connection.execute(query)}


def read_jobs(connection: Connection, cohort: str) -> tuple[Job, ...]:
    """All revisions of all teams of a cohort, in order of submission."""
    of_jobs = _MEMBERS.join(jobs, jobs.c.id == members.c.job_id).where(jobs.c.cohort == cohort)
    return _jobs(connection, jobs.c.cohort == cohort, connection.execute(of_jobs))


def read_job(connection: Connection, job_id: int) -> Job | None:
    """The job of that id, or None."""
    one = {"job_id": job_id}
    row = connection.execute(_JOB, one).one_or_none()
    return None if row is None else _job(row, connection.execute(_MEMBERS_OF, one))


def read_jobs_by_id(connection: Connection, ids: Collection[int]) -> tuple[Job, ...]:
    """These jobs, in order of submission; an id that is no job's is left out."""
    in_order = sorted(set(ids))
    found: list[Job] = []
    for start in range(0, len(in_order), IDS_A_QUERY):
        some = in_order[start : start + IDS_A_QUERY]
        rows = connection.execute(_MEMBERS.where(members.c.job_id.in_(some)))
        found += _jobs(connection, jobs.c.id.in_(some), rows)
    return tuple(found)


def read_changes(
    connection: Connection, cohort: str, after: int, also: Collection[int] = ()
) -> Changes:
    """The jobs with an event newer than `after`, and those of `also` whatever happened to them.

    After 0 it is the whole cohort.
    """
    spec = connection.scalar(_SPEC, {"cohort": cohort}) or ""
    if after <= 0:
        last = connection.scalar(_LAST_EVENT, {"cohort": cohort})
        return Changes(last or 0, read_jobs(connection, cohort), spec)
    rows = connection.execute(_EVENTS_AFTER, {"cohort": cohort, "after": after}).all()
    changed = {row.job_id for row in rows}.union(also)
    return Changes(rows[-1].id if rows else after, read_jobs_by_id(connection, changed), spec)


def read_events(
    connection: Connection, cohort: str, after_id: int = 0, team: str | None = None
) -> list[Event]:
    """The events with a higher id than `after_id`, oldest first."""
    query = (
        select(events, jobs.c.team, jobs.c.revision)
        .join(jobs, jobs.c.id == events.c.job_id)
        .where((events.c.cohort == cohort) & (events.c.id > after_id))
        .order_by(events.c.id)
    )
    if team is not None:
        query = query.where(jobs.c.team == team)
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
            job_phase=Phase(row.job_phase) if row.job_phase else None,
            job_reason=row.job_reason or "",
        )
        for row in connection.execute(query)
    ]


def read_attempts(connection: Connection, job_id: int) -> tuple[Attempt, ...]:
    """A job's attempts, by member and number."""
    return tuple(
        Attempt(key=MemberKey(row[0], row[1]), **_values(ATTEMPT_FIELDS, row[2:]))
        for row in connection.execute(_ATTEMPTS.where(attempts.c.job_id == job_id))
    )


def read_epochs(
    connection: Connection, key: MemberKey, attempt: int, after: int
) -> list[tuple[float, EpochReport]]:
    """An attempt's epochs later than `after`, each with the time it was reported."""
    its = {"job_id": key.job_id, "idx": key.index, "attempt": attempt, "after": after}
    return [_epoch(row) for row in connection.execute(_EPOCHS, its).mappings()]


def read_history(
    connection: Connection, key: MemberKey, after: int
) -> list[tuple[float, EpochReport]]:
    """A member's epochs later than `after`, each as the newest attempt told it that did."""
    its = {"job_id": key.job_id, "idx": key.index, "after": after}
    rows = connection.execute(_HISTORY, its).mappings().all()
    return [_epoch(row) for row in {row["epoch"]: row for row in rows}.values()]


def read_measured(connection: Connection, limit: int) -> tuple[Member, ...]:
    """The members of all cohorts that ended last and whose epochs were measured, newest first.

    Members of the previous release have no kind, and their work was counted in another unit.
    """
    ended = members.c.phase.in_([phase for phase in Phase if phase.terminal])
    query = (
        _MEMBERS.where(
            members.c.ended_at.is_not(None)
            & members.c.epoch_seconds.is_not(None)
            & (members.c.kind != "")
            & ended
        )
        .order_by(None)
        .order_by(members.c.ended_at.desc())
        .limit(limit)
    )
    return tuple(_member(row) for row in connection.execute(query))


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
        side=data.get(SIDE, False),
    )


def _jobs(
    connection: Connection, where: ColumnElement[bool], member_rows: Iterable[Sequence[Any]]
) -> tuple[Job, ...]:
    by_job: dict[int, list[Sequence[Any]]] = defaultdict(list)
    for row in member_rows:
        by_job[row[0]].append(row)
    return tuple(_job(row, by_job[row[0]]) for row in connection.execute(_JOBS.where(where)))


def _job(row: Sequence[Any], member_rows: Iterable[Sequence[Any]]) -> Job:
    return Job(**_values(JOB_FIELDS, row), members=tuple(map(_member, member_rows)))


def _member(row: Sequence[Any]) -> Member:
    return Member(key=MemberKey(row[0], row[1]), **_values(MEMBER_FIELDS, row[2:]))


def _values(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """What a dataclass with these fields is made of, from columns in the same order."""
    values = dict(zip(names, row, strict=True))
    if "phase" in values:
        values["phase"] = Phase(values["phase"])
    if values["blame"] is not None:
        values["blame"] = Blame(values["blame"])
    return values


def _epoch(row: RowMapping) -> tuple[float, EpochReport]:
    return row["at"], EpochReport(**{name: row[name] for name in EpochReport.model_fields})
