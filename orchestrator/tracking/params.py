"""What MLflow shows of plans, epochs and receipts: their fields under names for people.

In: plans and reports of the training side, a job and its receipt. Out: params, metrics and the note
of a run. Pure. Next on the path: `projection`, which writes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param

from jobs.plan import CustomPlan, EpochReport, MemberPlan, Plan
from orchestrator.state import Job
from orchestrator.terminal.display import lost_note

METRICS_AN_EPOCH = len(EpochReport.model_fields) - 1
LONGEST_PARAM = 500
SELF_REPORTED = frozenset({"train_loss", "train_accuracy", "learning_rate", "images_per_second"})
"""Validation is measured outside of the sandbox, and so is time."""


def ms(seconds: float) -> int:
    """Seconds since 1970 in MLflow's unit."""
    return round(seconds * 1000)


def epoch_metrics(report: EpochReport, at: float, plan: MemberPlan) -> list[Metric]:
    """An epoch's figures, all of the same step; those that team code says of itself say so."""
    values = report.model_dump(exclude={"epoch"})
    said = SELF_REPORTED if plan.custom is not None else frozenset()
    return [
        Metric(f"self_reported/{name}" if name in said else name, value, ms(at), report.epoch)
        for name, value in values.items()
    ]


def epochs_metrics(epochs: Sequence[tuple[float, EpochReport]], plan: MemberPlan) -> list[Metric]:
    """The figures of several epochs, each with the time that it ended."""
    return [metric for at, report in epochs for metric in epoch_metrics(report, at, plan)]


def as_params(params: Mapping[str, str]) -> list[Param]:
    """Params in MLflow's form; what is too long for it is cut."""
    return [Param(name, value[:LONGEST_PARAM]) for name, value in params.items()]


def spent_metric(job: Job, at: float) -> Metric:
    """What a job has cost, in billions of neural nuggets."""
    return Metric("spent_bnn", job.spent_bnn, ms(at), 0)


def job_metrics(job: Job, at: float) -> list[Metric]:
    """The figures of a job that is over."""
    figures: dict[str, float] = {
        "num_members": len(job.members),
        "num_members_trained": job.members_trained,
        "spent_bnn": job.spent_bnn,
        "slot_seconds": job.slot_seconds,
    }
    if job.val_accuracy is not None:
        figures["val_accuracy"] = job.val_accuracy
    if job.val_accuracy_refit is not None:
        figures["val_accuracy_refit"] = job.val_accuracy_refit
    return [Metric(key, value, ms(at), 0) for key, value in figures.items()]


def plan_params(section: Plan, prefix: str = "") -> dict[str, str]:
    """A plan's settings by dotted names, whatever is None left out."""
    flat: dict[str, str] = {}
    for name, value in section:
        if isinstance(value, CustomPlan):
            flat |= {
                f"{prefix}{name}.file": value.file,
                f"{prefix}{name}.defines": ", ".join(value.defines),
                f"{prefix}{name}.sha256": value.sha256,
            }
        elif isinstance(value, Plan):
            flat |= plan_params(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            flat[prefix + name] = ", ".join(map(str, value))
        elif value is not None:
            flat[prefix + name] = str(value)
    return flat


def job_params(job: Job, plans: Sequence[MemberPlan], receipt: dict[str, Any]) -> dict[str, str]:
    """Each setting once where the members agree, their values in order where they differ."""
    flats = [plan_params(plan) for plan in plans]
    common = {}
    for name in {name: None for flat in flats for name in flat}:  # a set would lose the order
        values = [flat.get(name, "none") for flat in flats]
        common[name] = values[0] if len(set(values)) == 1 else " | ".join(values)
    return {
        **common,
        "num_members": str(len(plans)),
        "combine": job.combine,
        "purchases": ", ".join(line["item"] for line in receipt["lines"]) or "none",
    }


def note(job: Job, receipt: dict[str, Any], custom: CustomPlan | None) -> str:
    """What stands at the top of the run's page, in Markdown: what was bought, who was lost."""
    lines = [f"**{job.team}** spent {job.spent_bnn:g} of {receipt['budget_bnn']:g} B NN.", ""]
    if lost := lost_note(job):
        lines += [f"**Degraded**: {lost}", ""]
    if custom is not None:
        lines += [
            f"Runs code of its own (`{custom.file}`: {', '.join(custom.defines)}), so there is no "
            "model here that could be loaded safely: the file and each member's weights are among "
            "the artifacts. What its training says of itself is called `self_reported/...`.",
            "",
        ]
    if receipt["lines"]:
        lines += ["| item | B NN |", "|---|---|"]
        lines += [f"| {line['title']} | {line['total_bnn']:g} |" for line in receipt["lines"]]
    return "\n".join(lines)
