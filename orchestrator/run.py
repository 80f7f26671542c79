"""Being a cohort's controller: the lease, MLflow, and Ray while there is work for it.

In: the name of a cohort that was submitted. Out: jobs in terminal phases, or suspended, and MLflow
up to date. Next on the path: `serve`, imported once the lease is held, as it takes seconds.
"""

import time

from orchestrator.errors import GameError
from orchestrator.lease import hold_lease
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Store


def control(name: str, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    """Runs what is left to do in a cohort, and what is handed in meanwhile, and shows it.

    Returns why MLflow is not up to date, or None where it is. Raises `CohortBusy` where another
    controller is at work, and `ClusterError` where Ray does not start.
    """
    with hold_lease(store, name, time.time) as ledger:
        from orchestrator.serve import projection, run_on_ray
        from orchestrator.tracking.background import Tracker

        while True:
            ledger.recover(time.time())
            # MLflow has one writer at a time: it is up to date before the lease is given up.
            with Tracker(lambda: projection(name, store, settings), ledger.check) as tracker:
                if any(_is_left(job) for job in store.jobs(name)):
                    run_on_ray(name, store, ledger, settings, cpus)
            if ledger.release_if_done():
                return tracker.error


def _is_left(job: Job) -> bool:
    return not job.phase.terminal and not job.suspended
