"""A store, an artifact folder and an MLflow experiment of its own for each test."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pytest

from jobs.images import LabelledImages
from jobs.plan import MemberPlan
from jobs.train import train_member
from orchestrator.artifacts import Artifacts
from orchestrator.errors import NotFound
from orchestrator.results.finish import job_result
from orchestrator.results.truth import validation_truth
from orchestrator.state import MemberKey
from orchestrator.store import NewJob, Store
from orchestrator.store.tables import metadata
from orchestrator.tracking.client import Experiment, connect
from tests.orchestrator.cohorts import submit
from tests.orchestrator.postgres import Server, postgres_server, reason_why_not
from tests.orchestrator.pretended import Run, run_controller
from tests.orchestrator.tracked import DATA, SIDE, TrainJob


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for the session, with up-to-date stores `template` and `store`."""
    reason = reason_why_not()
    if reason is not None:
        pytest.skip(f"no PostgreSQL: {reason}")
    with postgres_server() as server:
        server.execute("CREATE DATABASE template")
        Store(server.url("template")).close()
        server.execute("CREATE DATABASE store TEMPLATE template")
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Server = request.getfixturevalue("postgres")
    # Emptying one database costs less than making one for each test.
    server.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY", "store")
    return server.url("store")


@pytest.fixture
def each_store(store_url: str) -> Iterator[Store]:
    """An empty store, once of each kind."""
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    """A function that runs the cohort `small` on pretended slots and returns its jobs."""
    return partial(run_controller, store, tmp_path / "artifacts")


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """An empty artifact folder."""
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's SQLite file as `connect` makes it, which takes seconds; to be copied."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.raises(NotFound):
        connect(f"sqlite:///{path}", None, "nothing", create=False)
    return path


@pytest.fixture
def experiment(tmp_path: Path, empty_mlflow: Path) -> Experiment:
    """An experiment `small` in a SQLite tracking store."""
    shutil.copyfile(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)  # for tests that load models; nothing else looks at it
    return connect(uri, tmp_path / "mlartifacts", "small", create=True)


@pytest.fixture
def images() -> LabelledImages:
    """60 images in three classes that can be learnt."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    pixels = generator.integers(0, 160, (60, 3, SIDE, SIDE), dtype=np.uint8)
    pixels[np.arange(60), labels] += 60
    return LabelledImages(pixels, labels, np.arange(60))


@pytest.fixture
def train_job(store: Store, artifacts: Artifacts, images: LabelledImages) -> TrainJob:
    """A function that puts a job into the store and really trains it."""

    def train(team: str, num_members: int, how: str) -> None:
        plans = tuple(MemberPlan(data=DATA, epochs=2, seed=seed) for seed in range(num_members))
        receipt = {
            "lines": [{"item": "flip-trick", "title": "Flip Trick", "total_bnn": 10}],
            "total_bnn": 10,
            "budget_bnn": 100,
        }
        each = (1.0,) * num_members, ("base",) * num_members
        text = f"team: {team}\n"
        submit(store, NewJob(team, text, receipt, how, plans, *each, min_members=num_members))
        job = store.jobs("small")[-1]
        ledger = store.acquire("small", "test", 100.0, 1e9)
        truth = validation_truth(lambda _: images)(DATA)
        probs = []
        for index, plan in enumerate(plans):
            key = MemberKey(job.id, index)
            number = ledger.start(key, "slot-0", "node", 101.0).members[index].attempt
            reports = []
            result = train_member(plan, images, reports.append)
            ledger.record_epochs([(key, number, r, 101.0 + r.epoch) for r in reports])
            trained = artifacts.save(job, index, 1, result.weights, result.val_probs)
            probs.append(result.val_probs)
            ledger.succeed(key, number, trained, 110.0)
        ledger.finish(job.id, job_result(job, probs, truth, artifacts), 110.0)
        ledger.release()

    return train
