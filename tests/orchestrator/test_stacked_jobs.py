"""Jobs whose members are stacked: from the last member's probabilities to MLflow and scores."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow.pytorch
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.plan import DataPlan, DistillPlan, LossPlan, TeacherSpec
from jobs.stacking import out_of_fold
from orchestrator.artifacts import Artifacts
from orchestrator.cli import main
from orchestrator.cluster.updates import Trained, Update
from orchestrator.errors import Damaged
from orchestrator.phases import Phase
from orchestrator.results.networks import trained_ensemble
from orchestrator.results.truth import ValidationTruth, validation_truth
from orchestrator.state import Job, MemberKey
from orchestrator.store import FittedStacker, Store
from orchestrator.tracking.client import Experiment
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.pretended import PretendedSlots, run_controller
from tests.orchestrator.tracked import DATA, TrainJob, named_runs, project

GENERATOR = np.random.default_rng(0)
LABELS = np.arange(60) % 3
TRUTH = ValidationTruth(LABELS, np.arange(60) // 6, np.arange(60))
# The first member is right about half of the images, the second only sure.
PROBS = GENERATOR.dirichlet(np.full(3, 0.4), (2, 60)).astype(np.float32)
PROBS[0, ::2] = np.eye(3, dtype=np.float32)[LABELS[::2]]


def trains(key: MemberKey, attempt: int) -> Update:
    return Trained(key, attempt, f"weights {key.index}".encode(), PROBS[key.index])


def run(store: Store, artifacts: Artifacts) -> Job:
    pool = PretendedSlots(outcome=trains)
    (job,) = run_controller(store, Path(), pool, artifacts=artifacts, truth=lambda _: TRUTH)
    return job


def kept(store: Store, job: Job) -> FittedStacker:
    fitted = store.stacker(job.id)
    assert fitted is not None
    return fitted


def test_a_job_is_measured_out_of_fold_and_keeps_the_refit(
    store: Store, artifacts: Artifacts
) -> None:
    submit(store, replace(new_job("a", num_members=2), combine="stacking"))
    job = run(store, artifacts)
    unseen, leaking = (
        accuracy(LABELS, out_of_fold(PROBS, LABELS, groups).argmax(axis=1))
        for groups in (TRUTH.groups, np.arange(60))
    )
    assert job.phase is Phase.SUCCEEDED
    assert job.val_accuracy == unseen != leaking
    assert job.val_accuracy_refit is not None
    assert job.val_accuracy_refit > job.val_accuracy
    fitted = kept(store, job)
    assert (
        fitted.stacker == f"small/a/r1-{job.uid[:8]}/stack-{fitted.stacker_sha256[:8]}.safetensors"
    )
    assert hashlib.sha256(artifacts.stacker(fitted)).hexdigest() == fitted.stacker_sha256


def test_a_job_without_stacking_has_no_refit(store: Store, artifacts: Artifacts) -> None:
    submit(store, new_job("a", num_members=2))
    job = run(store, artifacts)
    assert job.val_accuracy == accuracy(LABELS, PROBS.mean(axis=0).argmax(axis=1))
    assert job.val_accuracy_refit is None
    assert store.stacker(job.id) is None


class Interrupted(Artifacts):
    """A controller that is ended between its files and the store's transaction."""

    def save_stacker(self, job: Job, content: bytes) -> FittedStacker:
        super().save_stacker(job, content)
        raise KeyboardInterrupt


def test_a_controller_that_ends_between_files_and_store_loses_nothing(
    store: Store, tmp_path: Path
) -> None:
    submit(store, replace(new_job("a", num_members=2), combine="stacking"))
    with pytest.raises(KeyboardInterrupt):
        run(store, Interrupted(tmp_path))
    (left,) = store.jobs("small")
    assert (left.phase, left.val_accuracy) == (Phase.RUNNING, None)
    assert store.stacker(left.id) is None
    assert len(list(tmp_path.rglob("stack*"))) == 1

    artifacts = Artifacts(tmp_path)
    job = run(store, artifacts)
    assert job.phase is Phase.SUCCEEDED
    artifacts.stacker(kept(store, job))
    assert len(list(tmp_path.rglob("stack*"))) == 1


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(path.read_bytes() + b" "), Path.unlink]
)
def test_a_stacker_that_was_changed_is_not_used(
    store: Store, artifacts: Artifacts, train_job: TrainJob, damage: Callable[[Path], object]
) -> None:
    train_job("apes", 2, "stacking")
    (job,) = store.jobs("small")
    trained_ensemble(job, store, artifacts)
    damage(artifacts.path(kept(store, job).stacker))
    with pytest.raises(Damaged, match=r"stack-\w+\.safetensors"):
        trained_ensemble(job, store, artifacts)


def test_mlflow_has_both_accuracies_and_the_refit_as_its_model(
    store: Store,
    artifacts: Artifacts,
    experiment: Experiment,
    train_job: TrainJob,
    images: LabelledImages,
) -> None:
    train_job("apes", 2, "stacking")
    train_job("voters", 2, "vote")
    project(experiment, store, artifacts)
    job, _ = store.jobs("small")
    runs = named_runs(experiment)
    metrics = runs["apes"].data.metrics
    assert metrics["val_accuracy"] == job.val_accuracy
    assert metrics["val_accuracy_refit"] == job.val_accuracy_refit
    assert "val_accuracy_refit" not in runs["voters"].data.metrics

    model = mlflow.pytorch.load_model(f"runs:/{runs['apes'].info.run_id}/model")
    truth = validation_truth(lambda _: images)(DATA)
    # Each image is of a content of its own, so that its group is its number.
    inputs = torch.from_numpy(images.images[truth.groups]).float() / 255
    eager = trained_ensemble(job, store, artifacts)
    for batch in (1, 5, len(inputs)):
        with torch.no_grad():
            probs = torch.cat([model(chunk) for chunk in inputs.split(batch)])
            same = torch.cat([eager(chunk) for chunk in inputs.split(batch)])
        assert torch.equal(probs, same)
        assert accuracy(truth.labels, probs.argmax(dim=1).numpy()) == job.val_accuracy_refit


def test_nested_settings_are_params_with_dotted_names(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    job = new_job("apes", num_members=2)
    distill = DistillPlan(teacher=TeacherSpec(sha256="s" * 64, architecture="resnet34"))
    loss = LossPlan(focus_class="n1", focus_weight=5)
    plain, taught = job.plans[0], job.plans[1].model_copy(update={"distill": distill, "loss": loss})
    submit(store, replace(job, plans=(plain, taught)), replace(job, team="bees"))
    ledger = store.acquire("small", "test", 100.0, 1e9)
    for index in range(2):
        ledger.start(MemberKey(1, index), "slot-0", "node", 101.0)
    project(experiment, store, artifacts)
    runs = named_runs(experiment)
    both, member = runs["apes"].data.params, runs["apes/1"].data.params
    assert member["distill.teacher.architecture"] == "resnet34"
    assert both["distill.teacher.architecture"] == "none | resnet34"
    assert both["distill.temperature"] == "none | 3.0"
    assert both["loss.focus_class"] == "none | n1"
    assert both["schedule.kind"] == "constant"
    assert both["data.classes"] == "n0, n1, n2"
    assert not [name for name in runs["apes/0"].data.params if name.startswith("distill")]
    assert not [name for name in runs["bees"].data.params if name.startswith("distill")]


def test_the_truth_is_that_of_the_data_plan_in_its_order() -> None:
    labels, groups = np.repeat(np.arange(3), 10), np.arange(30) // 2 * 2
    images = LabelledImages(np.zeros((30, 3, 4, 4), np.uint8), labels, groups)
    plan = DataPlan(fingerprint="f", classes=("a", "b", "c"), image_size_px=4)
    truth = validation_truth(lambda _: images)(plan)
    assert truth.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert truth.groups.tolist() == [g for g in truth.groups[::2] for _ in range(2)]
    assert np.array_equal(labels[truth.rows], truth.labels)
    assert np.array_equal(groups[truth.rows], truth.groups)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "home")
def test_a_stacked_team_goes_all_the_way_to_its_score(
    write_cohort: Callable[..., Path], photos: Path
) -> None:
    loadout = """
epochs: 3
purchases:
  - item: ensemble-enchanter
    combine: stacking
    members: [{}, {learningRate: 0.03}]
"""
    folder = write_cohort({"stack": loadout})
    for words in (["submit", str(folder), "--data", str(photos)], ["score", "--publish"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
    described = CliRunner().invoke(main, ["describe", "job", "stack", "-o", "json"])
    document = json.loads(described.stdout)
    assert 0 <= document["val_accuracy"] <= 1
    assert 0 <= document["val_accuracy_refit"] <= 1
    text = CliRunner().invoke(main, ["describe", "job", "stack"]).stdout
    assert f"{document['val_accuracy']:.1%} out of fold" in text
    assert f"{document['val_accuracy_refit']:.1%} in sample" in text
    board = json.loads(CliRunner().invoke(main, ["leaderboard", "-o", "json"]).stdout)
    assert [row["team"] for row in board["rows"]] == ["stack"]
    assert 0 <= board["rows"][0]["accuracy"] <= 1
