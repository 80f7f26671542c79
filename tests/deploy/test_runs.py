"""The containers' commands, run here as they stand: from empty databases to a leaderboard."""

import base64
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.deploy import manifests
from tests.deploy.cluster import Cluster, cluster, fetch
from tests.orchestrator import postgres

SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
TRACKED = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=tiny"
COHORT = """\
apiVersion: game/v1
kind: Cohort
metadata: {name: tiny}
spec:
  allowCustomCode: true
  customIsolation: process
  customLimits: {memoryMib: 2048}  # a worker of `local` has 4 GiB
"""
LOADOUT = """\
apiVersion: game/v1
kind: Loadout
metadata: {team: %s}
spec:
  epochs: 1
  batchSize: 64
  learningRate: 0.05
"""
CUSTOM = "  purchases:\n    - {item: custom, file: own.py}\n"
CODE = "def augment(images, generator):\n    return images.flip(3)\n"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        manifests.reason_why_not() is not None, reason=str(manifests.reason_why_not())
    ),
    pytest.mark.skipif(
        postgres.reason_why_not() is not None, reason=f"PostgreSQL: {postgres.reason_why_not()}"
    ),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster with a cohort of two teams, one of which brings a Python file."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "cohort.yaml").write_text(COHORT)
    (folder / "plain.yaml").write_text(LOADOUT % "plain")
    (folder / "coders.yaml").write_text(LOADOUT % "coders" + CUSTOM)
    (folder / "own.py").write_text(CODE)
    with cluster(folder) as made:
        yield made


@pytest.fixture(scope="module")
def mlflow(here: Cluster) -> Iterator[Any]:
    """MLflow, started and not yet waited for."""
    with here.running("tracking") as process:
        yield process


@pytest.fixture(scope="module")
def ray(here: Cluster, mlflow: Any) -> Iterator[None]:
    """A head and a worker, as KubeRay starts them, while MLflow makes its tables."""
    spec = here.job["spec"]["rayClusterSpec"]
    address = f"127.0.0.1:{here.ports['gcs']}"
    head = here.ray_words(
        spec["headGroupSpec"],
        {
            "port": here.ports["gcs"],
            "dashboard-host": "127.0.0.1",
            "dashboard-port": here.ports["dashboard"],
            "dashboard-agent-listen-port": here.ports["agent"],
            "metrics-export-port": here.ports["metrics"],
            "temp-dir": here.folder / "ray",
        },
    )
    (group,) = spec["workerGroupSpecs"]
    worker = here.ray_words(
        group, {"address": address, "dashboard-agent-listen-port": here.ports["worker-agent"]}
    )
    with here.running("head", head) as process:
        here.wait_for_probe("head", "startupProbe", process)
        with here.running("worker", worker) as joined:
            here.wait_for_probe("worker", "startupProbe", joined, agent="worker-agent")
            yield


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def connect(here: Cluster, user: str, database: str, password: str) -> None:
    with psycopg.connect(
        host="127.0.0.1", port=here.ports["postgres"], user=user, dbname=database, password=password
    ):
        pass


def test_postgres_is_set_up_and_probed(here: Cluster) -> None:
    pod = here.pod("database")
    (container,) = pod.spec["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        words = container[probe]["exec"]["command"]
        words = here.machine.words(pod, container, words)
        assert here.machine.start_words(pod, container, words).wait() == 0
    passwords = {
        user: here.machine.secrets["postgres-passwords", user] for user in ("game", "mlflow")
    }
    connect(here, "game", "game", passwords["game"])
    connect(here, "mlflow", "mlflow", passwords["mlflow"])
    connect(here, "mlflow", "mlflow-auth", passwords["mlflow"])
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(here, "game", "game", passwords["mlflow"])
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(here, "game", "mlflow", passwords["game"])


def test_mlflow_answers_those_who_know_a_password(here: Cluster, mlflow: Any) -> None:
    here.wait_for_probe("tracking", "startupProbe", mlflow)
    port = here.ports["http"]
    password = here.machine.secrets["mlflow-admin", "password"]

    def login(user: str, password: str, host: str | None = None) -> int:
        named = {} if host is None else {"Host": host}
        return fetch(port, SEARCH, basic(user, password) | named)

    assert login("admin", password) == 200
    assert login("admin", "wrong") == 401
    assert fetch(port, SEARCH) == 401
    # The names that a Service is called by, and a page that tries another.
    assert login("admin", password, "mlflow.classification-game.svc.cluster.local:5000") == 200
    assert login("admin", password, "localhost:5000") == 200
    assert login("admin", password, "evil.example:5000") == 403
    command_line = Path(f"/proc/{mlflow.pid}/cmdline").read_bytes().decode()
    assert not any(secret in command_line for secret in here.machine.secrets.values())


def test_a_cohort_is_played_and_scored(here: Cluster, ray: None, mlflow: Any) -> None:
    head, worker, scoring = (here.pod(part) for part in ("head", "worker", "scoring"))
    (container,) = head.spec["containers"]
    copying, waiting = head.spec["initContainers"]
    here.machine.run(head, copying)
    here.machine.run(head, waiting)  # for the store, which is there
    loadouts = here.machine.folder(head, "loadouts")
    assert (loadouts / "own.py").is_file()
    assert not (loadouts / "own.py").is_symlink()  # else the team would be refused

    here.wait_for_probe("tracking", "readinessProbe", mlflow)
    entrypoint = shlex.split(here.job["spec"]["entrypoint"])
    submitted = here.machine.words(head, container, entrypoint)
    words = ["ray", "job", "submit", f"--address=http://127.0.0.1:{here.ports['dashboard']}", "--"]
    submitter = here.pod("submitter")
    process = here.machine.start_words(
        submitter,
        submitter.spec["containers"][0],
        [*words, *submitted],
        env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": here.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "cohort tiny: 2 Succeeded" in said, said
    assert "warning" not in said, said
    as_admin = basic("admin", here.machine.secrets["mlflow-admin", "password"])
    assert fetch(here.ports["http"], TRACKED, as_admin) == 200

    # What is kept lies in the claim that all of them mount, whoever wrote it.
    artifacts = here.machine.folder(worker, "artifacts")
    assert len([*artifacts.rglob("m0.safetensors")]) == 2
    # The monkeys are drawn in the head's own folder; to draw the same again takes a minute.
    drawn = here.machine.folder(head, "home") / "cache" / "data"
    shutil.copytree(drawn, here.machine.folder(scoring, "home") / "cache" / "data")
    (score,) = scoring.spec["initContainers"]
    (leaderboard,) = scoring.spec["containers"]
    scored = here.machine.run(scoring, score)
    assert re.search(r"scored on \d+ test images: 2", scored), scored
    board = here.machine.run(scoring, leaderboard)
    assert re.search(r"plain", board), board
    assert re.search(r"coders", board), board
    book = here.machine.folder(scoring, "scores") / "tiny.json"
    assert {each["team"] for each in json.loads(book.read_text())["scores"]} == {"plain", "coders"}
    assert not [*here.machine.folder(head, "home").rglob("tiny.json")]  # the organizer's alone
