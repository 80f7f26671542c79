"""Team code that looks for labels, files, servers and processes outside its sandbox in vain."""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import TeamCodeError
from tests.jobs.hostile import NETWORK, Attempt, needs_sandbox

pytestmark = [pytest.mark.slow, needs_sandbox]

FILES = ["labels.json", "store.db"]
"""What a team has no business with."""
PROBE = (
    NETWORK
    + """
import json, os, shutil, signal, socket, sys
def tried(work):
    try:
        return repr(work())
    except Exception as error:
        return type(error).__name__
def build_loss(class_weights):
    from torch.nn import functional
    frame = sys._getframe()
    while "training_data" not in frame.f_locals:
        frame = frame.f_back
    training_data = frame.f_locals["training_data"]
    arrays = {name: value.shape for name, value in vars(training_data).items()}
    shared = [line for line in open("/proc/self/maps") if "memfd" in line]
    shutil.rmtree("/tmp", ignore_errors=True)
    print("FOUND " + json.dumps(dict(
        arrays=arrays, shared=len(shared),
        secret=tried(lambda: open(SECRET).read()),
        repository=tried(lambda: os.listdir(REPOSITORY + "/tests")),
        written=tried(lambda: open(os.path.dirname(SECRET) + "/x", "w")),
        server=tried(lambda: socket.create_connection(("127.0.0.1", PORT), 1)),
        abstract=tried(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + "x")),
        outside=tried(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        variables=[name for name in os.environ if name.startswith(("RAY", "MLFLOW", "GAME"))],
        neighbours=[name for name in os.listdir("/proc") if name.isdecimal()],
        killed=[tried(lambda: os.kill(pid, signal.SIGKILL)) for pid in (os.getppid(), PID, 1)],
        temporary=os.listdir("/tmp"),
    )))
    return functional.cross_entropy
"""
)


@pytest.fixture(scope="module")
def secret_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "labels.json").write_text("[0, 1, 2]")
    with closing(sqlite3.connect(folder / "store.db")) as store:
        store.execute("CREATE TABLE jobs (team TEXT)")
    return folder


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that nobody else may end."""
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


@pytest.fixture
def probed(
    attempt: Attempt,
    secret_folder: Path,
    neighbour: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """What one training finds that looks for everything; it must succeed nevertheless."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "SECRET": str(secret_folder / "labels.json"),
            "REPOSITORY": str(Path(__file__).parents[2]),
            "PORT": server.getsockname()[1],
            "PID": neighbour.pid,
        }
        lines = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        result = attempt.train(lines + PROBE)
    assert len(result.weights) > 0
    assert np.allclose(result.val_probs.sum(axis=1), 1)
    found = attempt.printed.partition(b"FOUND ")[2].splitlines()[0]
    return dict(json.loads(found))


def test_one_that_looks_for_everything_finds_nothing(
    probed: dict[str, Any], secret_folder: Path, neighbour: subprocess.Popen[bytes]
) -> None:
    # Of labels, those of its own training images alone.
    assert probed["arrays"] == {
        "images": [42, 3, 16, 16],
        "labels": [42],
        "rows": [42],
        "val_images": [15, 3, 16, 16],
    }
    assert probed["shared"] == 3
    # No file of ours, no network, no variables, nobody else.
    for what in ("secret", "repository", "written"):
        assert probed[what] in ("FileNotFoundError", "PermissionError", "OSError"), what
    assert sorted(path.name for path in secret_folder.iterdir()) == FILES
    for what in ("server", "abstract", "outside"):
        assert probed[what] == "PermissionError", what
    assert probed["variables"] == []
    assert len(probed["neighbours"]) == 2
    # Neither its parent nor the one that holds the sandbox minds its signals, and others are not
    # there.
    assert set(probed["killed"]) <= {"PermissionError", "ProcessLookupError", "None"}
    assert probed["killed"][1] == "ProcessLookupError"
    assert neighbour.poll() is None


@pytest.mark.parametrize(
    "reach",
    [
        "open(SECRET).read()",  # labels, or any file of ours
        "open(os.path.dirname(SECRET) + '/x', 'w')",
        "sqlite3.connect(STORE).execute('SELECT * FROM jobs')",  # the store
        "socket.create_connection(SERVER, 1)",  # Ray
        "urllib.request.urlopen('http://%s:%d' % SERVER)",  # MLflow
        "os.kill(os.getppid(), 9) or os.listdir('/proc/1/fd')",  # its parent, and what it holds
        "shutil.rmtree(tempfile.gettempdir())",
    ],
)
def test_an_attempt_to_reach_outside_fails_with_its_line(
    attempt: Attempt, secret_folder: Path, reach: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        error = attempt.failure(
            f"import os, shutil, socket, sqlite3, tempfile, urllib.request\n"
            f"SECRET, STORE = {[str(secret_folder / name) for name in FILES]!r}\n"
            f"SERVER = {server.getsockname()!r}\n"
            f"def build_model(num_classes, size_px):\n    {reach}\n"
        )
        with pytest.raises(BlockingIOError):  # nobody has called
            server.accept()
    assert type(error) is TeamCodeError
    assert str(error).startswith("net.py:5: ")
    assert sorted(path.name for path in secret_folder.iterdir()) == FILES
