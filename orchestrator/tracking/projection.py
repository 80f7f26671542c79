"""The store's state written to MLflow: one run a job, nested runs for its members.

In: the store. Out: runs with params, metrics, tags and artifacts. `sync` may be called as often as
one likes, by a new process as well, and after a failure in the middle: runs are found again by the
tag `game.key`, and tags say how far each has come. Next on the path: `model`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Metric, Param, RunTag

from jobs.plan import EpochReport, MemberPlan, Plan
from orchestrator.artifacts import Artifacts
from orchestrator.errors import GameError
from orchestrator.finish import trained_ensemble
from orchestrator.phases import Phase
from orchestrator.state import Job, Member
from orchestrator.store import Store
from orchestrator.tracking.client import KEY_TAG, METRICS_A_CALL, Experiment, mlflow_errors
from orchestrator.tracking.model import log_model

# How far a run has come; each is set once what it names is there as a whole.
DESCRIBED_TAG = "game.described"
MODEL_TAG = "game.model"
DONE_TAG = "game.done"

STATUS = {
    Phase.PENDING: "SCHEDULED",
    Phase.RUNNING: "RUNNING",
    Phase.SUCCEEDED: "FINISHED",
    Phase.FAILED: "FAILED",
    Phase.CANCELLED: "KILLED",
    Phase.SUPERSEDED: "KILLED",
}
LONGEST_PARAM = 500
FAILURES_A_ROUND = 3
"""One job that can't be shown must not hide the others; a server that is away fails them all."""


@dataclass
class _Run:
    """What this process knows of a run in MLflow."""

    id: str
    reached: set[str]
    """Which of the marks above it has."""
    epoch: int | None
    """The last epoch that MLflow has; None where it has to be asked."""
    said: dict[str, str]
    """The tags that it has."""

    @property
    def done(self) -> bool:
        return DONE_TAG in self.reached


class Projection:
    """Keeps one cohort's experiment up to date. Not shared between threads."""

    def __init__(
        self, experiment: Experiment, store: Store, artifacts: Artifacts, cohort: str
    ) -> None:
        self._experiment = experiment
        self._client = experiment.client
        self._store = store
        self._artifacts = artifacts
        self._cohort = cohort
        with mlflow_errors():
            self._runs = {
                key: _Run(run.info.run_id, set(run.data.tags), epoch=None, said=run.data.tags)
                for key, run in experiment.runs_by_key().items()
            }

    def sync(self) -> None:
        """Writes what MLflow does not show yet; raises the first error once the rest is written."""
        errors: list[GameError] = []
        for job in self._store.jobs(self._cohort):
            run = self._runs.get(job.uid)
            if run is not None and run.done:
                continue
            try:
                with mlflow_errors():
                    self._sync_job(job)
            except GameError as error:
                errors.append(error)
            if len(errors) == FAILURES_A_ROUND:
                break
        if errors:
            raise errors[0]

    def _sync_job(self, job: Job) -> None:
        plans = self._store.plans(job.id)
        run = self._job_run(job, plans)
        for member in job.members:
            if member.attempt > 0:
                self._sync_member(job, member, plans[member.index], run.id)
        self._say(
            run,
            phase=job.phase,
            reason=job.reason,
            message=job.message,
            blame=job.blame or "",
        )
        if not job.phase.terminal or any(m.phase is Phase.RUNNING for m in job.members):
            return
        ended_at = job.ended_at or job.submitted_at
        figures: dict[str, float] = {
            "num_members": len(job.members),
            "spent_bnn": job.spent_bnn,
            "slot_seconds": job.slot_seconds,
        }
        if job.val_accuracy is not None:
            figures["val_accuracy"] = job.val_accuracy
        if job.val_accuracy_refit is not None:
            figures["val_accuracy_refit"] = job.val_accuracy_refit
        metrics = [Metric(key, value, _ms(ended_at), 0) for key, value in figures.items()]
        self._client.log_batch(run.id, metrics=metrics)
        if job.phase is Phase.SUCCEEDED and MODEL_TAG not in run.reached:
            model = trained_ensemble(job, self._store, self._artifacts)
            log_model(self._experiment, run.id, model, plans[0].data)
            self._reach(run, MODEL_TAG)
        self._end(run, job.phase, ended_at)

    def _job_run(self, job: Job, plans: Sequence[MemberPlan]) -> _Run:
        name = job.team if job.revision == 1 else f"{job.team} r{job.revision}"
        tags = {"team": job.team, "revision": str(job.revision), "cohort": job.cohort}
        run = self._runs.get(job.uid) or self._create(job.uid, name, job.submitted_at, tags)
        if DESCRIBED_TAG not in run.reached:
            loadout, receipt = self._store.document(job.id)
            params = {
                **_common(plans),
                "num_members": str(len(plans)),
                "combine": job.combine,
                "purchases": ", ".join(line["item"] for line in receipt["lines"]) or "none",
                "spent_bnn": f"{job.spent_bnn:g}",
            }
            self._log_params(run, params)
            self._client.log_text(run.id, loadout, "loadout.yaml")
            self._client.log_text(run.id, json.dumps(receipt, indent=2), "receipt.json")
            self._client.set_tag(run.id, "mlflow.note.content", _note(job, receipt))
            self._reach(run, DESCRIBED_TAG)
        return run

    def _sync_member(self, job: Job, member: Member, plan: MemberPlan, parent_id: str) -> None:
        key = f"{job.uid}/m{member.index}"
        name, at = f"{job.team}/{member.index}", member.started_at or job.submitted_at
        tags = {"team": job.team, "member": str(member.index), "mlflow.parentRunId": parent_id}
        run = self._runs.get(key) or self._create(key, name, at, tags)
        if run.done:
            return
        if DESCRIBED_TAG not in run.reached:
            self._log_params(run, _flat(plan))
            self._reach(run, DESCRIBED_TAG)
        self._log_epochs(run, job, member)
        self._say(
            run,
            phase=member.phase,
            reason=member.reason,
            message=member.message,
            blame=member.blame or "",
            attempt=str(member.attempt),
            slot=member.slot or "",
            node=member.node or "",
            started_at=f"{member.started_at or 0:.3f}",
            ended_at=f"{member.ended_at:.3f}" if member.ended_at else "",
        )
        if member.phase.terminal:
            trained = self._store.weights(job.id).get(member.index)
            if trained is not None:
                path = self._artifacts.path(trained.weights)
                self._client.log_artifact(run.id, str(path), "weights")
            self._end(run, member.phase, member.ended_at or job.submitted_at)

    def _log_epochs(self, run: _Run, job: Job, member: Member) -> None:
        if run.epoch is None:
            history = self._client.get_metric_history(run.id, "val_loss")
            run.epoch = max((metric.step for metric in history), default=0)
        # A further attempt starts over and comes to the same figures: its epochs go on from where
        # the run stands, so that the curves have each step once.
        epochs = self._store.epochs(job.id, member.index, member.attempt, after=run.epoch)
        metrics = [metric for at, report in epochs for metric in _metrics(report, at)]
        for start in range(0, len(metrics), METRICS_A_CALL):
            self._client.log_batch(run.id, metrics=metrics[start : start + METRICS_A_CALL])
        if epochs:
            run.epoch = epochs[-1][1].epoch

    def _create(self, key: str, name: str, at: float, tags: dict[str, str]) -> _Run:
        tags = {KEY_TAG: key, "mlflow.source.name": "gamectl", **tags}
        created = self._client.create_run(
            self._experiment.id, start_time=_ms(at), tags=tags, run_name=name
        )
        self._runs[key] = _Run(created.info.run_id, reached=set(), epoch=0, said={})
        return self._runs[key]

    def _log_params(self, run: _Run, params: dict[str, str]) -> None:
        cut = [Param(name, value[:LONGEST_PARAM]) for name, value in params.items()]
        self._client.log_batch(run.id, params=cut)

    def _reach(self, run: _Run, tag: str) -> None:
        self._client.set_tag(run.id, tag, "1")
        run.reached.add(tag)

    def _say(self, run: _Run, phase: Phase, **tags: str) -> None:
        news = {k: v for k, v in {"phase": str(phase), **tags}.items() if run.said.get(k, "") != v}
        if not news:
            return
        self._client.log_batch(run.id, tags=[RunTag(key, value) for key, value in news.items()])
        if "phase" in news and not phase.terminal:
            self._client.update_run(run.id, status=STATUS[phase])
        run.said |= news

    def _end(self, run: _Run, phase: Phase, at: float) -> None:
        self._client.set_terminated(run.id, STATUS[phase], end_time=_ms(at))
        self._reach(run, DONE_TAG)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _metrics(report: EpochReport, at: float) -> list[Metric]:
    values = report.model_dump(exclude={"epoch"})
    return [Metric(name, value, _ms(at), report.epoch) for name, value in values.items()]


def _flat(section: Plan, prefix: str = "") -> dict[str, str]:
    """A plan's settings by dotted names, whatever is None left out."""
    flat: dict[str, str] = {}
    for name, value in section:
        if isinstance(value, Plan):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            flat[prefix + name] = ", ".join(map(str, value))
        elif value is not None:
            flat[prefix + name] = str(value)
    return flat


def _common(plans: Sequence[MemberPlan]) -> dict[str, str]:
    """Each setting once where the members agree, their values in order where they differ."""
    flats = [_flat(plan) for plan in plans]
    common = {}
    for name in {name: None for flat in flats for name in flat}:  # a set would lose the order
        values = [flat.get(name, "none") for flat in flats]
        common[name] = values[0] if len(set(values)) == 1 else " | ".join(values)
    return common


def _note(job: Job, receipt: dict[str, Any]) -> str:
    lines = [f"**{job.team}** spent {job.spent_bnn:g} of {receipt['budget_bnn']:g} B NN.", ""]
    if receipt["lines"]:
        lines += ["| item | B NN |", "|---|---|"]
        lines += [f"| {line['title']} | {line['total_bnn']:g} |" for line in receipt["lines"]]
    return "\n".join(lines)
