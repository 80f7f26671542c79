"""One cohort, from admitted files to its end: store, Ray, slots, tracking and view put together.

In: a prepared cohort. Out: jobs in terminal phases. The parts know each other only by their
interfaces; this is the one place that names the real ones.
"""

import time
from collections.abc import Callable, Sequence

from orchestrator import submission
from orchestrator.artifacts import Artifacts
from orchestrator.cluster import num_slots_that_fit, ray_cluster
from orchestrator.controller import Controller
from orchestrator.errors import GameError
from orchestrator.finish import validation_truth
from orchestrator.lease import hold_lease
from orchestrator.live import LiveView, progress
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Ledger, Store, Submitted
from orchestrator.submission import Prepared
from orchestrator.teachings import TeacherWeights, teachings
from orchestrator.tracking.background import Tracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.projection import Projection


def run(
    prepared: Prepared,
    store: Store,
    settings: Settings,
    cpus: int | None,
    on_submitted: Callable[[list[Submitted], int], None],
) -> GameError | None:
    """Submits the cohort and runs what is left to do.

    Returns why MLflow is not up to date, or None where it is. `on_submitted` is told what the
    submission meant and how many jobs wait. Raises `CohortBusy` before anything is written, and
    `ClusterError` before anything starts.
    """
    cohort = prepared.cohort
    artifacts = Artifacts(settings.artifacts)

    def projection() -> Projection:
        experiment = connect(
            settings.tracking_uri, settings.mlflow_artifacts, cohort.name, create=True
        )
        return Projection(experiment, store, artifacts, cohort.name)

    with hold_lease(store, cohort.name, time.time) as ledger:
        if prepared.teacher is not None:  # before a plan names it
            TeacherWeights(settings.artifacts).keep(prepared.teacher.spec, prepared.teacher.weights)
        submitted = submission.submit(prepared, ledger, time.time())
        waiting = [job for job in store.jobs(cohort.name) if not job.phase.terminal]
        on_submitted(submitted, len(waiting))
        tracker = Tracker(projection)
        if waiting:
            with ray_cluster(settings.ray_address, cpus), tracker:
                _control(prepared, store, ledger, settings, waiting)
        else:
            tracker.sync()
    return tracker.error


def _control(
    prepared: Prepared, store: Store, ledger: Ledger, settings: Settings, waiting: Sequence[Job]
) -> None:
    # Imported once Ray's settings stand.
    from orchestrator.slots import RaySlots

    resources = prepared.cohort.spec.resources
    num_members = sum(not m.phase.terminal for job in waiting for m in job.members)
    num_slots = min(num_slots_that_fit(resources), num_members)
    # Jobs of an earlier submission wait as well, perhaps for images of another size.
    sizes_px = {plan.data.image_size_px for job in waiting for plan in store.plans(job.id)}
    data = submission.training_images(prepared, sizes_px, settings)
    plans = [plan for job in waiting for plan in store.plans(job.id)]
    taught = teachings(
        plans, data, TeacherWeights(settings.artifacts), settings.teacher_logits, progress
    )
    pool = RaySlots(num_slots, resources, data, taught)
    try:
        with LiveView(num_slots) as view:
            Controller(
                cohort=prepared.cohort,
                store=store,
                ledger=ledger,
                pool=pool,
                artifacts=Artifacts(settings.artifacts),
                truth=validation_truth(data),
                clock=time.time,
                on_change=view.show,
            ).run()
    finally:
        pool.close()
