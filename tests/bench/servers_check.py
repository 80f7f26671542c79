"""What a cohort left behind in the store and in MLflow: everything, and nothing twice.

In: the name of a cohort that has ended, its store, and the settings of whoever looks. Out: figures,
and what is wrong in words. Weights are held against a plain `train_member` without Ray, and what is
in MLflow is fetched from there, through its server. Used by `servers`.
"""

import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from jobs.plan import EpochReport, MemberPlan
from jobs.train import train_member
from orchestrator.control.inputs import Inputs
from orchestrator.phases import Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.tracking.client import KEY_TAG, Experiment, connect

CURVES = tuple(name for name in EpochReport.model_fields if name != "epoch")


class Check:
    """Looks at one cohort after another."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._plain: dict[str, str] = {}
        self.figures: Counter[str] = Counter()
        self.problems: list[str] = []

    def cohort(self, name: str, num_jobs: int) -> None:
        """Counts what is there, and notes what should not be or is not."""
        jobs = self._store.jobs(name)
        self._expect(len(jobs) == num_jobs, f"{name}: {len(jobs)} jobs, not {num_jobs}")
        experiment = connect(self._settings.tracking_uri, None, name, create=False)
        runs = self._runs(name, jobs, experiment)
        inputs = Inputs(name, self._store, self._settings)
        for job in jobs:
            self.figures["jobs"] += 1
            where = f"{name}/{job.team}"
            self._expect(job.phase is Phase.SUCCEEDED, f"{where}: {job.phase}, {job.message}")
            if job.uid in runs:
                self._model(where, runs[job.uid], experiment)
            for index, plan in enumerate(self._store.plans(job.id)):
                self.figures["members"] += 1
                self._attempts(f"{where}/{index}", job, index, plan)
                weights = self._plain_weights(plan, inputs)
                kept = self._store.weights(job.id).get(index)
                same = kept is not None and kept.weights_sha256 == weights
                self._expect(same, f"{where}/{index}: other weights than train_member's")
                if (run := runs.get(f"{job.uid}/m{index}")) is not None:
                    self._member_run(f"{where}/{index}", job, index, run, experiment)
                    served = _served_weights(run, experiment)
                    self._expect(served == [weights], f"{where}/{index}: MLflow has {served}")

    def _runs(self, name: str, jobs: tuple[Job, ...], experiment: Experiment) -> dict[str, Any]:
        """The experiment's runs by key: one a job, one a member, all of them closed."""
        found = experiment.client.search_runs([experiment.id], max_results=10_000)
        self.figures["runs"] += len(found)
        keys = Counter(run.data.tags.get(KEY_TAG, "") for run in found)
        wanted = Counter(job.uid for job in jobs)
        wanted.update(f"{job.uid}/m{member.index}" for job in jobs for member in job.members)
        self._expect(keys == wanted, f"{name}: runs {dict(keys)}, not {dict(wanted)}")
        for run in found:
            status = run.info.status
            self._expect(status == "FINISHED", f"{name}: run {run.info.run_name} is {status}")
        return {run.data.tags.get(KEY_TAG, ""): run for run in found}

    def _attempts(self, where: str, job: Job, index: int, plan: MemberPlan) -> None:
        """One attempt succeeded, and each has its epochs once and without a gap."""
        attempts = [each for each in self._store.attempts(job.id) if each.key.index == index]
        self.figures["attempts"] += len(attempts)
        succeeded = [each for each in attempts if each.reason == Reason.COMPLETED]
        self._expect(len(succeeded) == 1, f"{where}: attempts {[a.reason for a in attempts]}")
        for attempt in attempts:
            epochs = [r.epoch for _, r in self._store.epochs(job.id, index, attempt.number)]
            self.figures["epochs"] += len(epochs)
            last = plan.epochs if attempt in succeeded else len(epochs)
            whole = epochs == list(range(1, last + 1))
            self._expect(whole, f"{where}: attempt {attempt.number} has epochs {epochs}")

    def _member_run(
        self, where: str, job: Job, index: int, run: Any, experiment: Experiment
    ) -> None:
        """Every curve has each epoch once, and the store's losses."""
        attempt = job.members[index].attempt
        reports = [report for _, report in self._store.epochs(job.id, index, attempt)]
        for curve in CURVES:
            history = experiment.client.get_metric_history(run.info.run_id, curve)
            self.figures["metrics"] += len(history)
            history.sort(key=lambda metric: metric.step)
            steps = [metric.step for metric in history]
            once = steps == [report.epoch for report in reports]
            self._expect(once, f"{where}: MLflow has {curve} at {steps}")
            if curve.endswith("_loss"):
                values = [metric.value for metric in history]
                same = values == [getattr(report, curve) for report in reports]
                self._expect(same, f"{where}: MLflow has another {curve}")

    def _model(self, where: str, run: Any, experiment: Experiment) -> None:
        """One model, whose files are there."""
        models = experiment.client.search_logged_models(
            [experiment.id], filter_string=f"source_run_id = '{run.info.run_id}'"
        )
        self.figures["models"] += len(models)
        self._expect(len(models) == 1, f"{where}: {len(models)} models in MLflow")
        for model in models:
            files = experiment.client.list_logged_model_artifacts(model.model_id)
            names = {Path(file.path).name for file in files}
            self._expect("MLmodel" in names, f"{where}: its model consists of {sorted(names)}")

    def _plain_weights(self, plan: MemberPlan, inputs: Inputs) -> str:
        """The SHA-256 of what a plain training ends with; each plan is trained once."""
        key = plan.model_dump_json()
        if key not in self._plain:
            weights = train_member(plan, inputs.images(plan.data), lambda _: None).weights
            self._plain[key] = hashlib.sha256(weights).hexdigest()
            self.figures["plans"] += 1
        return self._plain[key]

    def _expect(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            self.problems.append(otherwise)


def _served_weights(run: Any, experiment: Experiment) -> list[str]:
    """The SHA-256 of every file of weights that MLflow serves for a run."""
    files = experiment.client.list_artifacts(run.info.run_id, "weights")
    with tempfile.TemporaryDirectory() as folder:
        return [
            hashlib.sha256(
                Path(
                    experiment.client.download_artifacts(run.info.run_id, file.path, folder)
                ).read_bytes()
            ).hexdigest()
            for file in files
        ]
