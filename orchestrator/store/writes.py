"""The one writer: a `Change` of a job becomes rows, whoever asked for it.

In: a connection within a writing transaction that has locked the job's cohort, the job as it was
read there, and what becomes of it. Out: changed rows of the job, its members and attempts, and the
events. A phase that `phases.TRANSITIONS` does not lead to is our own error: it raises
`AssertionError` and undoes the transaction. Used by `desired` (what people want) and `ledger` (what
the controller observes). Next on the path: `reads`.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Table,
    Update,
    bindparam,
    insert,
    select,
    update,
)

from orchestrator.moves import Change, Closed, Note
from orchestrator.phases import MEMBER_TRANSITIONS, TRANSITIONS, Phase
from orchestrator.state import Job, Member, MemberKey
from orchestrator.store.reads import JOB_FIELDS, MEMBER_FIELDS
from orchestrator.store.tables import attempts, cohorts, events, jobs, members

# Made once, as in `reads`. What they set is named by the values that come along.
_LOCK = select(cohorts.c.data).where(cohorts.c.name == bindparam("cohort")).with_for_update()
_CHANGE_JOB = update(jobs).where(
    (jobs.c.id == bindparam("its_id")) & (jobs.c.phase == bindparam("its_phase"))
)
_CHANGE_MEMBER = update(members).where(
    (members.c.job_id == bindparam("its_job"))
    & (members.c.idx == bindparam("its_idx"))
    & (members.c.phase == bindparam("its_phase"))
)
_OPEN_ATTEMPT = insert(attempts)
_CLOSE_ATTEMPT = update(attempts).where(
    (attempts.c.job_id == bindparam("its_job"))
    & (attempts.c.idx == bindparam("its_idx"))
    & (attempts.c.number == bindparam("its_number"))
    & attempts.c.ended_at.is_(None)
)
_ADD_EVENT = insert(events)


def lock_cohort(connection: Connection, cohort: str) -> str | None:
    """Waits until no other writer is in the cohort; returns its data record as JSON text.

    One writer at a time makes event ids visible in their order, so that whoever has seen one has
    seen all before it. None where there is no such cohort, and then nothing is locked.
    """
    data: str | None = connection.scalar(_LOCK, {"cohort": cohort})
    return data


def insert_missing(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Inserts the rows whose primary keys are not there yet."""
    connection.execute(_insert_missing(table, connection.dialect.name), rows)


@cache
def _insert_missing(table: Table, dialect: str) -> Insert:
    # Each database's own way to say it takes a while to import.
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).on_conflict_do_nothing()


def write(
    connection: Connection,
    before: Job,
    change: Change,
    at: float,
    job_columns: Mapping[str, Any] | None = None,
    attempt_columns: Mapping[str, Any] | None = None,
) -> Job:
    """Writes a change and returns the job afterwards; `at` is the time of its events.

    `job_columns` and `attempt_columns` are what only the store keeps: of the job, and of the
    attempt that is opened or closed.
    """
    after = change.job
    changed = _differing(before, after, JOB_FIELDS) | dict(job_columns or {})
    if changed:
        _update(connection, _CHANGE_JOB, {"its_id": before.id}, before, after, changed)
    for old, new in zip(before.members, after.members, strict=True):
        changed = _differing(old, new, MEMBER_FIELDS)
        if changed:
            its = {"its_job": old.key.job_id, "its_idx": old.key.index}
            _update(connection, _CHANGE_MEMBER, its, old, new, changed)
    if change.opened is not None:
        _open(connection, after.members[change.opened], attempt_columns or {})
    for closed in change.closed:
        _close(connection, after.members[closed.member], closed, attempt_columns or {})
    if change.notes:
        stands = (after.phase, after.reason)
        add_events(connection, after.cohort, after.id, change.notes, at, stands)
    return after


def add_events(
    connection: Connection,
    cohort: str,
    job_id: int,
    notes: Collection[Note],
    at: float,
    stands: tuple[Phase, str],
) -> None:
    """Appends events about a job and its members; `stands` is the job's phase and reason by now."""
    connection.execute(
        _ADD_EVENT,
        [
            {
                "cohort": cohort,
                "at": at,
                "job_id": job_id,
                "member": note.member,
                "kind": "Warning" if note.warning else "Normal",
                "reason": note.reason,
                "message": _storable(note.message),
                "job_phase": stands[0],
                "job_reason": stands[1],
            }
            for note in notes
        ],
    )


def of_member(table: Table, key: MemberKey) -> ColumnElement[bool]:
    """The rows of a member in a table that has its key."""
    return (table.c.job_id == key.job_id) & (table.c.idx == key.index)


def _update(
    connection: Connection,
    statement: Update,
    its: dict[str, int],
    old: Job | Member,
    new: Job | Member,
    changed: dict[str, Any],
) -> None:
    ways = TRANSITIONS if isinstance(new, Job) else MEMBER_TRANSITIONS
    allowed = new.phase == old.phase or new.phase in ways[old.phase]
    assert allowed, f"no way from {old.phase} to {new.phase} for {its}"
    if "message" in changed:
        changed["message"] = _storable(changed["message"])
    done = connection.execute(statement, {**its, "its_phase": old.phase, **changed})
    assert done.rowcount == 1, f"{its} is not {old.phase} any more"


def _open(connection: Connection, member: Member, columns: Mapping[str, Any]) -> None:
    row = {
        "job_id": member.key.job_id,
        "idx": member.key.index,
        "number": member.attempt,
        "slot": member.slot,
        "node": member.node,
        "started_at": member.started_at,
        "reason": member.reason,
        "message": "",
        "epoch": 0,
    }
    connection.execute(_OPEN_ATTEMPT, {**row, **columns})


def _close(
    connection: Connection, member: Member, closed: Closed, columns: Mapping[str, Any]
) -> None:
    its = {
        "its_job": member.key.job_id,
        "its_idx": member.key.index,
        "its_number": member.attempt,
    }
    changed = {
        "started_at": member.started_at,  # later, where it waited for its workers, or slept
        "ended_at": member.ended_at,
        "reason": closed.reason,
        "message": _storable(closed.message),
        "blame": closed.blame,
    }
    done = connection.execute(_CLOSE_ATTEMPT, {**its, **changed, **columns})
    assert done.rowcount == 1, f"attempt {member.attempt} of {member.key} is not open"


def _differing(old: Job | Member, new: Job | Member, names: Collection[str]) -> dict[str, Any]:
    return {name: getattr(new, name) for name in names if getattr(new, name) != getattr(old, name)}


def _storable(text: str) -> str:
    """The text without what PostgreSQL or UTF-8 cannot hold; exceptions may say anything."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
