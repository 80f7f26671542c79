"""`gamectl describe`: one job with everything that is known of it.

In: the store. Out: loadout, receipt, members and the events that led there.
"""

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, open_store, output_option, pick_cohort
from orchestrator.cli.get import as_json, clock_time
from orchestrator.errors import NotFound
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Store


@click.group(
    "describe",
    epilog="""\b
    Example:
      gamectl describe job howling-pixels --cohort demo""",
)
def command() -> None:
    """Show one job and what happened to it."""


@command.command("job")
@click.argument("team")
@cohort_option
@output_option
def describe_job(team: str, cohort: str | None, output: str) -> None:
    """Show a team's newest job: loadout, receipt, members, events.

    \b
    Example:
      gamectl describe job howling-pixels --cohort demo
    """
    with open_store(Settings()) as store:
        name = pick_cohort(store, cohort).name
        job = _find(store, name, team)
        loadout, receipt = store.document(job.id)
        events = [e for e in store.events(name) if (e.team, e.revision) == (job.team, job.revision)]
        plans = store.plans(job.id)
    if output == "json":
        document = {
            **as_json(job),
            "val_accuracy_refit": job.val_accuracy_refit,
            "loadout": loadout,
            "receipt": receipt,
            "plans": [plan.model_dump(mode="json") for plan in plans],
            "events": [
                {"at": e.at, "member": e.member, "reason": e.reason, "message": e.message}
                for e in events
            ],
        }
        console.print_json(document)
        return
    facts = [
        ("Team", job.team),
        ("Cohort", job.cohort),
        ("Revision", job.revision),
        ("Phase", job.phase),
        ("Reason", f"{job.reason}{f': {job.message}' if job.message else ''}"),
        ("Blame", job.blame or ""),
        ("Validation", _validation(job)),
        ("Submitted", clock_time(job.submitted_at)),
        ("Started", clock_time(job.started_at)),
        ("Ended", clock_time(job.ended_at)),
    ]
    for label, value in facts:
        if value != "":
            console.print_line(f"{label + ':':<12}{value}", indent=12)
    console.print_text("\nReceipt:")
    for line in receipt["lines"]:
        count = f" x {line['quantity']}" if line["quantity"] > 1 else ""
        console.print_text(f"  {line['title'] + count:<40}{line['total_bnn']:>6} B NN")
    console.print_text(f"  {'total':<40}{receipt['total_bnn']:>6} of {receipt['budget_bnn']} B NN")
    console.print_text("\nMembers:")
    console.print_table(
        ["index", "phase", "slot", "epochs", "val", "started", "ended"],
        [
            [
                m.index,
                m.phase,
                m.slot or "",
                f"{m.epoch}/{m.epochs}",
                "" if m.val_accuracy is None else f"{m.val_accuracy:.1%}",
                clock_time(m.started_at),
                clock_time(m.ended_at),
            ]
            for m in job.members
        ],
        right=["index", "val"],
    )
    console.print_text("\nEvents:")
    console.print_table(
        ["time", "member", "reason", "message"],
        [[clock_time(e.at), "" if e.member is None else e.member, e.reason, e.message]
         for e in events],
    )  # fmt: skip
    console.print_text("\nLoadout:")
    for text in loadout.rstrip().splitlines():
        console.print_text(f"  {console.printable(text)}")


def _validation(job: Job) -> str:
    if job.val_accuracy is None:
        return ""
    text = f"{job.val_accuracy:.1%}"
    if job.val_accuracy_refit is not None:
        text += f" out of fold; {job.val_accuracy_refit:.1%} in sample, after the refit on all"
    return text


def _find(store: Store, cohort: str, team: str) -> Job:
    jobs = newest_revisions(store.jobs(cohort))
    for job in jobs:
        if job.team == team:
            return job
    import difflib

    near = difflib.get_close_matches(team, [job.team for job in jobs], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"see `gamectl get jobs --cohort {cohort}`"
    raise NotFound(f"cohort {cohort!r} has no team {console.shortened(team)!r}; {hint}")
