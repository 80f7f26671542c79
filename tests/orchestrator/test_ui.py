"""MLflow's pages on a cohort: which address, which port, and how the server ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.artifacts import Artifacts
from orchestrator.errors import Refused
from orchestrator.mlflow_ui import USUAL_PORT, address, free_port, mlflow_ui, names_elsewhere
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.tracking.champion import crown, find_champion
from orchestrator.tracking.client import Experiment, connect
from orchestrator.tracking.front_page import page_of
from orchestrator.tracking.publish import publish, published_scores
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.mlflow_server import MlflowServer
from tests.orchestrator.ray_head import free_port as any_port
from tests.orchestrator.test_champion import book_of
from tests.orchestrator.tracked import SIDE, TrainJob, project, projection_of
from tests.orchestrator.waiting import until


def test_a_port_that_is_taken_is_passed_by_unless_it_was_asked_for() -> None:
    first = free_port("127.0.0.1", None)
    assert first >= USUAL_PORT
    with socket.create_server(("127.0.0.1", first)):
        assert free_port("127.0.0.1", None) > first
        with pytest.raises(Refused, match=f"port {first}: .*; try --port {first + 1}"):
            free_port("127.0.0.1", first)
    with pytest.raises(Refused, match=r"--host 127\.0\.0\.1"):
        free_port("192.0.2.1", None)  # nobody's: an address of documentation


def test_a_browser_is_given_an_address_that_it_can_open() -> None:
    assert address("0.0.0.0", 5000) == "http://127.0.0.1:5000"  # noqa: S104
    assert address("::", 5000) == "http://[::1]:5000"
    assert address("game.example", 5000) == "http://game.example:5000"


def test_the_page_of_a_cohort_shows_its_teams_once_it_has_any(
    store: Store, artifacts: Artifacts, experiment: Experiment
) -> None:
    bare = f"#/experiments/{experiment.id}/runs?workflowType=machine_learning"
    assert page_of(experiment) == bare
    submit(store, new_job("apes"))
    project(experiment, store, artifacts)
    assert page_of(experiment) == f"{bare}&viewStateShareKey=teams"


@pytest.mark.cluster
def test_the_ui_opens_on_the_cohort_and_ends_without_a_word_too_many(home: Path) -> None:
    home.mkdir()
    settings = Settings()
    with closing(Store(settings.store_url)) as store:
        submit(store, new_job("apes"))
        made = connect(settings.tracking_uri, settings.mlflow_artifacts, "small", create=True)
        project(made, store, Artifacts(settings.artifacts))
    words = [sys.executable, "-m", "orchestrator", "ui", "--port", str(any_port())]
    opened = home / "opened"
    browser = home / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    running = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": str(browser)},
    )
    try:
        until(opened.exists)
        url = opened.read_text().strip()
        root, _, page = url.partition("/#/")
        assert f"#/{page}" == page_of(made)
        with urllib.request.urlopen(  # noqa: S310 - our own server
            f"{root}/api/2.0/mlflow/experiments/get?experiment_id={made.id}"
        ) as answer:
            assert json.load(answer)["experiment"]["name"] == "small"
    finally:
        running.send_signal(signal.SIGINT)
        said, remarks = running.communicate(timeout=60)
    assert running.returncode == 0
    assert said.strip() == url
    assert remarks.splitlines()[-1] == "MLflow's server is ended"
    assert "Traceback" not in remarks
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(root.rpartition(":")[2])))


@pytest.mark.cluster
def test_pages_answer_whoever_may_look_at_them_and_no_password_is_an_argument(
    tmp_path: Path,
) -> None:
    """Browsers send the page's address with what they ask for, and MLflow looks at it."""
    uri, port = f"sqlite:///{tmp_path / 'secret.db'}", any_port()

    def status(page: str, host: str) -> int:
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/search",
            data=b'{"max_results": 1}',
            headers={"Content-Type": "application/json", "Origin": page, "Host": host},
        )
        try:
            with urllib.request.urlopen(asked) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    with mlflow_ui(uri, tmp_path / "files", "0.0.0.0", port, tmp_path / "log") as server:  # noqa: S104
        for name in ("127.0.0.1", *names_elsewhere("0.0.0.0")):  # noqa: S104
            assert status(address(name, port), f"{name}:{port}") == 200
        assert status("http://evil.example", f"127.0.0.1:{port}") == 403
        assert status(f"http://evil.example:{port}", f"evil.example:{port}") == 403
        assert b"secret" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert names_elsewhere("127.0.0.1") == names_elsewhere("localhost") == []
    assert names_elsewhere("192.0.2.1") == ["192.0.2.1"]


@pytest.mark.cluster
def test_a_server_with_passwords_has_a_champion_too_and_opens_on_its_own_page(
    store: Store,
    artifacts: Artifacts,
    train_job: TrainJob,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password = "long enough to be taken"  # noqa: S105 - of a server that ends with the test
    config = tmp_path / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"admin_password = {password}\ndatabase_uri = sqlite:///{tmp_path / 'users.db'}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    port = any_port()
    words = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--app-name", "basic-auth",
        "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
        "--artifacts-destination", str(tmp_path / "served"),
    ]  # fmt: skip
    env = {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "s" * 32}
    train_job("apes", 1, "mean")
    server = MlflowServer(tmp_path, port, words, env)
    try:
        server.start()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        there = connect(server.url, None, "small", create=True)
        project(there, store, artifacts)
        book, jobs = book_of(store, {"apes": 0.8}), store.jobs("small")
        for _ in range(2):
            publish(book, jobs, there)
            shown = projection_of(there, store, artifacts)
            crowning = crown(there, book, jobs, shown.model_of, lambda _job: SIDE)
            shown.publish(jobs, "small", "report-run", published_scores(book))
            assert crowning.champion is not None
            assert crowning.champion.version == "1"
        assert find_champion(there, "small").job == jobs[0].uid
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        opened = gamectl("ui", "--cohort", "small", "--no-browser")
        assert opened.stdout.strip() == f"{server.url}/{page_of(there)}"
        assert gamectl("ui", "--cohort", "none", "--no-browser").exit_code == 1
    finally:
        server.kill()
