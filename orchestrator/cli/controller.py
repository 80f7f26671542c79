"""`gamectl controller`: run a cohort's controller in the foreground.

In: the name of a cohort whose jobs are in the store. Out: jobs that are over. This is also what
`--detach` starts, and what a Deployment or a service unit would. Next on the path: `attend`, `run`.
"""

import time

import click

from orchestrator import console
from orchestrator.attend import control_here, say_how_it_ended
from orchestrator.cli.common import (
    check_cpus,
    cohort_option,
    cpus_option,
    open_store,
    pick_cohort,
    print_next,
)
from orchestrator.lease import holder_name
from orchestrator.settings import Settings
from orchestrator.state import newest_revisions


@click.command(
    "controller",
    epilog="""\b
    Example:
      gamectl controller --cohort demo
      gamectl controller --cohort demo --cpus 4""",
)
@cohort_option
@cpus_option
def command(cohort: str | None, cpus: int | None) -> None:
    """Run a cohort's controller until nothing is left to do.

    It runs what was submitted and what is submitted meanwhile, and ends when every job is over or
    suspended. A cohort has one controller at a time: a second one is refused until the first has
    ended, or its lease has run out. SIGTERM and Ctrl-C queue again what is running; the exit code
    is then 130.
    """
    settings = Settings()
    check_cpus(cpus, settings)
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        console.print_note(f"{stamp} cohort {name}: controller {holder_name()}")
        tracking_error = control_here(name, store, settings, cpus)
        jobs = newest_revisions(store.jobs(name))
    say_how_it_ended(name, jobs, tracking_error)
    print_next(name, jobs)
