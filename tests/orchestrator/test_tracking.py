"""MLflow as a projection of the store: a real SQLite tracking store, real models, real files."""

from dataclasses import replace
from pathlib import Path

import mlflow.pytorch
import pytest
import torch

from jobs.evaluation import EVAL_BATCH
from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.plan import MemberPlan
from jobs.split import split_images
from jobs.train import train_member
from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.errors import NotFound
from orchestrator.phases import Blame, Reason
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import Fault, MemberKey
from orchestrator.store import JobResult, Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.front_page import PUBLISHED_TAG
from orchestrator.tracking.projection import EPOCHS_A_CALL
from orchestrator.tracking.publish import publish
from orchestrator.tracking.runs import NOTE_TAG
from tests.orchestrator.cohorts import CLASSES, epoch, new_job, submit
from tests.orchestrator.tracked import DATA, SIDE, TrainJob, named_runs, project, projection_of

DIVERGED = Fault(Reason.DIVERGED, "loss is nan", Blame.TEAM)
GONE = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


def test_a_job_becomes_a_run_with_nested_runs_for_its_members(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 2, "mean")
    project(experiment, store, artifacts)
    runs = named_runs(experiment)
    assert set(runs) == {"apes", "apes/0", "apes/1"}
    job = runs["apes"]
    assert (job.info.run_name, job.info.status) == ("apes", "FINISHED")
    assert job.data.params["seed"] == "0 | 1"
    assert job.data.params["purchases"] == "flip-trick"
    assert job.data.tags["phase"] == "Succeeded"
    assert "message" not in job.data.tags
    assert job.data.metrics["val_accuracy"] == store.jobs("small")[0].val_accuracy
    files = {f.path for f in experiment.client.list_artifacts(job.info.run_id)}
    assert {"loadout.yaml", "receipt.json"} <= files

    member = runs["apes/1"]
    assert member.data.tags["mlflow.parentRunId"] == job.info.run_id
    assert member.data.tags["slot"] == "slot-0"
    assert (member.info.start_time, member.info.end_time) == (101_000, 110_000)
    for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate",
                 "images_per_second", "seconds"):  # fmt: skip
        history = experiment.client.get_metric_history(member.info.run_id, name)
        assert [metric.step for metric in history] == [1, 2], name
    (weights,) = experiment.client.list_artifacts(member.info.run_id, "weights")
    assert weights.path == "weights/m1.safetensors"


def test_a_job_that_is_handed_in_again_at_another_price_shows_that_one(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    for total in (20, 35, 15):
        receipt = {"lines": [], "total_bnn": total, "budget_bnn": 100}
        submit(store, replace(new_job("apes"), receipt=receipt, loadout=f"# {total}\n"))
        project(experiment, store, artifacts)
    run = named_runs(experiment)["apes"]
    assert run.data.metrics["spent_bnn"] == 15
    assert run.data.tags[NOTE_TAG].startswith("**apes** spent 15 of 100 B NN.")
    assert "spent_bnn" not in run.data.params  # which can never change
    path = experiment.client.download_artifacts(run.info.run_id, "loadout.yaml")
    assert Path(path).read_text() == "# 15\n"


@pytest.mark.parametrize(("num_members", "how"), [(1, "mean"), (3, "mean"), (3, "vote")])
def test_the_logged_model_reproduces_the_validation_accuracy(
    store: Store,
    artifacts: Artifacts,
    experiment: Experiment,
    train_job: TrainJob,
    images: LabelledImages,
    num_members: int,
    how: str,
) -> None:
    train_job("apes", num_members, how)
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes"].info.run_id
    model = mlflow.pytorch.load_model(f"runs:/{run_id}/model")
    validation = split_images(images.labels, images.groups, DATA).validation
    inputs = torch.from_numpy(images.images[validation]).float() / 255
    for batch in (EVAL_BATCH, len(validation), 1):
        with torch.no_grad():
            probs = torch.cat([model(chunk) for chunk in inputs.split(batch)])
        got = accuracy(images.labels[validation], probs.argmax(dim=1).numpy())
        assert got == store.jobs("small")[0].val_accuracy


def test_syncing_again_from_a_new_process_changes_nothing(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    project(experiment, store, artifacts)
    before = {k: r.to_dictionary() for k, r in experiment.runs_by_key().items()}
    project(experiment, store, artifacts)
    assert {k: r.to_dictionary() for k, r in experiment.runs_by_key().items()} == before


def test_a_member_is_followed_while_it_runs(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    projection = projection_of(experiment, store, artifacts)
    projection.sync()
    assert named_runs(experiment)["apes"].info.status == "SCHEDULED"
    ledger.start(key, "slot-0", "node", 101.0)
    for number in (1, 2):
        ledger.record_epochs([(key, 1, epoch(number), 101.0 + number)])
        # The second round is by a process that knows nothing of the first.
        projection_of(experiment, store, artifacts).sync()
    member = named_runs(experiment)["apes/0"]
    assert member.info.status == "RUNNING"
    history = experiment.client.get_metric_history(member.info.run_id, "train_loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]


def test_a_further_attempt_adds_to_the_curve_and_does_not_repeat_it(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    projection = projection_of(experiment, store, artifacts)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in (1, 2)])
    projection.sync()
    ledger.fail(key, 1, GONE, Retry(), 105.0)
    ledger.start(key, "slot-1", "node", 106.0)
    ledger.record_epochs([(key, 2, epoch(n), 110.0 + n) for n in (1, 2, 3)])
    projection.sync()
    member = named_runs(experiment)["apes/0"]
    history = experiment.client.get_metric_history(member.info.run_id, "train_loss")
    assert [m.step for m in history] == [1, 2, 3]
    assert (member.data.tags["attempt"], member.data.tags["slot"]) == ("2", "slot-1")


def test_a_failed_job_says_why(store: Store, artifacts: Artifacts, experiment: Experiment) -> None:
    submit(store, new_job("apes"))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.fail(key, 1, DIVERGED, Retry(), 105.0)
    project(experiment, store, artifacts)
    run = named_runs(experiment)["apes"]
    assert run.info.status == "FAILED"
    tags = {name: run.data.tags[name] for name in ("phase", "reason", "blame", "message")}
    assert tags == {
        "phase": "Failed",
        "reason": "MemberFailed",
        "blame": "team",
        "message": "loss is nan",
    }


def test_a_long_training_is_written_in_calls_of_whole_epochs(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    num_epochs = EPOCHS_A_CALL + 2
    submit(store, new_job("apes", epochs=num_epochs))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in range(1, num_epochs + 1)])
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes/0"].info.run_id
    history = experiment.client.get_metric_history(run_id, "seconds")
    assert [metric.step for metric in history] == list(range(1, num_epochs + 1))


def test_a_degraded_job_says_so_and_shows_the_members_that_count(
    store: Store, artifacts: Artifacts, experiment: Experiment, images: LabelledImages
) -> None:
    plans = tuple(MemberPlan(data=DATA, epochs=1, seed=seed) for seed in range(3))
    submit(store, replace(new_job("apes", 3, 1, min_members=2), plans=plans))
    ledger = store.acquire("small", "test", 100.0, 1e9)
    for index, plan in enumerate(plans):
        key = MemberKey(1, index)
        ledger.start(key, "slot-0", "node", 101.0)
        if index == 1:
            ledger.fail(key, 1, DIVERGED, Retry(), 105.0)
            continue
        result = train_member(plan, images, lambda _epoch: None)
        trained = artifacts.save(store.job(1), index, 1, result.weights, result.val_probs)
        ledger.succeed(key, 1, trained, 110.0)
    ledger.finish(1, JobResult(0.5), 111.0)
    project(experiment, store, artifacts)
    runs = named_runs(experiment)
    job = runs["apes"]
    assert job.info.status == "FINISHED"
    assert job.data.tags["reason"] == "Degraded"
    assert job.data.tags["message"] == "2 of 3 members; lost member 1: loss is nan"
    assert (job.data.metrics["num_members"], job.data.metrics["num_members_trained"]) == (3, 2)
    note = job.data.tags["mlflow.note.content"]
    assert "**Degraded**: 2 of 3 members; lost member 1: loss is nan" in note
    assert runs["apes/1"].info.status == "FAILED"
    with_weights = [
        name
        for name, run in runs.items()
        if experiment.client.list_artifacts(run.info.run_id, "weights")
    ]
    assert sorted(with_weights) == ["apes/0", "apes/2"]
    model = mlflow.pytorch.load_model(f"runs:/{job.info.run_id}/model")
    assert model(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, len(CLASSES))


def test_nothing_of_the_scores_is_in_mlflow_until_they_are_published(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    project(experiment, store, artifacts)
    run = named_runs(experiment)["apes"]
    assert not [name for name in run.data.metrics if name.startswith("test")]
    score = TeamScore(
        job=store.jobs("small")[0].uid,
        team="apes",
        accuracy=0.75,
        accuracy_low=0.4,
        accuracy_high=0.9,
        macro_recall=0.7,
        recall_per_class=(1.0, 0.5, 0.6),
        confusion=((2, 0, 0), (1, 1, 0), (0, 2, 3)),
    )
    book = ScoreBook(
        cohort="small", test_fingerprint="t", test_images=9, classes=CLASSES, scores=(score,)
    )
    for _ in range(2):
        publish(book, store.jobs("small"), experiment)
    run = named_runs(experiment)["apes"]
    assert run.data.metrics["test_accuracy"] == 0.75
    assert run.data.metrics["test_recall.n1"] == 0.5
    files = {f.path for f in experiment.client.list_artifacts(run.info.run_id)}
    assert {"confusion_matrix.json", "confusion_matrix.png"} <= files

    named = book.model_copy(update={"classes": ("Äffchen", "Öffchen", "n3")})
    publish(named, store.jobs("small"), experiment)
    metrics = named_runs(experiment)["apes"].data.metrics
    recalls = {name: metrics[f"test_recall.{name}"] for name in ("_ffchen.0", "_ffchen.1", "n3")}
    assert recalls == {"_ffchen.0": 1.0, "_ffchen.1": 0.5, "n3": 0.6}


def test_what_users_made_of_the_publishing_counts_as_nothing_published(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes"))
    project(experiment, store, artifacts)
    uid = store.jobs("small")[0].uid
    whole = (
        f'{{"number": 1, "champion": null, "report": "r", "scores": {{"{uid}": [0.7, 0.6, 0.8]}}}}'
    )

    def told(tag: str) -> str:
        experiment.client.set_experiment_tag(experiment.id, PUBLISHED_TAG, tag)
        experiment.client.set_experiment_tag(experiment.id, NOTE_TAG, "stale")
        project(experiment, store, artifacts)
        return str(experiment.client.get_experiment(experiment.id).tags[NOTE_TAG])

    assert "won with 70.0%" in told(whole)
    for tag in ("", "yes", "[]", "[" * 4000, '{"number": 2}', whole.replace("null", "[7]")):
        assert "not published yet" in told(tag), tag

    # Of another game, whose cohort has the same name.
    assert "not published yet" in told(whole.replace(uid, "0" * 32))


def test_publishing_without_runs_says_what_to_do(experiment: Experiment) -> None:
    score = TeamScore(
        job="unknown", team="apes", accuracy=0, accuracy_low=0, accuracy_high=0, macro_recall=0,
        recall_per_class=(), confusion=(),
    )  # fmt: skip
    book = ScoreBook(
        cohort="small", test_fingerprint="t", test_images=9, classes=(), scores=(score,)
    )
    with pytest.raises(NotFound, match="gamectl resume"):
        publish(book, [], experiment)
