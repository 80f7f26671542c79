"""The description and the views of a cohort's experiment, as texts and in a real MLflow."""

import json
from dataclasses import replace

from orchestrator.artifacts import Artifacts
from orchestrator.phases import Phase
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.front_page import PUBLISHED_TAG
from orchestrator.tracking.overview import (
    MOST_ROWS,
    NOTHING_YET,
    TEAMS_VIEW,
    VIEW_TAG,
    Published,
    Score,
    description,
    views,
)
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.job_states import job
from tests.orchestrator.tracked import TrainJob, project

LONGEST_TAG = 20_000  # of an experiment, in MLflow


def _ended(number: int, val_accuracy: float, **fields: object) -> Job:
    done = job(number, Phase.SUCCEEDED)
    return replace(done, phase=Phase.SUCCEEDED, val_accuracy=val_accuracy, **fields)  # type: ignore[arg-type]


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    plain = [line.replace("&emsp;", "").replace("*", "") for line in lines]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in plain]


def test_before_publishing_teams_stand_by_validation_accuracy_and_nothing_tells_of_the_test() -> (
    None
):
    jobs = [_ended(1, 0.5), job(2), _ended(3, 0.75, spent_bnn=20.0), _ended(4, 0.0)]
    text = description("monday", jobs, {"uid-1": "#/run-1"}, NOTHING_YET)
    assert text.startswith("**monday**: 4 teams (1 Pending, 3 Succeeded); test accuracy is not")
    heads, _, *rows = _rows(text)
    assert heads == ["team", "phase", "validation accuracy", "B NN spent", "members"]
    assert rows == [
        ["team-3", "Succeeded", "75.0%", "20", "1"],
        ["[team-1](#/run-1)", "Succeeded", "50.0%", "0", "1"],
        ["team-4", "Succeeded", "0.0%", "0", "1"],
        ["team-2", "Pending", "", "0", "1"],
    ]


def test_published_teams_stand_by_place() -> None:
    jobs = [_ended(1, 0.5), job(2), _ended(3, 0.75)]
    scores = {"uid-1": Score(0.8, 0.7, 0.9), "uid-3": Score(0.6, 0.5, 0.7)}
    text = description("monday", jobs, {}, Published(scores, "monday"))
    assert "**team-1** won with 80.0% on the test set" in text.splitlines()[0]
    heads, _, *rows = _rows(text)
    assert heads[:4] == ["place", "team", "test accuracy", "95 % interval"]
    assert [row[:4] for row in rows] == [
        ["1", "team-1", "80.0%", "70.0% - 90.0%"],
        ["2", "team-3", "60.0%", "50.0% - 70.0%"],
        ["", "team-2", "", ""],
    ]
    assert "[monday](#/models/monday)" in text


def test_teams_that_are_level_share_a_place_and_nobody_won_alone() -> None:
    jobs = [replace(_ended(n, 0.5), submitted_at=0.0) for n in (1, 2, 3)]
    scores = {
        job.uid: Score(share, 0.4, 0.9) for job, share in zip(jobs, (0.8, 0.8, 0.6), strict=True)
    }
    text = description("monday", jobs, {}, Published(scores))
    assert "2 teams share the first place with 80.0% on the test set" in text.splitlines()[0]
    _, _, *rows = _rows(text)
    assert [row[0] for row in rows] == ["1=", "1=", "3"]


def test_a_job_without_all_members_says_so_and_only_the_newest_revision_counts() -> None:
    lost = job(1, Phase.SUCCEEDED, Phase.FAILED, Phase.SUCCEEDED)
    again = replace(lost, id=2, uid="uid-2", revision=2, phase=Phase.SUCCEEDED)
    (_, _, row) = _rows(description("monday", [lost, again], {}, NOTHING_YET))
    assert row[0] == "team-1 r2"
    assert row[-1] == "2 of 3"


def test_however_many_teams_there_are_the_text_fits_a_tag() -> None:
    jobs = [_ended(n, 0.5, team="t" * 40 + str(n)) for n in range(300)]
    runs = {each.uid: f"#/experiments/123456/runs/{'0' * 32}" for each in jobs}
    scores = {each.uid: Score(0.5, 0.4, 0.6) for each in jobs}
    text = description("monday", jobs, runs, Published(scores, "monday"))
    assert f"... and {300 - MOST_ROWS} more teams." in text
    assert len(text) < LONGEST_TAG


def test_long_names_of_a_large_class_leave_room_for_the_rest() -> None:
    jobs = [replace(_ended(n, 0.5), team=f"{'x' * 59}-{n:03d}") for n in range(200)]
    runs = {job.uid: f"#/experiments/123/runs/{'f' * 32}" for job in jobs}
    scores = {job.uid: Score(0.8, 0.7, 0.9) for job in jobs}
    text = description("monday", jobs, runs, Published(scores, "monday", "#/" + "f" * 200))
    num_rows = len(_rows(text)) - 2
    assert 40 < num_rows < MOST_ROWS
    assert f"... and {200 - num_rows} more teams." in text
    assert len(text) < LONGEST_TAG


def test_the_view_of_teams_is_in_the_form_that_the_pages_read() -> None:
    for published, accuracy in ((False, "val"), (True, "test")):
        view = json.loads(views("monday", 100.0, published)[VIEW_TAG + TEAMS_VIEW])
        assert (view["name"], view["createdAt"]) == ("Teams", 100_000)
        state = json.loads(view["state"])
        assert state["orderByKey"] == f"metrics.`{accuracy}_accuracy`"
        assert ("metrics.`test_accuracy`" in state["selectedColumns"]) is published
        assert state["searchFilter"] == "tags.cohort = 'monday' and tags.counts = 'yes'"


def test_the_view_of_teams_has_one_line_a_team(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    def shown() -> set[str]:
        project(experiment, store, artifacts)
        tags = experiment.client.get_experiment(experiment.id).tags
        state = json.loads(json.loads(tags[VIEW_TAG + TEAMS_VIEW])["state"])
        found = experiment.client.search_runs([experiment.id], state["searchFilter"])
        return {run.info.run_name for run in found}

    train_job("apes", 1, "mean")
    submit(store, new_job("bears"))
    assert shown() == {"apes", "bears"}
    submit(store, new_job("apes", seed=7))
    assert shown() == {"apes r2", "bears"}

    # What is published stands until it is published again.
    apes = store.jobs("small")[0].uid
    scores = {apes: [0.75, 0.7, 0.8]}
    value = json.dumps({"number": 1, "champion": None, "report": "r", "scores": scores})
    experiment.client.set_experiment_tag(experiment.id, PUBLISHED_TAG, value)
    store.cancel("small", "bears", 200.0)
    assert shown() == {"apes", "bears"}

    store.withdraw("small", "apes", 300.0)
    assert shown() == {"bears"}
