"""A real MLflow server that is killed while a cohort runs, and comes back."""

from pathlib import Path

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.errors import TrackingError
from orchestrator.state import MemberKey
from orchestrator.store import Store
from orchestrator.tracking.background import Tracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.projection import Projection
from tests.orchestrator.cohorts import epoch, new_job, submit
from tests.orchestrator.mlflow_server import mlflow_server
from tests.orchestrator.tracked import named_runs, projection_of

EPOCHS = 6


@pytest.mark.cluster
def test_what_happens_while_the_server_is_away_is_written_once_it_is_back(
    store: Store, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    submit(store, new_job("apes", epochs=EPOCHS))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    ledger.start(key, "slot-0", "node", 101.0)

    def train(first: int, last: int) -> None:
        reports = [(key, 1, epoch(n), 101.0 + n) for n in range(first, last + 1)]
        ledger.record_epochs(reports)

    def follow(tracker: Tracker) -> None:
        tracker.begin_last_sync()
        while not tracker.wait(0.1):
            pass

    with mlflow_server(tmp_path) as server:

        def projection() -> Projection:
            experiment = connect(server.url, None, "small", create=True)
            return projection_of(experiment, store, artifacts)

        with Tracker(projection) as tracker:
            train(1, 2)
            follow(tracker)
            assert tracker.error is None

            server.kill()
            train(3, 4)
            follow(tracker)
            assert isinstance(tracker.error, TrackingError)

            server.start()
            train(5, EPOCHS)
            follow(tracker)
            assert tracker.error is None
        experiment = connect(server.url, None, "small", create=False)
        run = named_runs(experiment)["apes/0"]
        history = experiment.client.get_metric_history(run.info.run_id, "val_loss")
        assert [metric.step for metric in history] == list(range(1, EPOCHS + 1))
