"""The ledger: what a controller may write while it holds a cohort's lease.

In: what the controller decided or observed. Out: phases, attempts, epochs and events, each change
one transaction. Every transaction first checks that the lease is still this controller's (fencing):
one that was declared dead and comes back can't write over its successor.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from jobs.plan import EpochReport
from orchestrator.errors import LeaseLost, Refused
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import DataRecord, MemberKey
from orchestrator.store.database import Database
from orchestrator.store.tables import attempts, epochs, jobs, leases
from orchestrator.store.transitions import (
    JOB,
    add_event,
    cancel_waiting,
    close_attempt,
    job_phase,
    move_job,
    move_member,
    put_cohort,
    put_job,
    set_job,
    teams_on_other_data,
)
from orchestrator.store.values import JobResult, NewJob, Submitted, TrainedWeights


class Ledger:
    """Writing access to one cohort's state. Safe to share between threads.

    Every method raises `LeaseLost` where another controller has taken over, and `StoreError` where
    the database can't be reached.
    """

    def __init__(self, database: Database, cohort: str, token: int, ttl_s: float) -> None:
        self._database = database
        self._cohort = cohort
        self._token = token
        self._ttl_s = ttl_s

    def renew(self, now: float) -> None:
        """Pushes the lease's end into the future."""
        self._set_expiry(now + self._ttl_s)

    def release(self) -> None:
        """Gives the lease up at once, so that the next controller need not wait."""
        self._set_expiry(0)

    def submit(
        self, spec: dict[str, Any], data: DataRecord, new_jobs: Sequence[NewJob], at: float
    ) -> list[Submitted]:
        """Writes the cohort and its jobs: all of them or, on any error, none.

        A job that the team's newest revision equals is left as it is; another one becomes the next
        revision and supersedes an older one that has not ended. Raises `Refused` where teams would
        stay behind on other data: a cohort has one.
        """
        with self._writing() as connection:
            teams = {new.team for new in new_jobs}
            behind = teams_on_other_data(connection, self._cohort, data, teams)
            if behind:
                raise Refused(
                    f"cohort {self._cohort!r} was submitted with other data, and these of its "
                    f"teams are not among the files: {', '.join(behind)}. Submit all teams "
                    "again, or give the cohort another name."
                )
            put_cohort(connection, self._cohort, spec, data, at)
            return [put_job(connection, self._cohort, new, at) for new in new_jobs]

    def recover(self, at: float) -> int:
        """Queues again what an earlier controller left on its slots; returns how many members.

        Slots end with the controller that started them, so nothing of it can still be running.
        """
        with self._writing() as connection:
            query = (
                select(attempts.c.job_id, attempts.c.idx, attempts.c.number)
                .join(jobs, jobs.c.id == attempts.c.job_id)
                .where((jobs.c.cohort == self._cohort) & attempts.c.ended_at.is_(None))
            )
            open_attempts = connection.execute(query).all()
            for row in open_attempts:
                key = MemberKey(row.job_id, row.idx)
                message = "the controller ended"
                close_attempt(
                    connection, key, row.number, at, Reason.INTERRUPTED, message, Blame.CLUSTER
                )
                if job_phase(connection, row.job_id).terminal:
                    move_member(connection, key, Phase.CANCELLED, Reason.JOB_ENDED)
                else:
                    move_member(connection, key, Phase.PENDING, Reason.INTERRUPTED, message)
                add_event(connection, at, key, Reason.INTERRUPTED, message, warning=True)
        return len(open_attempts)

    def start(self, key: MemberKey, slot: str, node: str, at: float) -> int:
        """Opens the member's next attempt on a slot; returns the attempt's number, from 1."""
        with self._writing() as connection:
            number = 1 + (
                connection.scalar(
                    select(func.max(attempts.c.number)).where(
                        (attempts.c.job_id == key.job_id) & (attempts.c.idx == key.index)
                    )
                )
                or 0
            )
            move_member(connection, key, Phase.RUNNING, Reason.TRAINING)
            connection.execute(
                insert(attempts).values(
                    job_id=key.job_id,
                    idx=key.index,
                    number=number,
                    slot=slot,
                    node=node,
                    started_at=at,
                    reason=Reason.TRAINING,
                )
            )
            job = connection.execute(select(jobs).where(jobs.c.id == key.job_id)).one()
            if job.phase == Phase.PENDING:
                move_job(connection, key.job_id, Phase.RUNNING, Reason.TRAINING)
                if job.started_at is None:
                    set_job(connection, key.job_id, started_at=at)
            add_event(connection, at, key, Reason.TRAINING, f"attempt {number} started on {slot}")
        return number

    def record_epochs(self, reports: Sequence[tuple[MemberKey, int, EpochReport, float]]) -> None:
        """Stores epochs as (member, attempt, report, time); one that is there already is skipped.

        Skipping makes it safe to hand the same report over twice.
        """
        with self._writing() as connection:
            for key, attempt, report, at in reports:
                ids = {
                    "job_id": key.job_id,
                    "idx": key.index,
                    "attempt": attempt,
                    "epoch": report.epoch,
                }
                same = [epochs.c[name] == value for name, value in ids.items()]
                if connection.scalar(select(func.count()).select_from(epochs).where(*same)):
                    continue
                connection.execute(
                    insert(epochs).values(at=at, **ids, **report.model_dump(exclude={"epoch"}))
                )

    def succeed(
        self,
        key: MemberKey,
        attempt: int,
        trained: TrainedWeights,
        at: float,
        job_result: JobResult | None,
    ) -> None:
        """Closes an attempt with its weights; with a `job_result` the whole job succeeds."""
        with self._writing() as connection:
            close_attempt(
                connection, key, attempt, at, Reason.COMPLETED, "", None, **asdict(trained)
            )
            move_member(connection, key, Phase.SUCCEEDED, Reason.COMPLETED)
            add_event(connection, at, key, Reason.COMPLETED, f"attempt {attempt} trained")
            if job_result is not None:
                move_job(connection, key.job_id, Phase.SUCCEEDED, Reason.COMPLETED)
                stacker = job_result.stacker
                set_job(
                    connection,
                    key.job_id,
                    ended_at=at,
                    val_accuracy=job_result.val_accuracy,
                    val_accuracy_refit=job_result.val_accuracy_refit,
                    **(asdict(stacker) if stacker is not None else {}),
                )
                message = f"all members trained, validation accuracy {job_result.val_accuracy:.1%}"
                add_event(connection, at, MemberKey(key.job_id, JOB), Reason.COMPLETED, message)

    def requeue(
        self,
        key: MemberKey,
        attempt: int,
        reason: Reason,
        message: str,
        blame: Blame | None,
        at: float,
    ) -> None:
        """Closes an attempt that brought nothing and puts the member back into the queue."""
        with self._writing() as connection:
            close_attempt(connection, key, attempt, at, reason, message, blame)
            move_member(connection, key, Phase.PENDING, reason, message)
            add_event(connection, at, key, reason, f"{message}; queued again", warning=True)

    def fail(
        self,
        key: MemberKey,
        attempt: int,
        reason: Reason,
        message: str,
        blame: Blame,
        at: float,
    ) -> None:
        """Closes an attempt for good; its job fails with it, and its waiting members end."""
        with self._writing() as connection:
            close_attempt(connection, key, attempt, at, reason, message, blame)
            move_member(connection, key, Phase.FAILED, reason, message, blame)
            add_event(connection, at, key, reason, message, warning=True)
            if job_phase(connection, key.job_id).terminal:
                return
            text = f"member {key.index}: {message}"
            move_job(connection, key.job_id, Phase.FAILED, Reason.MEMBER_FAILED, text, blame)
            set_job(connection, key.job_id, ended_at=at)
            add_event(
                connection, at, MemberKey(key.job_id, JOB), Reason.MEMBER_FAILED, text, warning=True
            )
            cancel_waiting(connection, key.job_id)

    def stop(self, key: MemberKey, attempt: int, at: float) -> None:
        """Closes the attempt of a member that was stopped because its job is over."""
        with self._writing() as connection:
            message = "stopped because its job is over"
            close_attempt(connection, key, attempt, at, Reason.JOB_ENDED, message, None)
            move_member(connection, key, Phase.CANCELLED, Reason.JOB_ENDED, message)
            add_event(connection, at, key, Reason.JOB_ENDED, message)

    def _set_expiry(self, expires_at: float) -> None:
        with self._writing() as connection:
            connection.execute(
                update(leases).where(leases.c.cohort == self._cohort).values(expires_at=expires_at)
            )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database.writing() as connection:
            query = select(leases.c.token).where(leases.c.cohort == self._cohort)
            if connection.scalar(query.with_for_update()) != self._token:
                raise LeaseLost(f"another controller has taken over cohort {self._cohort!r}")
            yield connection
