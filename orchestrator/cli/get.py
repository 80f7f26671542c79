"""`gamectl get`: jobs, cohorts and events as tables or JSON, once or while they change.

In: the store. Out: one row each. Next: `gamectl describe`, which shows one job whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator import console
from orchestrator.cli import completing
from orchestrator.cli.common import cohort_option, output_option
from orchestrator.cli.documents import event_document, job_document
from orchestrator.cli.nouns import NounGroup
from orchestrator.opening import open_store, pick_cohort
from orchestrator.settings import Settings
from orchestrator.state import Event, Job, newest_revisions
from orchestrator.terminal import display
from orchestrator.terminal.happened import print_events
from orchestrator.terminal.lookup import Absence, Lookup, controller_of, find_job, look_up

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store

POLL_S = 0.5
WIDE = 80
"""A narrower terminal shows fewer columns."""

watch_option = click.option(
    "-w", "--watch", is_flag=True, help="Go on until every job is over; Ctrl-C ends it."
)


@click.group(
    "get",
    cls=NounGroup,
    epilog="""\b
    Example:
      gamectl get jobs
      gamectl get jobs --watch
      gamectl get jobs --cohort demo -o json
      gamectl get events --team howling-pixels""",
)
def command() -> None:
    """List jobs, cohorts or events."""


@command.command("jobs")
@cohort_option
@click.option(
    "--all", "all_revisions", is_flag=True, help="Older revisions and withdrawn teams as well."
)
@watch_option
@output_option
def get_jobs(cohort: str | None, all_revisions: bool, watch: bool, output: str) -> None:
    """List the jobs of a cohort, the newest of each team, and how far their members are.

    A job that waits shows its place in the queue, #1 being next. With a tilde stands when a job is
    expected to end, from the speeds measured so far. Both need a controller at work for a time.

    Epochs are those of a job's first networks, as many as there is room for: in 7/20 +3 three more
    are not shown. A cross marks networks that were lost: ✗3/20 is one, and +3 ✗1 hides one.
    With --watch, the JSON form is a line for each job that has changed.

    \b
    Example:
      gamectl get jobs --watch
      gamectl get jobs --cohort demo -o json
    """
    if watch and all_revisions:
        raise click.UsageError("--watch shows the newest revisions only; leave out --all")
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        if watch:
            _watch_jobs(store, name, output)
            return
        seen = look_up(store, name, time.time())
    jobs = seen.jobs if all_revisions else newest_revisions(seen.jobs)
    if output == "json":
        documents = [job_document(job, seen.outlook, seen.until) for job in jobs]
        console.print_json({"cohort": name, "controller": seen.controller, "jobs": documents})
    else:
        _print_jobs(jobs, seen)


def _watch_jobs(store: Store, name: str, output: str) -> None:
    # Imported here: drawing takes a moment to import, and listing does not draw.
    from rich.console import Console

    from orchestrator.terminal.live import watch

    try:
        if output == "json":
            for job, seen in _changing_jobs(store, name):
                _print_json_line(job_document(job, seen.outlook, seen.until))
        else:
            watch(name, store, patient=True, console=Console())
    except KeyboardInterrupt:
        return


def _changing_jobs(store: Store, name: str) -> Iterator[tuple[Job, Lookup]]:
    """Each team's newest job, and again whenever it has changed, until all are over.

    One that is the newest no more, as a withdrawn team's, is told once more.
    """
    shown: dict[int, Job] = {}
    absence = Absence(name)
    while True:
        seen = look_up(store, name, time.time())
        newest = newest_revisions(seen.jobs)
        absence.look(seen.controller is not None, newest)
        told = shown.keys() | {job.id for job in newest}
        for job in seen.jobs:
            if job.id in told and shown.get(job.id) != job:
                shown[job.id] = job
                yield job, seen
        if seen.over:
            return
        time.sleep(POLL_S)


@command.command("cohorts")
@output_option
def get_cohorts(output: str) -> None:
    """List all cohorts, the one submitted last first.

    \b
    Example:
      gamectl get cohorts
    """
    with open_store(Settings()) as store:
        rows: list[dict[str, Any]] = [
            {
                "name": cohort.name,
                "side": cohort.side,
                "jobs": len(jobs := newest_revisions(store.jobs(cohort.name))),
                "ended": sum(job.phase.terminal for job in jobs),
                "data": cohort.data.source,
                "submitted_at": cohort.submitted_at,
                "controller": controller_of(store, cohort.name),
            }
            for cohort in store.cohorts()
        ]
    if output == "json":
        console.print_json({"cohorts": rows})
        return
    console.print_table(
        ["cohort", "jobs", "ended", "controller", "data"],
        [
            [
                f"{row['name']}{' *' if row['side'] else ''}",
                row["jobs"],
                row["ended"],
                row["controller"] or "none",
                row["data"],
            ]
            for row in rows
        ],
        right=["jobs", "ended"],
    )
    if any(row["side"] for row in rows):
        note = (
            "* a side cohort, of ablate or balance: commands mean it only where --cohort names it"
        )
        console.print_note(console.filled(note))


@command.command("events")
@cohort_option
@click.option(
    "--team", metavar="TEAM", shell_complete=completing.teams, help="Of this team's jobs only."
)
@watch_option
@output_option
def get_events(cohort: str | None, team: str | None, watch: bool, output: str) -> None:
    """List what happened to the jobs of a cohort, oldest first.

    What an event is about is written TEAM, or TEAM/1 for member 1. With --watch, the JSON form is
    a line for each event.

    \b
    Example:
      gamectl get events --cohort demo
      gamectl get events --team howling-pixels --watch
    """
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        if team is not None:
            team = find_job(store.jobs(name), name, team).team
        if watch:
            _watch_events(store, name, team, output)
            return
        events = store.events(name, team=team)
    if output == "json":
        documents = [event_document(event, name) for event in events]
        console.print_json({"cohort": name, "events": documents})
    else:
        print_events(events, time.time())


def _watch_events(store: Store, name: str, team: str | None, output: str) -> None:
    try:
        for event in _coming_events(store, name, team):
            if output == "json":
                _print_json_line(event_document(event, name))
                continue
            at = display.clock_time(event.at, time.time())
            about = display.object_of(event)
            console.print_line(
                console.printable(f"{at}  {about:<20}  {event.reason:<12}  {event.message}")
            )
    except KeyboardInterrupt:
        return


def _coming_events(store: Store, name: str, team: str | None) -> Iterator[Event]:
    """All events so far and those to come, until every job is over."""
    last_id, absence = 0, Absence(name)
    while True:
        seen = look_up(store, name, time.time())
        over = seen.over
        absence.look(seen.controller is not None, newest_revisions(seen.jobs))
        for event in store.events(name, last_id, team=team):
            last_id = event.id
            yield event
        if over:
            return
        time.sleep(POLL_S)


def _print_json_line(row: dict[str, Any]) -> None:
    console.print_text(json.dumps(row))


def _print_jobs(jobs: Sequence[Job], seen: Lookup) -> None:
    """Prints as many columns as there is room and use for."""
    wide = console.room() >= WIDE
    columns: dict[str, Callable[[Job], str]] = {
        "team": display.team_of,
        "phase": (lambda job: job.phase) if wide else display.status,
        "reason": display.reason,
        "epochs": lambda job: display.epochs(job, 2 if wide else 1),
        "val": display.accuracy,
        "expected": lambda job: display.expected(job, seen.outlook, seen.now),
        "took": lambda job: display.took(job, seen.until),
    }
    unused = set() if wide else {"reason", "took"}
    if all(job.phase.terminal for job in jobs):
        unused.add("expected")
    shown = [name for name in columns if name not in unused]
    spare = [name for name in ("took", "expected", "val") if name in shown]
    rows = [[columns[name](job) for name in shown] for job in jobs]
    console.print_table(
        shown, rows, right=["val", "took"], whole=["phase", "expected"], spare=spare
    )
    left = sum(not job.phase.terminal for job in jobs)
    if left and seen.controller is None:
        suspended = sum(job.suspended and not job.phase.terminal for job in jobs)
        name = console.printable(jobs[0].cohort)
        held = f", of which {suspended} suspended" if suspended else ""
        some = " --all" if suspended == left else ""
        goes_on = "lets them go on" if some else "starts one"
        console.print_note(
            f"\n{left} not over{held}; no controller is at work: "
            f"`gamectl resume{some} --cohort {name}` {goes_on}"
        )
