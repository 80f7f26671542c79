"""One cohort, from stored jobs to its end: Ray, slots, controller, tracking and view put together.

In: a prepared cohort that is in the store. Out: jobs in terminal phases. The parts know each other
only by their interfaces; this is the one place that names the real ones.
"""

import os
import time
from collections.abc import Sequence

from orchestrator.artifacts import Artifacts
from orchestrator.cluster import num_slots_that_fit, ray_cluster
from orchestrator.controller import LEASE_TTL_S, Controller, holder_name, is_gone
from orchestrator.errors import GameError
from orchestrator.finish import validation_labels
from orchestrator.live import LiveView
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Ledger, Store
from orchestrator.submission import Prepared
from orchestrator.tracking.background import Tracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.projection import Projection


def run(prepared: Prepared, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    """Runs what is left to do; returns why MLflow is not up to date, or None where it is.

    Raises `CohortBusy` and `ClusterError` before anything starts.
    """
    cohort = prepared.cohort
    artifacts = Artifacts(settings.artifacts)

    def projection() -> Projection:
        experiment = connect(
            settings.tracking_uri, settings.mlflow_artifacts, cohort.name, create=True
        )
        return Projection(experiment, store, artifacts, cohort.name)

    tracker = Tracker(projection)
    waiting = [j for j in store.jobs(cohort.name) if not j.phase.terminal]
    if not waiting:
        with tracker:
            pass
        return tracker.error

    ledger = store.acquire(cohort.name, holder_name(), time.time(), LEASE_TTL_S, is_gone)
    try:
        with ray_cluster(os.environ.get("RAY_ADDRESS"), cpus), tracker:
            _control(prepared, store, ledger, artifacts, waiting)
    finally:
        ledger.release()
    return tracker.error


def _control(
    prepared: Prepared, store: Store, ledger: Ledger, artifacts: Artifacts, waiting: Sequence[Job]
) -> None:
    # Imported once Ray's settings stand.
    from orchestrator.slots import RaySlots

    resources = prepared.cohort.spec.resources
    num_members = sum(not m.phase.terminal for job in waiting for m in job.members)
    num_slots = min(num_slots_that_fit(resources), num_members)
    data = {size: prepared.decoded.training(size) for size in prepared.sizes_px}
    pool = RaySlots(num_slots, resources, data)
    try:
        with LiveView(num_slots) as view:
            Controller(
                cohort=prepared.cohort,
                store=store,
                ledger=ledger,
                pool=pool,
                artifacts=artifacts,
                labels=validation_labels(data),
                clock=time.time,
                on_change=view.show,
            ).run()
    finally:
        pool.close()
