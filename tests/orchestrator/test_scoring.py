"""Scoring a cohort: whoever can be asked has a score, and nobody scores at the same time."""

import threading
from pathlib import Path

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.results.scorebook import ScoreBook, scoring_alone, write_scores
from orchestrator.store import Store
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.tracked import TrainJob


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets commands find the store and the weights of the other fixtures."""
    monkeypatch.setenv("GAME_HOME", str(tmp_path))


@pytest.mark.usefixtures("here")
def test_a_team_whose_weights_are_gone_costs_the_others_nothing(
    store: Store, artifacts: Artifacts, train_job: TrainJob, photos: Path
) -> None:
    train_job("apes", 1, "mean")
    train_job("trio", 1, "mean")
    (lost,) = (job for job in store.jobs("small") if job.team == "apes")
    weights = Path(str(artifacts.path(store.weights(lost.id)[0].weights)))
    kept = weights.read_bytes()
    weights.unlink()
    done = gamectl("score", "--data", photos)
    assert done.exit_code == 0, done.output
    assert "apes: no score: cannot read" in done.stderr
    ranked = [(row["team"], row["rank"]) for row in read_json("leaderboard")["rows"]]
    assert ranked == [("trio", 1), ("apes", None)]
    # It would lose its place in public by an accident; of nobody at all there is nothing to keep.
    done = gamectl("score", "--data", photos, "--publish")
    assert done.exit_code == 1
    assert "nothing was published, as apes could not be scored" in done.stderr
    weights.write_bytes(kept)
    assert "no score" not in gamectl("score", "--data", photos).stderr
    assert all(row["rank"] for row in read_json("leaderboard")["rows"])


@pytest.mark.usefixtures("here")
def test_where_nobody_can_be_scored_the_scores_stay_as_they_were(
    store: Store, artifacts: Artifacts, train_job: TrainJob, photos: Path, tmp_path: Path
) -> None:
    train_job("apes", 1, "mean")
    assert gamectl("score", "--data", photos).exit_code == 0
    file = tmp_path / "scores" / "small.json"
    before = file.read_text()
    write_scores(tmp_path / "scores", ScoreBook.model_validate_json(before).model_copy(
        update={"test_fingerprint": "of other images"}
    ))  # fmt: skip
    other = file.read_text()
    (job,) = store.jobs("small")
    Path(str(artifacts.path(store.weights(job.id)[0].weights))).unlink()
    done = gamectl("score", "--data", photos)
    assert done.exit_code == 1
    assert "no job could be scored, so nothing was written" in done.stderr
    assert file.read_text() == other


def test_one_scoring_waits_for_another(tmp_path: Path) -> None:
    said: list[str] = []
    waiting, done = threading.Event(), threading.Event()

    def second() -> None:
        with scoring_alone(tmp_path / "scores", "small", waiting.set):
            said.append("second")
        done.set()

    with scoring_alone(tmp_path / "scores", "small", lambda: said.append("never")):
        threading.Thread(target=second).start()
        assert waiting.wait(30)
        said.append("first")
    assert done.wait(30)
    assert said == ["first", "second"]
