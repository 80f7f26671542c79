"""Trials of a search written to MLflow: a run for the search, and one in it for each trial.

In: outcomes as they end. Out: runs in a side experiment, each written in one batch; at the end the
search's own run gets the picture and the best settings. Nothing waits for it: where MLflow fails,
the search goes on and says so. Next on the path: whoever reviews.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from mlflow.entities import Metric, RunTag

from jobs.plan import EpochReport, MemberPlan
from orchestrator.errors import TrackingError
from orchestrator.tracking.client import METRICS_A_CALL, Experiment, mlflow_errors
from orchestrator.tracking.params import (
    METRICS_AN_EPOCH,
    as_params,
    epochs_metrics,
    ms,
    plan_params,
)
from orchestrator.tracking.projection import EPOCHS_A_CALL
from orchestrator.tracking.runs import NOTE_TAG

STATUS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


class Trial(Protocol):
    """What came of a trial; `search.trials.Outcome` is one."""

    @property
    def number(self) -> int:
        """Tells it from the others of its search."""

    @property
    def state(self) -> Literal["complete", "stopped", "failed"]:
        """How it ended."""

    @property
    def fault(self) -> str | None:
        """Why it failed."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What was tried."""

    @property
    def plan(self) -> MemberPlan:
        """What was trained."""

    @property
    def reports(self) -> Sequence[EpochReport]:
        """Its epochs."""


class TrialLog(AbstractContextManager["TrialLog"]):
    """One search in MLflow; every method raises `TrackingError` where it can't be written.

    As a context, it ends the search's run as failed unless `end` has ended it.
    """

    def __init__(self, experiment: Experiment, name: str, began_at: float) -> None:
        self._experiment = experiment
        self._client = experiment.client
        with mlflow_errors():
            run = self._create(name, began_at, {})
        self._id, self._files = run.run_id, run.artifact_uri
        self._ended = False

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            with suppress(TrackingError), mlflow_errors():
                self._end(self._id, "FAILED", time.time())

    def trial(self, outcome: Trial, began_at: float, ended_at: float) -> None:
        """Writes a trial that has ended."""
        tags = {
            "mlflow.parentRunId": self._id,
            "trial": str(outcome.number),
            "state": outcome.state,
            "message": outcome.fault or "",
        }
        settings = {f"search.{k}": str(v) for k, v in outcome.settings.items()}
        params = plan_params(outcome.plan) | settings
        epochs = [(ended_at, report) for report in outcome.reports]
        metrics = epochs_metrics(epochs, outcome.plan)
        with mlflow_errors():
            run_id = self._create(f"trial {outcome.number}", began_at, tags).run_id
            self._write(run_id, metrics, params)
            self._end(run_id, STATUS[outcome.state], ended_at)

    def end(
        self,
        files: Mapping[str, bytes],
        figures: Mapping[str, float],
        note: str,
        interrupted: bool,
    ) -> None:
        """Writes what came of the search, and ends its run."""
        now = time.time()
        metrics = [Metric(name, value, ms(now), 0) for name, value in figures.items()]
        with mlflow_errors(), tempfile.TemporaryDirectory(prefix="gamectl-") as made:
            for name, content in files.items():
                (Path(made) / name).write_bytes(content)
            self._experiment.files(self._files).log_artifacts(made)
            self._client.log_batch(self._id, metrics=metrics, tags=[RunTag(NOTE_TAG, note)])
            self._end(self._id, "KILLED" if interrupted else "FINISHED", now)
        self._ended = True

    def _create(self, name: str, at: float, tags: Mapping[str, str]) -> Any:
        said = {key: value for key, value in tags.items() if value}
        return self._client.create_run(
            self._experiment.id,
            start_time=ms(at),
            tags={"mlflow.source.name": "gamectl", **said},
            run_name=name,
        ).info

    def _write(self, run_id: str, metrics: list[Metric], params: Mapping[str, str]) -> None:
        a_call = EPOCHS_A_CALL * METRICS_AN_EPOCH
        assert a_call <= METRICS_A_CALL
        given = as_params(params)
        for start in range(0, max(len(metrics), 1), a_call):
            self._client.log_batch(
                run_id, metrics=metrics[start : start + a_call], params=given if start == 0 else ()
            )

    def _end(self, run_id: str, status: str, at: float) -> None:
        self._client.set_terminated(run_id, status, end_time=ms(at))
