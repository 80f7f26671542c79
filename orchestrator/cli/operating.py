"""What `cancel`, `suspend`, `resume` and their like have in common.

In: teams or a flag for all of them, and an operation. Out: lines that say what became of each job.
Used by `control`. Next on the path: `attend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from orchestrator import console
from orchestrator.cli.common import print_next
from orchestrator.control import attend, holders
from orchestrator.errors import NotFound, Refused
from orchestrator.opening import open_store, pick_cohort
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.terminal.lookup import controller_of

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.control.remote import RemoteLauncher
    from orchestrator.store import Store
    from orchestrator.store.values import Altered

Operation = Callable[[str, str, float], "Altered"]
"""From cohort, team and time to what became of the team's newest job."""
AT_WORK_HERE = "this command runs the cohort to its end; --detach gives the terminal back"


@dataclass(frozen=True)
class Outcome:
    """What came of an operation for several teams."""

    ok: bool
    """Whether it was done for all of them."""
    unsaid: OSError | None
    """Why not every line could be printed: its reader has gone, or its disk is full."""


def end(
    teams: Sequence[str],
    all_teams: bool,
    cohort: str | None,
    verb: str,
    operation_of: Callable[[Store], Operation],
    in_words: Callable[[Altered, bool], str],
) -> None:
    """Ends what trains by an operation, for the teams or for all whose jobs are not over."""
    check_named(teams, all_teams, "--all")
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        if all_teams:
            teams = teams_where(store, name, live, f"every job is over, so there is none to {verb}")

        def say(it: Altered) -> str:
            return in_words(it, bool(controller_of(store, name)))

        outcome = perform(name, teams, operation_of(store), say)
    exit_with(outcome)


def perform(
    cohort: str, teams: Sequence[str], operation: Operation, in_words: Callable[[Altered], str]
) -> Outcome:
    """Performs an operation for each team, and then says what came of it.

    Raises `SystemExit` where it was done for none, and what else the operation raises once it is
    said what was done before. Lines that cannot be printed are no reason to raise anything here:
    whoever has more to do does it before `exit_with`.
    """
    lines: list[tuple[Callable[[str], None], str]] = []
    num_refused = 0
    try:
        for team in dict.fromkeys(teams):
            try:
                done = operation(cohort, team, time.time())
            except (NotFound, Refused) as error:
                lines.append((console.print_error, str(error)))
                num_refused += 1
            else:
                lines.append((console.print_line, f"{team}: {in_words(done)}"))
    finally:
        # Not one by one: a reader who goes after the first line must not spare the other teams.
        unsaid = _say(lines)
    if teams and num_refused == len(set(teams)):
        raise SystemExit(1)
    return Outcome(num_refused == 0, unsaid)


def _say(lines: Sequence[tuple[Callable[[str], None], str]]) -> OSError | None:
    """Prints each line by its function; returns why some could not be, or None."""
    unsaid = None
    for say, text in lines:
        try:
            say(text)
        except OSError as error:
            unsaid = unsaid or error
    return unsaid


def go_on(
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
    holder = holders.settled_controller(name, store)
    if holder is not None:
        console.print_note(holders.at_work_note(name, holder, cpus))
        console.print_note(f"watch with: gamectl get jobs --watch --cohort {name}")
        return
    if not store.is_left(name):
        console.print_note(f"cohort {name}: nothing is left to run")
    elif launcher is None:
        console.print_note(AT_WORK_HERE)
    # Also then: MLflow may lack what was written while it was away.
    print_next(name, attend.attend(name, store, settings, cpus, launcher))


def teams_where(
    store: Store, cohort: str, wanted: Callable[[Job], bool], nobody: str
) -> tuple[str, ...]:
    """The teams whose newest job is wanted; where there is none that is said."""
    teams = tuple(job.team for job in newest_revisions(store.jobs(cohort)) if wanted(job))
    if not teams:
        console.print_note(f"cohort {cohort}: {nobody}")
    return teams


def live(job: Job) -> bool:
    """Whether a job is not over."""
    return not job.phase.terminal


def check_named(teams: Sequence[str], flag: bool, option: str) -> None:
    """Raises `UsageError` unless teams are named or the flag is given, and not both."""
    if teams and flag:
        raise click.UsageError(f"name teams or pass {option}, not both")
    if not teams and not flag:
        raise click.UsageError(f"name teams, or pass {option}")


def exit_with(outcome: Outcome) -> None:
    """Raises why not all could be said, or `SystemExit` unless all was done."""
    if outcome.unsaid is not None:
        raise outcome.unsaid
    if not outcome.ok:
        raise SystemExit(1)
