"""What tests of tracking share: how runs are found, and what a new process does."""

from collections.abc import Callable
from typing import Any

from jobs.plan import DataPlan
from orchestrator.artifacts import Artifacts
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.projection import Projection
from tests.orchestrator.cohorts import CLASSES

TrainJob = Callable[..., None]
"""Puts a job of (team, number of members, how to combine) into the store and trains it."""

SIDE = 16
DATA = DataPlan(fingerprint="f", classes=CLASSES, image_size_px=SIDE, train_fraction=1)


def named_runs(experiment: Experiment) -> dict[str, Any]:
    """All runs by their names: a team for a job, team/index for a member."""
    return {run.info.run_name: run for run in experiment.runs_by_key().values()}


def projection_of(experiment: Experiment, store: Store, artifacts: Artifacts) -> Projection:
    """The projection of the cohort `small`."""
    return Projection(experiment, store, artifacts, "small", Settings().model_templates)


def project(experiment: Experiment, store: Store, artifacts: Artifacts) -> None:
    """What a new process does."""
    projection_of(experiment, store, artifacts).sync()
