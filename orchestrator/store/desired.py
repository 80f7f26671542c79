"""What people want of a cohort: submissions and operations, written without a lease.

In: a connection within a writing transaction. Out: new revisions, and jobs changed by the functions
of `orchestrator.operations`; the controller learns of both by their events and sees to the rest.
Used by `store`. Next on the path: `writes`.
"""

import difflib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from orchestrator import operations
from orchestrator.admission.yaml_nodes import parse
from orchestrator.console import encodable, shortened
from orchestrator.errors import NotFound, Refused, TeamsRefused
from orchestrator.moves import Change, Note
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import DEFAULT_PRIORITY, DataRecord, Job
from orchestrator.store.reads import SIDE, read_cohort, read_cohorts, read_job
from orchestrator.store.tables import cohorts, jobs, leases, members
from orchestrator.store.values import Altered, CheckStanding, NewJob, Standing, Submitted
from orchestrator.store.writes import add_events, insert_missing, lock_cohort, write

COUNTERS = ("team_failures", "cluster_failures", "safe_epoch", "attempt", "epoch")
"""Columns of a member that begin at 0."""


def submit(
    connection: Connection,
    cohort: str,
    spec: dict[str, Any],
    data: DataRecord,
    new_jobs: Sequence[NewJob],
    at: float,
    submissions_per_team: int | None,
    side: bool,
    check: CheckStanding | None,
) -> list[Submitted]:
    """Writes a cohort and its jobs; `Store.submit` says what that means and what it raises."""
    teams = {new.team for new in new_jobs}
    _put_cohort(connection, cohort, spec, asdict(data) | {SIDE: side}, teams, at, check)
    submitted = [_put_job(connection, cohort, new, at) for new in new_jobs]
    created = [each.team for each in submitted if each.created]
    if submissions_per_team is not None and created:
        _check_submissions(connection, cohort, created, submissions_per_team)
    return submitted


def alter(
    connection: Connection, cohort: str, team: str, operation: Callable[[Job], Change], at: float
) -> Altered:
    """Performs an operation for the team's newest revision.

    Raises `NotFound` where there is no such cohort or team, and what the operation raises.
    """
    if lock_cohort(connection, cohort) is None:
        raise no_cohort(connection, cohort)
    newest = (
        select(jobs.c.id)
        .where((jobs.c.cohort == cohort) & (jobs.c.team == team))
        .order_by(jobs.c.revision.desc())
        .limit(1)
    )
    job_id = connection.scalar(newest) if encodable(team) else None
    job = None if job_id is None else read_job(connection, job_id)
    if job is None:
        raise _no_team(connection, cohort, team)
    return Altered(job, write(connection, job, operation(job), at))


def no_cohort(connection: Connection, name: str) -> NotFound:
    """The error that says which cohorts there are."""
    names = [record.name for record in read_cohorts(connection)]
    there = f"there are: {', '.join(names)}" if names else "nothing was submitted yet"
    return NotFound(f"no cohort {name!r}; {there}")


def _no_team(connection: Connection, cohort: str, team: str) -> NotFound:
    teams = connection.scalars(select(jobs.c.team).where(jobs.c.cohort == cohort).distinct())
    near = difflib.get_close_matches(team, sorted(teams), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"see `gamectl get jobs --cohort {cohort}`"
    return NotFound(f"cohort {cohort!r} has no team {shortened(team)!r}; {hint}")


def _put_cohort(
    connection: Connection,
    name: str,
    spec: dict[str, Any],
    data: dict[str, Any],
    teams: set[str],
    at: float,
    check: CheckStanding | None,
) -> None:
    """Writes a cohort, or brings the one of that name up to date; locks it."""
    values = {"spec": json.dumps(spec), "data": json.dumps(data), "submitted_at": at}
    if lock_cohort(connection, name) is None:
        insert_missing(connection, cohorts, [{"name": name, **values}])
        lock_cohort(connection, name)  # perhaps another client's, who was faster
        # A controller that waits for the first submission found no cohort to lock. Its lease puts
        # us in an order: it sees our jobs before it ends, or we see that it has ended.
        connection.execute(
            select(leases.c.token).where(leases.c.cohort == name).with_for_update()
        ).all()
    known = read_cohort(connection, name)
    assert known is not None, f"cohort {name} was just locked"
    in_it = _data_by_team(connection, name)
    stay = {team: fingerprint for team, fingerprint in in_it.items() if team not in teams}
    if check is not None:
        check(Standing(known.spec, known.data, tuple(sorted(in_it)), tuple(sorted(stay))))
    if known.data.fingerprint != data["fingerprint"]:
        _check_same_data(name, data["fingerprint"], stay)
    elif not data["test_fingerprint"] and known.data.test_fingerprint:
        # Submitted again where the hidden part is not to be seen: it is the same as before.
        hidden = {"test_fingerprint": known.data.test_fingerprint}
        values["data"] = json.dumps(data | hidden)
    connection.execute(update(cohorts).where(cohorts.c.name == name).values(**values))


def _data_by_team(connection: Connection, cohort: str) -> dict[str, str]:
    """The fingerprints of the teams' data, as far as they were not withdrawn."""
    columns = (jobs.c.team, jobs.c.data_fingerprint, jobs.c.phase)
    query = select(*columns).where(jobs.c.cohort == cohort)
    newest = {row.team: row for row in connection.execute(query.order_by(jobs.c.revision))}
    return {
        team: row.data_fingerprint for team, row in newest.items() if row.phase != Phase.SUPERSEDED
    }


def _check_same_data(cohort: str, fingerprint: str, others: Mapping[str, str]) -> None:
    behind = sorted(team for team, known in others.items() if known != fingerprint)
    if behind:
        raise Refused(
            f"cohort {cohort!r} was submitted with other data, and these of its teams are not "
            f"among the files: {', '.join(behind)}. Submit all teams again, or give the cohort "
            "another name."
        )


def _put_job(connection: Connection, cohort: str, new: NewJob, at: float) -> Submitted:
    """Writes a job as the team's next revision, unless its newest revision equals it.

    One that failed by the cluster's fault is queued again, with what it has trained. One that was
    withdrawn is made again although nothing has changed.
    """
    older = connection.execute(
        select(jobs)
        .where((jobs.c.cohort == cohort) & (jobs.c.team == new.team))
        .order_by(jobs.c.revision.desc())
        .limit(1)
    ).one_or_none()
    # Another price or another comment in the file does not change what is trained.
    kept = {
        "loadout": new.loadout,
        "receipt": json.dumps(new.receipt),
        "spent_bnn": new.receipt["total_bnn"],
    }
    # What the organizer said of the team holds for its next revision, too.
    wanted = {
        "priority": DEFAULT_PRIORITY if older is None else older.priority,
        "suspended": older is not None and older.suspended and not Phase(older.phase).terminal,
    }
    if older is not None and _is_the_same(connection, older, new):
        # What succeeded stays as it was judged and shown; a retry asks for what is wanted now.
        values = kept | {"min_members": new.min_members}
        over = Phase(older.phase).terminal
        changed = older.phase != Phase.SUCCEEDED and older.min_members != new.min_members
        lost = older.phase == Phase.FAILED and older.blame == Blame.CLUSTER
        if not over or changed or lost:
            connection.execute(update(jobs).where(jobs.c.id == older.id).values(**values))
        if lost:
            before = read_job(connection, older.id)
            assert before is not None, f"job {older.id} was just read"
            write(connection, before, operations.retried(before, at, "handed in again"), at)
            return Submitted(new.team, older.revision, created=False, retried=True)
        needs = new.min_members if over and changed else None
        return Submitted(new.team, older.revision, created=False, retry_needs=needs)
    revision = 1 if older is None else older.revision + 1
    _insert_job(connection, cohort, new, revision, at, kept | wanted)
    if older is not None and not Phase(older.phase).terminal:
        before = read_job(connection, older.id)
        assert before is not None, f"job {older.id} was just read"
        write(connection, before, operations.superseded(before, revision, at), at)
    return Submitted(
        new.team,
        revision,
        created=True,
        was_withdrawn=older is not None and older.phase == Phase.SUPERSEDED,
        suspended=bool(wanted["suspended"]),
    )


def _is_the_same(connection: Connection, older: Row[Any], new: NewJob) -> bool:
    """Whether a team's newest job is what it hands in, and can still become what it wants."""
    if older.digest != new.digest or older.phase == Phase.SUPERSEDED:
        return False
    if Phase(older.phase).terminal:
        return True
    its_members = members.c.job_id == older.id
    query = select(func.count()).where(its_members & (members.c.phase != Phase.FAILED))
    return connection.execute(query).scalar_one() >= new.min_members


def _insert_job(
    connection: Connection,
    cohort: str,
    new: NewJob,
    revision: int,
    at: float,
    kept: dict[str, Any],
) -> None:
    reason = Reason.SUSPENDED if kept["suspended"] else Reason.QUEUED
    row = {
        "uid": uuid.uuid4().hex,
        "cohort": cohort,
        "team": new.team,
        "min_members": new.min_members,
        "revision": revision,
        "digest": new.digest,
        "data_fingerprint": new.plans[0].data.fingerprint,
        "combine": new.combine,
        "phase": Phase.PENDING,
        "reason": reason,
        "message": "",
        "submitted_at": at,
        "queued_at": at,
        "active_seconds": 0.0,
        "slot_seconds": 0.0,
        **kept,
    }
    job_id = connection.scalars(insert(jobs).returning(jobs.c.id), row).one()
    each = zip(new.plans, new.work, new.kinds, strict=True)
    rows = [
        {
            "job_id": job_id,
            "idx": index,
            "plan": plan.model_dump_json(),
            "work": work,
            "kind": kind,
            "epochs": plan.epochs,
            "phase": Phase.PENDING,
            "reason": reason,
            "message": "",
            **dict.fromkeys(COUNTERS, 0),
        }
        for index, (plan, work, kind) in enumerate(each)
    ]
    connection.execute(insert(members), rows)
    note = Note(None, Reason.QUEUED, f"revision {revision} admitted")
    add_events(connection, cohort, job_id, (note,), at, (Phase.PENDING, reason))


def _check_submissions(connection: Connection, cohort: str, teams: list[str], limit: int) -> None:
    """Refuses teams that, with the revisions just written, have handed in more than they may."""
    counted = (jobs.c.phase != Phase.FAILED) | (jobs.c.blame != Blame.CLUSTER)
    counted &= jobs.c.reason != Reason.WITHDRAWN
    wanted = (jobs.c.cohort == cohort) & jobs.c.team.in_(teams) & counted
    query = select(jobs.c.id, jobs.c.team, jobs.c.loadout).where(wanted).order_by(jobs.c.revision)
    numbers: Counter[str] = Counter()
    before: dict[str, str] = {}
    for row in connection.execute(query):
        # The same again: the organizer has changed rules or data, and the team nothing.
        decided = _decided(connection, row.id, row.loadout)
        numbers[row.team] += decided != before.get(row.team)
        before[row.team] = decided
    used_up = {
        team: f"team {team!r} has handed in {number - 1} "
        f"revision{'s' if number > 2 else ''}, cohort {cohort!r} allows {limit} "
        "(limits.submissionsPerTeam)"
        for team, number in sorted(numbers.items())
        if number > limit
    }
    if used_up:
        why = "revisions that failed by the cluster's fault, or were withdrawn, are not counted"
        raise TeamsRefused("; ".join(["\n".join(used_up.values()), why]), used_up)


def _decided(connection: Connection, job_id: int, loadout: str) -> str:
    """What a team has decided of a job: its loadout without comments, and its own code."""
    plans = connection.scalars(select(members.c.plan).where(members.c.job_id == job_id))
    codes = sorted({str(json.loads(plan).get("custom")) for plan in plans})
    return json.dumps([parse(loadout).root, codes], sort_keys=True, default=str)
