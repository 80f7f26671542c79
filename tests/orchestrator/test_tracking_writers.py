"""Several processes that write one cohort's runs and models, one after another or at a time."""

import time
from pathlib import Path

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.results.scorebook import ScoreBook
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.model import LONGEST_S, MAKER_TAG, drop_models, log_model
from orchestrator.tracking.publish import publish
from orchestrator.tracking.runs import MODEL_TAG
from orchestrator.tracking.templates import Templates
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.test_leaderboard import score
from tests.orchestrator.test_tracking_models import parts_of
from tests.orchestrator.tracked import named_runs, project


@pytest.mark.parametrize("maker", ["lives", "is gone", "is long gone"])
def test_only_models_that_nobody_makes_any_more_are_dropped(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    run_id = experiment.client.create_run(experiment.id).info.run_id
    monkeypatch.setattr("orchestrator.tracking.model.is_gone", lambda _: maker == "is gone")
    experiment.client.create_logged_model(
        experiment.id, source_run_id=run_id, tags={MAKER_TAG: "another:1"}
    )
    later_s = LONGEST_S + 1 if maker == "is long gone" else 1
    drop_models(experiment, run_id, round((time.time() + later_s) * 1000))
    left = experiment.client.search_logged_models([experiment.id])
    assert len(left) == (1 if maker == "lives" else 0)


def test_whoever_is_overtaken_while_files_are_sent_takes_the_others_model(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_id = experiment.client.create_run(experiment.id).info.run_id
    templates, parts = Templates(tmp_path / "templates"), parts_of(0)
    send = experiment.client.log_model_artifacts

    def overtaken(model_id: str, folder: str) -> None:
        monkeypatch.setattr(experiment.client, "log_model_artifacts", send)
        faster.append(log_model(experiment, run_id, parts, {}, templates))
        experiment.client.set_tag(run_id, MODEL_TAG, faster[0])
        send(model_id, folder)

    faster: list[str] = []
    monkeypatch.setattr(experiment.client, "log_model_artifacts", overtaken)
    assert log_model(experiment, run_id, parts, {}, templates) == faster[0]
    (model,) = experiment.client.search_logged_models([experiment.id])
    assert model.model_id == faster[0]


def test_a_revision_that_is_in_the_book_no_more_has_no_published_score(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes"), new_job("bears"))
    project(experiment, store, artifacts)
    scores = tuple(score(job, 0.75) for job in store.jobs("small"))
    classes = ("z" * 245, "y" * 245, "n3")
    book = ScoreBook(
        cohort="small", test_fingerprint="t", test_images=9, classes=classes, scores=scores
    )
    jobs = store.jobs("small")
    publish(book, jobs, experiment)
    publish(book.model_copy(update={"scores": scores[:1]}), jobs, experiment)
    tags = {name: run.data.tags for name, run in named_runs(experiment).items()}
    assert tags["apes"]["test_fingerprint"] == "t"
    assert "test_fingerprint" not in tags["bears"]
    recalls = [name for name in named_runs(experiment)["apes"].data.metrics if "recall." in name]
    assert sorted(map(len, recalls)) == [14, 214, 214]
