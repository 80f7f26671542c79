"""The ledger: what a controller may write while it holds a cohort's lease.

In: what the controller did or observed. Out: each change, made by the functions of
`orchestrator.lifecycle`, as one transaction. Every transaction first checks that the lease is still
this controller's (fencing): one that was declared dead and comes back can't write over its
successor. Next on the path: `writes`.

What clients ask for meets what slots tell in the database, in the order of the transactions. What
comes too late changes nothing: of an attempt that is closed, of a job that is over.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from orchestrator import lifecycle
from orchestrator.admission.cohort import Retry
from orchestrator.errors import LeaseLost
from orchestrator.moves import Change, with_member
from orchestrator.phases import Phase
from orchestrator.state import EpochOfAttempt, Fault, Job, MemberKey
from orchestrator.store.database import Database
from orchestrator.store.orphans import on_slots_of, requeue_orphans
from orchestrator.store.progress import add_epochs, put_epochs
from orchestrator.store.reads import read_is_left, read_job, read_jobs_by_id
from orchestrator.store.tables import leases
from orchestrator.store.values import JobResult, TrainedWeights
from orchestrator.store.writes import lock_cohort, write

_LEASE = (
    select(leases.c.token, leases.c.expires_at)
    .where(leases.c.cohort == bindparam("cohort"))
    .with_for_update()
)


class Ledger:
    """Writing access to one cohort's state. Safe to share between threads.

    Every method raises `LeaseLost` where another controller has taken over, and otherwise what a
    `Store`'s methods raise; then nothing was written, unless the connection broke during the
    commit itself. Saying it again does no harm, but for `start`: read the job first. Those that
    return a `Job` return it as it is afterwards. Made by `Store.acquire`.
    """

    def __init__(
        self,
        database: Database,
        cohort: str,
        token: int,
        ttl_s: float,
    ) -> None:
        self._database = database
        self._cohort = cohort
        self._token = token
        self._ttl_s = ttl_s

    # --- the lease -------------------------------------------------------------------------------

    def renew(self, now: float) -> None:
        """Pushes the lease's end into the future; does nothing once it was given up."""
        with self._database.writing() as connection:
            if self._holds_lease(connection):
                self._set_lease(connection, expires_at=now + self._ttl_s, renewed_at=now)

    def tell_slots(self, num_slots: int | None) -> None:
        """Tells everybody how many members the cluster trains at a time; None: it was lost."""
        with self._database.writing() as connection:
            if self._holds_lease(connection):
                self._set_lease(connection, slots=num_slots)

    def check(self) -> None:
        """Raises `LeaseLost` where another controller has taken over."""
        query = select(leases.c.token).where(leases.c.cohort == self._cohort)
        with self._database.reading() as connection:
            if connection.scalar(query) != self._token:
                raise LeaseLost(f"another controller has taken over cohort {self._cohort!r}")

    def release(self) -> None:
        """Gives the lease up at once, so that the next controller need not wait.

        Afterwards everything but `renew` and `release` raises `LeaseLost`.
        """
        with self._database.writing() as connection:
            if self._holds_lease(connection):
                self._set_lease(connection, expires_at=0)

    def release_if_done(self) -> bool:
        """Gives the lease up, as `release` does, unless something is left to do; says whether.

        What is left: a job that is neither over nor suspended, or an attempt that is still open. A
        client who submits is ordered before or after it: before, and the answer is False; after,
        and the client sees that no controller is at work.
        """
        with self._database.writing() as connection:
            lock_cohort(connection, self._cohort)
            # It was given up already where the store could not say how the first try had ended.
            held = self._holds_lease(connection)
            on_slots = connection.execute(on_slots_of(self._cohort).limit(1)).first()
            done = on_slots is None and not read_is_left(connection, self._cohort)
            if held and done:
                self._set_lease(connection, expires_at=0)
        if not held and not done:
            raise LeaseLost(f"the lease of cohort {self._cohort!r} was given up")
        return done

    # --- what slots tell -------------------------------------------------------------------------

    def start(self, key: MemberKey, slot: str, node: str, at: float) -> Job:
        """Opens the member's next attempt on a slot; its number is the member's `attempt`.

        Where a client has just cancelled or suspended the job nothing is opened: then the member
        that comes back is not Running, and must not be started.
        """
        with self._writing() as connection:
            job = _job(connection, key.job_id)
            member = job.members[key.index]
            assert member.phase is not Phase.RUNNING, f"{key} is on a slot already"
            if job.phase.terminal or job.suspended or member.phase is not Phase.PENDING:
                return job
            change = lifecycle.started(job, key.index, slot, node, at)
            return write(connection, job, change, at)

    def record_epochs(self, reports: Sequence[EpochOfAttempt]) -> None:
        """Stores epochs as (member, attempt, report, time); one that is there already is skipped.

        Skipping makes it safe to hand the same report over twice. An attempt that goes on from a
        checkpoint hands over its whole history, under its own number.
        """
        with self._writing() as connection:
            put_epochs(connection, reports)

    def succeed(
        self,
        key: MemberKey,
        attempt: int,
        trained: TrainedWeights,
        at: float,
        reports: Sequence[EpochOfAttempt] = (),
    ) -> Job:
        """An attempt came to its last epoch; its results lie where `trained` says.

        `reports` are its last epochs, as `record_epochs` takes them: one transaction has them all.
        """
        return self._close(
            key,
            attempt,
            lambda job: lifecycle.trained(job, key.index, at),
            at,
            reports,
            **asdict(trained),
        )

    def fail(self, key: MemberKey, attempt: int, fault: Fault, retry: Retry, at: float) -> Job:
        """An attempt ended without a result: the member waits for the next, or its job fails."""
        return self._close(
            key, attempt, lambda job: lifecycle.failed(job, key.index, fault, retry, at), at
        )

    def halt(self, key: MemberKey, attempt: int, at: float) -> Job:
        """An attempt was stopped because the controller asked for it."""
        return self._close(key, attempt, lambda job: lifecycle.halted(job, key.index, at), at)

    # --- what the controller finds ---------------------------------------------------------------

    def finish(self, job_id: int, result: JobResult, at: float) -> Job:
        """The members that were trained are combined: the job succeeds, unless it is over."""
        with self._writing() as connection:
            job = _job(connection, job_id)
            if not lifecycle.ready_to_finish(job):
                return job
            change = lifecycle.finished(job, result.val_accuracy, result.val_accuracy_refit, at)
            columns = asdict(result.stacker) if result.stacker is not None else {}
            return write(connection, job, change, at, job_columns=columns)

    def train_again(self, key: MemberKey, message: str, retry: Retry, at: float) -> Job:
        """A trained member's results are gone: queues it again, or gives the job up."""
        with self._writing() as connection:
            job = _job(connection, key.job_id)
            member = job.members[key.index]
            if job.phase.terminal or member.phase is not Phase.SUCCEEDED:
                return job
            change = lifecycle.results_lost(job, key.index, message, retry, at)
            return write(connection, job, change, at)

    def gate(self, job_id: int, gated: bool, at: float) -> Job:
        """Tells everybody whether a job that waits is gated; one that does not stays as it is."""
        with self._writing() as connection:
            job = _job(connection, job_id)
            change = lifecycle.gated(job) if gated else lifecycle.ungated(job)
            return job if change.job == job else write(connection, job, change, at)

    def give_up(self, job_id: int, fault: Fault, at: float) -> Job:
        """The job as a whole cannot go on; a job that is over stays as it is."""
        with self._writing() as connection:
            job = _job(connection, job_id)
            if job.phase.terminal:
                return job
            return write(connection, job, lifecycle.given_up(job, fault, at), at)

    def stood_still(self, before: Mapping[int, Job], seconds: float) -> tuple[Job, ...]:
        """Counts running time from so much later on, of jobs as they were known, by id.

        Returns them as they are then. What is on no slot any more stays as it is.
        """
        with self._writing() as connection:
            return tuple(
                write(connection, job, lifecycle.stood_still(job, before[job.id], seconds), at=0.0)
                for job in read_jobs_by_id(connection, before)
            )

    def waited(
        self, until: Mapping[MemberKey, float], waiting: Container[MemberKey]
    ) -> tuple[Job, ...]:
        """Counts no time in which members waited for their workers; returns their jobs.

        `until` says until when each waited, `waiting` who still does.
        """
        with self._writing() as connection:
            return tuple(
                write(connection, job, lifecycle.waited(job, until, waiting), at=0.0)
                for job in read_jobs_by_id(connection, {key.job_id for key in until})
            )

    def recover(self, at: float) -> int:
        """Queues again what this controller had on slots that are gone; returns how many members.

        What the one before left was queued again when this one took the lease.
        """
        with self._writing() as connection:
            return requeue_orphans(connection, self._cohort, at)

    # --- underneath ------------------------------------------------------------------------------

    def _close(
        self,
        key: MemberKey,
        attempt: int,
        happened: Callable[[Job], Change],
        at: float,
        reports: Sequence[EpochOfAttempt] = (),
        **columns: Any,
    ) -> Job:
        """Writes what ended an attempt, with its last epochs, unless it has ended already."""
        with self._writing() as connection:
            job = told = _job(connection, key.job_id)
            member = job.members[key.index]
            if member.phase is not Phase.RUNNING or member.attempt != attempt:
                return job
            if reports:  # told with the end, in the same rows
                changed = add_epochs(connection, reports)
                told = with_member(job, replace(member, **changed))
                columns["epoch"] = changed["epoch"]
            return write(connection, job, happened(told), at, attempt_columns=columns)

    def _set_lease(self, connection: Connection, **values: float | None) -> None:
        connection.execute(update(leases).where(leases.c.cohort == self._cohort).values(**values))

    def _holds_lease(self, connection: Connection) -> bool:
        """Whether the lease was not given up; raises `LeaseLost` where somebody else has it."""
        row = connection.execute(_LEASE, {"cohort": self._cohort}).one_or_none()
        if row is None or row.token != self._token:
            raise LeaseLost(f"another controller has taken over cohort {self._cohort!r}")
        return bool(row.expires_at > 0)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database.writing() as connection:
            lock_cohort(connection, self._cohort)
            if not self._holds_lease(connection):
                raise LeaseLost(f"the lease of cohort {self._cohort!r} was given up")
            yield connection


def _job(connection: Connection, job_id: int) -> Job:
    job = read_job(connection, job_id)
    assert job is not None, f"there is no job {job_id}"
    return job
