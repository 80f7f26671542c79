"""The store as everybody sees it: reading, submitting, changing, and taking a cohort's lease.

In: an SQLAlchemy URL. Out: values of `orchestrator.state`; clients' submissions and operations,
which need no lease; and, for the one process that holds a cohort's lease, a `Ledger` to write what
it observes. Next on the path: `controller`, which watches `changes`.
"""

import json
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import select, update

from jobs.plan import EpochReport, MemberPlan
from orchestrator import operations
from orchestrator.errors import CohortBusy, NotFound
from orchestrator.moves import Change
from orchestrator.phases import Blame, Phase
from orchestrator.state import Attempt, CohortRecord, DataRecord, Event, Job, Member, MemberKey
from orchestrator.store import desired, reads
from orchestrator.store.database import Database
from orchestrator.store.ledger import Ledger
from orchestrator.store.orphans import requeue_orphans
from orchestrator.store.tables import attempts, jobs, leases, members
from orchestrator.store.values import (
    Altered,
    Changes,
    CheckStanding,
    FittedStacker,
    Lease,
    NewJob,
    Submitted,
    TrainedWeights,
)
from orchestrator.store.writes import insert_missing, lock_cohort


class Store:
    """A connection to the store. Safe to share between threads.

    Every method raises `StoreUnavailable` where the database does not answer, and `StoreError`
    where it refuses; then nothing was written, unless the connection broke during the commit
    itself. Once the database answers again, so does the store. `clock` stands in for the
    database's.
    """

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._database = Database(url, clock)

    def close(self) -> None:
        """Gives the connections back."""
        self._database.close()

    # --- reading ---------------------------------------------------------------------------------

    def cohorts(self) -> list[CohortRecord]:
        """All cohorts, the one submitted last first."""
        with self._database.reading() as connection:
            return reads.read_cohorts(connection)

    def cohort(self, name: str) -> CohortRecord:
        """The cohort of that name; raises `NotFound` with the names there are."""
        with self._database.reading() as connection:
            record = reads.read_cohort(connection, name)
            if record is None:
                raise desired.no_cohort(connection, name)
        return record

    def jobs(self, cohort: str) -> tuple[Job, ...]:
        """All revisions of all teams, in order of submission."""
        with self._database.reading() as connection:
            return reads.read_jobs(connection, cohort)

    def is_left(self, cohort: str) -> bool:
        """Whether a controller would find something to do in the cohort."""
        with self._database.reading() as connection:
            return reads.read_is_left(connection, cohort)

    def job(self, job_id: int) -> Job:
        """The job of that id; raises `NotFound`."""
        with self._database.reading() as connection:
            job = reads.read_job(connection, job_id)
        if job is None:
            raise NotFound(f"the store has no job {job_id}")
        return job

    def changes(self, cohort: str, after: int, also: Collection[int] = ()) -> Changes:
        """The jobs with an event newer than `after`, and those with the ids in `also`.

        With `after` = 0 it lists the whole cohort; the answer says where to go on watching. Epochs
        are no events: a watcher who wants to see them asks for the job in `also`.
        """
        with self._database.reading() as connection:
            return reads.read_changes(connection, cohort, after, also)

    def events(self, cohort: str, after_id: int = 0, team: str | None = None) -> list[Event]:
        """Events newer than `after_id`, oldest first."""
        with self._database.reading() as connection:
            return reads.read_events(connection, cohort, after_id, team)

    def attempts(self, job_id: int) -> tuple[Attempt, ...]:
        """All attempts at a job's members, by member and number."""
        with self._database.reading() as connection:
            return reads.read_attempts(connection, job_id)

    def retries(self, cohort: str) -> dict[Blame, int]:
        """How many attempts of a cohort failed and were followed by another, by blame."""
        with self._database.reading() as connection:
            return reads.read_retries(connection, cohort)

    def measured(self, limit: int = 500) -> tuple[Member, ...]:
        """Members that ended, of all cohorts, whose epochs were measured; the newest first."""
        with self._database.reading() as connection:
            return reads.read_measured(connection, limit)

    def plans(self, job_id: int) -> tuple[MemberPlan, ...]:
        """The member plans of a job, in order."""
        query = select(members.c.plan).where(members.c.job_id == job_id).order_by(members.c.idx)
        with self._database.reading() as connection:
            return tuple(MemberPlan.model_validate_json(p) for p in connection.scalars(query))

    def document(self, job_id: int) -> tuple[str, dict[str, Any]]:
        """A job's loadout as it was handed in, and its receipt."""
        query = select(jobs.c.loadout, jobs.c.receipt).where(jobs.c.id == job_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return row.loadout, json.loads(row.receipt)

    def weights(self, job_id: int) -> dict[int, TrainedWeights]:
        """Where the results of a job's trained members lie, by the members' index."""
        query = (
            select(attempts)
            .join(
                members, (members.c.job_id == attempts.c.job_id) & (members.c.idx == attempts.c.idx)
            )
            .where((attempts.c.job_id == job_id) & attempts.c.weights.is_not(None))
            .where(members.c.phase == Phase.SUCCEEDED)
            .order_by(attempts.c.idx, attempts.c.number)
        )
        with self._database.reading() as connection:
            return {
                row.idx: TrainedWeights(row.weights, row.weights_sha256, row.val_probs)
                for row in connection.execute(query)
            }

    def stacker(self, job_id: int) -> FittedStacker | None:
        """Where the layer that stacks a job's members lies; None where nothing was fitted."""
        query = select(jobs.c.stacker, jobs.c.stacker_sha256).where(jobs.c.id == job_id)
        with self._database.reading() as connection:
            row = connection.execute(query).one()
        return None if row.stacker is None else FittedStacker(row.stacker, row.stacker_sha256)

    def epochs(
        self, job_id: int, index: int, attempt: int, after: int = 0
    ) -> list[tuple[float, EpochReport]]:
        """An attempt's epochs later than `after`, each with the time it was reported."""
        with self._database.reading() as connection:
            return reads.read_epochs(connection, MemberKey(job_id, index), attempt, after)

    def history(self, job_id: int, index: int, after: int = 0) -> list[tuple[float, EpochReport]]:
        """A member's epochs later than `after`, each as the newest attempt told it that did.

        An attempt that ended before it told them again takes nothing away from earlier ones.
        """
        with self._database.reading() as connection:
            return reads.read_history(connection, MemberKey(job_id, index), after)

    # --- what people want ------------------------------------------------------------------------

    def submit(
        self,
        cohort: str,
        spec: dict[str, Any],
        data: DataRecord,
        new_jobs: Sequence[NewJob],
        at: float,
        submissions_per_team: int | None = None,
        side: bool = False,
        check: CheckStanding | None = None,
    ) -> list[Submitted]:
        """Writes the cohort and its jobs: all of them or, on any error, none.

        A job that the team's newest revision equals is left as it is, or queued again if the
        cluster has failed it; another one becomes the next revision and supersedes an older one
        that has not ended. Raises `Refused` where teams would
        stay behind on other data, as a cohort has one, and where teams have handed in
        `submissions_per_team` revisions already, those that the cluster failed not counted, and
        what `check` raises.
        """
        with self._database.writing() as connection:
            return desired.submit(
                connection, cohort, spec, data, new_jobs, at, submissions_per_team, side, check
            )

    def cancel(self, cohort: str, team: str, at: float) -> Altered:
        """Ends the team's newest job. Every operation raises `NotFound` for an unknown cohort or
        team, and `Refused` where the job's phase does not allow it."""
        return self._alter(cohort, team, lambda job: operations.cancelled(job, at), at)

    def withdraw(self, cohort: str, team: str, at: float) -> Altered:
        """Takes the team out of the cohort, whatever became of its newest job."""
        return self._alter(cohort, team, lambda job: operations.withdrawn(job, at), at)

    def suspend(self, cohort: str, team: str, at: float) -> Altered:
        """Holds the team's newest job back; it keeps what it has learnt."""
        return self._alter(cohort, team, operations.suspended, at)

    def resume(self, cohort: str, team: str, at: float) -> Altered:
        """Lets the team's newest job, which was suspended, go on."""
        return self._alter(cohort, team, lambda job: operations.resumed(job, at), at)

    def retry(self, cohort: str, team: str, at: float) -> Altered:
        """Puts the team's newest job, which failed or was cancelled, back into the queue."""
        return self._alter(cohort, team, lambda job: operations.retried(job, at), at)

    def prioritize(self, cohort: str, team: str, at: float, priority: int) -> Altered:
        """Gives the team's newest job another weight in the queue."""
        return self._alter(cohort, team, lambda job: operations.prioritized(job, priority), at)

    def _alter(
        self, cohort: str, team: str, operation: Callable[[Job], Change], at: float
    ) -> Altered:
        with self._database.writing() as connection:
            return desired.alter(connection, cohort, team, operation, at)

    # --- leases ----------------------------------------------------------------------------------

    def now(self) -> float:
        """The time by which leases are judged: the clocks of two machines may differ by more."""
        return self._database.now()

    def acquire(
        self,
        cohort: str,
        holder: str,
        now: float,
        ttl_s: float,
        is_gone: Callable[[str], bool] = lambda _: False,
        ahead_s: float = 0.0,
    ) -> Ledger:
        """Takes the cohort's lease. `now` is the store's; the holder's clock is `ahead_s` of it.

        What the holder before had on its slots is queued again in the same moment: whoever takes
        the lease may end before anything else, and when that one was seen last is known no more.
        Raises `CohortBusy` while another holder's has not expired, unless `is_gone` knows that this
        holder has ended.
        """
        # MLflow imports it in a thread beside whoever holds the lease. Half imported, it breaks
        # even comparisons with a phase; so it is here as a whole before.
        import_module("sqlalchemy.orm")
        with self._database.writing() as connection:
            lock_cohort(connection, cohort)
            mine = leases.c.cohort == cohort
            query = select(leases).where(mine).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None:
                free = {
                    "cohort": cohort,
                    "holder": "",
                    "token": 0,
                    "expires_at": 0,
                    "renewed_at": 0,
                }
                insert_missing(connection, leases, [free])
                row = connection.execute(query).one()  # perhaps another's, who was faster
            if row.expires_at > now and not is_gone(row.holder):
                raise CohortBusy(
                    f"another controller ({row.holder}) is at work on cohort {cohort!r}; its lease "
                    f"runs out in {row.expires_at - now:.0f} s unless it goes on. "
                    f"Watch with `gamectl get jobs --watch --cohort {cohort}`."
                )
            token = row.token + 1
            connection.execute(
                update(leases)
                .where(mine)
                .values(
                    holder=holder,
                    token=token,
                    expires_at=now + ttl_s,
                    renewed_at=now,
                    slots=None,
                )
            )
            left_at = row.renewed_at + ahead_s if row.token else None
            requeue_orphans(connection, cohort, now + ahead_s, left_at)
        return Ledger(self._database, cohort, token, ttl_s)

    def lease(self, cohort: str) -> Lease | None:
        """Who controls the cohort or did last; None where nobody ever has."""
        columns = (leases.c.holder, leases.c.expires_at, leases.c.renewed_at, leases.c.slots)
        query = select(*columns).where(leases.c.cohort == cohort)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else Lease(*row)
