"""MLflow follows attempts and retries: runs are opened again, curves have each step once."""

from orchestrator.admission.cohort import Retry
from orchestrator.artifacts import Artifacts
from orchestrator.phases import Blame, Reason
from orchestrator.state import Fault, MemberKey
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from tests.orchestrator.cohorts import epoch, new_job, submit
from tests.orchestrator.tracked import named_runs, project, projection_of

DIVERGED = Fault(Reason.DIVERGED, "loss is nan", Blame.TEAM)
GONE = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


def test_a_retry_opens_the_runs_again_and_closes_them_anew(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    projection = projection_of(experiment, store, artifacts)

    def statuses() -> list[str]:
        projection.sync()
        runs = named_runs(experiment)
        return [runs[name].info.status for name in ("apes", "apes/0")]

    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(1), 102.0)])
    ledger.fail(key, 1, DIVERGED, Retry(), 105.0)
    assert statuses() == ["FAILED", "FAILED"]
    store.retry("small", "apes", 106.0)
    assert statuses() == ["SCHEDULED", "SCHEDULED"]
    ledger.start(key, "slot-1", "node", 107.0)
    assert statuses() == ["RUNNING", "RUNNING"]
    ledger.record_epochs([(key, 2, epoch(n), 107.0 + n) for n in (1, 2)])
    ledger.fail(key, 2, GONE, Retry(cluster_retries=0), 110.0)
    assert statuses() == ["FAILED", "FAILED"]
    runs = named_runs(experiment)
    assert (runs["apes"].info.end_time, runs["apes/0"].info.end_time) == (110_000, 110_000)
    assert runs["apes"].data.tags["blame"] == "cluster"
    assert runs["apes/0"].data.tags["reason"] == "SlotLost"
    history = experiment.client.get_metric_history(runs["apes/0"].info.run_id, "val_loss")
    assert [metric.step for metric in history] == [1, 2]


def test_a_retry_that_mlflow_did_not_see_is_shown_by_its_end(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    for attempt, num_epochs, at in ((1, 1, 101.0), (2, 3, 120.0)):
        ledger.start(key, "slot-0", "node", at)
        reports = [(key, attempt, epoch(n), at + n) for n in range(1, num_epochs + 1)]
        ledger.record_epochs(reports)
        ledger.fail(key, attempt, DIVERGED, Retry(), at + 9)
        if attempt == 1:
            project(experiment, store, artifacts)
            store.retry("small", "apes", 115.0)
    project(experiment, store, artifacts)
    run = named_runs(experiment)["apes/0"]
    assert (run.info.status, run.info.end_time) == ("FAILED", 129_000)
    assert run.data.tags["attempt"] == "2"
    history = experiment.client.get_metric_history(run.info.run_id, "val_loss")
    assert [metric.step for metric in history] == [1, 2, 3]


def test_a_member_that_is_cancelled_twice_at_the_same_epoch_ends_closed(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    submit(store, new_job("apes", epochs=3))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    projection = projection_of(experiment, store, artifacts)
    ledger.start(key, "slot-0", "node", 101.0)
    store.cancel("small", "apes", 102.0)
    ledger.halt(key, 1, 103.0)
    for _ in range(2):
        projection.sync()
        store.retry("small", "apes", 104.0)
        projection.sync()
        assert named_runs(experiment)["apes/0"].info.status == "SCHEDULED"
        store.cancel("small", "apes", 105.0)
        projection.sync()
        runs = named_runs(experiment)
        assert {runs["apes"].info.status, runs["apes/0"].info.status} == {"KILLED"}


def test_an_attempt_that_resumed_adds_its_new_epochs_only(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    """It tells its history again under its own number, also while MLflow was away."""
    submit(store, new_job("apes", epochs=5))
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(1, 0)
    ledger.start(key, "slot-0", "node", 101.0)
    ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in (1, 2)])
    project(experiment, store, artifacts)
    ledger.record_epochs([(key, 1, epoch(3), 104.0)])
    ledger.fail(key, 1, GONE, Retry(), 105.0)
    ledger.start(key, "slot-1", "node", 107.0)
    project(experiment, store, artifacts)
    ledger.record_epochs([(key, 2, epoch(n), 108.0) for n in (1, 2, 3)])
    ledger.record_epochs([(key, 2, epoch(4), 109.0)])
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes/0"].info.run_id
    for name in ("train_loss", "seconds"):
        history = experiment.client.get_metric_history(run_id, name)
        assert [metric.step for metric in history] == [1, 2, 3, 4], name
