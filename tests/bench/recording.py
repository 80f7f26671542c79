"""What keeping a finished member and a finished job in MLflow costs.

In: nothing. Out: a row of seconds for both: a member with 20 epochs of its metrics and its weights,
and its job with the model. Ours is the projection of the store, as the tracking thread writes it.
Beside it the same figures go to MLflow as its quick start has it: `mlflow.log_metric` for each
value, `mlflow.pytorch.log_model` with its defaults; the weights are logged as an artifact in both.
Both have a SQLite file of their own, and a network for images of 64 px.
"""

import contextlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.pytorch
import numpy as np
import safetensors.torch
import torch

from jobs.monkeynet import build_model
from jobs.plan import DataPlan, EpochReport, MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.state import MemberKey
from orchestrator.store import JobResult, NewJob, Store
from orchestrator.tracking.client import Experiment, connect
from orchestrator.tracking.params import METRICS_AN_EPOCH
from orchestrator.tracking.projection import Projection
from tests.bench.rows import Row, faster, figure, print_rows
from tests.orchestrator.cohorts import DATA, cohort, epoch

NAME = "bench"
EPOCHS, CLASSES, SIDE_PX = 20, 10, 64
PLAN = MemberPlan(
    data=DataPlan(
        fingerprint="f", classes=tuple(f"n{n}" for n in range(CLASSES)), image_size_px=SIDE_PX
    ),
    epochs=EPOCHS,
)


def rows(quick: bool) -> Iterator[Row]:
    """Both together, and the member and the job for themselves."""
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = Recorder(Path(made) / "ours")
        for _ in range(3):  # whatever is loaded the first time
            recorder.record()
        for turn in range(1 if quick else 5):
            ours += [recorder.record() for _ in range(3)]
            theirs.append(quick_start(Path(made) / f"theirs-{turn}.db", recorder.weights))
    member, job = (statistics.median(each) for each in zip(*ours, strict=True))
    their_member, their_job = (statistics.median(each) for each in zip(*theirs, strict=True))
    values = f"{EPOCHS} epochs of {METRICS_AN_EPOCH} metrics, weights"
    yield faster(
        "recording a finished member and its job",
        member + job,
        their_member + their_job,
        "s",
        30.0,
        "log_metric per value, log_model with its defaults",
        f"{values}; a model of {SIDE_PX} px",
    )
    beside = "mlflow.log_metric per value"
    yield figure("recording a finished member", member, "s", their_member, beside, values)
    beside = "mlflow.pytorch.log_model with its defaults"
    yield figure("recording a finished job", job, "s", their_job, beside)


class Recorder:
    """A store with jobs of one member, trained in pretence, and MLflow kept up to date."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        network = build_model(PLAN.model, CLASSES, SIDE_PX)
        self.weights = safetensors.torch.save(network.state_dict())
        folder.mkdir()
        self._artifacts, self._templates = Artifacts(folder / "artifacts"), folder / "templates"
        self._store = Store(f"sqlite:///{folder / 'store.db'}")
        self._experiment = connect(
            f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts", NAME, create=True
        )
        self._num_jobs = 0

    def record(self) -> tuple[float, float]:
        """Seconds that MLflow takes for a member that has ended, and for its job afterwards."""
        self._num_jobs += 1
        receipt = {"lines": [], "total_bnn": 0, "budget_bnn": 100}
        job = NewJob(
            f"team-{self._num_jobs}", "", receipt, "mean", (PLAN,), (1.0,), ("base",), min_members=1
        )
        rules = cohort().model_dump(mode="json", by_alias=True)
        self._store.submit(NAME, rules, DATA, [job], 100.0)
        tracking = Projection(self._experiment, self._store, self._artifacts, NAME, self._templates)
        tracking.sync()  # the job's own run, as it waits

        ledger = self._store.acquire(NAME, "bench", 100.0, 0.0)
        key = MemberKey(self._store.jobs(NAME)[-1].id, 0)
        number = ledger.start(key, "slot-0", "node", 101.0).members[0].attempt
        ledger.record_epochs([(key, number, report, 101.0 + report.epoch) for report in reports()])
        found = self._store.job(key.job_id)
        probs = np.zeros((10, CLASSES), np.float32)
        trained = self._artifacts.save(found, 0, 1, self.weights, probs)
        ledger.succeed(key, number, trained, 130.0)
        member_s = _seconds(tracking)
        ledger.finish(key.job_id, JobResult(val_accuracy=0.5), 131.0)
        return member_s, _seconds(tracking)


def _seconds(tracking: Projection) -> float:
    started_s = time.perf_counter()
    tracking.sync()
    return time.perf_counter() - started_s


def reports() -> list[EpochReport]:
    """What a member tells of its epochs."""
    return [epoch(number) for number in range(1, EPOCHS + 1)]


def quick_start(database: Path, weights: bytes) -> tuple[float, float]:
    """Seconds for a member's run and for the model, with MLflow's own interface."""
    experiment: Experiment = connect(
        f"sqlite:///{database}", database.with_suffix(".artifacts"), NAME, create=True
    )
    mlflow.set_tracking_uri(experiment.tracking_uri)
    mlflow.set_experiment(experiment_id=experiment.id)
    network = build_model(PLAN.model, CLASSES, SIDE_PX)
    network.load_state_dict(safetensors.torch.load(weights))
    file = database.with_suffix(".safetensors")
    file.write_bytes(weights)

    started_s = time.perf_counter()
    with mlflow.start_run(run_name="member"):
        mlflow.log_params({"learning_rate": PLAN.optimizer.learning_rate, "seed": PLAN.seed})
        for report in reports():
            for name, value in report.model_dump(exclude={"epoch"}).items():
                mlflow.log_metric(name, value, step=report.epoch)
        mlflow.log_artifact(str(file))
    member_s = time.perf_counter() - started_s

    started_s = time.perf_counter()
    example = torch.zeros(1, 3, SIDE_PX, SIDE_PX)
    with mlflow.start_run(run_name="job"), contextlib.redirect_stdout(None):
        mlflow.log_metric("val_accuracy", 0.5)
        mlflow.pytorch.log_model(network, name="model", input_example=example.numpy())
    return member_s, time.perf_counter() - started_s


if __name__ == "__main__":
    print_rows(rows, "A finished member and a finished job in MLflow, beside its quick start.")
