"""The store's state written to MLflow: one run a job, nested runs for its members.

In: the store. Out: runs with params, metrics, tags and artifacts. `sync` may be called as often as
one likes, by a new process as well, and after a failure in the middle: runs are found again by the
tag `game.key`, and tags and status say how far each has come. A run that was closed is opened again
when its job is retried. Next on the path: `model`.

Figures are written as they come. Models wait until a slot has nothing to train: the first of an
architecture costs a hundred times as much, which would be taken from whoever trains, and scoring
does not need them.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlflow.entities import Metric, RunTag

from jobs.plan import EpochReport, MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.errors import GameError, TrackingError
from orchestrator.phases import Phase
from orchestrator.results.networks import trained_parts
from orchestrator.state import Job, Member
from orchestrator.store import Store, TrainedWeights
from orchestrator.tracking.client import KEY_TAG, METRICS_A_CALL, Experiment, mlflow_errors
from orchestrator.tracking.failures import Failures
from orchestrator.tracking.front_page import FrontPage
from orchestrator.tracking.model import NO_MODEL, drop_models, known_model, log_model
from orchestrator.tracking.overview import Score
from orchestrator.tracking.params import (
    METRICS_AN_EPOCH,
    as_params,
    epochs_metrics,
    job_metrics,
    job_params,
    ms,
    note,
    plan_params,
    spent_metric,
)
from orchestrator.tracking.runs import (
    COUNTS,
    COUNTS_TAG,
    DESCRIBED_TAG,
    MODEL_TAG,
    NOTE_TAG,
    PARENT_TAG,
    STATUS,
    Run,
    attempt_tags,
    condition_tags,
    end_of,
    key_of,
    shows_end_of,
)
from orchestrator.tracking.templates import Templates

EPOCHS_A_CALL = (METRICS_A_CALL - 200) // METRICS_AN_EPOCH
"""Params and tags, at most 100 each, go along."""
NO_PARAMS: Mapping[str, str] = {}


class Projection:
    """Keeps one cohort's experiment up to date. Not shared between threads."""

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        artifacts: Artifacts,
        cohort: str,
        templates: Path,
    ) -> None:
        """`templates` is a folder for what models have in common; safe to delete."""
        self._experiment = experiment
        self._client = experiment.client
        self._store = store
        self._artifacts = artifacts
        self._cohort = cohort
        self._templates = Templates(templates)
        self._front_page = FrontPage(experiment, cohort)
        self._shown: dict[int, Job] = {}
        """Jobs as MLflow shows them, but for their models."""
        self._most_running = 1  # at a time, of members seen
        with mlflow_errors():
            self._runs = {key: Run.found(run) for key, run in experiment.runs_by_key().items()}
        self._found = {run.id for run in self._runs.values()}  # their models may be half made

    def sync(self, on_job: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Writes what MLflow does not show yet; raises the first error once the rest is written.

        `on_job` is called with how many jobs are written, and of how many.
        """
        failures = Failures(self._experiment)
        jobs = self._store.jobs(self._cohort)
        running = sum(m.phase is Phase.RUNNING for job in jobs for m in job.members)
        self._most_running = max(self._most_running, running)
        may_export = running < self._most_running and not any(job.waits for job in jobs)
        with self._templates:
            for done, job in enumerate(jobs):
                on_job(done, len(jobs))
                try:
                    with mlflow_errors():
                        if self._shown.get(job.id) != job and not shows_end_of(job, self._runs):
                            self._sync_job(job)
                        self._shown[job.id] = job
                        if may_export and self._lacks_model(job):
                            self._log_model(job)
                except GameError as error:
                    if failures.add(error):
                        break
            else:
                try:
                    self._front_page.show(jobs, self._runs)
                except TrackingError as error:
                    failures.add(error)
        failures.raise_first()

    def _sync_job(self, job: Job) -> None:
        plans = self._store.plans(job.id)
        run = self._job_run(job, plans)
        trained = self._store.weights(job.id)
        for member in job.members:
            if member.attempt > 0:
                self._sync_member(job, member, plans, run.id, trained)
        tags, metrics = condition_tags(job), list[Metric]()
        is_over = job.phase.terminal and all(m.phase is not Phase.RUNNING for m in job.members)
        if is_over:
            metrics = job_metrics(job, end_of(job))
            if job.phase is Phase.SUCCEEDED and job.members_trained < len(job.members):
                tags[NOTE_TAG] = note(job, self._store.document(job.id)[1], plans[0].custom)
        self._say(run, job.phase, tags, metrics)
        if is_over:
            self._end(run, job.phase, end_of(job))

    def _lacks_model(self, job: Job) -> bool:
        return job.phase is Phase.SUCCEEDED and MODEL_TAG not in self._runs[job.uid].said

    def publish(
        self,
        jobs: Sequence[Job],
        champion: str | None,
        report_run: str,
        scores: Mapping[str, Score],
    ) -> None:
        """Shows scores, by uid, the champion's model and the report's run on the page."""
        self._front_page.publish(time.time_ns(), champion, report_run, scores)
        self._front_page.show(jobs, self._runs)

    def model_of(self, job: Job) -> str | None:
        """The id of a succeeded job's model, which is logged where MLflow does not have it.

        None of a team's own code, of which there is no model.
        """
        with mlflow_errors(), self._templates:
            self._log_model(job)
        return None if (said := self._runs[job.uid].said[MODEL_TAG]) == NO_MODEL else said

    def _log_model(self, job: Job) -> None:
        run, plans = self._runs[job.uid], self._store.plans(job.id)
        # Asked anew: a controller and whoever publishes may both find that it lacks.
        model_id = known_model(self._experiment, run.id)
        if model_id is None and plans[0].custom is not None:
            model_id = NO_MODEL
            self._client.set_tag(run.id, MODEL_TAG, model_id)
        elif model_id is None:
            if run.id in self._found:
                drop_models(self._experiment, run.id, ms(time.time()))
            parts = trained_parts(job, self._store, self._artifacts)
            params = job_params(job, plans, self._store.document(job.id)[1])
            model_id = log_model(self._experiment, run.id, parts, params, self._templates)
            metrics = [
                Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id)
                for m in job_metrics(job, end_of(job))
            ]
            self._client.log_batch(run.id, metrics=metrics, tags=[RunTag(MODEL_TAG, model_id)])
        run.said[MODEL_TAG] = model_id

    def _job_run(self, job: Job, plans: Sequence[MemberPlan]) -> Run:
        run = self._runs.get(job.uid)
        if run is None:
            name = job.team if job.revision == 1 else f"{job.team} r{job.revision}"
            tags = {"team": job.team, "revision": str(job.revision), "cohort": job.cohort}
            tags |= {COUNTS_TAG: COUNTS, **condition_tags(job)}  # the front page says where not
            run = self._create(job.uid, name, job.submitted_at, tags)
        if run.said.get(DESCRIBED_TAG) != (price := f"{job.spent_bnn:g}"):  # new, or another price
            loadout, receipt = self._store.document(job.id)
            files = {"loadout.yaml": loadout, "receipt.json": json.dumps(receipt, indent=2)}
            if (custom := plans[0].custom) is not None:
                files[custom.file] = custom.source
            with tempfile.TemporaryDirectory(prefix="gamectl-") as made:
                for name, content in files.items():
                    (Path(made) / name).write_text(content)
                self._experiment.files(run.artifact_uri).log_artifacts(made)
            tags = {NOTE_TAG: note(job, receipt, custom), DESCRIBED_TAG: price}
            params = NO_PARAMS if run.has_params else job_params(job, plans, receipt)
            # Of figures with one time MLflow shows the larger.
            at = time.time() if DESCRIBED_TAG in run.said else job.submitted_at
            self._say(run, job.phase, tags, [spent_metric(job, at)], params)
        return run

    def _sync_member(
        self,
        job: Job,
        member: Member,
        plans: Sequence[MemberPlan],
        parent_id: str,
        trained: Mapping[int, TrainedWeights],
    ) -> None:
        key = key_of(job, member)
        ended_at = member.ended_at or job.submitted_at
        tags = {PARENT_TAG: parent_id, **condition_tags(member), **attempt_tags(member)}
        run = self._runs.get(key)
        if run is None:
            name, at = f"{job.team}/{member.index}", member.started_at or job.submitted_at
            identity = {"team": job.team, "member": str(member.index)}
            run = self._create(key, name, at, {**identity, **tags})
        elif run.shows_end_of(member, ended_at) and run.said.get(PARENT_TAG) == parent_id:
            return
        changed, plan = self._new_epochs(run, job, member), plans[member.index]
        self._log_member(run, changed, plan, member.phase, tags)
        if member.phase.terminal:
            if (kept := trained.get(member.index)) is not None:
                with self._artifacts.as_file(kept) as path:
                    self._experiment.files(run.artifact_uri).log_artifact(str(path), "weights")
            self._end(run, member.phase, ended_at)

    def _new_epochs(self, run: Run, job: Job, member: Member) -> list[tuple[float, EpochReport]]:
        if run.epoch is None:
            history = self._client.get_metric_history(run.id, "val_loss")
            run.epoch = max((metric.step for metric in history), default=0)
        # A further attempt tells its history again, or starts over and comes to the same figures:
        # its epochs go on from where the run stands, so that the curves have each step once.
        return self._store.history(job.id, member.index, after=run.epoch)

    def _log_member(
        self,
        run: Run,
        epochs: list[tuple[float, EpochReport]],
        plan: MemberPlan,
        phase: Phase,
        tags: dict[str, str],
    ) -> None:
        """Writes what is new in one call, because a call costs more than what it writes.

        MLflow writes tags last, so that these tell of what is there. An epoch is never divided
        among calls: where one fails, the next begins after whole ones.
        """
        while len(epochs) > EPOCHS_A_CALL:
            first, epochs = epochs[:EPOCHS_A_CALL], epochs[EPOCHS_A_CALL:]
            self._client.log_batch(run.id, metrics=epochs_metrics(first, plan))
            run.epoch = first[-1][1].epoch
        # No tag tells of them: where a member was over before it was seen, a call less is made.
        params = NO_PARAMS if run.has_params else plan_params(plan)
        self._say(run, phase, tags, epochs_metrics(epochs, plan), params)
        if epochs:
            run.epoch = epochs[-1][1].epoch

    def _create(self, key: str, name: str, at: float, tags: Mapping[str, str]) -> Run:
        said = {name: value for name, value in tags.items() if value}
        created = self._client.create_run(
            self._experiment.id,
            start_time=ms(at),
            tags={KEY_TAG: key, "mlflow.source.name": "gamectl", **said},
            run_name=name,
        ).info
        run = Run.created(created, said)
        self._runs[key] = run
        return run

    def _say(
        self,
        run: Run,
        phase: Phase,
        tags: Mapping[str, str],
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] = NO_PARAMS,
    ) -> None:
        if not phase.terminal and run.status != STATUS[phase]:
            self._client.update_run(run.id, status=STATUS[phase])
            run.status = STATUS[phase]
        changed = {key: value for key, value in tags.items() if run.said.get(key, "") != value}
        if not (changed or metrics or params):
            return
        self._client.log_batch(
            run.id,
            params=as_params(params),
            metrics=metrics,
            tags=[RunTag(key, value) for key, value in changed.items()],
        )
        run.said |= changed
        run.has_params |= bool(params)

    def _end(self, run: Run, phase: Phase, at: float) -> None:
        self._client.set_terminated(run.id, STATUS[phase], end_time=ms(at))
        run.status, run.ended_ms = STATUS[phase], ms(at)
