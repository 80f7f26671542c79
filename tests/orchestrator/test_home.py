"""A home folder that cannot be used, and a port that is taken: one line each, no traceback."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import main


@pytest.mark.parametrize("home", ["{tmp}/a-file", "/proc/nope"])
def test_a_home_that_cannot_be_made(
    write_cohort: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("GAME_HOME", home.format(tmp=tmp_path))
    done = CliRunner().invoke(main, ["submit", str(write_cohort({"apes": "epochs: 1"}))])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: cannot keep a game in ")
    assert "GAME_HOME" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken(home: Path) -> None:
    home.mkdir()
    (home / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = CliRunner().invoke(main, ["ui", "--port", str(port)])
    assert done.exit_code == 1
    assert f"port {port}: " in done.stderr
    assert f"--port {port + 1}" in done.stderr
