"""Teams' own code in a cohort: it trains, is scored, and harms nobody, on real Ray and MLflow."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from jobs.custom.sandbox import unavailable
from jobs.plan import SandboxRules
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.commands import gamectl, read_json

WriteCohort = Callable[..., Path]

NO_SANDBOX = unavailable(SandboxRules())
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("home", "ray_cluster"),
    pytest.mark.skipif(NO_SANDBOX is not None, reason=str(NO_SANDBOX)),
]

ALLOWED = "  allowCustomCode: true\n  customLimits: {wallSeconds: 20}\n"
CODE = "epochs: 2\nlearningRate: 0.05\npurchases: [{item: custom, file: %s.py}]\n"
ENSEMBLE = """
epochs: 2
learningRate: 0.05
purchases:
  - {item: custom, file: ours.py}
  - {item: ensemble-enchanter, combine: vote, members: [{}, {seed: 9}]}
"""
OURS = """
from torch import nn

def build_model(num_classes, size_px):
    print("our own network")
    features = 3 * (size_px // 4) ** 2
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(features, num_classes))
"""
RAISES = """
def build_model(num_classes, size_px):
    return {}["no such key"]
"""
CRASHES = """
import ctypes
from ours import *  # another team's file is not there
"""
# Whoever trains has been in training mode before it is asked.
FAILS_WHEN_SCORED = (
    OURS
    + """
trained_here = []
class Spiteful(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        if self.training:
            trained_here.append(True)
        if len(images) > 4 and not trained_here:
            raise ValueError("we will not be judged")
        return self.network(images)

honest = build_model

def build_model(num_classes, size_px):
    return Spiteful(honest(num_classes, size_px))
"""
)


@pytest.fixture
def cohort(write_cohort: WriteCohort) -> Callable[[dict[str, tuple[str, str]]], Path]:
    """A function that writes teams as (loadout, code)."""

    def write(teams: dict[str, tuple[str, str]]) -> Path:
        folder = write_cohort({team: text for team, (text, _) in teams.items()}, ALLOWED)
        for team, (_, code) in teams.items():
            (folder / f"{team}.py").write_text(code)
        return folder

    return write


def test_teams_code_is_trained_and_scored_and_fails_alone(
    cohort: Callable[[dict[str, tuple[str, str]]], Path], photos: Path, home: Path
) -> None:
    folder = cohort(
        {
            "ours": (ENSEMBLE, OURS),
            "raises": (CODE % "raises", RAISES),
            "nosy": (CODE % "nosy", CRASHES + "\ndef build_model(num_classes, size_px): ...\n"),
            "spiteful": (CODE % "spiteful", FAILS_WHEN_SCORED),
        }
    )
    done = gamectl("submit", folder, "--data", photos)
    assert done.exit_code == 0, done.output

    jobs = {job["team"]: job for job in read_json("get", "jobs")["jobs"]}
    assert {team: job["phase"] for team, job in jobs.items()} == {
        "ours": "Succeeded",
        "raises": "Failed",
        "nosy": "Failed",
        "spiteful": "Succeeded",
    }
    assert jobs["raises"]["message"] == "raises.py:3: KeyError: 'no such key'"
    assert "nosy.py:3: ModuleNotFoundError" in jobs["nosy"]["message"]
    for team in ("raises", "nosy"):
        assert jobs[team]["blame"] == "team"
        (member,) = jobs[team]["members"]
        assert (member["attempt"], member["cluster_failures"]) == (1, 0)
    # A team's failure costs no slot: as many were made as there are.
    slots = {member["slot"] for job in jobs.values() for member in job["members"]}
    assert slots <= {"slot-0", "slot-1"}

    log = gamectl("logs", "ours").stdout
    assert "our own network" in log
    assert "(self-reported)" in log

    # Whoever fails when it is scored has no score; the others have theirs.
    scored = gamectl("score")
    assert scored.exit_code == 0
    assert "spiteful: no score, its code failed: spiteful.py:19: ValueError" in scored.stderr
    assert "we will not be judged" in scored.stderr
    rows = {row["team"]: row for row in read_json("leaderboard")["rows"]}
    assert rows["ours"]["rank"] == 1
    assert rows["ours"]["accuracy"] is not None
    assert rows["spiteful"]["rank"] is None

    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    member = runs["ours/1"].data.metrics
    assert {"val_loss", "val_accuracy", "self_reported/train_loss"} <= set(member)
    assert "train_loss" not in member
    assert runs["ours"].info.status == "FINISHED"
    assert runs["ours"].data.params["custom.file"] == "ours.py"
    assert "custom.source" not in runs["ours"].data.params
    files = {file.path for file in client.list_artifacts(runs["ours"].info.run_id)}
    assert "ours.py" in files
    # No model is logged that somebody might load.
    assert client.search_logged_models([experiment.experiment_id]) == []


def test_code_is_stored_with_the_job_and_another_text_is_another_revision(
    cohort: Callable[[dict[str, tuple[str, str]]], Path], photos: Path
) -> None:
    folder = cohort({"raises": (CODE % "raises", RAISES)})
    assert gamectl("submit", folder, "--data", photos).exit_code == 0
    store = Store(Settings().store_url)
    (plan,) = store.plans(1)
    store.close()
    assert plan.custom is not None
    assert plan.custom.source == RAISES
    again = gamectl("submit", folder, "--data", photos)
    assert "nothing is run twice" in again.stderr
    (folder / "raises.py").write_text(RAISES.replace("no such", "another"))
    assert gamectl("submit", folder, "--data", photos).exit_code == 0
    (job,) = read_json("get", "jobs")["jobs"]
    assert (job["revision"], job["message"]) == (2, "raises.py:3: KeyError: 'another key'")
