"""What becomes of MLflow when something goes wrong: it is made good by the next round."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.errors import Damaged, LeaseLost, TrackingError
from orchestrator.state import MemberKey
from orchestrator.store import Store
from orchestrator.tracking.background import Tracker
from orchestrator.tracking.client import Experiment, connect
from orchestrator.tracking.projection import Projection
from tests.orchestrator.cohorts import epoch, new_job, submit
from tests.orchestrator.tracked import TrainJob, named_runs, project, projection_of


class FailsOnce:
    """Something real, whose `method` fails at its first call."""

    def __init__(self, real: Any, method: str) -> None:
        self._real, self._method, self.failed = real, method, False

    def __getattr__(self, name: str) -> Any:
        if name == self._method and not self.failed:
            self.failed = True
            raise OSError("connection reset")
        return getattr(self._real, name)


@dataclass(frozen=True)
class FilesFail(Experiment):
    """A real experiment whose runs take none of the files that `method` brings."""

    method: str

    def files(self, artifact_uri: str) -> Any:
        return FailsOnce(super().files(artifact_uri), self.method)


@dataclass(frozen=True)
class NoFiles(Experiment):
    """A real experiment on a server that takes no files."""

    def files(self, _artifact_uri: str) -> Any:
        raise OSError("413 Request Entity Too Large")


def test_a_restart_does_not_repeat_the_curve(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in (1, 2)])
    project(experiment, store, artifacts)
    ledger.recover(105.0)
    ledger.start(key, "slot-0", "node", 106.0)
    ledger.record_epochs([(key, 2, epoch(n), 110.0 + n) for n in (1, 2, 3)])
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes/0"].info.run_id
    history = experiment.client.get_metric_history(run_id, "train_loss")
    assert [m.step for m in history] == [1, 2, 3]


CALLS = ("create_run", "log_batch", "set_terminated", "create_logged_model",
         "log_model_artifacts", "finalize_logged_model", "log_outputs")  # fmt: skip
FILES = ("log_artifact", "log_artifacts")


@pytest.mark.parametrize("method", [*CALLS, *FILES])
def test_whatever_fails_is_made_good_by_the_next_round(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob, method: str
) -> None:
    train_job("apes", 1, "mean")
    flaky = replace(experiment, client=FailsOnce(experiment.client, method))
    if method in FILES:
        flaky = FilesFail(experiment.client, experiment.id, experiment.tracking_uri, method)
    with pytest.raises(TrackingError, match="connection reset"):
        project(flaky, store, artifacts)
    project(experiment, store, artifacts)
    runs = named_runs(experiment)
    assert set(runs) == {"apes", "apes/0"}
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.params["batch_size"] == "8"
    files = {f.path for f in experiment.client.list_artifacts(runs["apes"].info.run_id)}
    assert {"loadout.yaml", "receipt.json"} <= files
    (model,) = experiment.client.search_logged_models([experiment.id])
    assert (model.status, model.source_run_id) == ("READY", runs["apes"].info.run_id)


def test_a_job_that_cannot_be_shown_does_not_hide_the_others(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    for team in ("apes", "bears"):
        train_job(team, 1, "mean")
    artifacts.path(store.weights(1)[0].weights).write_bytes(b"changed")
    with pytest.raises(Damaged, match="SHA-256 differs"):
        project(experiment, store, artifacts)
    runs = named_runs(experiment)
    assert runs["bears"].info.status == "FINISHED"
    assert runs["apes"].info.status == "RUNNING"


def test_jobs_that_cannot_be_shown_do_not_hide_the_others_however_many_they_are(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    teams = [f"team-{number}" for number in range(5)]
    for job_id, team in enumerate(teams, start=1):
        train_job(team, 1, "mean")
        if job_id < len(teams):
            artifacts.path(store.weights(job_id)[0].weights).unlink()
    with pytest.raises(Damaged):
        project(experiment, store, artifacts)
    assert named_runs(experiment)[teams[-1]].info.status == "FINISHED"


def test_a_server_that_refuses_files_hides_no_other_job(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    """As one behind a proxy does that takes no large bodies."""
    teams = [f"team-{number}" for number in range(8)]
    for team in teams:
        train_job(team, 1, "mean")
    refusing = NoFiles(experiment.client, experiment.id, experiment.tracking_uri)
    with pytest.raises(TrackingError, match="413"):
        project(refusing, store, artifacts)
    assert {name for name in named_runs(experiment) if "/" not in name} == set(teams)


def test_a_server_that_is_away_is_not_asked_for_every_job(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, *(new_job(f"team-{number}") for number in range(8)))
    there = projection_of(experiment, store, artifacts)
    asked: list[str] = []

    class Away:
        """Answers nothing."""

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise OSError("connection refused")

    away = Away()
    there._client, there._experiment = away, replace(experiment, client=away)
    with pytest.raises(TrackingError, match="connection refused"):
        there.sync()
    assert len(asked) == 4  # three jobs, and whether it answers at all


def test_the_last_round_is_waited_for_and_nothing_is_written_after_it(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes"))
    with Tracker(lambda: projection_of(experiment, store, artifacts)) as tracker:
        tracker.begin_last_sync()
        while not tracker.wait(0.1):
            pass
        assert set(named_runs(experiment)) == {"apes"}
        submit(store, new_job("bears"))
    assert set(named_runs(experiment)) == {"apes"}


def test_after_a_last_round_it_may_go_on(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes"))
    with Tracker(lambda: projection_of(experiment, store, artifacts)) as tracker:
        for _ in range(2):
            tracker.begin_last_sync()
            while not tracker.wait(0.1):
                pass
        submit(store, new_job("bears"))
        tracker.go_on()
    assert set(named_runs(experiment)) == {"apes", "bears"}


def test_a_second_game_on_the_same_server_gets_runs_of_its_own(
    store: Store, artifacts: Artifacts, experiment: Experiment, tmp_path: Path
) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    for each in (store, other):
        submit(each, new_job("apes"))
        project(experiment, each, artifacts)
    other.close()
    assert len(experiment.runs_by_key()) == 2


def test_a_run_that_somebody_deleted_is_made_again(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    project(experiment, store, artifacts)
    for run in experiment.runs_by_key().values():
        experiment.client.delete_run(run.info.run_id)
    assert experiment.runs_by_key() == {}
    project(experiment, store, artifacts)
    assert len(experiment.runs_by_key()) == 2


@pytest.mark.parametrize("deleted", ["apes", "apes/0"])
def test_one_run_that_somebody_deleted_is_made_again_and_runs_stay_nested(
    deleted: str,
    store: Store,
    artifacts: Artifacts,
    experiment: Experiment,
    train_job: TrainJob,
) -> None:
    train_job("apes", 2, "mean")
    project(experiment, store, artifacts)
    experiment.client.delete_run(named_runs(experiment)[deleted].info.run_id)
    project(experiment, store, artifacts)
    runs = named_runs(experiment)
    assert set(runs) == {"apes", "apes/0", "apes/1"}
    for name in ("apes/0", "apes/1"):
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["apes"].info.run_id
        assert runs[name].info.status == "FINISHED"
        assert runs[name].data.metrics["val_loss"] > 0


def test_a_tracker_whose_lease_is_lost_in_the_midst_of_a_round_writes_no_further_job(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes"), new_job("bears"), new_job("cats"))
    asked: list[int] = []

    def check() -> None:
        asked.append(len(experiment.runs_by_key()))
        if asked[-1] == 1:
            raise LeaseLost("another controller has taken over")

    tracker = Tracker(lambda: projection_of(experiment, store, artifacts), check)
    tracker.sync()
    assert isinstance(tracker.error, LeaseLost)
    assert set(named_runs(experiment)) == {"apes"}


def test_an_unreachable_mlflow_is_a_warning_and_not_the_end(
    tmp_path: Path, store: Store, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, new_job("apes"))
    # Nothing listens on port 9 of this machine.
    down = "http://boss:secret@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def projection() -> Projection:
        return projection_of(connect(down, None, "small", create=True), store, artifacts)

    with Tracker(projection) as tracker:
        pass
    assert isinstance(tracker.error, TrackingError)
    assert str(tracker.error).startswith(
        "MLflow: does not answer: API request to http://127.0.0.1:9"
    )
    assert len(str(tracker.error)) < 200

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    experiment = connect(uri, tmp_path / "mlartifacts", "small", create=True)
    with Tracker(lambda: projection_of(experiment, store, artifacts)) as tracker:
        pass
    assert tracker.error is None
    assert set(named_runs(experiment)) == {"apes"}
