"""`gamectl get`: jobs, cohorts and events as tables or JSON.

In: the store. Out: one row each. Next: `gamectl describe`, which shows one job whole.
"""

import time
from collections.abc import Sequence
from typing import Any

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, open_store, output_option, pick_cohort
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions


@click.group(
    "get",
    epilog="""\b
    Example:
      gamectl get jobs
      gamectl get jobs --cohort demo -o json
      gamectl get events""",
)
def command() -> None:
    """List jobs, cohorts or events."""


@command.command("jobs")
@cohort_option
@click.option("--all", "all_revisions", is_flag=True, help="Older revisions of the jobs as well.")
@output_option
def get_jobs(cohort: str | None, all_revisions: bool, output: str) -> None:
    """List the jobs of a cohort, the newest of each team, and their members.

    \b
    Example:
      gamectl get jobs --cohort demo -o json
    """
    with open_store(Settings()) as store:
        jobs: Sequence[Job] = store.jobs(pick_cohort(store, cohort).name)
    if not all_revisions:
        jobs = newest_revisions(jobs)
    if output == "json":
        console.print_json({"jobs": [as_json(job) for job in jobs]})
        return
    _print_jobs(jobs)


@command.command("cohorts")
@output_option
def get_cohorts(output: str) -> None:
    """List all cohorts, the one submitted last first.

    \b
    Example:
      gamectl get cohorts
    """
    with open_store(Settings()) as store:
        rows = [
            {
                "name": cohort.name,
                "jobs": len(jobs := newest_revisions(store.jobs(cohort.name))),
                "ended": sum(job.phase.terminal for job in jobs),
                "data": cohort.data.source,
                "submitted_at": cohort.submitted_at,
                "controller": store.lease_holder(cohort.name, time.time()),
            }
            for cohort in store.cohorts()
        ]
    if output == "json":
        console.print_json({"cohorts": rows})
        return
    console.print_table(
        ["cohort", "jobs", "ended", "controller", "data"],
        [
            [row["name"], row["jobs"], row["ended"], row["controller"] or "none", row["data"]]
            for row in rows
        ],
        right=["jobs", "ended"],
    )


@command.command("events")
@cohort_option
@output_option
def get_events(cohort: str | None, output: str) -> None:
    """List what happened to the jobs of a cohort, oldest first.

    \b
    Example:
      gamectl get events --cohort demo
    """
    with open_store(Settings()) as store:
        events = store.events(pick_cohort(store, cohort).name)
    if output == "json":
        keys = ["at", "kind", "team", "revision", "member", "reason", "message"]
        rows = [{key: getattr(event, key) for key in keys} for event in events]
        console.print_json({"events": rows})
        return
    console.print_table(
        ["time", "team", "member", "reason", "message"],
        [
            [
                clock_time(event.at),
                event.team,
                "" if event.member is None else event.member,
                event.reason,
                event.message,
            ]
            for event in events
        ],
    )


def clock_time(at: float | None) -> str:
    """A time of day for people, or nothing."""
    return "" if at is None else time.strftime("%H:%M:%S", time.localtime(at))


def as_json(job: Job) -> dict[str, Any]:
    """A job in the form of `-o json`; times in seconds since 1970."""
    return {
        "team": job.team,
        "revision": job.revision,
        "phase": job.phase,
        "reason": job.reason,
        "message": job.message,
        "blame": job.blame,
        "val_accuracy": job.val_accuracy,
        "spent_bnn": job.spent_bnn,
        "members": [
            {
                "index": member.index,
                "phase": member.phase,
                "reason": member.reason,
                "attempt": member.attempt,
                "slot": member.slot,
                "started_at": member.started_at,
                "ended_at": member.ended_at,
                "epoch": member.epoch,
                "val_accuracy": member.val_accuracy,
            }
            for member in job.members
        ],
    }


def _print_jobs(jobs: Sequence[Job]) -> None:
    console.print_table(
        ["team", "phase", "reason", "epochs", "val", "took"],
        [
            [
                job.team if job.revision == 1 else f"{job.team} (revision {job.revision})",
                job.phase,
                job.reason,
                " ".join(f"{m.epoch}/{m.epochs}" for m in job.members),
                "" if job.val_accuracy is None else f"{job.val_accuracy:.1%}",
                _took(job),
            ]
            for job in jobs
        ],
        right=["val", "took"],
    )


def _took(job: Job) -> str:
    if job.started_at is None or job.ended_at is None:
        return ""
    return f"{job.ended_at - job.started_at:.0f} s"
