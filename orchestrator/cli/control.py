"""`gamectl cancel`, `withdraw`, `suspend`, `resume`, `retry`, `priority`: operations for jobs.

In: teams. Out: desired state, written without a lease; a controller at work takes it up within two
seconds, or once it has read images or fitted a stacker that it is busy with. Each team gets a line
that says what has changed, or that it was so already. What `resume` and `retry` leave to do is run
where no controller is at work. Next on the path: `attend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from orchestrator import console
from orchestrator.cli import altered, completing
from orchestrator.cli.common import cohort_option, print_next, run_options, teams_argument
from orchestrator.cli.numbers import WholeNumber
from orchestrator.control import attend, holders
from orchestrator.control.place import elsewhere
from orchestrator.errors import NotFound, Refused
from orchestrator.opening import open_store, pick_cohort
from orchestrator.operations import HIGHEST_PRIORITY
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.terminal.lookup import controller_of, rules_of

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.control.remote import Code, RemoteLauncher
    from orchestrator.store import Store
    from orchestrator.store.values import Altered

Operation = Callable[[str, str, float], "Altered"]
"""From cohort, team and time to what became of the team's newest job."""
RETRIED = {Phase.FAILED, Phase.CANCELLED}
AT_WORK_HERE = "this command runs the cohort to its end; --detach gives the terminal back"

all_option = click.option("--all", "all_teams", is_flag=True, help="All jobs that are not over.")


@click.command(
    "cancel",
    epilog="""\b
    Example:
      gamectl cancel howling-pixels --cohort demo
      gamectl cancel --all""",
)
@teams_argument()
@all_option
@cohort_option
def cancel(teams: tuple[str, ...], all_teams: bool, cohort: str | None) -> None:
    """End teams' jobs before they are through.

    Members that train stop at their next batch; their last whole epoch is kept, so that
    `gamectl retry` goes on from there.
    """
    _end(teams, all_teams, cohort, "cancel", lambda store: store.cancel, altered.cancelled)


@click.command(
    "withdraw",
    epilog="""\b
    Example:
      gamectl withdraw howling-pixels --cohort demo""",
)
@teams_argument(required=True)
@cohort_option
def withdraw(teams: tuple[str, ...], cohort: str | None) -> None:
    """Take teams out of the cohort, such as one whose name was mistyped.

    Their jobs are ended, are listed with `gamectl get jobs --all` only, and have neither scores nor
    a place in reports. A team whose file is submitted once more is in again, with a job from the
    start. What MLflow has of it stays there.
    """
    _end(teams, False, cohort, "withdraw", lambda store: store.withdraw, altered.withdrawn)


@click.command(
    "suspend",
    epilog="""\b
    Example:
      gamectl suspend howling-pixels --cohort demo
      gamectl suspend --all""",
)
@teams_argument()
@all_option
@cohort_option
def suspend(teams: tuple[str, ...], all_teams: bool, cohort: str | None) -> None:
    """Hold teams' jobs back until they are resumed.

    Members that train stop at their next batch; `gamectl resume` lets them go on from their last
    whole epoch.
    """
    _end(teams, all_teams, cohort, "suspend", lambda store: store.suspend, altered.suspended)


@click.command(
    "resume",
    epilog="""\b
    Example:
      gamectl resume
      gamectl resume howling-pixels --cohort demo
      gamectl resume --all --detach""",
)
@teams_argument()
@click.option("--all", "all_teams", is_flag=True, help="All jobs that are suspended.")
@cohort_option
@run_options
def resume(
    teams: tuple[str, ...],
    all_teams: bool,
    cohort: str | None,
    cpus: int | None,
    detach: bool,
    cluster: str | None,
    code: Code,
) -> None:
    """Let suspended jobs go on; without a TEAM, go on with the cohort.

    Without TEAM and --all no suspension is lifted: it runs what is left to do after Ctrl-C, a crash
    or a restart of the machine. Where a controller is at work already, the command returns at once.
    """
    _check_named(teams, all_teams or not teams, "--all")
    settings = Settings()
    with open_store(settings) as store:
        record = pick_cohort(store, cohort)
        name, rules = record.name, rules_of(record)
        launcher = elsewhere(cluster, rules, code, cpus, settings)
        if all_teams:
            teams = _teams(
                store, name, lambda job: job.suspended and _live(job), "no job is suspended"
            )
        ok = _perform(name, teams, store.resume, altered.resumed)
        _go_on(name, store, settings, cpus, detach, launcher)
    _exit(ok)


@click.command(
    "retry",
    epilog="""\b
    Example:
      gamectl retry howling-pixels --cohort demo
      gamectl retry --failed --detach""",
)
@teams_argument()
@click.option("--failed", is_flag=True, help="All jobs that failed.")
@click.option("--all", "all_teams", is_flag=True, help="All jobs that failed or were cancelled.")
@cohort_option
@run_options
def retry(
    teams: tuple[str, ...],
    failed: bool,
    all_teams: bool,
    cohort: str | None,
    cpus: int | None,
    detach: bool,
    cluster: str | None,
    code: Code,
) -> None:
    """Queue jobs again that failed or were cancelled.

    Members that were trained stay so, the others go on from their last whole epoch; failures so far
    are forgotten, but what diverged diverges again. Where a controller is at work already, the
    command returns at once.
    """
    _check_named(teams, failed or all_teams, "--failed or --all")
    settings = Settings()
    with open_store(settings) as store:
        record = pick_cohort(store, cohort)
        name, rules = record.name, rules_of(record)
        launcher = elsewhere(cluster, rules, code, cpus, settings)
        if failed or all_teams:
            wanted = RETRIED if all_teams else {Phase.FAILED}
            ended = "has failed or was cancelled" if all_teams else "has failed"
            teams = _teams(store, name, lambda job: job.phase in wanted, f"no job {ended}")
            if not teams:
                return
        ok = _perform(name, teams, store.retry, altered.retried)
        if store.is_left(name):
            _go_on(name, store, settings, cpus, detach, launcher)
    _exit(ok)


@click.command(
    "priority",
    epilog="""\b
    Example:
      gamectl priority howling-pixels 200 --cohort demo""",
)
@click.argument("team", shell_complete=completing.teams)
@click.argument("number", metavar="N", type=WholeNumber(1, HIGHEST_PRIORITY))
@cohort_option
def priority(team: str, number: int, cohort: str | None) -> None:
    """Give a team's job another weight in the queue, 1 to 10000; 100 is the default.

    With twice the number a job that waits goes as early as if its team had used half as much (under
    longest-first before all with a lower one). What has begun, and members that train, are left
    alone.
    """

    def prioritize(name: str, of_team: str, at: float) -> Altered:
        return store.prioritize(name, of_team, at, number)

    with open_store(Settings()) as store:
        ok = _perform(pick_cohort(store, cohort).name, [team], prioritize, altered.prioritized)
    _exit(ok)


def _end(
    teams: Sequence[str],
    all_teams: bool,
    cohort: str | None,
    verb: str,
    operation_of: Callable[[Store], Operation],
    in_words: Callable[[Altered, bool], str],
) -> None:
    """Ends what trains by an operation, for the teams or for all whose jobs are not over."""
    _check_named(teams, all_teams, "--all")
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        if all_teams:
            teams = _teams(store, name, _live, f"every job is over, so there is none to {verb}")

        def say(it: Altered) -> str:
            return in_words(it, bool(controller_of(store, name)))

        ok = _perform(name, teams, operation_of(store), say)
    _exit(ok)


def _perform(
    cohort: str, teams: Sequence[str], operation: Operation, in_words: Callable[[Altered], str]
) -> bool:
    """Performs an operation for each team and says what came of it.

    Returns whether all were done; raises `SystemExit` where none could be.
    """
    num_refused = 0
    for team in dict.fromkeys(teams):
        try:
            done = operation(cohort, team, time.time())
        except (NotFound, Refused) as error:
            console.print_error(str(error))
            num_refused += 1
        else:
            console.print_line(f"{team}: {in_words(done)}")
    if teams and num_refused == len(set(teams)):
        raise SystemExit(1)
    return num_refused == 0


def _go_on(
    name: str,
    store: Store,
    settings: Settings,
    cpus: int | None,
    detach: bool,
    launcher: RemoteLauncher | None,
) -> None:
    """Sees to it that what is left to do is run by somebody."""
    if detach:
        attend.detach(name, store, settings, cpus, launcher)
        return
    holder = holders.living_controller(name, store)
    if holder is not None:
        console.print_note(holders.at_work_note(name, holder, cpus))
        console.print_note(f"watch with: gamectl get jobs --watch --cohort {name}")
        return
    nothing = f"cohort {name}: nothing is left to run"
    console.print_note(AT_WORK_HERE if store.is_left(name) else nothing)
    # Also then: MLflow may lack what was written while it was away.
    print_next(name, attend.attend(name, store, settings, cpus, launcher))


def _teams(
    store: Store, cohort: str, wanted: Callable[[Job], bool], nobody: str
) -> tuple[str, ...]:
    """The teams whose newest job is wanted; where there is none that is said."""
    teams = tuple(job.team for job in newest_revisions(store.jobs(cohort)) if wanted(job))
    if not teams:
        console.print_note(f"cohort {cohort}: {nobody}")
    return teams


def _live(job: Job) -> bool:
    return not job.phase.terminal


def _check_named(teams: Sequence[str], flag: bool, option: str) -> None:
    if teams and flag:
        raise click.UsageError(f"name teams or pass {option}, not both")
    if not teams and not flag:
        raise click.UsageError(f"name teams, or pass {option}")


def _exit(ok: bool) -> None:
    if not ok:
        raise SystemExit(1)
