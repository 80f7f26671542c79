"""The whole path through the commands: loadouts in, leaderboard out, on real Ray and MLflow."""

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.orchestrator.commands import gamectl, read_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

BASE = "epochs: 3\nlearningRate: 0.05\n"
ENSEMBLE = """
epochs: 4
purchases:
  - item: ensemble-enchanter
    combine: vote
    members: [{}, {learningRate: 0.03}, {seed: 9, items: {flip-trick: {horizontal: 0.5}}}]
  - item: flip-trick
"""
# Each step multiplies every weight by 1 - 10 * 1.
DIVERGES = (
    "epochs: 6\nbatchSize: 2\nlearningRate: 10\npurchases: [{item: weight-decay, penalty: 1}]\n"
)

WriteCohort = Callable[..., Path]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cohort_goes_in_and_a_leaderboard_comes_out(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"apes": BASE, "trio": ENSEMBLE, "wild": DIVERGES})
    done = gamectl("submit", folder, "--data", photos)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "gamectl score --cohort small" in done.stderr

    jobs = {job["team"]: job for job in read_json("get", "jobs")["jobs"]}
    assert {team: job["phase"] for team, job in jobs.items()} == {
        "apes": "Succeeded",
        "trio": "Succeeded",
        "wild": "Failed",
    }
    assert jobs["wild"]["blame"] == "team"
    assert "not a finite number from epoch" in jobs["wild"]["message"]
    members = jobs["trio"]["members"]
    assert [m["index"] for m in members] == [0, 1, 2]
    assert [m["epoch"] for m in members] == [4, 4, 4]
    assert all(m["started_at"] < m["ended_at"] for m in members)

    # Scores are the organizer's until they are published.
    assert gamectl("leaderboard").exit_code == 1
    assert gamectl("score").exit_code == 0
    board = read_json("leaderboard", "--cohort", "small")
    assert board["published"] is False
    assert board["test_images"] == 18
    assert [row["rank"] for row in board["rows"]] == [1, 2, None]
    assert board["rows"][2]["team"] == "wild"
    for row in board["rows"][:2]:
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert "test_accuracy" not in job_metrics("apes", home)
    assert told(home, "trio", "validation") == pytest.approx(jobs["trio"]["val_accuracy"])
    assert logged_report(home) is None

    assert "gamectl score --cohort small --publish" in gamectl("classify", "x.png").stderr
    done = gamectl("score", "--cohort", "small", "--publish")
    assert done.exit_code == 0
    best = board["rows"][0]
    assert f"champion: {best['team']}, {best['accuracy']:.1%}; version 1" in done.stderr
    assert 'mlflow.pytorch.load_model("models:/small@champion")' in done.stderr
    published = read_json("leaderboard")
    assert published == {**board, "published": True}
    accuracies = {row["team"]: row["accuracy"] for row in board["rows"]}
    assert job_metrics("apes", home)["test_accuracy"] == accuracies["apes"]

    assert told(home, "trio", "test") == pytest.approx(accuracies["trio"])
    shown = json.loads(gamectl("report", "--output", "json").stdout)
    assert [team["score"] and team["score"]["accuracy"] for team in shown["teams"]] == [
        row["accuracy"] for row in board["rows"]
    ]
    assert gamectl("score", "--publish").exit_code == 0
    report = logged_report(home)
    assert report is not None
    assert report.count("data:image/webp") == len(shown["hard_images"])

    # The champion says of test images what it said when it was scored.
    said = read_json("classify", photos / "validation")
    assert (said["team"], said["champion"]) == (best["team"], True)
    right = [Path(image["file"]).parent.name == image["class"] for image in said["images"]]
    assert (len(right), sum(right) / len(right)) == (18, best["accuracy"])
    text = gamectl(
        "classify", photos / "validation" / "n0" / "0.png", "\x1b[31m.png", "--team", "apes"
    )
    assert text.exit_code == 1
    assert "0.png" in text.stdout
    assert r"error: \x1b[31m.png: no such file" in text.stderr
    assert "asked: apes" in text.stderr
    assert "asked" not in gamectl("classify", "\x1b[31m.png", "--team", "apes").stderr
    assert (
        "wild has no trained network: it is Failed"
        in gamectl("classify", "x", "--team", "wild").stderr
    )

    # Scores of a release that kept no answers are measured again, and stay published.
    scores = home / "scores" / "small.json"
    whole = json.loads(scores.read_text())
    older = {**whole, "images": [], "scores": [{**s, "predicted": []} for s in whole["scores"]]}
    scores.write_text(json.dumps(older))
    assert gamectl("score").exit_code == 0
    assert json.loads(scores.read_text()) == whole

    described = gamectl("describe", "job", "trio")
    for expected in ("Ensemble Enchanter", "60 B NN", "members: [{}", "Completed"):
        assert expected in described.stdout
    assert "not a finite number" in gamectl("describe", "job", "wild").stdout
    assert "did you mean 'trio'" in gamectl("describe", "job", "tri").stderr

    # The same again runs nothing; a team's changed loadout runs that team only.
    before = read_json("get", "jobs")
    again = gamectl("submit", folder, "--data", photos)
    assert "nothing is run twice" in again.stderr
    assert read_json("get", "jobs") == before
    write_cohort({"apes": BASE.replace("0.05", "0.02")})
    changed = gamectl("submit", folder, "--data", photos)
    assert "1 job submitted, 2 unchanged" in changed.stderr
    newest = {job["team"]: job for job in read_json("get", "jobs")["jobs"]}
    assert newest["apes"] != jobs["apes"]
    assert (newest["apes"]["revision"], newest["apes"]["phase"]) == (2, "Succeeded")
    assert {**newest, "apes": jobs["apes"]} == jobs
    assert len(read_json("get", "jobs", "--all")["jobs"]) == 4


def told(home: Path, team: str, kind: str) -> float:
    """A team's accuracy by the images that `gamectl results` shows it."""
    page = home / "results.html"
    done = gamectl("results", team, "-o", page, "--output", "json")
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert results["images"] == kind
    shown = page.read_text().count("data:image/webp")
    assert shown == min(48, len(results["mistakes"]))
    return 1 - len(results["mistakes"]) / float(results["num_images"])


def logged_report(home: Path) -> str | None:
    """The page that MLflow has of the cohort; there is never more than one."""
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id], "tags.`game.key` = 'report'")
    if not runs:
        return None
    (run,) = runs
    assert run.info.status == "FINISHED"
    page = Path(run.info.artifact_uri.removeprefix("file://")) / "report.html"
    return page.read_text()


def job_metrics(team: str, home: Path) -> dict[str, float]:
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("small")
    (run,) = client.search_runs(
        [experiment.experiment_id], filter_string=f"attributes.run_name = '{team}'"
    )
    return dict(run.data.metrics)
