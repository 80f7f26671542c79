"""A cohort as a job of a real Ray cluster: two nodes on this machine, PostgreSQL, and a token."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from jobs.ensemble import load_ensemble
from jobs.evaluation import predict
from jobs.images import decode
from jobs.metrics import Scores, score
from jobs.train import train_member
from orchestrator.control.inputs import Inputs
from orchestrator.control.launch import launched
from orchestrator.control.remote import RemoteLauncher
from orchestrator.errors import GameError
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.terminal.lookup import controller_of
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.postgres import Server
from tests.orchestrator.ray_head import RayHead, RayNode, free_port, ray_head
from tests.orchestrator.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

WriteCohort = Callable[..., Path]
SHORT = "epochs: 3\nlearningRate: 0.002\n"
VOTERS = """
purchases:
  - item: flip-trick
  - item: ensemble-enchanter
    combine: vote
    members: [{}, {learningRate: 0.01}, {seed: 9}]
"""
LONG = "epochs: 500\nbatchSize: 2\n"
RULES = "  budget: 100\n  limits: {epochs: 1000}\n"
ROOT = Path(__file__).parent.parent.parent
CLIENTS = (
    "GAME_STORE", "GAME_ARTIFACTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH"
)  # fmt: skip
OURS, THEIRS = "gibbon-7", "lemur-9"
"""Passwords: the client's, and those in the environment of the nodes."""
SECRETS = {"PGPASSWORD": THEIRS, "MLFLOW_TRACKING_PASSWORD": THEIRS}


@dataclass(frozen=True)
class Meeting:
    """Where clients and cluster meet."""

    head: RayHead
    node: RayNode
    store: str
    mlflow: str


@pytest.fixture(scope="module")
def cluster(postgres: Server) -> Iterator[Meeting]:
    """A cluster of two nodes with one CPU each, and databases for the store and for MLflow."""
    postgres.execute("CREATE DATABASE remote TEMPLATE template")
    postgres.execute("CREATE DATABASE elsewhere TEMPLATE template")
    postgres.execute("CREATE DATABASE mlflow")
    with ray_head(lambda folder: {"GAME_HOME": str(folder / "home"), **SECRETS}) as head:
        node = head.add_node()
        yield Meeting(head, node, with_password(postgres, "remote"), postgres.url("mlflow"))


def with_password(server: Server, database: str) -> str:
    """A URL as an organizer has it. The server believes everybody, so it need not be right."""
    url = make_url(server.url(database)).set(password=OURS)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def client(
    cluster: Meeting, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """The environment of an organizer, and the store that it names."""
    monkeypatch.setenv("GAME_STORE", cluster.store)
    monkeypatch.setenv("GAME_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", cluster.mlflow)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(cluster.head.token_file))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # must not win over --cluster
    store = Store(cluster.store)
    yield store
    store.close()


def members(store: Store) -> dict[str, Any]:
    return {job.team: job.members[0] for job in store.jobs("small")}


def pid_of(holder: str | None) -> int:
    assert holder is not None
    return int(holder.rpartition(":")[2])


def outcome(store: Store, name: str) -> tuple[dict[tuple[str, int], str], dict[str, Any]]:
    """The weights of a cohort that has ended, and its leaderboard."""
    found = {job.team: store.weights(job.id) for job in store.jobs(name)}
    weights = {(team, i): w.weights_sha256 for team, kept in found.items() for i, w in kept.items()}
    assert gamectl("score", "--cohort", name).exit_code == 0
    return weights, read_json("leaderboard", "--cohort", name)


def test_a_cohort_outlives_its_client_a_node_and_its_controller(
    cluster: Meeting,
    client: Store,
    write_cohort: WriteCohort,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = cluster.head
    folder = write_cohort({"left": LONG, "right": LONG, "vain": LONG}, RULES)
    words = ["submit", str(folder), "--data", str(photos), "--cluster", head.url, "--detach"]

    # 1. The client submits and goes away.
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"at {head.url}), log: `ray job logs --address {head.url} game-small-" in done.stderr
    assert "watch with: gamectl get jobs --watch --cohort small" in done.stderr
    (job,) = head.get("/api/jobs/")

    # 2. Anybody who reaches the store goes on, from another home.
    monkeypatch.setenv("GAME_HOME", str(tmp_path / "other"))
    assert "vain: cancelled" in gamectl("cancel", "vain", "--cohort", "small").stdout
    until(lambda: all(members(client)[team].epoch > 1 for team in ("left", "right")))
    assert "epoch 1/500" in gamectl("logs", "left", "--cohort", "small").stdout

    # 3. A second submission joins the job.
    again = gamectl(*words)
    assert again.exit_code == 0, again.output
    assert "is at work" in again.stderr
    assert len(head.get("/api/jobs/")) == 1

    # 4. No password left its side.
    assert OURS not in str(head.get("/api/jobs/"))
    assert OURS not in str(job)
    slots = head.environments_of_slots()
    assert len(slots) == 2
    for env in slots:
        assert not any(secret in str(env) for secret in (OURS, THEIRS))
        assert env["PGPASSWORD"] == env["GAME_STORE"] == ""
        assert "py_modules_files" in env["PYTHONPATH"]  # our code came along

    # 5. A node is lost under its member, and replaced by another one.
    before = {team: member.attempt for team, member in members(client).items()}
    cluster.node.kill()
    until(lambda: len(head.nodes()) == 1)
    head.add_node()
    until(lambda: any(m.attempt > before[team] for team, m in members(client).items()))

    # 6. The controller is lost, and another one goes on.
    first = controller_of(client, "small")
    os.kill(pid_of(first), signal.SIGKILL)
    until(lambda: controller_of(client, "small") is None)
    resumed = gamectl("resume", "--cohort", "small")
    assert resumed.exit_code == 0, resumed.output
    assert "(Ray job game-small-" in resumed.stderr
    assert "cohort small: 2 Succeeded, 1 Cancelled" in resumed.stderr

    # 7. The same weights as without Ray.
    (left, right) = (job for job in client.jobs("small") if job.team != "vain")
    (plan,) = client.plans(left.id)
    images = Inputs("small", client, Settings()).images(plan.data)
    weights = train_member(plan, images, lambda _: None).weights
    for team in (left, right):
        assert client.weights(team.id)[0].weights_sha256 == sha256(weights).hexdigest()
    assert gamectl("score", "--cohort", "small").exit_code == 0
    rows = read_json("leaderboard", "--cohort", "small")["rows"]
    assert {row["team"] for row in rows if row["rank"] is not None} == {"left", "right"}

    # 8. MLflow has them: a run for each job, and one for its member.
    until(lambda: controller_of(client, "small") is None)
    engine = create_engine(cluster.mlflow)
    with engine.connect() as connection:
        query = "SELECT count(*) FROM runs WHERE status = 'FINISHED'"
        assert connection.exec_driver_sql(query).scalar() == 4
    engine.dispose()


def test_a_cohort_ends_alike_wherever_it_runs(
    cluster: Meeting,
    client: Store,
    write_cohort: WriteCohort,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_cohort({"alone": SHORT, "trio": SHORT + VOTERS}, RULES, name="alike")
    words = ["submit", str(folder), "--data", str(photos)]

    # 1. On two nodes elsewhere, with PostgreSQL.
    played = gamectl(*words, "--cluster", cluster.head.url)
    assert played.exit_code == 0, played.output
    there = outcome(client, "alike")

    # 2. On this machine, with a Ray and a SQLite file of its own.
    for variable in CLIENTS:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GAME_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with closing(Store(Settings().store_url)) as store:
        here = outcome(store, "alike")
        jobs = {job: store.plans(job.id) for job in store.jobs("alike")}
    assert here == there

    # 3. In a loop, without Ray, store and MLflow.
    weights, scores = dict[tuple[str, int], str](), dict[str, Scores]()
    for job, plans in jobs.items():
        size_px = plans[0].data.image_size_px
        decoded = decode(photos, [size_px], tmp_path / "decoded")
        images, test = decoded.training(size_px), decoded.test(size_px)
        states = [train_member(plan, images, lambda _: None).weights for plan in plans]
        weights |= {(job.team, i): sha256(state).hexdigest() for i, state in enumerate(states)}
        ensemble = load_ensemble(plans, states, "vote" if len(plans) > 1 else "mean")
        scores[job.team] = score(test.labels, predict(ensemble, test.images))
    assert weights == here[0]
    assert len({*weights.values()}) == 4  # members differ, so that a mix-up would show
    best_first = sorted(scores, key=lambda team: -scores[team].accuracy)
    rows = here[1]["rows"]
    assert [row["accuracy"] for row in rows] == [scores[team].accuracy for team in best_first]
    for row in rows:
        mine = vars(scores[row["team"]])
        assert row == row | {name: mine[name] for name in mine.keys() & row.keys()}


def test_a_wrong_token_is_one_line(
    cluster: Meeting,
    client: Store,
    write_cohort: WriteCohort,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    folder = write_cohort({"apes": LONG}, RULES, name="other")
    done = gamectl("submit", folder, "--data", photos, "--cluster", cluster.head.url)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "refuses our token" in done.stderr
    assert "other" not in [cohort.name for cohort in client.cohorts()]


def failure(cluster: Meeting, store: Store, client_store: str) -> str:
    """Why a controller does not come up for a client that says its store is `client_store`."""
    submit(store, new_job("apes"), name="other")
    settings = Settings(GAME_STORE=client_store)
    with pytest.raises(GameError) as failed:
        launched("other", store, RemoteLauncher(cluster.head.url, settings))
    assert store.lease("other") is None
    message = str(failed.value)
    assert OURS not in message
    assert len(message.splitlines()) == 1, message
    return message


def test_a_store_that_the_head_does_not_reach_is_one_line(cluster: Meeting, client: Store) -> None:
    nowhere = f"postgresql+psycopg://game:{OURS}@127.0.0.1:{free_port()}/remote"
    said = failure(cluster, client, nowhere)
    assert "the controller ended before it was at work: cannot open the store" in said
    assert "passwords do not travel there" in said
    assert "(log: `ray job logs --address" in said


def test_another_store_than_the_clients_is_one_line(
    cluster: Meeting, client: Store, postgres: Server
) -> None:
    said = failure(cluster, client, with_password(postgres, "elsewhere"))
    assert "lacks what was submitted to cohort 'other'" in said
    assert "must name the same database" in said
