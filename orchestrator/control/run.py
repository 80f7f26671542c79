"""Being a cohort's controller: the lease, MLflow, and Ray while there is work for it.

In: the name of a cohort that was submitted. Out: jobs in terminal phases, or suspended, and MLflow
up to date. Next on the path: `serve`, imported once the lease is held, as it takes seconds.
"""

import time
from functools import partial

from orchestrator.console import print_note
from orchestrator.errors import GameError
from orchestrator.lease import hold_lease
from orchestrator.loading import loading
from orchestrator.retrying import retry_while_away
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.terminal.progress_bars import waiting

LOOK_EVERY_S = 0.25
WRITING_S = 10.0
"""About how long a last round takes; exporting a first model is most of it."""


def control(name: str, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    """Runs what is left to do in a cohort, and what is handed in meanwhile, and shows it.

    Returns why MLflow is not up to date, or None where it is. Raises `CohortBusy` where another
    controller is at work, and `ClusterError` where Ray does not start.
    """
    with hold_lease(store, name) as ledger:
        with loading():
            from orchestrator.control.serve import projection, run_on_ray
            from orchestrator.tracking.background import Tracker

        is_left = partial(store.is_left, name)
        connect = partial(projection, name, store, settings)
        with Tracker(connect, ledger.check, quiet=True) as tracker:
            while True:
                retry_while_away(lambda: ledger.recover(time.time()), print_note)
                if retry_while_away(is_left, print_note):
                    # MLflow hears of it once members train: until then Ray needs the processor.
                    run_on_ray(name, store, ledger, settings, cpus, tracker.go_on)
                # One controller at a time writes to MLflow: the last round is over before the lease
                # is given up.
                # However long that takes, what is handed in meanwhile does not wait for it.
                tracker.begin_last_sync()
                with waiting("writing what is new to MLflow", WRITING_S) as show:
                    while not tracker.wait(LOOK_EVERY_S):
                        show(*tracker.jobs_done)
                        if retry_while_away(is_left, print_note):
                            break
                    else:
                        if retry_while_away(ledger.release_if_done, print_note):
                            return tracker.error
