"""A cohort's jobs on Ray: the cluster, its slots, the controller and the view put together.

In: a cohort, and the ledger of whoever holds its lease. Out: jobs in terminal phases, or suspended.
The parts know each other only by their interfaces; this module and `run` name the real ones.

Seconds before the first training step are seconds of a whole class. So what takes long to import is
imported while Ray starts, and slots are asked for before the first of them has anything to do.
Torch, which takes the longest, is imported in the slots and by a process that exports models; here
only where a teacher is asked anew.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from jobs.errors import JobsError
from jobs.plan import MemberPlan
from orchestrator.admission.cohort import Cohort, Resources
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.connection import largest_node, num_slots_that_fit, ray_cluster
from orchestrator.cluster.gauges import Gauges, RayMeter
from orchestrator.cluster.room import MOST_WAITING, Room
from orchestrator.console import print_note
from orchestrator.errors import ClusterError, ClusterLost, GameError, ResourcesChanged
from orchestrator.forecasting.capacity import fits
from orchestrator.loading import loading
from orchestrator.phases import Phase
from orchestrator.retrying import retry_while_away
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Ledger, Store
from orchestrator.terminal.progress_bars import waiting

if TYPE_CHECKING:
    from orchestrator.tracking.projection import Projection

START_S = 5.0
"""About how long Ray takes to start."""
RECONNECT_EVERY_S = 5.0
RECONNECT_FOR_S = 600.0
"""How long a cluster that was joined may be away. One that is started here is started again."""


def projection(name: str, store: Store, settings: Settings) -> "Projection":
    """The cohort's experiment in MLflow; raises `TrackingError` where it can't be reached."""
    # Imported by whoever follows the store, in a thread of its own: it takes seconds.
    with loading():
        from orchestrator.tracking.client import connect
        from orchestrator.tracking.projection import Projection

    experiment = connect(settings.tracking_uri, settings.mlflow_artifacts, name, create=True)
    artifacts = Artifacts(settings.artifacts)
    return Projection(experiment, store, artifacts, name, settings.model_templates)


def run_on_ray(
    name: str,
    store: Store,
    ledger: Ledger,
    settings: Settings,
    cpus: int | None,
    on_training: Callable[[], None] = lambda: None,
) -> None:
    """Runs the cohort on Ray, however often that has to be started or joined again.

    `on_training` is called once members train. Raises `ClusterError` where Ray can't be had at
    first, or stays away for too long.
    """
    lost_at: float | None = None
    while True:
        try:
            with contextlib.ExitStack() as stack:
                with waiting("joining Ray" if settings.ray_address else "starting Ray", START_S):
                    stack.enter_context(ray_cluster(settings.ray_address, cpus, _preload))
                _serve(name, store, ledger, settings, on_training)
        except ClusterLost as error:
            lost_at = time.monotonic()
            # Nobody is to count on a controller that looks for its cluster.
            retry_while_away(partial(ledger.tell_slots, None), print_note)
            again = "joined" if settings.ray_address else "started"
            print_note(f"{error}; it is {again} again, and nothing is lost")
        except ResourcesChanged as error:
            print_note(f"{error}: slots are made anew, and members go on from their last epoch")
        except ClusterError as error:
            if lost_at is None or time.monotonic() - lost_at > RECONNECT_FOR_S:
                raise
            print_note(f"{error}; trying again")
            time.sleep(RECONNECT_EVERY_S)
        else:
            return


def _preload() -> None:
    """Imports what `_serve` needs; nothing of Ray, which reads settings then."""
    with contextlib.suppress(Exception), loading():  # it is said where it is needed
        importlib.import_module("orchestrator.control.controller")


def num_ahead(resources: Resources) -> int:
    """How many slots may wait for nodes that are not there yet.

    With a worker group a slot takes no room itself: it would start at once, on any node, and its
    member wait for a group in vain.
    """
    return 0 if resources.in_worker_group else MOST_WAITING


def _rules(store: Store, name: str) -> Cohort:
    return Cohort.stored(store.cohort(name).spec)


def _serve(
    name: str, store: Store, ledger: Ledger, settings: Settings, on_training: Callable[[], None]
) -> None:
    # Imported once Ray's settings stand.
    from orchestrator.cluster.slots import RaySlots
    from orchestrator.control.controller import Controller
    from orchestrator.control.inputs import Inputs
    from orchestrator.results.truth import validation_truth
    from orchestrator.terminal.live import LiveView
    from orchestrator.terminal.progress_bars import said

    cohort = retry_while_away(partial(_rules, store, name), print_note)
    resources = cohort.spec.resources
    joined = settings.ray_address is not None
    # The cluster is there; its nodes may still be on their way.
    retry_while_away(partial(ledger.tell_slots, 0), print_note)
    room = Room(
        partial(num_slots_that_fit, resources),
        largest_node,
        most=resources.max_slots,
        grows=joined,
        num_ahead=num_ahead(resources),
    )
    inputs = Inputs(name, store, settings, said)
    # Where nobody would see the figures, none are made.
    gauges = Gauges(RayMeter(name), lambda: store.retries(name)) if joined else None

    def reason_why_not(plan: MemberPlan) -> str | None:
        if room.lack is not None:
            return room.lack
        try:
            num_images = len(inputs.images(plan.data).labels)
        except (GameError, JobsError, OSError):
            num_images = 0  # what is wrong with the images is said when the member starts
        return fits(plan, num_images, resources, room.machine, cohort.spec.sandbox_rules)

    pool = RaySlots(room, resources, inputs.images, inputs.teaching)
    artifacts = Artifacts(settings.artifacts)
    told = None
    try:
        jobs = retry_while_away(partial(store.jobs, name), print_note)
        left = [job for job in jobs if job.wants_slots]
        pool.want(sum(not member.phase.terminal for job in left for member in job.members))
        with LiveView(cohort.spec, room.fits) as view:

            def show(jobs: Sequence[Job]) -> None:
                nonlocal told
                view.spec, view.num_slots = controller.spec, pool.num_at_a_time
                note = f"{room.lack}; waiting for nodes" if room.nodes_may_come else ""
                view.show(jobs, note=note)
                if any(member.phase is Phase.RUNNING for job in jobs for member in job.members):
                    on_training()
                if view.num_slots != told:
                    ledger.tell_slots(view.num_slots)
                    told = view.num_slots
                if gauges is not None:
                    gauges.show(jobs, view.num_slots)

            controller = Controller(
                cohort=name,
                store=store,
                ledger=ledger,
                pool=pool,
                artifacts=artifacts,
                truth=validation_truth(inputs.images),
                clock=time.time,
                steady=time.monotonic,
                resources=resources,
                fetched=inputs.fetched,
                unfit=reason_why_not,
                nodes_may_come=lambda: room.nodes_may_come,
                on_change=show,
                on_trouble=view.say,
            )
            controller.run()
    finally:
        pool.close()
        inputs.close()
        artifacts.close()
