"""`gamectl controller`: run a cohort's controller in the foreground.

In: the name of a cohort whose jobs are in the store. Out: jobs that are over. This is also what
`--detach` starts, and what a Deployment or a service unit would. Next on the path: `attend`, `run`.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, cpus_option, print_next
from orchestrator.control.attend import control_here, say_how_it_ended
from orchestrator.control.place import check_cpus
from orchestrator.errors import NotFound, StoreError
from orchestrator.lease import holder_name
from orchestrator.opening import open_store, pick_cohort
from orchestrator.settings import Settings
from orchestrator.state import newest_revisions

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store


@click.command(
    "controller",
    epilog="""\b
    Example:
      gamectl controller --cohort demo
      gamectl controller --cohort demo --cpus 4""",
)
@cohort_option
@cpus_option
@click.option("--job", "uid", metavar="UID", help="A job that the cohort must have in the store.")
@click.option(
    "--default",
    "defaults",
    metavar="VARIABLE=VALUE",
    multiple=True,
    help="A setting, where the environment does not say it.",
)
def command(
    cohort: str | None, cpus: int | None, uid: str | None, defaults: tuple[str, ...]
) -> None:
    """Run a cohort's controller until nothing is left to do.

    It runs what was submitted and what is submitted meanwhile, and ends when every job is over or
    suspended. A cohort has one controller at a time: a second one is refused until the first has
    ended, or its lease has run out. SIGTERM and Ctrl-C queue again what is running; the exit code
    is then 130. --job and --default are what `gamectl submit --cluster` tells a controller there.
    """
    settings = Settings.with_defaults(dict(_pair(text) for text in defaults))
    check_cpus(cpus, settings)
    with _opened(settings, elsewhere=uid is not None) as store:
        if uid is not None and cohort is not None:
            from orchestrator.control.remote import check_same_store

            check_same_store(cohort, store.jobs(cohort), uid, settings)
        name = pick_cohort(store, cohort).name
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        console.print_note(f"{stamp} cohort {name}: controller {holder_name()}")
        tracking_error = control_here(name, store, settings, cpus)
        jobs = newest_revisions(store.jobs(name))
    say_how_it_ended(name, jobs, tracking_error, sent=uid is not None)
    print_next(name, jobs)


def _pair(text: str) -> tuple[str, str]:
    variable, equals, value = text.partition("=")
    if not equals or variable not in Settings.variables():
        raise click.BadParameter(f"{text!r} is not VARIABLE=VALUE", param_hint="--default")
    return variable, value


@contextmanager
def _opened(settings: Settings, elsewhere: bool) -> Iterator[Store]:
    """The store; where a client of another machine sent us, an error says what this one lacks."""
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(settings))
        except (StoreError, NotFound) as error:
            if not elsewhere:
                raise
            raise StoreError(
                f"{error} This is what {socket.gethostname()}, where the controller runs, sees: "
                "passwords do not travel there, so it needs PGPASSWORD or GAME_STORE of its own."
            ) from error
        yield store
