"""`gamectl describe`: one job with everything that is known of it.

In: the store. Out: facts, receipt, members with their attempts, phases, events and the loadout.
"""

from __future__ import annotations

import textwrap
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator import console
from orchestrator.cli import completing
from orchestrator.cli.common import cohort_option, output_option
from orchestrator.cli.documents import event_document, job_document
from orchestrator.cli.nouns import DescribeGroup
from orchestrator.cli.numbers import WholeNumber
from orchestrator.opening import open_store, pick_cohort
from orchestrator.phases import Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Attempt, Event, Job, Member
from orchestrator.terminal import display
from orchestrator.terminal.happened import print_events
from orchestrator.terminal.lookup import Lookup, find_job, look_up
from orchestrator.terminal.receipt import print_receipt
from orchestrator.terminal.timeline import Step, timeline

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store

LABEL_CHARS = 13
WIDE = 76
"""A narrower terminal shows fewer columns, and messages below their table."""
DISPENSABLE = {"node", "failures", "message"}
UNTOLD = display.SELF_EVIDENT | {Reason.QUEUED}
"""Reasons of members that are not told where there is no column for them."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Description:
    """What there is to tell of one job."""

    job: Job
    seen: Lookup
    loadout: str
    receipt: dict[str, Any]
    attempts: tuple[Attempt, ...]
    events: Sequence[Event]
    steps: Sequence[Step]


@click.group(
    "describe",
    cls=DescribeGroup,
    epilog="""\b
    Example:
      gamectl describe job howling-pixels --cohort demo""",
)
def command() -> None:
    """Show one job and what happened to it."""


@command.command("job")
@click.argument("team", shell_complete=completing.teams)
@click.option("--revision", type=WholeNumber(min=1), help="An older one; the newest by default.")
@cohort_option
@output_option
def describe_job(team: str, revision: int | None, cohort: str | None, output: str) -> None:
    """Show a team's job: facts, receipt, members and attempts, phases, events, loadout.

    \b
    Example:
      gamectl describe job howling-pixels --cohort demo
      gamectl describe job howling-pixels --revision 1 -o json
    """
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        told = _describe(store, name, team, revision)
        plans = store.plans(told.job.id) if output == "json" else ()
    if output == "json":
        document = _as_json(told)
        document["plans"] = [plan.model_dump(mode="json") for plan in plans]
        console.print_json(document)
    else:
        _print(told)


def _describe(store: Store, cohort: str, team: str, revision: int | None) -> _Description:
    seen = look_up(store, cohort, time.time())
    job = find_job(seen.jobs, cohort, team, revision)
    loadout, receipt = store.document(job.id)
    events = [e for e in store.events(cohort, team=job.team) if e.revision == job.revision]
    return _Description(
        job, seen, loadout, receipt, store.attempts(job.id), events, timeline(events)
    )


# --- for programs ---------------------------------------------------------------------------------


def _as_json(told: _Description) -> dict[str, Any]:
    document = job_document(told.job, told.seen.outlook, told.seen.until)
    by_member: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for attempt in told.attempts:
        by_member[attempt.key.index].append(_attempt_json(attempt))
    for member in document["members"]:
        member["attempts"] = by_member[member["index"]]
    return {
        **document,
        "val_accuracy_refit": told.job.val_accuracy_refit,
        "phases": [{"at": s.at, "phase": s.phase, "reason": s.reason} for s in told.steps],
        "loadout": told.loadout,
        "receipt": told.receipt,
        "events": [event_document(event, told.job.cohort) for event in told.events],
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    keys = ["number", "slot", "node", "started_at", "ended_at", "epoch", "reason", "message"]
    return {**{key: getattr(attempt, key) for key in keys}, "blame": attempt.blame}


# --- for people -----------------------------------------------------------------------------------


def _print(told: _Description) -> None:
    receipt = told.receipt
    for label, value in _facts(told):
        if value != "":
            line = f"{label + ':':<{LABEL_CHARS}}{console.printable(str(value))}"
            console.print_line(line, indent=LABEL_CHARS)
    lines = [(line["title"], line["quantity"], line["total_bnn"]) for line in receipt["lines"]]
    print_receipt("Receipt", lines, receipt["total_bnn"], receipt["budget_bnn"])
    _print_members(told)
    _print_attempts(told)
    now = told.seen.now
    console.print_text("\nPhases:")
    console.print_table(
        ["since", "phase", "reason"],
        [[display.clock_time(step.at, now), step.phase, step.reason] for step in told.steps],
        whole=["since", "phase", "reason"],
    )
    console.print_text("\nEvents:")
    print_events(told.events, now, of_job=True)
    console.print_text("\nLoadout:")
    for text in told.loadout.rstrip().splitlines():
        console.print_text(f"  {console.printable(text)}")


def _facts(told: _Description) -> list[tuple[str, object]]:
    job, seen = told.job, told.seen
    place, end = seen.outlook.positions.get(job.id), seen.outlook.finish.get(job.id)
    superseded = max(j.revision for j in seen.jobs if j.team == job.team)
    older = f" (the newest is {superseded})" if superseded != job.revision else ""
    return [
        ("Team", job.team),
        ("Cohort", job.cohort),
        ("Revision", f"{job.revision}{older}"),
        ("Phase", f"{job.phase}{', is being suspended' if _suspending(job) else ''}"),
        ("Reason", f"{job.reason}{f': {job.message}' if job.message else ''}"),
        ("Blame", job.blame or ""),
        ("Degraded", "" if job.phase.terminal else display.lost_note(job)),
        ("Priority", job.priority),
        ("Position", f"{place} of {len(seen.outlook.positions)} in the queue" if place else ""),
        ("Expected", "" if end is None else f"to end at {display.clock_time(end, seen.now)}"),
        ("Validation", _validation(job)),
        ("Submitted", display.clock_time(job.submitted_at, seen.now)),
        ("Started", display.clock_time(job.started_at, seen.now)),
        ("Ended", display.clock_time(job.ended_at, seen.now)),
        ("Took", _took(job, seen.until)),
    ]


def _suspending(job: Job) -> bool:
    return job.suspended and job.phase is Phase.RUNNING


def _took(job: Job, now: float) -> str:
    if not job.begun:
        return ""
    text = display.took(job, now)
    if len(job.members) > 1:
        text += f"; its members together {display.duration(job.slot_seconds_at(now))}"
    return text


def _validation(job: Job) -> str:
    if job.val_accuracy is None:
        return ""
    text = f"{job.val_accuracy:.1%}"
    if job.val_accuracy_refit is not None:
        text += f" out of fold; {job.val_accuracy_refit:.1%} in sample, after the refit on all"
    return text


def _print_members(told: _Description) -> None:
    job = told.job
    needed = f" ({job.min_members} of {len(job.members)} must be trained)"
    console.print_text(f"\nMembers{needed if len(job.members) > 1 else ''}:")
    messages = {m.index: _message(m, told.seen.now) for m in job.members}
    columns: dict[str, Callable[[Member], object]] = {
        "member": lambda m: m.index,
        "phase": lambda m: m.phase,
        "reason": lambda m: m.reason,
        "epochs": lambda m: f"{m.epoch}/{m.epochs}",
        "val": lambda m: "" if m.val_accuracy is None else f"{m.val_accuracy:.1%}",
        "failures": _failures,
        "message": lambda m: messages[m.index],
    }
    shown = _print_columns(columns, job.members, ["member", "val"], ["phase", "reason"], ["reason"])
    if "message" in shown:
        return
    for member in job.members:
        reason = "" if "reason" in shown or member.reason in UNTOLD else member.reason
        told_of = ": ".join(part for part in (reason, messages[member.index]) if part)
        if told_of:
            text = console.printable(f"member {member.index}: {told_of}")
            console.print_text(textwrap.fill(text, console.room()))


def _print_columns(
    columns: Mapping[str, Callable[[T], object]],
    rows: Sequence[T],
    right: Sequence[str],
    whole: Sequence[str],
    spare: Sequence[str],
) -> Sequence[str]:
    """Prints a table with as many columns as there is room for, and returns those."""
    wide = console.room() >= WIDE
    shown = {name: cell for name, cell in columns.items() if wide or name not in DISPENSABLE}
    cells = [[cell(row) for cell in shown.values()] for row in rows]
    return console.print_table(list(shown), cells, right=right, whole=whole, spare=spare)


def _failures(member: Member) -> str:
    counts = {"team": member.team_failures, "cluster": member.cluster_failures}
    return ", ".join(f"{count} {blame}" for blame, count in counts.items() if count)


def _message(member: Member, now: float) -> str:
    if member.not_before is None or member.phase is not Phase.PENDING:
        return member.message
    wait = display.duration(member.not_before - now)
    return f"{member.message}; again in {wait}" if member.not_before > now else member.message


def _print_attempts(told: _Description) -> None:
    if not told.attempts:
        return
    now, until = told.seen.now, told.seen.until
    console.print_text("\nAttempts:")
    columns: dict[str, Callable[[Attempt], object]] = {
        "member": lambda a: a.key.index,
        "attempt": lambda a: a.number,
        "slot": lambda a: a.slot,
        "node": lambda a: a.node,
        "started": lambda a: display.clock_time(a.started_at, now),
        "took": lambda a: display.duration((a.ended_at or until) - a.started_at),
        "epochs": lambda a: a.epoch,
        "ended": _ended,
    }
    right = ["member", "attempt", "took", "epochs"]
    spare = ["slot", "started", "attempt"]  # events tell them, too
    _print_columns(columns, told.attempts, right, ["slot", "started"], spare)


def _ended(attempt: Attempt) -> str:
    blame = f" ({attempt.blame})" if attempt.blame else ""
    return "" if attempt.ended_at is None else f"{attempt.reason}{blame}"
