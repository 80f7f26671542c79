"""`gamectl cancel`, `withdraw`, `suspend`, `resume`, `retry`, `priority`: operations for jobs.

In: teams. Out: desired state, written without a lease; a controller at work takes it up within two
seconds, or once it has read images or fitted a stacker that it is busy with. Each team gets a line
that says what has changed, or that it was so already. What `resume` and `retry` leave to do is run
where no controller is at work. Next on the path: `attend`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import altered, completing
from orchestrator.cli.common import cohort_option, run_options, teams_argument
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.operating import (
    check_named,
    end,
    exit_with,
    go_on,
    live,
    perform,
    teams_where,
)
from orchestrator.control.place import elsewhere
from orchestrator.opening import open_store, pick_cohort
from orchestrator.operations import HIGHEST_PRIORITY
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.terminal.lookup import rules_of

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.control.remote import Code
    from orchestrator.store.values import Altered

RETRIED = {Phase.FAILED, Phase.CANCELLED}

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
    end(teams, all_teams, cohort, "cancel", lambda store: store.cancel, altered.cancelled)


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
    end(teams, False, cohort, "withdraw", lambda store: store.withdraw, altered.withdrawn)


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
    end(teams, all_teams, cohort, "suspend", lambda store: store.suspend, altered.suspended)


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
    check_named(teams, all_teams or not teams, "--all")
    settings = Settings()
    with open_store(settings) as store:
        record = pick_cohort(store, cohort)
        name, rules = record.name, rules_of(record)
        launcher = elsewhere(cluster, rules, code, cpus, settings)
        if all_teams:
            teams = teams_where(
                store,
                name,
                lambda job: job.suspended and live(job),
                "no job is suspended",
            )
        outcome = perform(name, teams, store.resume, altered.resumed)
        go_on(name, store, settings, cpus, detach, launcher)
    exit_with(outcome)


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
    check_named(teams, failed or all_teams, "--failed or --all")
    settings = Settings()
    with open_store(settings) as store:
        record = pick_cohort(store, cohort)
        name, rules = record.name, rules_of(record)
        launcher = elsewhere(cluster, rules, code, cpus, settings)
        if failed or all_teams:
            wanted = RETRIED if all_teams else {Phase.FAILED}
            ended = "has failed or was cancelled" if all_teams else "has failed"
            teams = teams_where(store, name, lambda job: job.phase in wanted, f"no job {ended}")
            if not teams:
                return
        outcome = perform(name, teams, store.retry, altered.retried)
        if store.is_left(name):
            go_on(name, store, settings, cpus, detach, launcher)
    exit_with(outcome)


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
        outcome = perform(pick_cohort(store, cohort).name, [team], prioritize, altered.prioritized)
    exit_with(outcome)
