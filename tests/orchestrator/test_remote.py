"""A cohort on a cluster elsewhere: what is asked before anything is sent, and what never is."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from orchestrator.admission.cohort import Cohort
from orchestrator.cluster.ray_jobs import RayJobs, token
from orchestrator.control.attend import say_how_it_ended
from orchestrator.control.remote import (
    check_same_store,
    check_shared,
    controller_command,
    launcher_of,
)
from orchestrator.errors import ClusterError, Refused, StoreError, TrackingError
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.urls import is_server, without_secrets
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.ray_head import free_port

WriteCohort = Callable[..., Path]
BASE = "epochs: 3\nlearningRate: 0.05\n"
HUSH = "gibbon-7"


@pytest.fixture
def shared(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings that another machine could share; nothing answers at any of them."""
    monkeypatch.setenv("GAME_STORE", f"postgresql+psycopg://game:{HUSH}@db.example/game")
    monkeypatch.setenv("GAME_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://boss:{HUSH}@mlflow.example")
    return Settings()


def test_whoever_was_sent_to_a_cluster_says_what_writes_mlflow_from_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_how_it_ended("small", [], TrackingError("MLflow: away"), sent=True)
    assert "`gamectl resume --cohort small --cluster local` writes" in capsys.readouterr().err
    say_how_it_ended("small", [], TrackingError("MLflow: away"))
    assert "`gamectl resume --cohort small` writes" in capsys.readouterr().err


def test_a_cohort_of_a_newer_release_is_refused_by_the_name_of_its_setting() -> None:
    document = Cohort().model_dump(mode="json", by_alias=True)
    assert Cohort.stored(document) == Cohort()
    document["spec"]["resources"]["tomorrow"] = 1
    with pytest.raises(Refused, match=r"does not know \(spec\.resources\.tomorrow\)"):
        Cohort.stored(document)


@contextmanager
def dashboard(answers: dict[str, tuple[int, object]]) -> Iterator[str]:
    """A head's dashboard that answers these paths with a status and a document."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # its name is given
            status, document = answers.get(self.path, (404, None))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def refusal(address: str) -> str:
    with pytest.raises(ClusterError) as refused:
        RayJobs(address).check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- before anything is sent ----------------------------------------------------------------------


def test_a_store_that_stays_here_is_refused_before_anything_is_written(
    home: Path, write_cohort: WriteCohort
) -> None:
    done = gamectl("submit", write_cohort({"apes": BASE}), "--cluster", "http://head:8265")
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    for variable in ("GAME_STORE", "MLFLOW_TRACKING_URI", "GAME_ARTIFACTS"):
        assert variable in done.stderr
    assert not home.exists()


def test_only_what_is_missing_is_asked_for(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_shared(shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(Refused, match=r"set MLFLOW_TRACKING_URI, a server's URL$"):
        check_shared(Settings())


@pytest.mark.parametrize("host", ["127.0.0.1", "h" * 64])  # no name has so long a part
def test_a_head_that_does_not_answer_is_one_line(
    host: str, shared: Settings, write_cohort: WriteCohort
) -> None:
    address = f"http://{host}:{free_port()}"
    done = gamectl("submit", write_cohort({"apes": BASE}), "--cluster", address)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: cannot reach Ray at {address}: nothing answers there")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: cannot reach Ray at {address}: nothing answers there")
    assert len(done.stderr.splitlines()) == 1


def test_a_cohort_names_its_cluster_and_the_command_line_another(
    shared: Settings, write_cohort: WriteCohort
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    folder = write_cohort({"apes": BASE}, f"  cluster: {address}/\n")
    assert f"cannot reach Ray at {address}:" in gamectl("submit", folder).stderr
    assert gamectl("validate", folder).exit_code == 0
    other = f"http://127.0.0.1:{free_port()}"
    assert f"at {other}:" in gamectl("submit", folder, "--cluster", other).stderr
    here = launcher_of("local", address, shared, "carried")
    assert here is None
    assert launcher_of("", address, shared, "carried") is None


@pytest.mark.parametrize(
    "address",
    [
        "head:8265", "ray://head:10001", "http://me:pw@head:8265", "x", "http://head:99999",
        "http://head:826s", "http://head:0", "http://:8265", "http://[::1", "http://[bad]:1",
        "http://head?x",
    ],
)  # fmt: skip
def test_an_address_that_is_none(home: Path, write_cohort: WriteCohort, address: str) -> None:
    done = gamectl("submit", write_cohort({"apes": BASE}), "--cluster", address)
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "allowed is http://HOST:8265, or local" in done.stderr
    refused = gamectl("validate", write_cohort({"apes": BASE}, f"  cluster: '{address}'\n"))
    assert refused.exit_code == 1
    assert "allowed is http://HOST:8265, or local" in refused.output


def test_cpus_are_for_a_ray_of_ones_own(shared: Settings, write_cohort: WriteCohort) -> None:
    words = ["submit", write_cohort({"apes": BASE}), "--cluster", "http://head:8265", "--cpus", "1"]
    done = gamectl(*words)
    assert done.exit_code == 1
    assert "--cpus is for a Ray that is started here, not for http://head:8265" in done.stderr


@pytest.mark.parametrize("status", [401, 403])
def test_a_head_that_refuses_our_token(
    status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    with dashboard({"/api/version": (status, None)}) as address:
        assert "wants a token, and there is none here: Ray's tokens come" in refusal(address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
        assert "refuses our token: Ray's tokens come from RAY_AUTH_TOKEN" in refusal(address)


def test_versions_that_differ() -> None:
    ours = version("ray")
    python = {"data": {"pythonVersion": "3.99.1"}}
    metadata = "/api/v0/cluster_metadata"
    with dashboard({"/api/version": (200, {"ray_version": "2.0.0"})}) as address:
        assert f"runs Ray 2.0.0, and this is Ray {ours}" in refusal(address)
    same = {"/api/version": (200, {"ray_version": ours})}
    with dashboard({**same, metadata: (200, python)}) as address:
        assert "runs Python 3.99.1, and this is Python 3." in refusal(address)
    with dashboard(same) as address:  # one that does not tell is believed
        RayJobs(address).check()


@pytest.mark.parametrize("answer", [(404, None), (200, ["x"]), (500, {})])
def test_something_else_at_that_address(answer: tuple[int, object]) -> None:
    with dashboard({"/api/version": answer}) as address:
        assert f"{address} does not answer as Ray's dashboard does" in refusal(address)


def test_where_tokens_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("theirs\n")
    assert token() == "theirs"
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "mine"))
    assert token() == "mine"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    assert token() == "said"


# --- what is sent ---------------------------------------------------------------------------------


def test_no_password_is_in_the_command_that_a_cluster_runs(shared: Settings) -> None:
    command = controller_command("small", "u1", shared)
    assert HUSH not in command
    assert "boss" not in command
    assert "GAME_STORE=postgresql+psycopg://game@db.example/game" in command
    assert "MLFLOW_TRACKING_URI=https://mlflow.example" in command
    assert "--cohort small --job u1" in command


@pytest.mark.parametrize(
    ("url", "without"),
    [
        ("postgresql://u:p@h/d", "postgresql://u@h/d"),
        ("postgresql://u:p%2Fx@h:5/d?sslmode=require", "postgresql://u@h:5/d?sslmode=require"),
        ("postgresql://u@/d?host=/tmp/x&password=p", "postgresql://u@/d?host=%2Ftmp%2Fx"),
        ("postgresql://u:a/b?c#d@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
    ],
)
def test_a_url_without_its_password(url: str, without: str) -> None:
    assert without_secrets(url) == without
    assert is_server(url)


@pytest.mark.parametrize("url", ["sqlite:///x.db", "sqlite+pysqlite:////x", "what?"])
def test_what_is_no_server(url: str) -> None:
    assert not is_server(url)


def test_a_controller_takes_defaults_for_what_its_environment_does_not_say(
    shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_ARTIFACTS", "")
    defaults = {"GAME_STORE": "sqlite:///other.db", "GAME_ARTIFACTS": "/else", "GAME_HOME": "/no"}
    told = Settings.with_defaults(defaults)
    assert told == shared.model_copy(update={"artifacts_uri": "/else"})


def test_a_controller_in_front_of_another_store_says_so(shared: Settings, store: Store) -> None:
    submit(store, new_job("apes"))
    (job,) = store.jobs("small")
    check_same_store("small", [job], job.uid, shared)
    with pytest.raises(StoreError, match="must name the same database") as refused:
        check_same_store("small", [], job.uid, shared)
    assert HUSH not in str(refused.value)


def test_a_controller_refuses_defaults_that_are_none(home: Path) -> None:
    for default in ("GAME_STORE", "PATH=/x"):
        assert gamectl("controller", "--default", default).exit_code == 2


def test_a_cohort_without_a_cluster_runs_here() -> None:
    assert launcher_of(None, Cohort().spec.cluster, Settings(), "carried") is None


@pytest.mark.slow
def test_slots_of_a_ray_that_is_started_here_see_no_password_either() -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.orchestrator.hidden_secrets"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
