"""`gamectl doctor`: what it finds on a machine as it is, and on broken ones, one line each."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import click
import pytest

from orchestrator.doctor import Finding, Level, machine, services, software
from orchestrator.doctor.finding import examined
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl, read_json

ROOT = Path(__file__).parents[2]
GIB = machine.GIB


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def doctor(*words: str, path: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`gamectl doctor` in a Python that looks for modules in `path` first."""
    command = [sys.executable, *flags, "-m", "orchestrator", *words]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


# --- whole installations --------------------------------------------------------------------------


def test_everything_is_looked_at_here(home: Path) -> None:
    done = gamectl("doctor")
    assert done.exit_code == 0, done.output
    about = {line[9:24].strip() for line in done.stdout.splitlines() if line[0] != " "}
    wanted = {"python", "packages", "memory", "disk", "artifacts", "data", "sandbox", "store",
              "clock", "MLflow", "torch", "GPU", "Ray"}  # fmt: skip
    assert wanted <= about
    assert not home.exists()


def test_programs_get_the_same_as_json(home: Path) -> None:
    document = read_json("doctor")
    assert document["problems"] == 0
    assert {check["level"] for check in document["checks"]} <= set(Level)
    assert all(check["found"] for check in document["checks"])


def test_a_python_without_any_package_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    path = f"{ROOT}:{tmp_path}"
    done = doctor("doctor", path=path, flags=("-S",))
    assert done.returncode == 1
    # An installed checkout holds what pip knows of the project, and another one does not.
    (packages,) = (line for line in done.stdout.splitlines() if " packages " in line)
    assert packages.startswith("problem  packages       ")
    assert "classification-game is not installed" in packages or "missing: " in packages
    assert "Python does not find pydantic" in done.stdout
    assert "Traceback" not in done.stderr
    done = doctor("shop", path=path, flags=("-S",))
    assert done.returncode == 1
    assert done.stderr == (
        "error: Python does not find the package pydantic; `gamectl doctor` says what to do\n"
    )


def test_builds_that_do_not_fit_are_found_by_loading_them(tmp_path: Path, home: Path) -> None:
    text = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
    (tmp_path / "torch.py").write_text("")  # importing the real one takes seconds
    (tmp_path / "torchvision.py").write_text(text)
    code = (
        "from orchestrator.doctor.software import torch_pair\n"
        "for finding in torch_pair(): print(finding.level, finding.found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("problem torch ")
    assert "do not fit each other: operator torchvision::nms does not exist" in done.stdout


def test_a_check_that_fails_is_a_finding_and_the_next_one_goes_on() -> None:
    def fails() -> Iterator[Finding]:
        raise ValueError("no luck\nat all")

    def lacks() -> Iterator[Finding]:
        raise ModuleNotFoundError("No module named 'x'", name="x")

    def fine() -> Iterator[Finding]:
        yield Finding(Level.OK, "c", "good")

    found = list(examined({"a": fails, "b": lacks, "c": fine}))
    assert [(each.level, each.about, each.found) for each in found] == [
        (Level.PROBLEM, "a", "no luck"),
        (Level.OK, "c", "good"),
        (Level.PROBLEM, "not checked", "b: Python does not find x"),
    ]


# --- software -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "level", "said"),
    [
        ({"ray": "2.60.0", "torch": "2.15.0"}, Level.OK, "2 are installed, all as in"),
        ({"ray": "2.60.0"}, Level.PROBLEM, "missing: torch"),
        ({"ray": "2.9.1", "torch": "2.15.0"}, Level.PROBLEM, "too old: ray 2.9.1 (needs 2.60)"),
        ({"ray": "2.61.0", "torch": "2.15.0"}, Level.WARNING, "ray 2.61.0 (tested: 2.60.0)"),
    ],
)
def test_versions_are_compared(installed: Mapping[str, str], level: Level, said: str) -> None:
    needed = software.required(["ray[default,tune]>=2.60", "torch>=2.15", 'kornia; extra == "x"'])
    assert needed == {"ray": "2.60", "torch": "2.15"}
    tested = software.pinned("# exact\nray==2.60.0\ntorch==2.15.0\nnotebook==1\n")
    finding = software.package_finding(needed, tested, installed.get)
    assert finding.level is level
    assert said in finding.found


# --- the machine ----------------------------------------------------------------------------------


def test_figures_are_judged() -> None:
    ok, warning, problem = Level.OK, Level.WARNING, Level.PROBLEM
    of_memory = [machine.memory_finding(8 * GIB, free, 2).level for free in (4 * GIB, 2 * GIB, 9)]
    assert of_memory == [ok, warning, problem]
    place = Path("/x")
    of_disk = [
        machine.disk_finding("games", place, total, free, "").level
        for total, free in ((100 * GIB, 50 * GIB), (100 * GIB, 4 * GIB), (4 * GIB, GIB), (GIB, 9))
    ]
    assert of_disk == [ok, warning, warning, problem]
    shm = [machine.shared_memory_finding(free).level for free in (2 * GIB, 64 << 20)]
    assert shm == [ok, warning]
    now = machine.OLDEST_NOW + 1000
    clocks = [machine.clock_finding(now, newest).level for newest in (0, now - 5, now + 3600)]
    assert clocks == [ok, ok, problem]
    assert machine.clock_finding(0.0, 0.0).level is problem
    assert machine.gpu_finding([], "", None).level is ok
    assert machine.gpu_finding(["H100"], "550", "13.2").level is ok
    assert "built for CPUs" in machine.gpu_finding([], "550", None).found
    assert machine.gpu_finding([], "550", "13.2").level is warning


# --- services -------------------------------------------------------------------------------------


def test_services_that_are_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAME_STORE", "postgresql+psycopg://me:secret@127.0.0.1:1/game")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("GAME_ARTIFACTS", "/proc/nope")
    checks = {
        "store": services.store,
        "MLflow": services.mlflow,
        "Ray": lambda: services.ray(deep=False),
        "artifacts": services.artifacts,
    }
    found = list(examined(checks))
    assert [(each.about, each.level) for each in found] == [
        (about, Level.PROBLEM) for about in checks
    ]
    assert all("\n" not in each.found for each in found)
    assert not any("secret" in f"{each.found} {each.advice}" for each in found)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (ray,) = services.ray(deep=False)
    assert "RAY_ADDRESS is auto, not tried" in ray.found


@pytest.mark.parametrize(
    ("status", "said", "advice"),
    [
        (
            401,
            "You are not authenticated.",
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (403, "Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts"),
        (404, "no such page", "start it, or correct MLFLOW_TRACKING_URI"),
    ],
)
def test_what_mlflow_answers_decides_the_advice(
    status: int, said: str, advice: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # its name is given
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            found = only(services.mlflow())
        finally:
            server.shutdown()
            thread.join()
    assert (found.level, said in found.found) == (Level.PROBLEM, True)
    assert advice in found.advice
    assert ("start it, or" in found.advice) is (status == 404)


@pytest.mark.parametrize("deep", [False, True])
def test_a_dashboard_is_not_joined(deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as answers:
        address = f"http://127.0.0.1:{answers.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        found = only(services.ray(deep))
    assert (found.level, found.found) == (Level.PROBLEM, f"RAY_ADDRESS is {address}")
    assert found.advice == (
        f"that is the dashboard: unset RAY_ADDRESS and pass `--cluster {address}`"
    )


def test_work_that_nobody_does(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(store, new_job("apes"), new_job("howlers"))
    monkeypatch.setenv("GAME_STORE", f"sqlite:///{home.parent / 'store.db'}")
    found = only(services.store())
    assert found.level is Level.WARNING
    assert "newest: small with 2 jobs, 2 left, and no controller at work" in found.found
    assert found.advice == "`gamectl resume --cohort small` goes on"


def test_looking_at_a_store_that_is_not_there_makes_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "typo" / "dir" / "store.db"
    monkeypatch.setenv("GAME_STORE", f"sqlite:///{file}")
    found = only(services.store())
    assert found.found == f"none yet at {file} (GAME_STORE); `gamectl submit` makes it"
    for words in (["get", "jobs"], ["leaderboard"], ["cancel", "apes"]):
        done = gamectl(*words)
        assert done.exit_code == 1
        assert f"there is no store at {file} (GAME_STORE)" in done.stderr
    assert not file.parent.parent.exists()


def test_data_is_counted(photos: Path, tmp_path: Path, home: Path) -> None:
    found = only(services.data(str(photos)))
    assert (found.level, found.found) == (
        Level.OK,
        f"{photos}: 3 classes, 60 training and 18 test images",
    )
    shutil.copytree(photos / "training", tmp_path / "data" / "training")
    assert only(services.data(str(tmp_path / "data"))).level is Level.WARNING
    assert only(services.data(str(tmp_path / "nowhere"))).level is Level.PROBLEM


@pytest.mark.ray
def test_ray_is_tried_where_it_is_asked_for(ray_cluster: None, home: Path) -> None:
    found = only(services.ray(deep=True))
    assert found.level is Level.OK
    assert "largest node: 2 CPUs" in found.found
