"""The commands of the operations page, run as they stand: a game is saved, lost and restored."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.artifacts import Artifacts
from orchestrator.results.networks import trained_ensemble
from orchestrator.store import Store
from tests.orchestrator.postgres import Server
from tests.orchestrator.tracked import SIDE, TrainJob

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SQLITE, POSTGRES = ("sqlite3",), ("pg_dump", "psql")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder that the page calls .game."""
    folder = tmp_path / ".game"
    folder.mkdir()
    return folder


@pytest.fixture(params=[SQLITE, POSTGRES], ids=["sqlite", "postgresql"])
def programs(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The programs that save and restore one kind of store."""
    programs: tuple[str, ...] = request.param
    for program in (*programs, "rsync"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} on the PATH")
    return programs


@pytest.fixture
def server(programs: tuple[str, ...], request: pytest.FixtureRequest) -> Iterator[Server | None]:
    """The server with an empty database `game`, where the store is in one."""
    if programs == SQLITE:
        yield None
        return
    server: Server = request.getfixturevalue("postgres")
    server.execute("CREATE DATABASE game")
    yield server
    server.execute("DROP DATABASE game")


@pytest.fixture
def store_url(server: Server | None, home: Path) -> str:
    return server.url("game") if server else f"sqlite:///{home / 'store.db'}"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def artifacts(home: Path) -> Artifacts:
    return Artifacts(home / "artifacts")


def run(block: int, programs: tuple[str, ...], server: Server | None, folder: Path) -> None:
    """Runs the lines of one of the page's blocks that are about this kind of store."""
    text = PAGE.read_text().partition("## Backup and restore")[2]
    lines = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[block].splitlines()
    others = {*SQLITE, *POSTGRES, "gamectl"} - {*programs}
    for line in lines:
        if line.split()[0] in others:
            continue
        host = str(server.socket_folder) if server else ""
        words = ["sh", "-c", line.replace("db.example", host)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_what_was_saved_while_it_was_open_is_restored_into_nothing(
    programs: tuple[str, ...],
    server: Server | None,
    store_url: str,
    store: Store,
    artifacts: Artifacts,
    train_job: TrainJob,
    home: Path,
    tmp_path: Path,
) -> None:
    for name in ("scores", "teachers"):
        (home / name).mkdir()
        (home / name / "kept").write_text(name)
    train_job("apes", 2, "vote")
    jobs, images = store.jobs("small"), torch.rand(3, 3, SIDE, SIDE)
    says = trained_ensemble(jobs[0], store, artifacts)(images)
    run(0, programs, server, tmp_path)

    train_job("late", 1, "mean")
    store.close()
    shutil.rmtree(home)
    if server is not None:
        server.execute("DROP DATABASE game")
        server.execute("CREATE DATABASE game")
    run(1, programs, server, tmp_path)

    restored = Store(store_url)
    try:
        assert restored.jobs("small") == jobs
        assert torch.equal(trained_ensemble(jobs[0], restored, artifacts)(images), says)
    finally:
        restored.close()
    assert [(home / name / "kept").read_text() for name in ("scores", "teachers")] == [
        "scores",
        "teachers",
    ]
