"""The best network in a real model registry: one version for each winner, and the alias on it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlflow.pytorch
import numpy as np
import pytest
import torch

from jobs.plan import CustomPlan, MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.errors import NotFound, TrackingError
from orchestrator.phases import Phase, Reason
from orchestrator.results.networks import trained_ensemble
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import MemberKey
from orchestrator.store import JobResult, Store
from orchestrator.tracking.champion import (
    ALIAS,
    OWN_CODE,
    Crowning,
    _description,
    crown,
    find_champion,
)
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.publish import publish, published_scores
from tests.orchestrator.cohorts import CLASSES, new_job, submit
from tests.orchestrator.tracked import DATA, SIDE, TrainJob, named_runs, project, projection_of


def book_of(store: Store, accuracies: Mapping[str, float]) -> ScoreBook:
    """Scores of these teams."""
    scores = tuple(
        TeamScore(
            job=job.uid, team=job.team, accuracy=accuracies[job.team], accuracy_low=0.1,
            accuracy_high=0.9, macro_recall=0.5, recall_per_class=(0.5,) * 3,
            confusion=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        )
        for job in store.jobs("small")
        if job.team in accuracies
    )  # fmt: skip
    return ScoreBook(
        cohort="small", test_fingerprint="t", test_images=9, classes=CLASSES, scores=scores
    )


def crowned(
    experiment: Experiment, store: Store, artifacts: Artifacts, **accuracies: float
) -> Crowning:
    """What publishing does, in a process of its own."""
    book, jobs = book_of(store, accuracies), store.jobs("small")
    publish(book, jobs, experiment)
    projection = projection_of(experiment, store, artifacts)
    crowning = crown(experiment, book, jobs, projection.model_of, lambda _job: SIDE)
    champion = crowning.champion.model if crowning.champion else None
    projection.publish(jobs, champion, "report-run", published_scores(book))
    return crowning


def test_a_version_tells_of_lost_members_and_of_many_classes_in_few_words(store: Store) -> None:
    submit(store, new_job("apes", 3))
    (job,) = store.jobs("small")
    lost = replace(job.members[2], phase=Phase.FAILED, message="it diverged")
    trained = [replace(member, phase=Phase.SUCCEEDED) for member in job.members[:2]]
    job = replace(job, phase=Phase.SUCCEEDED, members=(*trained, lost))
    job = replace(job, reason=Reason.DEGRADED, message="2 of 3 members were combined")
    book = book_of(store, {"apes": 0.8})
    many = tuple(f"{number}-{'x' * 90}" for number in range(60))
    text = _description(book.model_copy(update={"classes": many}), job, book.scores[0], "1", 64)
    assert "Degraded: 2 of 3" in text
    assert "0-xxx" in text
    assert len(text) < 5000  # of which PostgreSQL has room for no more


def versions(experiment: Experiment) -> dict[str, str]:
    """The team of each version."""
    found = experiment.client.search_model_versions("name = 'small'")
    return {str(version.version): version.tags["team"] for version in found}


def alias(experiment: Experiment) -> str:
    return str(experiment.client.get_registered_model("small").aliases[ALIAS])


def test_the_alias_follows_the_winner_and_no_version_is_made_twice(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 2, "mean")
    train_job("bears", 1, "mean")
    # Late, or not at all: the model of a job is logged when nobody waits for a slot.
    submit(store, new_job("cats"))
    project(experiment, store, artifacts)
    assert not experiment.client.search_logged_models([experiment.id])
    with pytest.raises(NotFound, match="gamectl score --cohort small --publish"):
        find_champion(experiment, "small")

    for _ in range(2):
        first = crowned(experiment, store, artifacts, apes=0.8, bears=0.6).champion
        assert first is not None
        assert (first.version, first.job.team) == ("1", "apes")
        assert versions(experiment) == {"1": "apes"}
    assert len(experiment.client.search_logged_models([experiment.id])) == 1
    version = experiment.client.get_model_version("small", "1")
    assert version.run_id == named_runs(experiment)["apes"].info.run_id
    assert version.tags["accuracy"] == "0.8000"
    assert 'mlflow.pytorch.load_model("models:/small/1")' in version.description
    assert "Degraded" not in version.description

    images = torch.rand(5, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = trained_ensemble(store.jobs("small")[0], store, artifacts)(images)
        assert torch.equal(mlflow.pytorch.load_model(f"models:/small@{ALIAS}")(images), wanted)
    record = mlflow.models.get_model_info(f"models:/small@{ALIAS}")
    assert record.signature is not None
    assert record.saved_input_example_info is not None

    crowned(experiment, store, artifacts, apes=0.5, bears=0.6)
    assert (versions(experiment), alias(experiment)) == ({"1": "apes", "2": "bears"}, "2")
    crowned(experiment, store, artifacts, apes=0.7, bears=0.6)
    assert (versions(experiment), alias(experiment)) == ({"1": "apes", "2": "bears"}, "1")
    assert experiment.client.get_model_version("small", "1").tags["accuracy"] == "0.7000"
    assert find_champion(experiment, "small").job == store.jobs("small")[0].uid

    # People may delete in MLflow what a version leads to.
    experiment.client.delete_logged_model(version.tags["game.model"])
    crowned(experiment, store, artifacts, apes=0.7, bears=0.6)
    assert versions(experiment) == {"1": "apes", "2": "bears", "3": "apes"}
    assert mlflow.pytorch.load_model(f"models:/small@{ALIAS}")(images).shape == (5, len(CLASSES))


def _win_with_own_code(store: Store, artifacts: Artifacts) -> None:
    custom = CustomPlan(file="own.py", source="", defines=("build_model",))
    plan = MemberPlan(data=DATA, epochs=1, custom=custom)
    submit(store, replace(new_job("own", epochs=1), plans=(plan,)))
    job = store.jobs("small")[-1]
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(job.id, 0)
    number = ledger.start(key, "slot-0", "node", 101.0).members[0].attempt
    trained = artifacts.save(job, 0, 1, b"whatever its code made", np.zeros((1, 3), np.float32))
    ledger.succeed(key, number, trained, 110.0)
    ledger.finish(job.id, JobResult(0.9), 111.0)
    ledger.release()


def test_code_of_a_teams_own_never_becomes_champion(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    _win_with_own_code(store, artifacts)
    project(experiment, store, artifacts)
    crowning = crowned(experiment, store, artifacts, own=0.9, apes=0.5)
    assert crowning.passed_over == (("own", OWN_CODE),)
    assert crowning.champion is not None
    assert crowning.champion.job.team == "apes"
    nobody = crowned(experiment, store, artifacts, own=0.9)
    assert (nobody.champion, nobody.passed_over) == (None, (("own", OWN_CODE),))
    with pytest.raises(NotFound, match="no champion"):
        find_champion(experiment, "small")


def test_a_team_whose_weights_are_gone_takes_no_champion_from_the_others(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    train_job("bears", 1, "mean")
    submit(store, new_job("cats"))  # so that nobody logs models yet
    project(experiment, store, artifacts)
    bears = next(job for job in store.jobs("small") if job.team == "bears")
    Path(artifacts.path(store.weights(bears.id)[0].weights)).unlink()
    crowning = crowned(experiment, store, artifacts, bears=0.9, apes=0.5)
    assert crowning.champion is not None
    assert crowning.champion.job.team == "apes"
    ((team, why),) = crowning.passed_over
    assert team == "bears"
    assert "m0.safetensors" in why


def test_somebody_elses_registered_model_is_left_alone(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    experiment.client.create_registered_model("small", description="mine")
    train_job("apes", 1, "mean")
    project(experiment, store, artifacts)
    with pytest.raises(TrackingError, match="not this cohort's; rename it"):
        crowned(experiment, store, artifacts, apes=0.8)
    assert not experiment.client.search_model_versions("name = 'small'")


def test_the_experiments_page_is_written_when_something_changed_and_keeps_what_was_published(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    def page() -> tuple[str, int]:
        found = experiment.client.get_experiment(experiment.id)
        return found.tags["mlflow.note.content"], found.last_update_time

    train_job("apes", 1, "mean")
    projection = projection_of(experiment, store, artifacts)
    projection.sync()
    text, at = page()
    run_id = named_runs(experiment)["apes"].info.run_id
    link = f"#/experiments/{experiment.id}/runs/{run_id}?workflowType=machine_learning"
    assert f"[apes]({link})" in text
    assert "test accuracy is not published yet" in text
    projection.sync()
    project(experiment, store, artifacts)
    assert page() == (text, at)

    crowned(experiment, store, artifacts, apes=0.8)
    assert "**apes** won with 80.0%" in page()[0]
    submit(store, new_job("dogs"))
    project(experiment, store, artifacts)
    store.withdraw("small", "dogs", 300.0)
    crowned(experiment, store, artifacts, apes=0.8)
    assert named_runs(experiment)["dogs"].data.tags["counts"] == "no"
    # Somebody deletes the winner's run; it is made again, without scores.
    experiment.client.delete_run(named_runs(experiment)["apes"].info.run_id)
    project(experiment, store, artifacts)
    assert "**apes** won with 80.0%" in page()[0]
    # Who wrote the page before hears of it, and does not take it back.
    projection.sync()
    submit(store, new_job("bears"))
    projection.sync()
    text, _ = page()
    assert "2 teams (1 Pending, 1 Succeeded)" in text
    assert "**apes** won with 80.0%" in text
