"""What all tests share: one Ray cluster and one S3 server for the session, small photos, a home."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.tracking.exporter import Exporter
from tests.s3 import S3, reason_why_not, s3_server
from tests.shared import copied_schemas, one_exporter

# Read by libraries when they are imported; the command line sets the same.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

# It is noon here whenever tests begin: what happened a minute ago is never of another day.
os.environ["TZ"] = f"NOON{time.gmtime().tm_hour - 12:+d}"
time.tzset()

# A script's background job ignores Ctrl-C, and so would all that tests start and interrupt.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

NUM_CPUS = 2


LONGEST = (
    "test_examples.py",
    "test_slot_faults.py",
    "test_hostile_limits.py",
    "test_teacher_cli.py",
)
"""The files that take the longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: begun last, one of them would keep everybody waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (rank.get(item.path.name, len(rank)), item.path not in slow))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of two CPUs for the whole session: starting one takes seconds."""
    from orchestrator.cluster.connection import ray_cluster as connect

    with ExitStack() as stack:
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            # Ray leaves the socket open with which it found an address taken.
            stack.enter_context(connect(num_cpus=NUM_CPUS))
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What takes a game long to make, all of the session have: see `shared`."""
    base = tmp_path_factory.getbasetemp()
    beside = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with one_exporter(beside / "templates"), copied_schemas(base):
        yield


@pytest.fixture
def own_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates start processes of their own, as outside tests."""
    monkeypatch.setattr("orchestrator.tracking.templates.Exporter", Exporter)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GAME_HOME that nothing else uses; other settings as a new user has them."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GAME_HOME", str(folder))
    monkeypatch.delenv("GAME_STORE", raising=False)
    monkeypatch.delenv("GAME_ARTIFACTS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def write_photos(root: Path, num_training: int = 20, num_test: int = 6, side_px: int = 32) -> Path:
    """Three classes of coloured noise, told apart by which channel is bright."""
    generator = np.random.default_rng(7)
    for part, count in (("training", num_training), ("validation", num_test)):
        for label in range(3):
            folder = root / part / f"n{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                photo = generator.integers(0, 160, (side_px, side_px, 3), dtype=np.uint8)
                photo[..., label] += 60
                Image.fromarray(photo).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of three classes, 60 training and 18 test images of 32 px."""
    return write_photos(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture
def write_cohort(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a cohort's folder: `spec` lines of the cohort, a text a team."""

    def write(loadouts: dict[str, str], spec: str = "  budget: 100\n", name: str = "small") -> Path:
        folder = tmp_path / "cohort"
        folder.mkdir(exist_ok=True)
        (folder / "cohort.yaml").write_text(
            f"apiVersion: game/v1\nkind: Cohort\nmetadata: {{name: {name}}}\nspec:\n{spec}"
        )
        for team, text in loadouts.items():
            body = "\n".join(f"  {line}" for line in text.strip().splitlines())
            (folder / f"{team}.yaml").write_text(
                f"apiVersion: game/v1\nkind: Loadout\nmetadata: {{team: {team}}}\nspec:\n{body}\n"
            )
        return folder

    return write


@pytest.fixture(scope="session")
def s3_session() -> Iterator[S3]:
    """A server that speaks S3, for the session."""
    reason = reason_why_not()
    if reason is not None:
        pytest.skip(f"no S3 server: {reason}")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_session: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """That server, as the environment names it."""
    for name, value in s3_session.environment.items():
        monkeypatch.setenv(name, value)
    return s3_session
