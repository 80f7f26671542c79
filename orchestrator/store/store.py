"""The store as everybody sees it: reading, and taking a cohort's lease.

In: an SQLAlchemy URL. Out: values of `orchestrator.state`, and for the one process that holds a
cohort's lease a `Ledger`, which alone writes. Next on the path: `controller`.
"""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, select, update

from jobs.plan import EpochReport, MemberPlan
from orchestrator.errors import CohortBusy, NotFound
from orchestrator.state import CohortRecord, Event, Job
from orchestrator.store import reads
from orchestrator.store.database import Database
from orchestrator.store.ledger import Ledger
from orchestrator.store.tables import attempts, epochs, jobs, leases, members
from orchestrator.store.values import FittedStacker, TrainedWeights


class Store:
    """A connection to the store. Safe to share between threads.

    Every method raises `StoreError` where the database can't be reached; those that take a lease
    raise `LeaseLost` where it no longer holds.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

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
                names = [c.name for c in reads.read_cohorts(connection)]
                there = f"there are: {', '.join(names)}" if names else "nothing was submitted yet"
                raise NotFound(f"no cohort {name!r}; {there}")
        return record

    def jobs(self, cohort: str) -> tuple[Job, ...]:
        """All revisions of all teams, in order of submission."""
        with self._database.reading() as connection:
            return reads.read_jobs(connection, cohort)

    def events(self, cohort: str, after_id: int = 0) -> list[Event]:
        """Events newer than `after_id`, oldest first."""
        with self._database.reading() as connection:
            return reads.read_events(connection, cohort, after_id)

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
        """Where the results of a job's finished members lie, by the members' index."""
        query = (
            select(attempts)
            .where((attempts.c.job_id == job_id) & attempts.c.weights.is_not(None))
            .order_by(attempts.c.idx)
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
        query = (
            select(epochs)
            .where(
                (epochs.c.job_id == job_id)
                & (epochs.c.idx == index)
                & (epochs.c.attempt == attempt)
                & (epochs.c.epoch > after)
            )
            .order_by(epochs.c.epoch)
        )
        fields = EpochReport.model_fields
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [(row["at"], EpochReport(**{name: row[name] for name in fields})) for row in rows]

    # --- leases ----------------------------------------------------------------------------------

    def acquire(
        self,
        cohort: str,
        holder: str,
        now: float,
        ttl_s: float,
        is_gone: Callable[[str], bool] = lambda _: False,
    ) -> Ledger:
        """Takes the cohort's lease.

        Raises `CohortBusy` while another holder's has not expired, unless `is_gone` knows that this
        holder has ended.
        """
        with self._database.writing() as connection:
            mine = leases.c.cohort == cohort
            row = connection.execute(select(leases).where(mine).with_for_update()).one_or_none()
            if row is not None and row.expires_at > now and not is_gone(row.holder):
                raise CohortBusy(
                    f"another controller ({row.holder}) is at work on cohort {cohort!r}; its lease "
                    f"runs out in {row.expires_at - now:.0f} s unless it goes on. "
                    f"Watch with `gamectl get jobs --cohort {cohort}`."
                )
            token = 1 if row is None else row.token + 1
            values = {"holder": holder, "token": token, "expires_at": now + ttl_s}
            if row is None:
                connection.execute(insert(leases).values(cohort=cohort, **values))
            else:
                connection.execute(update(leases).where(mine).values(**values))
        return Ledger(self._database, cohort, token, ttl_s)

    def lease_holder(self, cohort: str, now: float) -> str | None:
        """Who controls the cohort at this moment, or None."""
        query = select(leases.c.holder).where(
            (leases.c.cohort == cohort) & (leases.c.expires_at > now)
        )
        with self._database.reading() as connection:
            return connection.scalar(query)
