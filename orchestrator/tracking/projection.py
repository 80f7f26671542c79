"""The store's state written to MLflow: one run a job, nested runs for its members.

In: the store. Out: runs with params, metrics, tags and artifacts. `sync` may be called as often as
one likes, by a new process as well, and after a failure in the middle: runs are found again by the
tag `game.key`, and tags say how far each has come. A run that was closed is opened again when its
job is retried. Next on the path: `model`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Metric, Param, RunTag

from jobs.plan import EpochReport, MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.errors import ArtifactsAway, GameError, TrackingError
from orchestrator.finish import trained_ensemble
from orchestrator.phases import Phase
from orchestrator.state import Job, Member
from orchestrator.store import Store
from orchestrator.tracking.client import KEY_TAG, METRICS_A_CALL, Experiment, mlflow_errors
from orchestrator.tracking.model import log_model
from orchestrator.tracking.params import (
    METRICS_AN_EPOCH,
    epoch_metrics,
    job_metrics,
    job_params,
    ms,
    note,
    plan_params,
)

# How far a run has come; each is set once what it names is there as a whole.
DESCRIBED_TAG = "game.described"
MODEL_TAG = "game.model"
DONE_TAG = "game.done"
"""Its value says with which end the run was closed: a retry leads to another one."""
NOTE_TAG = "mlflow.note.content"

STATUS = {
    Phase.PENDING: "SCHEDULED",
    Phase.RUNNING: "RUNNING",
    Phase.SUCCEEDED: "FINISHED",
    Phase.FAILED: "FAILED",
    Phase.CANCELLED: "KILLED",
    Phase.SUPERSEDED: "KILLED",
}
LONGEST_PARAM = 500
EPOCHS_A_CALL = (METRICS_A_CALL - 200) // METRICS_AN_EPOCH
"""Params and tags, at most 100 each, go along."""
NO_PARAMS: Mapping[str, str] = {}
AWAY = (TrackingError, ArtifactsAway)
FAILURES_A_ROUND = 3
"""Of a server's, after which it is left alone for a while: one that is away fails all jobs. One
job whose own files are damaged must not hide the others."""


@dataclass
class _Run:
    """What this process knows of a run in MLflow."""

    id: str
    status: str
    said: dict[str, str]
    """The tags that it has, the marks above among them."""
    epoch: int | None
    """The last epoch that MLflow has; None where it has to be asked."""

    @property
    def done(self) -> str | None:
        """The end that the run was closed with, if it is closed."""
        return self.said.get(DONE_TAG)


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
        self._shown: dict[int, Job] = {}
        """Jobs as MLflow shows them."""
        with mlflow_errors():
            self._runs = {
                key: _Run(run.info.run_id, run.info.status, dict(run.data.tags), epoch=None)
                for key, run in experiment.runs_by_key().items()
            }

    def sync(self) -> None:
        """Writes what MLflow does not show yet; raises the first error once the rest is written."""
        errors: list[GameError] = []
        for job in self._store.jobs(self._cohort):
            if self._shown.get(job.id) == job or self._is_done(job):
                continue
            try:
                with mlflow_errors():
                    self._sync_job(job)
                self._shown[job.id] = job
            except GameError as error:
                errors.append(error)
            if sum(isinstance(error, AWAY) for error in errors) == FAILURES_A_ROUND:
                break
        if errors:
            raise errors[0]

    def _is_done(self, job: Job) -> bool:
        run = self._runs.get(job.uid)
        return run is not None and job.phase.terminal and run.done == _end_of(job)

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
        self._client.log_batch(run.id, metrics=job_metrics(job, ended_at))
        if job.phase is Phase.SUCCEEDED and MODEL_TAG not in run.said:
            custom = plans[0].custom
            if job.members_trained < len(job.members):
                self._tag(run, NOTE_TAG, note(job, self._store.document(job.id)[1], custom))
            if custom is None:
                model = trained_ensemble(job, self._store, self._artifacts)
                log_model(self._experiment, run.id, model, plans[0].data)
            self._tag(run, MODEL_TAG, "1")
        self._end(run, job.phase, ended_at, _end_of(job))

    def _job_run(self, job: Job, plans: Sequence[MemberPlan]) -> _Run:
        name = job.team if job.revision == 1 else f"{job.team} r{job.revision}"
        tags = {"team": job.team, "revision": str(job.revision), "cohort": job.cohort}
        run = self._runs.get(job.uid) or self._create(job.uid, name, job.submitted_at, tags)
        if DESCRIBED_TAG not in run.said:
            loadout, receipt = self._store.document(job.id)
            self._client.log_text(run.id, loadout, "loadout.yaml")
            self._client.log_text(run.id, json.dumps(receipt, indent=2), "receipt.json")
            if (custom := plans[0].custom) is not None:
                self._client.log_text(run.id, custom.source, custom.file)
            said = {NOTE_TAG: note(job, receipt, custom), DESCRIBED_TAG: "1"}
            self._client.log_batch(
                run.id,
                params=_params(job_params(job, plans, receipt)),
                tags=[RunTag(key, value) for key, value in said.items()],
            )
            run.said |= said
        return run

    def _sync_member(self, job: Job, member: Member, plan: MemberPlan, parent_id: str) -> None:
        key = f"{job.uid}/m{member.index}"
        name, at = f"{job.team}/{member.index}", member.started_at or job.submitted_at
        tags = {"team": job.team, "member": str(member.index), "mlflow.parentRunId": parent_id}
        run = self._runs.get(key) or self._create(key, name, at, tags)
        if member.phase.terminal and run.done == _end_of(member):
            return
        self._log_member(
            run,
            self._new_epochs(run, job, member),
            plan,
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
                with self._artifacts.as_file(trained) as path:
                    self._client.log_artifact(run.id, str(path), "weights")
            self._end(run, member.phase, member.ended_at or job.submitted_at, _end_of(member))

    def _new_epochs(self, run: _Run, job: Job, member: Member) -> list[tuple[float, EpochReport]]:
        if run.epoch is None:
            history = self._client.get_metric_history(run.id, "val_loss")
            run.epoch = max((metric.step for metric in history), default=0)
        # A further attempt tells its history again, or starts over and comes to the same figures:
        # its epochs go on from where the run stands, so that the curves have each step once.
        return self._store.epochs(job.id, member.index, member.attempt, after=run.epoch)

    def _log_member(
        self,
        run: _Run,
        epochs: list[tuple[float, EpochReport]],
        plan: MemberPlan,
        phase: Phase,
        **tags: str,
    ) -> None:
        """Writes what is new in one call, because a call costs more than what it writes.

        MLflow writes tags last, so that these tell of what is there. An epoch is never divided
        among calls: where one fails, the next begins after whole ones.
        """
        while len(epochs) > EPOCHS_A_CALL:
            first, epochs = epochs[:EPOCHS_A_CALL], epochs[EPOCHS_A_CALL:]
            self._client.log_batch(run.id, metrics=_metrics(first, plan))
            run.epoch = first[-1][1].epoch
        params: dict[str, str] = {}
        if DESCRIBED_TAG not in run.said:
            params, tags = plan_params(plan), {**tags, DESCRIBED_TAG: "1"}
        self._say(run, phase, params, _metrics(epochs, plan), **tags)
        if epochs:
            run.epoch = epochs[-1][1].epoch

    def _create(self, key: str, name: str, at: float, tags: dict[str, str]) -> _Run:
        tags = {KEY_TAG: key, "mlflow.source.name": "gamectl", **tags}
        created = self._client.create_run(
            self._experiment.id, start_time=ms(at), tags=tags, run_name=name
        )
        self._runs[key] = _Run(created.info.run_id, created.info.status, said={}, epoch=0)
        return self._runs[key]

    def _tag(self, run: _Run, tag: str, value: str) -> None:
        self._client.set_tag(run.id, tag, value)
        run.said[tag] = value

    def _say(
        self,
        run: _Run,
        phase: Phase,
        params: Mapping[str, str] = NO_PARAMS,
        metrics: Sequence[Metric] = (),
        **tags: str,
    ) -> None:
        news = {k: v for k, v in {"phase": str(phase), **tags}.items() if run.said.get(k, "") != v}
        if not news and not metrics:
            return
        if "phase" in news and not phase.terminal:
            if run.done:  # opened again, and whoever finds it half opened knows it by this
                self._tag(run, DONE_TAG, "")
            if run.status != STATUS[phase]:
                # Before the tag that says so, which keeps it from being done again.
                self._client.update_run(run.id, status=STATUS[phase])
                run.status = STATUS[phase]
        self._client.log_batch(
            run.id,
            params=_params(params),
            metrics=metrics,
            tags=[RunTag(key, value) for key, value in news.items()],
        )
        run.said |= news

    def _end(self, run: _Run, phase: Phase, at: float, end: str) -> None:
        self._client.set_terminated(run.id, STATUS[phase], end_time=ms(at))
        run.status = STATUS[phase]
        self._tag(run, DONE_TAG, end)


def _params(params: Mapping[str, str]) -> list[Param]:
    return [Param(name, value[:LONGEST_PARAM]) for name, value in params.items()]


def _metrics(epochs: Sequence[tuple[float, EpochReport]], plan: MemberPlan) -> list[Metric]:
    return [metric for at, report in epochs for metric in epoch_metrics(report, at, plan)]


def _end_of(ended: Job | Member) -> str:
    """Tells one end of a job or a member from another, which a retry may bring."""
    return f"{ended.phase} {ended.ended_at or 0:.3f}"
